#!/usr/bin/env python3
"""Runs the benchmark guest under Traprock on Bochs and compares with the bars.

    bench.py [--build DIR] [--cpu MODEL] [--log FILE] [--no-enforce]

Prints `bench: NAME VALUE BAR ok|MISSED` for each operation; a value without a bar has `-`. On Bochs
with `clock: sync=none` a value is a number of instructions, but for those with another unit in their
name. Exits 1 if an operation is missing or, without --no-enforce, if a bar is missed.
"""

import argparse
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "vm"))

from debugger import measure_debugger  # noqa: E402
from harness import Case, Files, Run, vm  # noqa: E402


def bars_read():
    """{name: bar} of bars.txt."""
    with open(os.path.join(HERE, "bars.txt"), encoding="utf-8") as file:
        rows = [line.split() for line in file if line.strip() and not line.startswith("#")]
    return {name: int(bar) for name, bar in rows}


def measure(run):
    run.guest("bench")
    run.write("disk.bin", os.urandom(1 << 16))
    conf = vm("bench", debug_exit="0xf4", disk="disk.bin,ro", accounting=run.accounting)
    with run.machine(run.make_image(conf), host="bochs", cpu=run.cpu) as machine:
        machine.wait()
        run.text = machine.log.replace("\r", "")


def measure_guest(arguments, accounting):
    """The run of the guest, and {operation: instructions}."""
    run = Run(Case("bench", measure, limit=300), Files(os.path.abspath(arguments.build)))
    run.cpu, run.text, run.accounting = arguments.cpu, "", accounting
    run.execute()
    return run, {name: int(value) for name, value in
                 re.findall(r"bench-raw: ([\w-]+) (\d+)$", run.text, re.MULTILINE)}


def measure_monitor(text):
    """What the monitor says of itself: how long it took to the guest, without what it takes to clear
    and load the guest's memory, and how much memory it has."""
    hz = re.search(r"TSC: (\d+) Hz", text)
    start = re.search(r"starts (\d+) us after the monitor, (\d+) of them", text)
    memory = re.search(r"memory: (\d+) KiB for the monitor", text)
    values = {}
    if hz and start:
        microseconds = int(start.group(1)) - int(start.group(2))
        values["monitor-start"] = microseconds * int(hz.group(1)) // 1000000
    if memory:
        values["monitor-memory-kib"] = int(memory.group(1))
    return values


def measure_image(build):
    """Bytes of the monitor's text, constants and data, as `size` counts them: what is there while
    guests run, and with what was given back before; the debugger apart."""
    made = subprocess.run(["size", "-A", os.path.join(build, "traprock.elf")],
                          stdout=subprocess.PIPE, text=True, check=True)
    count = dict.fromkeys(("", "init.", "debugger."), 0)
    for part, size in re.findall(r"^\.((?:init|debugger)\.)?(?:text|rodata|data) +(\d+)", made.stdout,
                                 re.MULTILINE):
        count[part] += int(size)
    return {"text-and-data-bytes": count[""], "debugger-bytes": count["debugger."],
            "text-and-data-with-start-bytes": sum(count.values())}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--cpu", default="corei7_skylake_x", help="Bochs's model (%(default)s)")
    parser.add_argument("--log", help="a file for the serial log")
    parser.add_argument("--no-enforce", dest="enforce", action="store_false",
                        help="a missed bar is no failure")
    arguments = parser.parse_args()
    run, values = measure_guest(arguments, "no")
    if arguments.log:
        with open(arguments.log, "w", encoding="utf-8") as file:
            file.write(run.text)
    failures = [message for _, passed, message in run.results if not passed]
    values |= measure_monitor(run.text) | measure_image(arguments.build)
    accounted = measure_guest(arguments, "yes")[1]
    values |= {"accounting-" + name: accounted[name] - values[name]
               for name in ("cpuid", "in-pit", "ioapic-read") if name in accounted and name in values}
    values |= measure_debugger(arguments.build)
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
