"""Debian's gdb at Debian's kernel, from its first instruction on."""

import contextlib
import os
import re
import time

from cases_gdb import check_notes
from cases_linux import FAST, linux
from gdb import Bridge, gdb_run
from harness import Case, vm
from mux import Mux, Relay
import kallsyms

MEMORY = 768
DUMP_IPS = 4_000_000
DUMP_TAKES = 600  # seconds of wall-clock time, at most

# ---- The kernel's start --------------------------------------------------------------------------

START = """
attach()
note("first-pc", value("$pc") < 0x10000000)
run("break start_kernel")
run("continue")
note("start_kernel", value("$pc") == value("(long)&start_kernel"))
note("long-mode", hex(value("$efer") & 0x500))
note("exits", int(run("monitor vm").split("linux")[1].split()[-2]))
note("backtrace", " ".join(frame.name() or "?" for frame in frames()))
note("banner", gdb.parse_and_eval("(char*)&linux_banner").string().split(" (")[0].replace(" ", "_"))
run("delete")
run("detach")
"""

FRAMES = """
def frames():
    frame, found = gdb.newest_frame(), []
    while frame is not None and len(found) < 8:
        found.append(frame)
        try:
            frame = frame.older()
        except gdb.error:
            break
    return found
"""

# ---- A module that is not there yet --------------------------------------------------------------

# A breakpoint with the guest before its first instruction, in a module that it loads when it is up: an address
# that is mapped nowhere. The boot before this one has told where the module will be.
MODULE = """
attach()
run("monitor reset")
run("maintenance flush register-cache")
note("reset", value("$pc") < 0x10000000)
try:
    run("x/1xb MODULE")
    note("absent", "read")
except gdb.error as error:
    note("absent", "Cannot access memory" in str(error))
run("hbreak *MODULE")
run("continue")
note("module", value("$pc") == MODULE)
run("kill")
"""

# ---- 64 watchpoints ------------------------------------------------------------------------------

# The timekeeper, word by word: what changes between two stops is what the stop is for.
WATCH = """
attach()
note("later", value("$pc") != value("(long)&start_kernel"))
note("lstar", value("$ia32_lstar") == value("(long)&entry_SYSCALL_64") and value("$ia32_efer") == value("$efer"))
efer = value("$efer")
run(f"set $efer = {efer & ~1}")
run("maintenance flush register-cache")
note("efer", value("$ia32_efer") == efer & ~1)
run(f"set $ia32_efer = {efer}")
run("set breakpoint always-inserted on")
run("set can-use-hw-watchpoints 64")
base = TIMEKEEPER
def words():
    block = bytes(gdb.selected_inferior().read_memory(base, 512))
    return [int.from_bytes(block[8 * i:8 * i + 8], "little") for i in range(64)]
hits, stops = [], []
class Watch(gdb.Breakpoint):
    def __init__(self, index):
        super().__init__(f"*(unsigned long*){base + 8 * index}", gdb.BP_WATCHPOINT, gdb.WP_WRITE)
        self.index = index
watches = [Watch(index) for index in range(64)]
note("hardware", all(watch.type == gdb.BP_HARDWARE_WATCHPOINT for watch in watches))
gdb.events.stop.connect(stops.append)
wrong, met = [], set()
for _ in range(STOPS):
    before = words()
    run("continue")
    after = words()
    changed = {i for i in range(64) if before[i] != after[i]}
    said = {point.index for point in getattr(stops[-1], "breakpoints", []) if isinstance(point, Watch)}
    met |= said
    if said != changed or not said:
        wrong.append((sorted(said), sorted(changed)))
note("right", wrong == [] or wrong)
note("met", len(met))
note("silent", 64 - len(met))
note("function", gdb.newest_frame().name())
run("kill")
"""

STOPS = 12


def symbol_file(run):
    """The file, and {name: address}."""
    with open(run.files.vmlinux, "rb") as file:
        found = kallsyms.symbols(file.read())
    kallsyms.write_elf(run.path("symbols.elf"), found)
    return run.path("symbols.elf"), {name: address for address, _, name in found}


@contextlib.contextmanager
def waiting(run):
    """A machine whose Linux waits for gdb before its first instruction; gdb's port."""
    conf = "[traprock]\ngdb = com2\n" + linux(run, script="gdb.sh", cmdline=FAST + " nokaslr", start="paused")
    with run.machine(run.make_image(conf), memory=MEMORY, com2="line") as machine:
        bridge = Bridge(machine.com2)
        try:
            machine.expect(rb"paused before its first instruction", timeout=run.case.limit)
            yield machine, bridge.port
        finally:
            bridge.close()


def start(run):
    """From the kernel's first instruction to start_kernel; detached, attached again, at the timekeeper."""
    symbols, address = symbol_file(run)
    with waiting(run) as (machine, port):
        notes, text = gdb_run(run, port, FRAMES + START, symbols, timeout=300)
        check_notes(run, notes, text, {"first-pc": True, "start_kernel": True, "long-mode": "0x500"})
        # The function before it clears megabytes by REP STOS, in the page that has the breakpoint.
        run.check("gdb/start-exits", 0 < int(notes.get("exits", "0")) < 100_000, f"{notes.get('exits')} exits")
        # The two functions between them jump there.
        called = notes.get("backtrace", "").split()
        run.check("gdb/start-backtrace", called[:2] == ["start_kernel", "secondary_startup_64_no_verify"], f"{called}")
        run.check("gdb/banner", notes.get("banner", "").startswith("Linux_version_"), f"{notes.get('banner')}")
        script = WATCH.replace("STOPS", str(STOPS)).replace("TIMEKEEPER", hex(address["tk_core"]))
        notes, text = gdb_run(run, port, script, symbols, timeout=300)
        check_notes(run, notes, text, {"later": True, "lstar": True, "efer": True, "hardware": True,
                                       "right": True})
        met = int(notes.get("met", "0"))
        run.check("gdb/watchpoints-met", 4 <= met < 64, f"{met} of 64")
        run.check("gdb/killed", machine.wait() == 1)


def module(run):
    """A breakpoint in a module before the guest's first instruction, where the boot before has told that it is."""
    with waiting(run) as (machine, port):
        gdb_run(run, port, 'attach()\nrun("detach")\n')
        machine.expect(rb"^module [0-9a-f]{16} t virtblk_probe\s+\[virtio_blk\]\r?$", timeout=run.case.limit)
        address = int(re.search(r"^module ([0-9a-f]{16}) ", machine.log, re.MULTILINE).group(1), 16)
        notes, text = gdb_run(run, port, MODULE.replace("MODULE", hex(address)), symbol_file(run)[0],
                              timeout=300)
        check_notes(run, notes, text, {"reset": True, "absent": True, "module": True})
        run.check("gdb/module-killed", machine.wait() == 1)


# ---- A core file ---------------------------------------------------------------------------------

# What gdb sees of the kernel, alive and in its core file.
SEEN = """
def seen():
    note("bt", " ".join(run("bt 8").split()))
    note("function", gdb.newest_frame().name())
    for name in REGISTERS:
        note(name, hex(value("$" + name)))
    note("banner", gdb.parse_and_eval("(char*)&linux_banner").string().split(" (")[0].replace(" ", "_"))
    for name, where, size in (("code", "$pc", 256), ("stack", "$sp", 192), ("task", "&init_task", 4096),
                              ("text", "&start_kernel", 4096), ("direct", "0xffff888001000000", 4096)):
        note(name, bytes(gdb.selected_inferior().read_memory(value("(long)" + where), size)).hex())
REGISTERS = ("rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip eflags cs ss ds es fs gs "
             "fs_base gs_base").split()
"""

# Without a root file system the kernel ends in panic(). gdb goes without a word, and the guest stands.
PANIC = SEEN + """
import os
attach()
run("hbreak panic")
run("continue")
seen()
os._exit(0)
"""

CORE = SEEN + """
run("core-file CORE")
seen()
"""


def dumped(run):
    """The kernel's core file over the multiplexed line, whose program dies in the middle: gdb sees in it what it saw
    of the guest. The fewer instructions the processor has for a second, the sooner the line's seconds are over."""
    symbols, _ = symbol_file(run)
    run.link("vmlinuz", run.files.kernel)
    conf = "[traprock]\ngdb = com1\nshell = com1\n" + vm(
        "linux", kernel="vmlinuz", cmdline=FAST + " nokaslr init_on_free=1", memory="128M", start="paused")
    with run.machine(run.make_image(conf), ips=DUMP_IPS, errors=False) as machine, contextlib.ExitStack() as stack:
        relay = Relay(machine.console)
        stack.callback(relay.close)
        first = Mux(run, relay.port, "--patience", "255", "--dumps", run.path("."))
        stack.callback(first.close)
        shell = first.terminal("shell")
        live, text = gdb_run(run, first.gdb_port(), PANIC, symbols, timeout=300)
        run.check("dump/panic", live.get("function") == "panic" and "direct" in live, text[-300:])
        shell.type(b"dump linux\r")
        first.notes.wait(rb"a dump comes to .*linux\.core, from block 0 of ", DUMP_TAKES * run.scale)
        part = run.path("linux.core.part.json")
        deadline = time.monotonic() + DUMP_TAKES * run.scale
        while not os.path.exists(part) and time.monotonic() < deadline:
            time.sleep(0.05)
        first.process.kill()
        second = Mux(run, relay.port, "--patience", "255", "--dumps", run.path("."))
        stack.callback(second.close)
        shell = second.terminal("shell")
        shell.wait(rb"\(traprock\) ", DUMP_TAKES * run.scale)
        shell.type(b"dump linux\r")
        said = second.notes.wait(rb"a dump comes to .*linux\.core, from block \d+ of ", DUMP_TAKES * run.scale)
        run.check("dump/linux-goes-on", not said.endswith("from block 0 of "), said)
        second.notes.wait(rb"linux\.core is whole", DUMP_TAKES * run.scale)
        shell.type(b"poweroff\r")
        machine.wait()
    core, text = gdb_run(run, 0, CORE.replace("CORE", run.path("linux.core")), symbols)
    check_notes(run, core, text, live)


# Some 15 MB come over the line.
LONG = [Case("gdb-linux-dump", dumped, seconds=200, limit=1200)]

CASES = [
    Case("gdb-linux-module", module, seconds=100, limit=420),
    Case("gdb-linux", start, seconds=50, limit=300),
]
