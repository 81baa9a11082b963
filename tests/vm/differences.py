"""docs/differences.md: where machines differ from what the guests of the architecture suite expect."""

import fnmatch
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = os.path.join(ROOT, "docs", "differences.md")
ROW = re.compile(r"^\| (\w+) \| `([^`]+)` \| (.+) \|$")
RESULT = re.compile(r"^(ok|not ok|skip) ([\w.-]+)", re.MULTILINE)


def rows(machine):
    """[(guest, pattern of cases, why)] of the section that the page has for the machine."""
    found, here = [], False
    with open(PAGE, encoding="utf-8") as file:
        for line in file:
            if line.startswith("## "):
                here = line[3:].strip() == machine
            match = ROW.match(line)
            if here and match:
                found.append(match.groups())
    return found


def listed(machine, guest, case):
    return any(guest == name and fnmatch.fnmatchcase(case, pattern)
               for name, pattern, _ in rows(machine))


def outcomes(text):
    """{case: "ok", "not ok" or "skip"} of what a guest reported; "end" is one if it did not end."""
    found = {case: result for result, case in RESULT.findall(text)}
    if not re.search(r"^done\r?$", text, re.MULTILINE):
        found["end"] = "not ok"
    return found


def compare(machine, guest, found):
    """(differences that are not listed, listed patterns that nothing differs in)."""
    patterns = [pattern for name, pattern, _ in rows(machine) if name == guest]
    different = [case for case, result in found.items() if result != "ok"]
    new = [f"{case} ({found[case]})" for case in different
           if not any(fnmatch.fnmatchcase(case, pattern) for pattern in patterns)]
    gone = [pattern for pattern in patterns if not fnmatch.filter(different, pattern)]
    return new, gone
