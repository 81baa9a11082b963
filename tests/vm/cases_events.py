"""Events: their delivery, their order, what holds them back, and where they end."""

import re

from cases_architecture import add_traprock
from cases_guests import endless, reporting
from harness import Case, outcome, vm


def fatal(run):
    """Every way into a triple fault resets the guest, and nothing else."""
    run.guest("events_fatal")
    status, text = run.run_to_end(vm("events_fatal", debug_exit="0xf4", on_reset="reset"))
    run.report_guest(text, "events_fatal")
    add_traprock(run, "events_fatal", text)
    ways = len(re.findall(r"^ok ", text.replace("\r", ""), re.MULTILINE))
    faults = text.count("events_fatal: triple fault at RIP")
    run.check("events_fatal/triple-faults", faults == ways > 0, f"{faults} for {ways} ways")
    run.check("events_fatal/outcome", outcome(text, "events_fatal") == ("debug-exit", 0)
              and status == 0, f"exit status {status}")


CASES = [reporting(name) for name in ("events_shadow", "events_hlt", "events_delivery",
                                      "events_delivery32", "events_debug", "events_nmi",
                                      "events_code", "events_apic", "events_task_gate")]
CASES += [
    endless("debug_loop_hole", rb"^looping", errors=False),
    Case("guest-events_fatal", fatal, seconds=25),
]
