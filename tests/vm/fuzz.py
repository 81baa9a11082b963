#!/usr/bin/env python3
"""Fuzzes the monitor from guests, many exits long: fuzz.py [--exits N], or one run again by
fuzz.py --guest NAME --seed S --cases N [--life L].

First each planted bug has to be found (see PLANTED in cases_fuzz.py). Then every fuzz guest runs with
one seed after the other until all of them together have made so many exits. A failure prints the
command that does it again.
"""

import argparse
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from cases_fuzz import PLANTED, planted_case
from fuzz_guests import NAMES, fuzz_run
from harness import Case, Files, Run

# Of one run: about 300,000 exits.
CASES = {"fuzz_insn": 8000, "fuzz_msr_port": 90000, "fuzz_apic_pci": 14000, "fuzz_virtio": 14000}
LIMIT = 1800  # seconds of one run


def arguments_parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--exits", type=int, default=10_000_000, help="in all (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="machines at once (%(default)s)")
    parser.add_argument("--logs", help="a folder for the serial logs of all runs")
    parser.add_argument("--scale", type=float, default=1.0, help="multiply every time limit (%(default)s)")
    parser.add_argument("--guest", choices=NAMES, help="only this one")
    parser.add_argument("--seed", type=int, help="only this one; else from 1 on")
    parser.add_argument("--cases", type=int, help="of one run")
    parser.add_argument("--life", type=int, help="only this one")
    parser.add_argument("--no-planted", action="store_true", help="leave out the planted bugs")
    return parser.parse_args()


class Fuzz:
    def __init__(self, arguments):
        self.arguments = arguments
        self.files = Files(os.path.abspath(arguments.build))
        self.lock = threading.Lock()
        self.failures = 0

    def execute(self, case):
        run = Run(case, self.files, self.arguments.logs, self.arguments.scale)
        run.execute()
        failed = [(name, message) for name, passed, message in run.results if not passed]
        with self.lock:
            for name, message in failed:
                self.failures += 1
                print(f"FAILED {name}: {message}")
            if failed:
                print("  the end of the serial log:\n    " + run.tail().replace("\n", "\n    "))
            sys.stdout.flush()
        return not failed

    def once(self, name, seed):
        """One run; returns its exits, 0 where it failed."""
        exits = [0]
        cases = self.arguments.cases or CASES[name]

        def function(run):
            exits[0] = fuzz_run(run, name, seed, cases, life=self.arguments.life)

        return exits[0] if self.execute(Case(f"{name}-{seed}", function, limit=LIMIT)) else 0

    def guest(self, name, wanted):
        """Seed after seed until the guest has made so many exits; returns how many."""
        made, seed = 0, self.arguments.seed or 1
        while made < wanted:
            exits = self.once(name, seed)
            made += exits
            seed += 1
            if exits == 0 or self.arguments.seed is not None:
                break
        return made


def main():
    arguments = arguments_parse()
    fuzz, started = Fuzz(arguments), time.monotonic()
    names = [arguments.guest] if arguments.guest else NAMES
    if arguments.logs:
        os.makedirs(arguments.logs, exist_ok=True)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        if not arguments.no_planted and arguments.guest is None:
            list(pool.map(lambda bug: fuzz.execute(planted_case(bug)), PLANTED))
        made = list(pool.map(lambda name: fuzz.guest(name, arguments.exits / len(names)), names))
    print(f"fuzz guests: {sum(made)} exits, {fuzz.failures} failures ({time.monotonic() - started:.0f} s)")
    return 1 if fuzz.failures or sum(made) == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
