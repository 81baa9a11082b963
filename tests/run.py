#!/usr/bin/env python3
"""Runs the project's tests and counts them: run.py [--quick] [--build DIR] [--jobs N]

Host tests and lint, which are all of --quick, and take under half a minute; then host tests under
another sanitizer, a short fuzz of every target, the tests on emulated machines, and whether the exit
reasons and the known flaws of docs/security.md were shown. The last line is `N passed, N failed`.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time

import exit_table
import flaws

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)


class Count:
    def __init__(self):
        self.passed = self.failed = 0

    def add(self, passed, failed):
        self.passed += passed
        self.failed += failed


def run(command, **options):
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", check=False, **options)


def stage(name, passed, failed, started, detail=""):
    print(f"{name}: {passed} passed, {failed} failed ({time.monotonic() - started:.0f} s)")
    if detail:
        print("  " + detail.strip().replace("\n", "\n  "))
    sys.stdout.flush()
    return passed, failed


def counted(name, started, made):
    """Counts the lines `ok NAME` and `not ok NAME`; a make that fails without one is a failure too."""
    passed = len(re.findall(r"^ok \S+", made.stdout, re.MULTILINE))
    failed = len(re.findall(r"^not ok \S+", made.stdout, re.MULTILINE))
    if made.returncode != 0 and failed == 0:
        failed = 1
    detail = ""
    if failed:
        detail = "\n".join(line for line in made.stdout.split("\n")
                           if line and not line.startswith("ok "))
    else:
        detail = "\n".join(re.findall(r"^# (skipped: .*)", made.stdout, re.MULTILINE))
    return stage(name, passed, failed, started, detail[-6000:])


def programs(arguments, name, target):
    """Each program prints a line for each of its tests."""
    started = time.monotonic()
    made = run(["make", "--no-print-directory", "-k", f"-j{arguments.jobs}", "--output-sync=target",
                f"BUILD={arguments.build}", target])
    arguments.passed.update(re.findall(r"^ok (\S+)", made.stdout, re.MULTILINE))
    return counted(name, started, made)


def unit(arguments):
    return programs(arguments, "host tests", "unit")


def msan(arguments):
    return programs(arguments, "host tests under MemorySanitizer", "msan")


def planted(arguments):
    """The emulator's comparison with the processor finds the bugs that are planted for it."""
    started = time.monotonic()
    made = run(["make", "--no-print-directory", f"BUILD={arguments.build}", "native-planted"])
    if made.returncode == 0:
        return stage("emulator, planted bugs", 1, 0, started)
    return stage("emulator, planted bugs", 0, 1, started, made.stdout[-6000:])


def lint(arguments):
    started = time.monotonic()
    made = run([sys.executable, "tests/lint/lint.py"])
    files = re.search(r"^lint: (\d+) files, (\d+) findings", made.stdout, re.MULTILINE)
    if made.returncode == 0 and files:
        arguments.passed.update(f"lint/{name}" for name in flaws.lint_checks())
        return stage("lint", 1, 0, started)
    return stage("lint", 0, 1, started, made.stdout)


def fuzz(arguments):
    """Each target must find the bug that is planted for it, then nothing in the tree as it is."""
    return programs(arguments, "fuzz, short", "fuzz-smoke")


def machines(arguments):
    with tempfile.TemporaryDirectory() as folder:
        totals = os.path.join(folder, "totals")
        command = [sys.executable, "-u", "tests/vm/run.py", "--build", arguments.build, "--jobs",
                   str(arguments.jobs), "--totals", totals]
        if arguments.filter:
            command += ["--filter", arguments.filter]
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
        try:
            with open(totals, encoding="utf-8") as file:
                total = json.load(file)
        except (OSError, ValueError):
            print(f"tests/vm/run.py ended with {status} and no totals")
            return 0, 1
    arguments.machines = total
    return total["passed"], total["failed"]


def exit_reasons(arguments):
    """Every VM exit of the SDM's list was shown by the stages before."""
    started = time.monotonic()
    if arguments.filter:
        return 0, 0
    lines, missing = exit_table.table(arguments.passed, arguments.machines)
    return stage("exit reasons", len(lines) - missing, missing, started, "\n".join(lines))


def known_flaws(arguments):
    """Row by row, whether what docs/security.md says of it was shown by the stages before."""
    started = time.monotonic()
    if arguments.filter:
        return 0, 0
    good, lines = flaws.shown(arguments.passed, arguments.machines)
    return stage("known flaws", good, len(lines), started, "\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="host tests and lint only")
    parser.add_argument("--build", default="build")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--filter", help="of the cases on machines, only those that match")
    arguments = parser.parse_args()
    count = Count()
    arguments.passed, arguments.machines = set(), {}  # of tests; the totals of tests/vm/run.py
    stages = [unit, lint]
    if not arguments.quick:
        stages += [msan, planted, fuzz, machines, exit_reasons, known_flaws]
    for each in stages:
        count.add(*each(arguments))
    print(f"{count.passed} passed, {count.failed} failed")
    return 1 if count.failed or count.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
