"""Guests that fuzz the monitor, with a witness beside them, and guests whose memory is used again."""

import os
import re

from fuzz_guests import DEBUG_EXIT, check_pages, fuzz_run
from harness import Case, CaseFailed, outcome, vm

# A fixed sample, about 50,000 exits each: (seed, cases, exits at least).
SAMPLE = {
    "fuzz_insn": (1, 4800, 50000),
    "fuzz_msr_port": (1, 18000, 50000),
    "fuzz_apic_pci": (1, 2500, 50000),
    "fuzz_virtio": (1, 2500, 50000),
}


# Bugs that are planted in a monitor of their own, and the guest that finds each in its sample.
PLANTED = {
    "XSETBV": "fuzz_insn",
    "MSR_HOLE": "fuzz_msr_port",
    "IOAPIC_BOUND": "fuzz_apic_pci",
    "VIRTIO_CONSOLE": "fuzz_virtio",
}
PLANTED_IN_TEST = "VIRTIO_CONSOLE"


def fuzz_case(name):
    seed, cases, exits = SAMPLE[name]
    return Case("fuzz-" + name.removeprefix("fuzz_"),
                lambda run: fuzz_run(run, name, seed, cases, exits), seconds=40, limit=240)


def planted_case(bug):
    """The fixed sample finds a planted bug, by whatever it does to the monitor."""
    name = PLANTED[bug]
    seed, cases, _ = SAMPLE[name]

    def function(run):
        efi = os.path.join(run.files.build, "planted", bug, "BOOTX64.EFI")
        if not os.path.exists(efi):
            raise CaseFailed(f"{efi} is not there; build it first")
        found = ""
        try:
            fuzz_run(run, name, seed, cases, efi=efi)
        except CaseFailed as failure:
            found = str(failure)
        found = found or ", ".join(part for part, passed, _ in run.results if not passed)
        run.results = []
        run.check(f"planted/{bug}", found, f"{name} does not find it in its sample")
        print(f"{name} finds the planted bug {bug}: {found.split(';')[0]}")

    return Case(f"fuzz-planted-{bug.lower()}", function, seconds=30, limit=240)


def icr_storm(run):
    """Every ICR value: only its guest is reset, and the witness feels nothing."""
    fuzz_run(run, "icr_storm", 1, 8 * 8 * 4 * 6 * 4)


def memory_used_again(run):
    """Memory is used again after a kill: two guests that end and start anew at the same time, whose memory
    goes back and comes from one store, never see a word of an earlier life or of each other."""
    lives, names = 6, ("sentinel-a", "sentinel-b")
    run.guest("sentinel")
    conf = "".join(vm(name, kernel="sentinel.elf", memory="4M", debug_exit=DEBUG_EXIT, pin=pin,
                      on_end="restart", cmdline=f"lives={lives - pin}")
                   for pin, name in enumerate(names))
    status, text = run.run_to_end(conf, cpus=2)
    text = text.replace("\r", "")
    for pin, name in enumerate(names):
        run.check(f"{name}/outcome", outcome(text, name) == ("debug-exit", 0), outcome(text, name))
        restarts = len(re.findall(rf"{name}: ended \((?:poweroff|stopped)\), starts anew", text))
        run.check(f"{name}/restarts", restarts == lives - pin - 1, f"{restarts} restarts")
    run.check("sentinel/exit-status", status == 0, f"exit status {status}")
    check_pages(run, "sentinel", text)


def end_is_final(run):
    """on-end = restart is not for a debug exit, and the key x ends a guest that is started again and
    again."""
    run.guest("sentinel")
    run.guest("hello")
    conf = vm("hello", debug_exit="0xf4", on_end="restart", pin=0) + \
        vm("sentinel", memory="4M", pin=1, on_end="restart", cmdline="lives=255")
    with run.machine(run.make_image(conf), cpus=2) as machine:
        machine.expect(rb"^traprock: vm hello: debug-exit code=0", timeout=run.case.limit)
        machine.expect(rb"life 3\r?$", timeout=run.case.limit)
        machine.send(b"\x01x")
        run.check("restart/killed", machine.wait() == 1, "the exit status")
        run.check("restart/outcome", outcome(machine.log, "sentinel") == ("killed", 0),
                  outcome(machine.log, "sentinel"))
        check_pages(run, "restart", machine.log)


CASES = [fuzz_case(name) for name in SAMPLE]
CASES += [
    Case("icr-storm", icr_storm, seconds=40, limit=240),
    planted_case(PLANTED_IN_TEST),
    Case("memory-used-again", memory_used_again, seconds=25),
    Case("restart-end-is-final", end_is_final, seconds=25),
]
