"""Debian's gdb at Debian's kernel, from its first instruction on."""

import contextlib
import re

from cases_gdb import check_notes
from cases_linux import FAST, linux
from gdb import Bridge, gdb_run
from harness import Case
import kallsyms

MEMORY = 768

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
        check_notes(run, notes, text, {"later": True, "hardware": True, "right": True})
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


CASES = [
    Case("gdb-linux-module", module, seconds=100, limit=420),
    Case("gdb-linux", start, seconds=50, limit=300),
]
