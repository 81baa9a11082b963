"""Events: their delivery, their order, what holds them back, and where they end."""

import re

from cases_guests import endless, reporting
from harness import Case, outcome, vm


def fatal(run):
    """Every way into a triple fault resets the guest, and nothing else."""
    run.guest("events_fatal")
    status, text = run.run_to_end(vm("events_fatal", debug_exit="0xf4", on_reset="reset"))
    run.report_guest(text, "events_fatal")
    ways = len(re.findall(r"^ok ", text.replace("\r", ""), re.MULTILINE))
    faults = text.count("events_fatal: triple fault at RIP")
    run.check("events_fatal/triple-faults", faults == ways > 0, f"{faults} for {ways} ways")
    run.check("events_fatal/outcome", outcome(text, "events_fatal") == ("debug-exit", 0)
              and status == 0, f"exit status {status}")


def task_gates(run):
    """A task gate, met by the processor or by the monitor, ends the guest by name, and no other."""
    for name in ("events_task_gate", "timers"):
        run.guest(name)
    conf = "".join(vm("gate-" + way, kernel="events_task_gate.elf", cmdline=way, pin=pin)
                   for pin, way in enumerate(("hardware", "software")))
    _, text = run.run_to_end(conf + vm("timers", debug_exit="0xf4", pin=2), cpus=3)
    run.report_guest(text, "timers")
    for way in ("hardware", "software"):
        ended = outcome(text, "gate-" + way)
        run.check(f"task-gate/{way}", ended and ended[0] == "stopped", f"{ended}")
        run.check(f"task-gate/{way}-reason",
                  re.search(rf"gate-{way}: (stopped at exit reason 9 \(TASK_SWITCH\b|"
                            r"delivers event \d+ through a task gate)", text), "no reason")
    ended = outcome(text, "timers")
    run.check("task-gate/other", ended == ("debug-exit", 0), f"{ended}")


CASES = [reporting(name) for name in ("events_shadow", "events_hlt", "events_delivery",
                                      "events_delivery32", "events_debug", "events_nmi",
                                      "events_code", "events_apic")]
CASES += [
    endless("debug_loop_hole", rb"^looping", errors=False),
    Case("guest-events_fatal", fatal, seconds=25),
    Case("guest-events_task_gate", task_gates, seconds=40),
]
