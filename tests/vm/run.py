#!/usr/bin/env python3
"""Runs the tests that need a machine: guests and Linux under Traprock in an emulator.

    run.py [--build DIR] [--jobs N] [--filter REGEX] [--list] [--logs DIR] [--totals FILE]

Each case boots one image, or a few, and is bounded by a timeout. A failure names its guest and shows
the end of the serial log. The last line counts the tests: `vm: N passed, N failed`.
"""

import argparse
import concurrent.futures
import json
import os
import re
import sys
import threading
import time

import cases_bad_input
import cases_architecture
import cases_boot
import cases_ci
import cases_debug_input
import cases_devices
import cases_emulator
import cases_entry_check
import cases_events
import cases_exits
import cases_firmware
import cases_formats
import cases_grub
import cases_fuzz
import cases_gdb
import cases_gdb_linux
import cases_gdb_make
import cases_gdb_points
import cases_gdb_trace
import cases_guests
import cases_harden
import cases_linux
import cases_mux
import cases_postmortem
import cases_qemu_devices
import cases_registers
import cases_shell
import cases_trace
import under_qemu
from harness import Files, Run

MODULES = (
    cases_linux,
    cases_bad_input,
    cases_architecture,
    cases_boot,
    cases_ci,
    cases_debug_input,
    cases_guests,
    cases_devices,
    cases_emulator,
    cases_events,
    cases_exits,
    cases_firmware,
    cases_formats,
    cases_grub,
    cases_fuzz,
    cases_gdb,
    cases_gdb_linux,
    cases_gdb_make,
    cases_gdb_points,
    cases_gdb_trace,
    cases_mux,
    cases_postmortem,
    cases_qemu_devices,
    cases_registers,
    cases_shell,
    cases_trace,
    cases_entry_check,
    cases_harden,
)
ALL = [case for module in MODULES for case in module.CASES]
LONG = [case for module in MODULES for case in getattr(module, "LONG", [])]


def arguments_parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build", help="where the built files are (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="machines at once (%(default)s)")
    parser.add_argument("--filter", default="", help="only cases whose name matches")
    parser.add_argument("--long", action="store_true", help="in place of all others the cases that take many minutes")
    parser.add_argument("--list", action="store_true", help="print the cases and end")
    parser.add_argument("--logs", help="a folder for the serial logs of all runs")
    parser.add_argument("--scale", type=float, default=1.0,
                        help="multiply every time limit, for a loaded machine (%(default)s)")
    parser.add_argument("--totals", help="write as JSON to this file: passed, failed, the results "
                        "of each case, the exits that the monitor counted")
    return parser.parse_args()


def show(run, lock):
    """One line for a case that passed, the whole story for one that failed."""
    failed = [(name, message) for name, passed, message in run.results if not passed]
    passed = len(run.results) - len(failed)
    with lock:
        skips = f", {len(run.skipped)} skipped" if run.skipped else ""
        print(f"{run.case.name}: {passed} passed, {len(failed)} failed{skips} ({run.took:.0f} s)")
        for name, message in failed:
            print(f"  FAILED {name}: {message}")
        if failed:
            print(f"  the end of the serial log of {run.case.name}:")
            print("    " + run.tail().replace("\n", "\n    "))
        sys.stdout.flush()


def main():
    arguments = arguments_parse()
    cases = [case for case in (LONG if arguments.long else ALL) if re.search(arguments.filter, case.name)]
    if arguments.list:
        print("\n".join(case.name for case in cases))
        return 0
    if not cases:
        print(f"run.py: no case matches {arguments.filter!r}", file=sys.stderr)
        return 2
    if arguments.logs:
        os.makedirs(arguments.logs, exist_ok=True)
    files, lock, started = Files(os.path.abspath(arguments.build)), threading.Lock(), time.monotonic()
    total = {"passed": 0, "failed": 0, "results": {}, "exit_counts": {}}
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        runs = [pool.submit(Run(case, files, arguments.logs, arguments.scale).execute)
                for case in sorted(cases, key=lambda case: -case.seconds)]
        for done in concurrent.futures.as_completed(runs):
            run = done.result()
            show(run, lock)
            total["results"][run.case.name] = [result[:2] for result in run.results]
            total["exit_counts"].update(run.exit_counts)
            total["passed"] += sum(passed for _, passed, _ in run.results)
            total["failed"] += sum(not passed for _, passed, _ in run.results)
    if not arguments.filter and not arguments.long and (stale := under_qemu.stale()):
        total["failed"] += 1
        print("FAILED qemu_differences.txt: these fit nothing: " + "; ".join(stale))
    if not arguments.filter and not arguments.long and (missed := cases_architecture.missed()):
        total["failed"] += 1
        print(f"FAILED architecture: not seen both with and without Traprock: {', '.join(missed)}")
    if arguments.totals:
        with open(arguments.totals, "w", encoding="utf-8") as file:
            json.dump(total, file)
    print(f"vm: {total['passed']} passed, {total['failed']} failed "
          f"({time.monotonic() - started:.0f} s)")
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
