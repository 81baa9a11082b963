#!/usr/bin/env python3
"""The table of docs/security.md: how others were broken, and which tests hold that here.

    flaws.py            checks that every test which the table names is in the tree
    flaws.py --list     prints the rows with their tests

A row's last column names tests, each between backticks:

    virtqueue/bad_chains_are_refused   a test of tests/unit, tests/native or tests/msan, by its program
    msr/absent                         what a test guest reports, or a case of tests/vm checks
    guest-debug_loop                   a whole case of tests/vm (tests/vm/run.py --list)
    fuzz_virtqueue                     a fuzz target
    lint/check_guest_rules             a check of tests/lint

The runner of all tests asks here whether the tests of each row have passed.
"""

import glob
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGE = "docs/security.md"
ROWS = 43
STATES = ("held", "in part", "not there")


class Row:
    def __init__(self, number, title, state, tests):
        self.number, self.title, self.state, self.tests = number, title, state, tests


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read()


def rows():
    """The table: | number | what broke others | here | state | tests |"""
    found = []
    for line in read(PAGE).split("\n"):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 5 and cells[0].isdigit():
            found.append(Row(int(cells[0]), cells[1], cells[3], re.findall(r"`([^`]+)`", cells[4])))
    return found


def cases():
    made = subprocess.run([sys.executable, "tests/vm/run.py", "--list"], cwd=ROOT, capture_output=True,
                          text=True, check=True)
    return set(made.stdout.split())


def sources(pattern):
    return "".join(read(os.path.relpath(name, ROOT))
                   for name in sorted(glob.glob(os.path.join(ROOT, pattern))))


def is_program_test(program, name):
    return any(re.search(r'\{\s*"' + re.escape(name) + '"', sources(f"tests/{folder}/test_{program}.c"))
               for folder in ("unit", "native", "msan"))


def is_check(guest, name):
    """What a guest reports, or a case checks by this name."""
    own = sources(f"tests/guests/{guest}.[ac]*") + sources(f"tests/guests/{guest}/*")
    return f'"{name}"' in own or re.search(rf'\b{re.escape(guest)}/{re.escape(name)}["\']',
                                           sources("tests/vm/cases_*.py")) is not None


def exists(test, known_cases):
    first, _, rest = test.partition("/")
    if not rest:
        return test in known_cases or \
            test.startswith("fuzz_") and os.path.isfile(os.path.join(ROOT, f"tests/fuzz/{test}.c"))
    if first == "lint":
        return f"def {rest}(" in sources("tests/lint/*.py")
    return is_program_test(first, rest) or is_check(first, rest)


def problems():
    """What is wrong with the table, one line each."""
    table, known_cases = rows(), cases()
    numbers = [row.number for row in table]
    if numbers != list(range(1, ROWS + 1)):
        yield f"the rows are not 1 to {ROWS}, each once, in order"
    for row in table:
        if row.state not in STATES:
            yield f"row {row.number}: the state is none of {', '.join(STATES)}"
        if row.state != "not there" and not row.tests:
            yield f"row {row.number}: no test"
        for test in row.tests:
            if not exists(test, known_cases):
                yield f"row {row.number}: there is no test `{test}`"


def lint_checks():
    return re.findall(r"^def (check_\w+)", sources("tests/lint/*.py"), re.MULTILINE)


def has_passed(test, passed):
    """passed: the names of all tests that passed, as their programs print them."""
    first, _, rest = test.partition("/")
    return test in passed or bool(rest) and is_program_test(first, rest) and rest in passed


def shown(host_passed, machines):
    """(how many rows have tests that all passed, a line for each other row with tests), from the names
    that host programs printed and the totals of tests/vm/run.py."""
    passed = set(host_passed)
    for case, results in machines.get("results", {}).items():
        passed.update(name for name, is_good in results if is_good)
        if all(is_good for _, is_good in results):
            passed.add(case)
    good, lines = 0, []
    for row in rows():
        missing = [test for test in row.tests if not has_passed(test, passed)]
        good += bool(row.tests) and not missing
        if missing:
            lines.append(f"flaw {row.number} ({row.title}): not passed: {', '.join(missing)}")
    return good, lines


def main():
    if sys.argv[1:] == ["--list"]:
        for row in rows():
            print(f"{row.number:2} {row.state:9} {row.title}: {', '.join(row.tests)}")
        return 0
    found = list(problems())
    for line in found:
        print(f"{PAGE}:1: {line}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
