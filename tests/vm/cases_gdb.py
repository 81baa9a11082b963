"""A real gdb at a guest."""

import contextlib
import os
import random
import time

from gdb import Bridge, gdb_run
from harness import Case, outcome, vm


@contextlib.contextmanager
def bridged(run, name, options=None, other="", own="", **keys):
    """A machine whose guest waits for gdb before its first instruction, and gdb's way to it. other: more
    guests; own: more of the monitor's configuration; options: of the machine."""
    run.guest(name)
    conf = "[traprock]\ngdb = com2\n" + own + vm(name, debug_exit="0xf4", start="paused", **keys) + other
    with run.machine(run.make_image(conf), com2="line", **(options or {})) as machine:
        bridge = Bridge(machine.com2)
        try:
            machine.expect(rb"paused before its first instruction", timeout=run.case.limit)
            yield machine, bridge
        finally:
            bridge.close()


@contextlib.contextmanager
def debuggee(run, name, **keys):
    """The same, with just gdb's port."""
    with bridged(run, name, **keys) as (machine, bridge):
        yield machine, bridge.port


def check_notes(run, notes, text, expected):
    for name, what in expected.items():
        run.check(f"gdb/{name}", notes.get(name) == str(what),
                  f"{notes.get(name)!r}, not {what!r}; gdb's last lines: {text.splitlines()[-3:]}")


ATTACH = """
attach()
note("first-pc", hex(value("$pc")))
note("counter", value("*(long*)&counter"))
note("thread", run("info threads").count("vCPU 0 of debuggee"))
note("cr0-pe", value("$cr0") & 1)
run("set $r15 = 0x1234567890abcdef")
run("set $xmm3.v2_int64[1] = 77")
run("set $st0 = 2.5")
run("maintenance flush register-cache")
note("r15", hex(value("$r15")))
note("xmm3", value("$xmm3.v2_int64[1]"))
note("st0", gdb.parse_and_eval("$st0"))
try:
    run("set $cr0 = 0x80000000")
    note("bad-cr0", "taken")
except gdb.error:
    note("bad-cr0", "refused")
try:
    run("set $mxcsr = 0xffffffff")
    note("bad-mxcsr", "taken")
except gdb.error:
    note("bad-mxcsr", hex(value("$mxcsr")))
try:
    run("x/1xb 0xf0000000")
    note("no-memory", "read")
except gdb.error as error:
    note("no-memory", "Cannot access" in str(error))
interrupt_after(SLEEP)
stops = []
gdb.events.stop.connect(stops.append)
run("continue")
note("ctrl-c", stops[-1].stop_signal)
note("counted", value("*(long*)&counter") > 100)
note("rbx", hex(value("$rbx")))
note("long-mode", hex(value("$efer") & 0x500))
run("set *(long*)&counter = 5")
note("written", value("*(long*)&counter"))
inferior = gdb.selected_inferior()
block = bytes(inferior.read_memory(value("(long)&pattern"), 8192))
note("block", block == bytes.fromhex("efcdab8967452301") * 1024)
def words():
    word = 1
    for _ in range(131072):
        word = (word * 6364136223846793005 + 1442695040888963407) & 0xffffffffffffffff
        yield word.to_bytes(8, "little")
pool = value("(long)&pool")
wanted = b"".join(words())
note("megabyte", bytes(inferior.read_memory(pool, 1 << 20)) == wanted)
# Over a page's border, with every byte and at no round address; then as it was.
other = bytes(byte ^ 0xff for byte in wanted[3:65536 + 3])
inferior.write_memory(pool + 3, other)
run(f"dump binary memory DUMP {pool} {pool + 65536 + 8}")
with open("DUMP", "rb") as file:
    note("written-back", file.read() == wanted[:3] + other + wanted[65536 + 3:65536 + 8])
inferior.write_memory(pool + 3, wanted[3:65536 + 3])
note("restored", bytes(inferior.read_memory(pool, 65536 + 8)) == wanted[:65536 + 8])
run("detach")
"""

AGAIN = """
said = attach()
note("again", value("*(long*)&counter") > 5)
note("sections", run("compare-sections .text").count(": matched."))
before = value("*(long*)&counter")
run("call ((long(*)())count)()")
note("call", value("*(long*)&counter") - before)
# Stopped and let go on by gdb all the time, which is when the Ctrl-C comes.
stops = []
gdb.events.stop.connect(stops.append)
run("watch *(long*)&counter if *(long*)&counter == 0x7fffffffffff")
interrupt_after(SLEEP)
run("continue")
note("ctrl-c", stops[-1].stop_signal)
run("delete")
run("set *(long*)&goal = *(long*)&counter + 1000")
run("continue")
note("end", value("$_exitcode"))
"""


def attach(run):
    with debuggee(run, "debuggee") as (machine, port):
        symbols = run.files.guest("debuggee")
        notes, text = gdb_run(run, port, ATTACH.replace("SLEEP", "1").replace("DUMP", run.path("pool.bin")), symbols)
        check_notes(run, notes, text, {
            "counter": 0, "thread": 1, "cr0-pe": 1, "r15": "0x1234567890abcdef", "xmm3": 77, "st0": "2.5",
            "bad-cr0": "refused", "bad-mxcsr": "0x1f80", "no-memory": True, "ctrl-c": "SIGINT", "counted": True,
            "rbx": "0x1122334455667788", "long-mode": "0x500", "written": 5, "block": True, "megabyte": True,
            "written-back": True, "restored": True})
        notes, text = gdb_run(run, port, AGAIN.replace("SLEEP", "1"), symbols)
        check_notes(run, notes, text, {"again": True, "sections": 1, "call": 1, "ctrl-c": "SIGINT", "end": 0})
        run.check("gdb/exit-status", machine.wait() == 0)


STEPS = """
attach()
run("hbreak begin")
run("continue")
note("begin", run("info symbol $pc").split()[0])
names = []
for _ in range(15):
    run("stepi")
    names.append(value("$pc"))
note("eflags", value("$eflags") & 0x100)
note("steps", value("$pc") == value("(long)&after_cpuid"))
note("after-popf", value("(long)&after_popf") in names)
run("delete")
run("break writes")
run("continue")
note("writes", value("$pc") == value("(long)&writes"))
memory = bytes(gdb.selected_inferior().read_memory(value("$pc"), 16))
note("no-int3", memory[0] != 0xcc)
run("delete")
run("watch *(char*)((char*)&watched + 3)")
said = run("continue")
note("watch", value("$pc") == value("(long)&'writes.after'"))
note("watched", value("*(char*)((char*)&watched + 3)"))
run("delete")
run("rwatch *(char*)((char*)&watched + 3)")
run("continue")
note("rwatch", value("$pc") == value("(long)&'reads.after'"))
run("delete")
for i in range(64):
    run(f"hbreak *{value('(long)&over') + i}")
run("continue")
note("over", value("$pc") == value("(long)&over"))
run("delete")
run("continue")
note("end", value("$_exitcode"))
"""


def steps(run):
    with debuggee(run, "steps") as (machine, port):
        notes, text = gdb_run(run, port, STEPS, run.files.guest("steps"))
        check_notes(run, notes, text, {
            "begin": "begin", "eflags": 0, "steps": True, "after-popf": True, "writes": True, "no-int3": True,
            "watch": True, "watched": 3, "rwatch": True, "over": True, "end": 0})
        run.check("steps/exit-status", machine.wait() == 0)
        run.report_guest(machine.log, "steps")


MODES = """
run("source DISASSEMBLER")
attach()
# All are set with paging off: they are of no address space then, but of each.
for symbol in SYMBOLS:
    run(f"hbreak *{value(f'(long)&{symbol!r}')}")
PAGED, PROTECTED = 0x80000001, 1
def at(name, symbol, cr0, lma, code, last=True):
    where = value(f"(long)&{symbol!r}")
    run("continue")
    linear, before = value("$linear_pc()"), value("$pc")
    shown = " ".join(run("x/i $linear_pc()").split(":")[-1].split())
    state = value("$cr0") & 0x80000001, value("$efer") >> 10 & 1
    if last:
        run(f"clear *{where}")
    run("stepi")
    seen = linear == where, *state, shown, value("$pc") != before
    note(name, seen == (True, cr0, lma, code, True) or seen)
at("real", "real16", 0, 0, "mov %cs,%ax")
at("protected-16", "protected16", PROTECTED, 0, "mov %cs,%ax")
for name, cr0, lma in (("protected-32", PROTECTED, 0), ("paged-32", PAGED, 0), ("pae", PAGED, 0),
                       ("compatibility", PAGED, 1)):
    at("long-before-" + name, "main.clear", PAGED, 1, f"mov ${value('(int)&result'):#x},%edi", last=lma)
    at(name, "protected32", cr0, lma, "mov %cr0,%eax", last=lma)
at("fault", "page_fault32", PAGED, 0, f"movl $0x0,{value('(int)&page_directory32') + (0x30000000 >> 22) * 4:#x}")
at("syscall", "main.entry", PAGED, 1, "mov %cs,%eax")
at("v86", "v86", PROTECTED, 0, f"mov %esp,{value('(int)&v86_esp'):#x}")
at("real-again", "count16", 0, 0, "cmpl $0x0,{:#x}".format(value("(int)&'count16.seen' - (int)&low_begin")))
at("pae-again", "count32", PAGED, 0, f"incl {value('(int)&result'):#x}")
run("continue")
note("end", value("$_exitcode"))
"""
MODES_SYMBOLS = ("real16", "protected16", "main.clear", "protected32", "page_fault32", "main.entry", "count16",
                 "count32", "v86")
MODES_STOPS = ("real", "protected-16", "protected-32", "paged-32", "pae", "compatibility", "fault", "syscall",
               "v86", "real-again", "pae-again")


def modes(run):
    """One gdb through all modes and back, from the first instruction on: it stops in each, reads registers,
    disassembles and steps, and the guest notices nothing."""
    with debuggee(run, "modes") as (machine, port):
        script = MODES.replace("SYMBOLS", repr(MODES_SYMBOLS)).replace(
            "DISASSEMBLER", os.path.abspath("kernel/debug/host/traprock_gdb.py"))
        notes, text = gdb_run(run, port, script, run.files.guest("modes"))
        check_notes(run, notes, text, {**dict.fromkeys(MODES_STOPS, True), "end": 0})
        run.check("modes/too-long", "too long" not in text, "gdb lost its line: 'g' packet reply is too long")
        run.check("modes/exit-status", machine.wait() == 0)
        run.report_guest(machine.log, "modes")


TWO = """
run("target extended-remote localhost:PORT")
note("guests", gdb.execute("monitor guest", to_string=True).split())
note("threads", run("info threads").count("vCPU 0 of debuggee"))
note("vm", run("monitor vm").count("running"))
run("detach")
run("attach 2")
threads = run("info threads")
note("other", "vCPU 0 of spin" in threads or threads)
note("other-pc", 0x100000 <= value("$pc") < 0x110000)
note("stands", "spin             paused" in run("monitor vm") and "debuggee         running" in run("monitor vm"))
run("stepi")
run("stepi")
note("regs", "cs   0008" in run("monitor regs"))
try:
    run("attach 3")
    note("third", "taken")
except gdb.error as error:
    note("third", "failed" in str(error) or str(error))
run("attach 2")
run("monitor guest debuggee")
run("maintenance flush register-cache")
note("back", "vCPU 0 of debuggee" in run("info threads"))
note("counts", value("*(long*)&counter") > 0)
note("goes-on", "spin             running" in run("monitor vm"))
run("set *(long*)&goal = *(long*)&counter + 1000")
run("detach")
"""


def two_guests(run):
    """The first guest is debugged, until another one is attached or chosen; the one that is left goes on."""
    run.guest("spin")
    with debuggee(run, "debuggee", other=vm("spin"), options={"cpus": 2}) as (machine, port):
        notes, text = gdb_run(run, port, TWO.replace("PORT", str(port)), run.files.guest("debuggee"))
        check_notes(run, notes, text, {
            "guests": ["*", "1", "debuggee", "2", "spin"], "threads": 1, "vm": 1, "other": True,
            "other-pc": True, "stands": True, "regs": True, "third": True, "back": True, "counts": True,
            "goes-on": True})
        machine.expect(rb"^traprock: vm debuggee: debug-exit code=0", timeout=run.case.limit)


KILL = """
attach()
note("pc", hex(value("$pc")))
note("guests", gdb.execute("monitor guest", to_string=True).split())
note("shell", "PML4E" in run("monitor walk 0x100020") and "debuggee" in run("monitor vm"))
note("shell-long", run("monitor help").count(chr(10)) > 20)
run("kill")
"""


def hostile_peer(run):
    """Noise on the line, packets that are cut off, and then a gdb as if nothing had been; it kills the guest."""
    with debuggee(run, "debuggee") as (machine, port):
        machine.com2.send(random.Random(1).randbytes(20000))
        machine.com2.send(b"$m0,ffffffff#00$Gzz#00$" + b"A" * 9000 + b"#41$X0,10:$qC#b4")
        deadline = time.monotonic() + run.case.limit
        while b"$QC1#c5" not in machine.com2.data and time.monotonic() < deadline:
            with machine.com2.changed:
                machine.com2.changed.wait(1)
        notes, text = gdb_run(run, port, KILL, run.files.guest("debuggee"))
        check_notes(run, notes, text, {"pc": "0x100020", "guests": ["*", "1", "debuggee"],
                                       "shell": True, "shell-long": True})
        run.check("hostile/exit-status", machine.wait() == 1)
        run.check("hostile/outcome", outcome(machine.log, "debuggee") == ("killed", 0))


CASES = [
    Case("gdb-attach", attach, seconds=30),
    Case("gdb-steps", steps, seconds=30),
    Case("gdb-modes", modes, seconds=30),
    Case("gdb-two-guests", two_guests, seconds=30),
    Case("gdb-hostile-peer", hostile_peer, seconds=30),
]
