"""Which VM exits the tests have shown, reason by reason, from what the tests reported.

A reason is shown natively when the guest `exits` ran under Traprock with its cases passed and the
monitor counted such exits; it is injected when test_exits passed with it on the doubles of VMREAD and
VMWRITE. SDM: VMX Basic Exit Reasons.
"""

import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CASE = re.compile(r"exits/([A-Z0-9_]+)\.[\w-]+\.([\w-]+)")
GUEST = "guest-exits"

# What the test hosts can produce, and what must therefore be shown natively.
NATIVE = """EXCEPTION_OR_NMI EXTERNAL_INTERRUPT TRIPLE_FAULT INTERRUPT_WINDOW NMI_WINDOW TASK_SWITCH
CPUID HLT INVD
RDPMC VMCALL VMCLEAR VMLAUNCH VMPTRLD VMPTRST VMREAD VMRESUME VMWRITE VMXOFF VMXON
CONTROL_REGISTER_ACCESS MOV_DR IO_INSTRUCTION RDMSR WRMSR MWAIT MONITOR EPT_VIOLATION INVEPT
PREEMPTION_TIMER INVVPID WBINVD_OR_WBNOINVD XSETBV""".split()


def reasons():
    """[(number, name)] of the monitor's own list."""
    with open(os.path.join(ROOT, "vmx", "exit_reasons.def"), encoding="utf-8") as file:
        return [(int(number), name)
                for number, name in re.findall(r"^EXIT_REASON\((\d+), (\w+),", file.read(), re.M)]


def native(machines):
    """{reason: (passed cases, failed cases, environments)} of the guest `exits`."""
    found = {}
    for name, passed in machines.get("results", {}).get(GUEST, []):
        match = CASE.fullmatch(name)
        if match:
            row = found.setdefault(match.group(1), [0, 0, set()])
            row[0 if passed else 1] += 1
            row[2].add(match.group(2))
    return found


def table(unit_passed, machines):
    """(lines, missing): a line for each reason, and how many are not shown as they must be."""
    counts, cases = machines.get("exit_counts", {}), native(machines)
    lines, missing = [], 0
    for number, name in reasons():
        passed, failed, environments = cases.get(name, (0, 0, ()))
        exits, injected = counts.get(name, 0), f"injected/{name}" in unit_passed
        shown = []
        if exits and passed and not failed:
            shown.append(f"native: {passed} cases in {len(environments)} environments, "
                         f"{exits} exits")
        if injected:
            shown.append("injected")
        is_missing = not injected or (name in NATIVE and len(shown) < 2)
        missing += is_missing
        lines.append(f"{number:3} {name:28} " + ("MISSING; " if is_missing else "") +
                     "; ".join(shown))
    return lines, missing
