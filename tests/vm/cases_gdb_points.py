"""A real gdb's breakpoints and watchpoints where the guest's paging changes under them."""

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
run("tbreak ready")
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


CASES = [
    Case("gdb-points-paging", paging, seconds=30),
]
