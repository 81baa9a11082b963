#!/usr/bin/env python3
"""Runs the benchmark guest under Traprock on Bochs and compares with the bars.

    bench.py [--build DIR] [--cpu MODEL] [--log FILE] [--enforce]

Prints `bench: NAME VALUE BAR ok|MISSED` for each operation; a value without a bar has `-`. On Bochs
with `clock: sync=none` a value is a number of instructions. Exits 1 if an operation is missing and,
with --enforce, if a bar is missed.
"""

import argparse
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "vm"))

from harness import Case, Files, Run, vm  # noqa: E402


def bars_read():
    """{name: bar} of bars.txt."""
    with open(os.path.join(HERE, "bars.txt"), encoding="utf-8") as file:
        rows = [line.split() for line in file if line.strip() and not line.startswith("#")]
    return {name: int(bar) for name, bar in rows}


def measure(run):
    run.guest("bench")
    run.write("disk.bin", os.urandom(1 << 16))
    conf = vm("bench", debug_exit="0xf4", disk="disk.bin,ro")
    with run.machine(run.make_image(conf), host="bochs", cpu=run.cpu) as machine:
        machine.wait()
        run.text = machine.log.replace("\r", "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--cpu", default="corei7_skylake_x", help="Bochs's model (%(default)s)")
    parser.add_argument("--log", help="a file for the serial log")
    parser.add_argument("--enforce", action="store_true", help="a missed bar is a failure")
    arguments = parser.parse_args()
    run = Run(Case("bench", measure, limit=300), Files(os.path.abspath(arguments.build)))
    run.cpu, run.text = arguments.cpu, ""
    run.execute()
    if arguments.log:
        with open(arguments.log, "w", encoding="utf-8") as file:
            file.write(run.text)
    failures = [message for _, passed, message in run.results if not passed]
    values = {name: int(value) for name, value in
              re.findall(r"bench-raw: ([\w-]+) (\d+)$", run.text, re.MULTILINE)}
    bars = bars_read()
    bad = 0
    for name in list(bars) + [name for name in values if name not in bars]:
        value, bar = values.get(name), bars.get(name)
        missed = value is None or (bar is not None and value > bar)
        bad += missed and (arguments.enforce or value is None)
        print(f"bench: {name} {'-' if value is None else value} {'-' if bar is None else bar} "
              f"{'MISSED' if missed else 'ok'}")
    if failures or "bench-end" not in run.text:
        print("bench.py: the guest did not end: " + "; ".join(failures), file=sys.stderr)
        print(run.tail(), file=sys.stderr)
        return 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
