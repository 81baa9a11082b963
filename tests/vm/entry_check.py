#!/usr/bin/env python3
"""VM entries on Bochs against vmx/entry_check.c: the program of tests/guests/bare/entry_check.

    entry_check.py [--build DIR] [--count N] [--seed S] [--first N] [--model MODEL]...

Runs N cases, shared out to the models in pieces, and ends with 1 where Bochs and the rules differ.
A case is repeated by its seed, its number and its model: --first N --count 1.
"""

import argparse
import collections
import os
import re
import secrets
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "guests", "bare"))

import bare  # noqa: E402

# The first has most of VMX; the second has the monitor trap flag, CET and protection keys too.
MODELS = ("corei7_skylake_x", "tigerlake")
# Without EPT and the TRUE capability MSRs; without page-modification logging and XSAVES.
OLDER = ("core2_penryn_t9600", "corei7_haswell_4770")
PIECE = 100_000
RULES = ("entry_check.c", "entry_check_controls.c", "entry_check_guest.c")

# Rules that no case can show alone, and why.
NOT_SHOWN = {
    # Bochs has no processor with the control.
    "\"process posted interrupts\" needs \"virtual-interrupt delivery\"": "no posted interrupts",
    "\"process posted interrupts\" needs \"acknowledge interrupt on exit\"": "no posted interrupts",
    "must not be above 255": "no posted interrupts",
    "\"mode-based execute control for EPT\" needs \"enable EPT\"": "no mode-based execution",
    "\"Intel PT uses guest physical addresses\" needs \"enable EPT\"": "no Intel PT",
    "\"Intel PT uses guest physical addresses\" needs \"load IA32_RTIT_CTL\"": "no Intel PT",
    "\"Intel PT uses guest physical addresses\" needs \"clear IA32_RTIT_CTL\"": "no Intel PT",
    "bits 15:8 must be 0": "no user interrupts",
    "\"enable HLAT\" needs \"enable EPT\"": "no tertiary controls",
    "\"EPT paging-write control\" needs \"enable EPT\"": "no tertiary controls",
    "\"guest-paging verification\" needs \"enable EPT\"": "no tertiary controls",
    "\"IPI virtualization\" needs \"use TPR shadow\"": "no tertiary controls",
    "the last entry must be within the physical-address width": "no tertiary controls",
    "accessed and dirty flags must be supported": "the models have them",
    # Bochs does not check it: defects.def.
    "\"IA-32e mode guest\" needs PG": "long_mode_without_paging",
    "\"entry to SMM\" must be 0 outside SMM": "entry_to_smm",
    "VM needs CR0.PE": "real_mode_vm_flag",
    "an NMI needs no blocking by STI on some processors": "nmi_qualification",
    "a virtual NMI needs no blocking by NMI": "virtual_nmi",
    "BS must be 1 with TF and without BTF, else 0, in a shadow or HLT": "pending_single_step",
}


class Result:
    """What the program said in one or more runs."""

    def __init__(self):
        self.rules = collections.Counter()    # by (field, text)
        self.defects = collections.Counter()  # by name
        self.entered = self.refused = self.by_defects = self.disagreements = 0
        self.text = []                        # of the disagreements
        self.broken = None                    # why a run has no result

    def add(self, text):
        text = text.replace("\r", "")
        for field, rule, times in re.findall(r"^rule: (\w+): (.*): (\d+)$", text, re.M):
            self.rules[field, rule] += int(times)
        for name, times in re.findall(r"^defect: (\w+): (\d+)$", text, re.M):
            self.defects[name] += int(times)
        cases = re.search(r"^cases: entered (\d+) refused (\d+) by defects (\d+) disagreements (\d+)$",
                          text, re.M)
        self.text += re.findall(r"^disagree: (?:.*\n)(?:  .*\n)*", text, re.M)
        if not cases or not re.search(r"^done$", text, re.M):
            self.broken = "the program did not end: " + text[-300:]
            return
        entered, refused, by_defects, disagreements = (int(each) for each in cases.groups())
        self.entered += entered
        self.refused += refused
        self.by_defects += by_defects
        self.disagreements += disagreements


def run(result, elf, model, seed, first, count, seconds):
    """Adds what `count` cases from `first` on say to the result."""
    result.add(bare.run(elf, model, seconds, f"seed={seed} first={first} count={count} rules",
                        errors="ignore"))


def rule_texts():
    """The words of every rule, from the sources."""
    texts = set()
    for name in RULES:
        with open(os.path.join(ROOT, "vmx", name), encoding="utf-8") as file:
            source = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
        source = re.sub(r"#include.*", "", source)
        for match in re.finditer(r'"(?:\\.|[^"\\])*"(?:\s*"(?:\\.|[^"\\])*")*', source):
            text = "".join(re.findall(r'"((?:\\.|[^"\\])*)"', match.group()))
            texts.add(text.replace('\\"', '"'))
    return texts


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--count", type=int, default=20_000, help="cases in all (%(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="by default a new one")
    parser.add_argument("--first", type=int, default=0, help="the first case's number")
    parser.add_argument("--model", action="append", help=f"by default {', '.join(MODELS + OLDER)}")
    arguments = parser.parse_args()
    seed = secrets.randbits(31) if arguments.seed is None else arguments.seed
    models = arguments.model or MODELS + OLDER
    elf = os.path.join(arguments.build, "guests", "entry_check.elf")
    result, started, piece = Result(), time.monotonic(), 0
    print(f"entry-check: seed {seed}, {arguments.count} cases on {', '.join(models)}", flush=True)
    for first in range(arguments.first, arguments.first + arguments.count, PIECE):
        count = min(PIECE, arguments.first + arguments.count - first)
        run(result, elf, models[piece % len(models)], seed, first, count, 60 + count / 50)
        piece += 1
        if result.broken or result.disagreements:
            print("".join(result.text) or result.broken)
            print(f"entry-check: FAILED on {models[(piece - 1) % len(models)]}, seed {seed}, cases from {first}")
            return 1
        print(f"entry-check: {first + count - arguments.first} cases "
              f"({time.monotonic() - started:.0f} s)", flush=True)
    print(f"entry-check: {result.entered} entered, {result.refused} refused, {result.by_defects} by "
          f"{sum(times > 0 for times in result.defects.values())} known defects of Bochs, "
          f"{len(result.rules)} rules shown alone ({time.monotonic() - started:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
