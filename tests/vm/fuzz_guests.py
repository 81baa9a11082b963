"""A fuzz guest under Traprock, a well-behaved one beside it, and what must hold afterwards.

Each life of a fuzz guest has its own random numbers, from the seed and the life's number, and prints
a line at its start. A crash, a reset or a stop by the monitor is a legal end of a life; the next one
follows (on-end = restart). What is not legal: a monitor that panics, hangs, loses pages or lets the
other guest feel anything.
"""

import os
import re

import host
from harness import CaseFailed, outcome, vm

DEBUG_EXIT = "0xe5f4"
ESCAPE = b"\x01"
SILENCE = 10.0  # seconds without a new life or the end, after which the guest counts as stuck
RESETS_BY_KEY_MAX = 5
PANIC = re.compile(r"panic|ASSERT|assertion|traprock: exit 255|triple fault of the monitor", re.IGNORECASE)

# Devices for those that fuzz them.
DEVICES = {
    "fuzz_insn": {"disk": "a.bin", "hvc": "loop"},
    "fuzz_msr_port": {"disk": "a.bin", "hvc": "loop"},
    "fuzz_apic_pci": {"disk": ["a.bin", "b.bin,ro"], "hvc": "loop"},
    "fuzz_virtio": {"disk": ["a.bin", "b.bin,ro"], "hvc": ["loop", "loop"]},
}
NAMES = tuple(DEVICES)
DEVICES["icr_storm"] = {}


def replay(name, seed, cases, life=None):
    """The command that does it again."""
    text = f"make fuzz VM=1 FUZZ_GUEST={name} SEED={seed} CASES={cases}"
    return text if life is None else f"{text} LIFE={life}"


class Session:
    """A machine with a fuzz guest on processor 0 and the witness on processor 1, who has the
    terminal."""

    def __init__(self, run, machine, name, seed, cases):
        self.run, self.machine = run, machine
        self.name, self.seed, self.cases = name, seed, cases
        self.resets_by_key = 0

    def lives(self):
        """The numbers of those that began."""
        return re.findall(rf"{self.name}: seed {self.seed} life (\d+) cases \d+\r?$", self.machine.log,
                          re.MULTILINE)

    def fail(self, message):
        life = (self.lives() or [None])[-1]
        raise CaseFailed(f"{message}; do it again by: {replay(self.name, self.seed, self.cases, life)}")

    def keys(self, *keys):
        for key in keys:
            self.machine.send(ESCAPE + key)

    def expect(self, pattern, seconds):
        """As Machine.expect, but None where it does not come; a panic fails at once."""
        compiled = re.compile(rb"(?:%s)|panic on " % getattr(pattern, "pattern", pattern), re.MULTILINE)
        try:
            found = self.machine.expect(compiled, timeout=seconds * self.run.scale)
            if found.group() == b"panic on ":
                self.fail("the monitor panicked")
            return found
        except host.ExpectError as error:
            if PANIC.search(self.machine.log):
                self.fail("the monitor panicked")
            if "the machine ended" in str(error):
                self.machine.wait()
                self.fail("the machine ended: " + self.machine.explain().split("\n")[0])
            return None

    def status(self):
        """The monitor answers, and what it says of the fuzz guest: exits and resets."""
        self.keys(b"s")
        line = self.expect(rb"^traprock: . +" + self.name.encode() +
                           rb" +\S+ +processor 0, \d+ MiB, (\d+) exits, (\d+) resets\r?$", 60)
        if line is None:
            self.fail("the monitor does not answer its escape key")
        return int(line.group(1)), int(line.group(2))

    def follow(self):
        """Until the fuzz guest has done its cases. A guest that is stuck is reset by key, as a
        person would."""
        begun = rf"{self.name}: seed {self.seed} life \d+ cases \d+"
        ended = rf"^traprock: vm {self.name}: ([\w-]+) code=(\d+)"
        pattern = re.compile(f"{begun}|{ended}|panic|traprock: exit".encode(), re.MULTILINE)
        while True:
            line = self.expect(pattern, SILENCE)
            if line is None:
                self.rescue()
            elif line.group(1) is not None:
                return line.group(1).decode(), int(line.group(2))
            elif b"life" not in line.group():
                self.fail("the monitor panicked")

    def rescue(self):
        self.resets_by_key += 1
        self.status()
        if self.resets_by_key > RESETS_BY_KEY_MAX:
            self.fail(f"{self.resets_by_key} times no new life within {SILENCE} s")
        self.keys(b"n", b"r", b"n")

    def finish_witness(self):
        self.machine.send(b"q")
        if self.expect(rb"^traprock: vm witness: ", 120) is None:
            self.fail("the witness does not end")


def check_pages(run, name, text):
    """Every page that a guest had came back."""
    line = re.search(r"pages: (\d+) free after the guests, (\d+) before", text)
    run.check(f"{name}/no-leak", line and line.group(1) == line.group(2),
              line.group(0) if line else "the monitor did not count its pages")


def fuzz_run(run, name, seed, cases, exits_min=0, life=None, efi=None):
    """Does so many cases of a seed, under another monitor if efi says so; returns the exits. Fails with
    the command to do it again."""
    run.guest(name)
    run.guest("witness")
    for disk, size in (("a.bin", 256 << 10), ("b.bin", 64 << 10)):
        run.write(disk, b"\xa5" * size)
    cmdline = f"seed={seed} cases={cases}" + ("" if life is None else f" life={life}")
    conf = "[traprock]\nloglevel = info\n" + \
        vm("witness", memory="4M", debug_exit=DEBUG_EXIT, pin=1) + \
        vm(name, memory="4M", debug_exit=DEBUG_EXIT, pin=0, on_end="restart", cmdline=cmdline,
           **DEVICES[name])
    with run.machine(run.make_image(conf, efi), cpus=2, errors=False) as machine:
        session = Session(run, machine, name, seed, cases)
        if session.expect(rb"\] witness: starts ", 120) is None:
            session.fail("the witness did not start")
        result = session.follow()
        exits, resets = session.status()
        session.finish_witness()
        status = machine.wait()
        text = machine.log.replace("\r", "")
    again = replay(name, seed, cases)
    run.check(f"{name}/outcome", result == ("debug-exit", 0), f"{result}; {again}")
    run.check(f"{name}/exits", exits >= exits_min, f"{exits} exits, {exits_min} wanted; {again}")
    run.check(f"{name}/alive", not PANIC.search(text), f"a panic; {again}")
    run.check(f"{name}/exit-status", status == 0, f"exit status {status}; {again}")
    run.check(f"{name}/witness", outcome(text, "witness") == ("debug-exit", 0), again)
    run.report_guest(text, name)
    check_pages(run, name, text)
    print(f"{name}: seed {seed}: {exits} exits, {len(session.lives())} lives, {resets} resets and restarts, "
          f"{session.resets_by_key} by key")
    return exits
