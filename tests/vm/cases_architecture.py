"""The architecture suite without a monitor: the guests that say what a processor does, on bare Bochs
and under QEMU. Under Traprock they are the cases `guest-NAME`, and what they report there must hold here too.
docs/differences.md has what differs."""

import os
import re
import subprocess
import sys

from differences import ALONE, Meeting, ROOT, bad_rows, compare, outcomes
from harness import Case

sys.path.insert(0, os.path.join(ROOT, "tests", "guests", "bare"))

import bare  # noqa: E402

SUITE = ("architecture", "cpuid", "crs", "emulator", "events_code", "events_debug",
         "events_delivery", "events_delivery32", "events_fatal", "events_nmi", "events_shadow",
         "events_task_gate", "exits", "hello", "interrupts", "keys", "mmio", "modes", "msr", "ports",
         "registers", "reset", "stepping", "sweeps", "timers", "transfers", "wrap")
# Those at which TCG hangs or crashes; the page says why.
NOT_ON_QEMU = ("events_code", "events_delivery", "events_delivery32", "exits", "registers")
# They reset their machine, which goes on where it is not told otherwise.
RESETTING = ("events_fatal", "reset")
NOT_ON_BOCHS = RESETTING  # the page says why
# Their cases all stand in the page as Traprock's alone.
UNDER_TRAPROCK_ONLY = ("events_apic", "events_hlt")
# What QEMU's machine has besides.
QEMU_DEVICES = {"mmio": ["-machine", "q35", "-device", "pci-testdev"],
                "transfers": ["-device", "pc-testdev"]}

MEETING = Meeting()


def on_qemu(elf, folder, seconds, devices):
    serial = os.path.join(folder, "qemu-serial.txt")
    command = ["qemu-system-x86_64", "-accel", "tcg", "-icount", "shift=2,sleep=off", "-cpu", "max",
               "-m", "64", "-display", "none",
               "-nodefaults", "-kernel", elf, "-serial", "file:" + serial,
               "-device", "isa-debug-exit,iobase=0xf4,iosize=4"] + devices
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        pass  # killed; what is missing shows
    with open(serial, encoding="utf-8", errors="replace") as file:
        return file.read()


def check(run, machine, guest, found):
    new, gone = compare(machine, guest, found)
    held = list(found.values()).count("ok")
    run.check(f"architecture/{guest}-{machine}", not new and not gone and set(found) != {"end"},
              f"{held} cases held; not in docs/differences.md: {', '.join(new) or 'none'}; "
              f"there, but without a difference: {', '.join(gone) or 'none'}")


def native(guest):
    def function(run):
        elf = run.files.guest(guest)
        seconds = 60 * run.scale
        machines = {}
        if guest not in NOT_ON_BOCHS:
            machines["Bochs"] = outcomes(bare.run(elf, "corei7_skylake_x", seconds))
        if guest not in NOT_ON_QEMU:
            options = QEMU_DEVICES.get(guest, []) + ([] if guest in RESETTING else ["-no-reboot"])
            machines["QEMU"] = outcomes(on_qemu(elf, run.directory, seconds, options))
        for machine, found in machines.items():
            check(run, machine, guest, found)
        MEETING.add_native(run, guest, list(machines.values()))

    return Case("architecture-" + guest, function, seconds=8)


def add_traprock(run, guest, text):
    """For the cases `guest-NAME`: what the guest reported."""
    if run.check(f"{guest}/known", guest in SUITE + UNDER_TRAPROCK_ONLY, "not in the suite"):
        MEETING.add_traprock(run, guest, text, guest in SUITE)


def missed():
    """The guests of the suite that were not seen on both sides, once all cases have run."""
    return MEETING.missed(SUITE)


def page(run):
    """Every row of docs/differences.md names a guest that runs where the row says."""
    everywhere = SUITE + UNDER_TRAPROCK_ONLY
    bad = bad_rows({"Traprock": everywhere, ALONE: everywhere,
                    "Bochs": [guest for guest in SUITE if guest not in NOT_ON_BOCHS],
                    "QEMU": [guest for guest in SUITE if guest not in NOT_ON_QEMU]})
    run.check("architecture/page", not bad, f"no test can hold these rows: {'; '.join(bad)}")


CASES = [native(guest) for guest in SUITE] + [Case("architecture-page", page, seconds=1)]
