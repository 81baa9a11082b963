"""A real gdb's breakpoints and watchpoints where the guest's paging changes under them."""

import copy
import os

from cases_gdb import check_notes, debuggee
from gdb import gdb_run
from harness import Case

PAGING = """
attach()
HIGH, LATE, DATA, USER = 0xffff900000000000, 0x40007000, 0x40006000, 0x8000000000
def go(name, pc, stage):
    run("continue")
    note(name, value("$pc") == pc and value("*(long*)&stage") == stage)
note("no-paging", value("$cr0") >> 31)
run(f"hbreak *{HIGH}")
run("break ready") # whose page is that of the access which is watched
run("continue")
note("ready", value("$pc") == value("(long)&ready"))
run(f"break *{LATE}")
run(f"awatch *(char*){DATA + 0x10}")
go("mapped-high", HIGH, 1)
go("mapped-late", LATE, 2)
go("mapped-elsewhere", LATE, 4)
note("elsewhere", "0x2," in run("x/i $pc"))
go("other-table", LATE, 6)
go("watched", value("(long)&data_read"), 7)
run("tbreak spaces")
go("spaces", value("(long)&spaces"), 8)
run(f"hbreak *{USER}")
go("high-in-other-space", HIGH, 10)
go("user-in-own-space", USER, 11)
run("tbreak finished")
go("finished", value("(long)&finished"), 11)
run("continue")
note("end", value("$_exitcode"))
"""


def paging(run):
    with debuggee(run, "points") as (machine, port):
        notes, text = gdb_run(run, port, PAGING, run.files.guest("points"))
        check_notes(run, notes, text, {
            "no-paging": 0, "ready": True, "mapped-high": True, "mapped-late": True, "mapped-elsewhere": True,
            "elsewhere": True, "other-table": True, "watched": True, "spaces": True,
            "high-in-other-space": True, "user-in-own-space": True, "finished": True, "end": 0})
        run.check("paging/exit-status", machine.wait() == 0)
        run.report_guest(machine.log, "points")


def checked(run):
    """The same under the monitor that checks the processor's state after each exit, also what a debugger left."""
    run.files = copy.copy(run.files)
    run.files.efi = os.path.join(run.files.build, "checks", "BOOTX64.EFI")
    paging(run)
    run.check("checked/looked", "host checks: points: " in run.log, "no line of the host checks")


CATCHES = """
attach()
stops = []
gdb.events.stop.connect(stops.append)
def go(name, what, pattern, at=None):
    run("monitor uncatch all")
    for one in what.split(";"):
        run(f"monitor catch {one}")
    said = run("continue")
    address = at if isinstance(at, int) else value(f"(long)&{at or name}")
    fits = re.search(pattern, said) is not None and value("$pc") == address
    note(name, fits or (said, hex(value("$pc"))))
import re
note("none", "nothing is caught" in run("monitor catch"))
run("monitor catch mode long")
run("monitor catch msr lstar write")
listed = run("monitor catch")
note("list", "1  mode long" in listed and "2  msr 0xc0000082 LSTAR write" in listed or repr(listed))
said = run("continue")
note("mode", "mode at 0x" in said and "protected -> long" in said and value("$efer") & 0x500 == 0x500)
go("msr_written", "msr lstar write", r"write of MSR 0xc0000082 LSTAR at 0x\\w+: 0x0 -> 0x100000")
note("lstar", hex(value("$ia32_lstar")))
go("msr_read", "msr 0xc0000082", r"read of MSR 0xc0000082 LSTAR at 0x\\w+: 0x100000")
go("direct_written", "msr IA32_SYSENTER_EIP", r"0x176 SYSENTER_EIP at 0x\\w+: 0x0 -> 0x4321")
run("set $ia32_lstar = 0x7000")
note("lstar-set", "0x0000000000007000" in run("monitor msr LSTAR"))
shown = run("info registers")
note("registers", [name for name, number in (("cr0", "0x80000033"), ("cs_base", "0x0"), ("cs_limit", "0xffffffff"),
                                             ("cs_access", "0xa09b"), ("ia32_lstar", "0x7000"),
                                             ("ia32_mtrrcap", "0x508"))
                   if not re.search(f"^{name} +{number} ", shown, re.MULTILINE)])
listed = run("monitor msr")
note("msrs", "IA32_LSTAR                 c0000082 0000000000007000" in listed and "IA32_MTRR_FIX4K_F8000 " in listed
     and "X2APIC" not in listed and "PRED_CMD" not in listed)
def refused(command):
    try:
        run(command)
        return "taken"
    except gdb.error as error:
        return "Could not write" in str(error)
note("refused", [refused(f"set ${what}") for what in ("ia32_pat = 2", "ia32_mtrrcap = 0",
                                                      "ia32_efer = 0x8000000000000000", "xcr0 = 0",
                                                      "xcr0 = 0x8000000000000001", "cs = 0x7ff8")])
run("set $xcr0 = 3")
run("set $ia32_sysenter_cs = 0x1234")
run("set $efer = $efer | 1")
run("maintenance flush register-cache")
note("taken", [value("$xcr0"), hex(value("$ia32_sysenter_cs")), hex(value("$ia32_efer") & 0xfff)])
before = value("$ds"), value("$ds_access")
run("set $ds = 0")
run("maintenance flush register-cache")
note("null", hex(value("$ds_access")))
run(f"set $ds = {before[0]}")
run("maintenance flush register-cache")
note("selector", value("$ds_access") == before[1] or (before, value("$ds_access")))
run("monitor msr sysenter_esp = 0x1234")
run("maintenance flush register-cache")
note("msr-write", hex(value("$ia32_sysenter_esp")))
note("msr-refused", "#GP" in run("monitor msr lstar = 0x8000000000000000"))
note("msr-none", "no name of an MSR" in run("monitor msr nonsense"))
go("port_written", "port 0x80 out", r"write of port 0x80 at 0x\\w+: 0x5a")
go("port_read", "port 0x81-0x83", r"read of port 0x81 at")
go("leaf_read", "cpuid 7", r"CPUID leaf 0x7, subleaf 0x0 at")
go("cr0_written", "cr 0", r"write of CR0 at 0x\\w+: 0x\\w+ -> 0x\\w+")
go("cr4_written", "cr 4", r"write of CR4 at 0x\\w+: 0x20 ?|write of CR4")
go("cr3_written", "cr 3", r"write of CR3 at")
run("monitor uncatch all")
run("monitor catch exception ud")
said = run("continue")
code = bytes(gdb.selected_inferior().read_memory(value("$pc"), 2))
note("ud", "exception #UD" in said and code == bytes([0x0f, 0x0b]))
note("signal", stops[-1].stop_signal)
run("monitor catch exception 14")
said = run("continue")
note("pf", "exception #PF" in said and "CR2 0x8000000000" in said and stops[-1].stop_signal == "SIGSEGV")
run("monitor uncatch all")
run("monitor catch triple-fault")
said = run("continue")
note("triple", "triple-fault at" in said and value("$pc") == value("(long)&culprit") and stops[-1].stop_signal)
run("continue")
note("dead", value("$pc") == value("(long)&culprit"))
run("continue")
note("end", value("$_exitcode"))
"""


def catches(run):
    with debuggee(run, "catches", on_reset="stop") as (machine, port):
        notes, text = gdb_run(run, port, CATCHES, run.files.guest("catches"))
        check_notes(run, notes, text, {
            "none": True, "list": True, "mode": True, "msr_written": True, "lstar": "0x100000", "msr_read": True,
            "direct_written": True, "lstar-set": True, "registers": [], "refused": [True] * 6,
            "taken": [3, "0x1234", "0x501"], "null": "0x10000", "selector": True, "msrs": True,
            "msr-write": "0x1234", "msr-refused": True,
            "msr-none": True, "port_written": True, "port_read": True, "leaf_read": True, "cr0_written": True,
            "cr4_written": True, "cr3_written": True, "ud": True, "signal": "SIGILL", "pf": True,
            "triple": "SIGABRT", "dead": True, "end": 1})
        run.check("catches/console", "catch 1: mode at" in machine.log, "no line on the console")
        run.check("catches/exit-status", machine.wait() == 1)


RESTART = """
run("target extended-remote localhost:PORT")
note("attached", hex(value("$pc")))
run("hbreak build_page_tables")
run("continue")
hits = []
for _ in range(3):
    said = run("continue")
    hits.append(value("$pc") == value("(long)&build_page_tables"))
note("over-resets", hits)
run("monitor catch reset")
said = run("continue")
note("reset", "triple-fault at 0x" in said and value("$pc") != value("(long)&build_page_tables"))
run("monitor uncatch all")
run("continue")
note("after-reset", value("$pc") == value("(long)&build_page_tables"))
run("run")
note("run", value("$pc") == value("(long)&build_page_tables"))
run("kill")
run("run")
note("kill-run", value("$pc") == value("(long)&build_page_tables"))
run("delete")
run("set breakpoint always-inserted on")
run("monitor physical on")
run(f"hbreak *{value('(long)&build_page_tables')}")
run("monitor physical off")
run("monitor reset")
run("maintenance flush register-cache")
run("continue")
note("physical", value("$pc") == value("(long)&build_page_tables"))
run("detach")
"""


def restart(run):
    """Points outlive resets of a guest that resets itself; `run` and `kill` of extended-remote."""
    with debuggee(run, "reset") as (machine, port):
        notes, text = gdb_run(run, port, RESTART.replace("PORT", str(port)), run.files.guest("reset"))
        check_notes(run, notes, text, {
            "attached": "0x100020", "over-resets": [True] * 3, "reset": True, "after-reset": True, "run": True,
            "kill-run": True, "physical": True})
        run.check("restart/exit-status", machine.wait() == 0)


MANY = """
attach()
run("set breakpoint always-inserted on")
run("set can-use-hw-watchpoints 9999")
run("tbreak ready")
run("continue")
functions = value("(long)&functions")
for index in range(1200):
    gdb.Breakpoint(f"*{functions + 16 * index}")
met = []
for _ in range(3):
    run("continue")
    met.append((value("$pc") - functions) // 16)
note("breakpoints", met)
run("delete")
run("set breakpoint always-inserted off")
run("awatch *(char(*)[300])&big")
for name in "first_byte", "by_sse", "last_byte":
    run("continue")
    note(name, value("$pc") == value(f"(long)&{name}") or hex(value("$pc")))
run("delete")
note("mib-set", run("maintenance packet Z2,1000000,100000").split()[-1])
note("mib-met", "watch:10fffff;" in run("maintenance packet vCont;c"))
run("maintenance flush register-cache")
note("far_last", value("$pc") == value("(long)&far_last"))
note("mib-cleared", run("maintenance packet z2,1000000,100000").split()[-1])
note("all", run("maintenance packet Z2,0,7fffffffffffffff").split()[-1])
run("awatch *(int *)0xfee003e0")
run("awatch *(int *)0xfee00080")
hits = []
while value("$pc") != value("(long)&device_written") and len(hits) < 9:
    run("continue")
    hits.append(value("$pc"))
note("device", len(hits)) # by lapic_init, too
run("delete")
run("hbreak fast_never")
run("tbreak fast_done")
run("continue")
note("fast", value("$pc") == value("(long)&fast_done") and value("*(long *)&ticks") > 0)
note("ticks", value("*(long *)&ticks"))
run("delete")
run("continue")
note("end", value("$_exitcode"))
"""


def many(run):
    """Over a thousand breakpoints, watchpoints over page ends, of a MiB and on a device; and a timer whose handler
    is in the page of a breakpoint."""
    with debuggee(run, "many") as (machine, port):
        notes, text = gdb_run(run, port, MANY, run.files.guest("many"))
        check_notes(run, notes, text, {
            "breakpoints": [17, 599, 1199], "first_byte": True, "by_sse": True, "last_byte": True,
            "mib-set": '"OK"', "mib-met": True, "far_last": True, "mib-cleared": '"OK"',
            "all": '"E0c"', "device": 4, "fast": True, "end": 0})
        run.check("many/said", "no memory is left for a watchpoint at 0x0" in machine.log, "no line on the console")
        run.check("many/exit-status", machine.wait() == 0)


MODES = """
attach()
def go(name, wanted, what):
    run("monitor uncatch all")
    for mode in wanted.split():
        run(f"monitor catch mode {mode}")
    said = run("continue")
    note(name, what in said or said)
run("tbreak main")
run("continue")
go("compatibility", "compatibility", "long -> compatibility")
note("lma", value("$efer") >> 10 & 1)
go("entered", "compatibility", "protected -> compatibility")
go("long", "long compatibility", "compatibility -> long")
run("monitor uncatch all")
run("tbreak v86")
run("continue")
go("v86", "v86", "-> v86")
note("v86-flag", value("$eflags") >> 17 & 1)
go("v86-left", "v86 protected", "v86 -> protected")
run("monitor uncatch all")
run("continue")
note("end", value("$_exitcode"))
"""


def modes(run):
    """Changes of mode that nothing exits for."""
    with debuggee(run, "modes") as (machine, port):
        notes, text = gdb_run(run, port, MODES, run.files.guest("modes"))
        check_notes(run, notes, text, {
            "compatibility": True, "lma": 1, "entered": True, "long": True, "v86": True, "v86-flag": 1,
            "v86-left": True, "end": 0})
        run.check("modes/exit-status", machine.wait() == 0)
        run.report_guest(machine.log, "modes")


CASES = [
    Case("gdb-points-paging", paging, seconds=30),
    Case("gdb-points-checked", checked, seconds=35),
    Case("gdb-points-catches", catches, seconds=30),
    Case("gdb-points-restart", restart, seconds=30),
    Case("gdb-points-many", many, seconds=60),
    Case("gdb-points-modes", modes, seconds=60),
]
