"""docs/differences.md: where machines differ from what the guests of the architecture suite expect."""

import fnmatch
import os
import re
import threading

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = os.path.join(ROOT, "docs", "differences.md")
ROW = re.compile(r"^\| (\w+) \| `([^`]+)` \| (.+) \|$")
HEAD = ("| Guest | Case | Why |", "|---|---|---|")
ALONE = "Traprock alone"
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


def bad_rows(sections):
    """What in the page's tables no test can hold it to: {section: the guests that it may name}."""
    found, here = [], None
    with open(PAGE, encoding="utf-8") as file:
        for line in map(str.rstrip, file):
            if line.startswith("## "):
                here = line[3:]
            match = ROW.match(line)
            if line.startswith("|") and line not in HEAD and \
                    not (match and match.group(1) in sections.get(here, ())):
                found.append(f"{here}: {line}")
    return found


def outcomes(text):
    """{case: "ok", "not ok" or "skip"} of what a guest reported; "end" is one if it did not end."""
    found = {case: result for result, case in RESULT.findall(text)}
    if not re.search(r"^done\r?$", text, re.MULTILINE):
        found["end"] = "not ok"
    return found


def compare_cases(section, guest, different):
    """(cases that the section does not list, patterns of it that fit none of them)."""
    patterns = [pattern for name, pattern, _ in rows(section) if name == guest]
    new = [case for case in different
           if not any(fnmatch.fnmatchcase(case, pattern) for pattern in patterns)]
    gone = [pattern for pattern in patterns
            if not any(fnmatch.fnmatchcase(case, pattern) for case in different)]
    return new, gone


def compare(machine, guest, found):
    """(differences that are not listed, listed patterns that nothing differs in)."""
    different = {case: result for case, result in found.items() if result != "ok"}
    new, gone = compare_cases(machine, guest, different)
    return [f"{case} ({different[case]})" for case in new], gone


def compare_alone(guest, natively, under_traprock):
    """As compare, for what holds on no machine without Traprock. natively: the outcomes of each of
    them; under_traprock: its own. What the guest skips there it does not claim to hold there."""
    held = {case for found in natively for case, result in found.items() if result == "ok"}
    tried = {case for found in natively for case in found}
    tried |= {case for case, result in under_traprock.items() if result != "skip"}
    return compare_cases(ALONE, guest, sorted(tried - held - {"end"}))


class Meeting:
    """What each guest reports natively and under Traprock comes from two cases, in any order and at
    once: the later of them compares the two."""

    def __init__(self):
        self.lock = threading.Lock()
        self.natively, self.under_traprock = {}, {}

    def add_native(self, run, guest, machines):
        """machines: the outcomes of each."""
        with self.lock:
            self.natively[guest] = machines
            under_traprock = self.under_traprock.get(guest)
        self.compare(run, guest, machines, under_traprock)

    def add_traprock(self, run, guest, text, runs_natively):
        """text: what it reported under Traprock, on the machine of most tests."""
        # The monitor ends a line with CR LF, also one that a guest had not got to the end of.
        found = outcomes(re.sub(r"^.*\r\n", "", text, flags=re.MULTILINE))
        gone = compare("Traprock", guest, found)[1]
        run.check(f"{guest}/differences", not gone,
                  f"in docs/differences.md, but without a difference: {', '.join(gone)}")
        with self.lock:
            self.under_traprock[guest] = found
            machines = self.natively.get(guest) if runs_natively else []
        self.compare(run, guest, machines, found)

    @staticmethod
    def compare(run, guest, machines, under_traprock):
        if machines is None or under_traprock is None:
            return
        new, gone = compare_alone(guest, machines, under_traprock)
        run.check(f"architecture/{guest}-known", not new and not gone,
                  f"hold on no machine without Traprock: {', '.join(new) or 'none'}; "
                  f"listed as such, but are not: {', '.join(gone) or 'none'}")

    def missed(self, guests):
        """Those of the guests that did not come from both sides."""
        return sorted(set(guests) - (set(self.natively) & set(self.under_traprock)))
