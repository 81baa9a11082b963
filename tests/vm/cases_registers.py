"""The guests that try every bit of the registers, every MSR and every port; and the monitor that
checks the processor's state after each exit, under them and others."""

import copy
import os
import re

from cases_guests import key, reporting
from harness import Case, outcome, vm

CHECKED_GUESTS = ("registers", "sweeps", "modes", "interrupts")
# What sweeps does at least: a port instruction for each port, size and direction.
PORT_EXITS = 2 * 3 * 65536 - 100
MSR_EXITS = 2 * 2 * 8192


def host_checks(run):
    """A build with DEBUG_CHECKS=1, with several guests at once: it panics at the first difference,
    and each guest's line shows that it did look."""
    run.files = copy.copy(run.files)
    run.files.efi = os.path.join(run.files.build, "checks", "BOOTX64.EFI")
    conf = ""
    for number, name in enumerate(CHECKED_GUESTS):
        run.guest(name)
        conf += vm(name, debug_exit="0xf4", pin=number, memory="64M")
    status, text = run.run_to_end(conf, cpus=len(CHECKED_GUESTS))
    for name in CHECKED_GUESTS:
        ended = outcome(text, name)
        run.check(f"host-checks/{name}", ended == ("debug-exit", 0), f"{ended}")
        counted = re.search(rf"host checks: {name}: (\d+) exits, (\d+) of port instructions, "
                            r"(\d+) of MSRs", text)
        run.check(f"host-checks/{name}-looked", counted and int(counted.group(1)) > 1000,
                  "no line of the host checks")
        if counted and name == "sweeps":
            run.check("port-sweep/exits", int(counted.group(2)) >= PORT_EXITS,
                      f"{counted.group(2)} exits for ports")
        if counted and name == "registers":
            run.check("msr-holes/exits", int(counted.group(3)) >= MSR_EXITS,
                      f"{counted.group(3)} exits for MSRs")
    run.check("host-checks/exit-status", status == 0, f"exit status {status}")


def sentinels(run):
    """Two guests at once, each with its own values in all registers; both are reset twice while they
    are full, and must find everything as after a reset."""
    run.guest("sentinels")
    conf = "".join(vm(name, kernel="sentinels.elf", pin=number)
                   for number, name in enumerate(("one", "two")))
    limit = run.case.limit * run.scale
    with run.machine(run.make_image(conf), cpus=2) as machine:
        for life in range(3):
            machine.expect(rb"^full, (all|not) well", timeout=limit)
            machine.expect(rb"^\w+: full, (all|not) well", timeout=limit)
            for command in (b"r", b"n") * 2 if life < 2 else ():
                key(machine, command)
                machine.expect(rb"registers-after-reset" if command == b"r" else
                               rb"the terminal is", timeout=limit)
        key(machine, b"s")
        for name in (b"one", b"two"):
            machine.expect(name + rb" .*, 2 resets", timeout=limit)
        run.check("sentinels/lives", True)
        key(machine, b"x")
        machine.wait()
    run.check("sentinels/no-failure", "not ok" not in machine.log and "not well" not in machine.log,
              "a guest found what is not its own")


CASES = [
    reporting("registers"),
    reporting("sweeps"),
    Case("sentinels", sentinels, seconds=30),
    Case("host-checks", host_checks, seconds=90, limit=400),
]
