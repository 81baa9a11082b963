"""The guest that shows what each VM exit does, in every mode; and what the monitor counted."""

import re

from cases_architecture import add_traprock
from harness import Case, outcome, vm

COUNT = re.compile(r"debug: (\w+) vcpu\d+: (\d+) exits (\w+)\r?$", re.MULTILINE)


def counts(text, guest):
    """{reason: exits} as the monitor reports it when the guest ends."""
    return {reason: int(number) for name, number, reason in COUNT.findall(text) if name == guest}


def exits(run):
    run.guest("exits")
    conf = "[traprock]\nloglevel = debug\n" + vm("exits", debug_exit="0xf4", memory="16M")
    status, text = run.run_to_end(conf)
    run.report_guest(text, "exits")
    add_traprock(run, "exits", text)
    run.check("exits/end", "\ndone" in text.replace("\r", ""), "the guest did not end")
    ended = outcome(text, "exits")
    run.check("exits/outcome", ended == ("debug-exit", 0), f"{ended}")
    run.check("exits/exit-status", status == 0, f"exit status {status}")
    run.exit_counts = counts(text, "exits")
    run.check("exits/counts", run.exit_counts, "the monitor did not say what it counted")


CASES = [Case("guest-exits", exits, seconds=40)]
