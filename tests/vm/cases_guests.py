"""The guests of tests/guests under Traprock."""

import os
import re

import cases_exits
import differences
from cases_architecture import add_traprock
from harness import Case, CaseFailed, Run, outcome, vm

ESCAPE = b"\x01"
DISK_SIZE = 1 << 20

# What a guest may leave out here, with the reason in docs/differences.md.
EXPECTED_SKIPS = {f"{guest}/{case}" for guest, case, _ in differences.rows("Traprock")}
# On models that lack the feature.
NO_X2APIC = {"msr/x2apic"}


def reporting(name, model=None, variant=None, keys=None, skips=()):
    """A guest that reports and ends by the debug exit. The disk gives it a PCI device."""

    def function(run):
        run.guest(name)
        run.write("disk.bin", os.urandom(DISK_SIZE))
        conf = vm(name, debug_exit="0xf4", disk="disk.bin", **(keys or {}))
        status, text = run.run_to_end(conf, cpu=model)
        run.report_guest(text, name, EXPECTED_SKIPS | set(skips))
        if variant is None:
            add_traprock(run, name, text)
        run.check(f"{name}/end", "\ndone" in text.replace("\r", ""), "the guest did not end")
        failed = "\nnot ok " in text
        ended = outcome(text, name)
        run.check(f"{name}/outcome", ended == ("debug-exit", 1 if failed else 0), f"{ended}")
        run.check(f"{name}/exit-status", status == (3 if failed else 0), f"exit status {status}")

    return Case("guest-" + (variant or name), function, seconds=25)


def key(machine, character):
    machine.send(ESCAPE + character)


def endless(name, greeting, keys=None, **options):
    """A guest that never ends: the monitor answers, and can end it."""

    def function(run):
        run.guest(name)
        with run.machine(run.make_image(vm(name, **(keys or {}))), **options) as machine:
            machine.expect(greeting, timeout=run.case.limit)
            key(machine, b"s")
            machine.expect(rb"^traprock: . " + name.encode() + rb" +running", timeout=60)
            key(machine, b"x")
            status = machine.wait()
            run.check(f"{name}/escape-status", True)
            ended = outcome(machine.log, name)
            run.check(f"{name}/escape-power-off", ended and ended[0] == "killed", f"{ended}")
            run.check(f"{name}/exit-status", status == 1, f"exit status {status}")

    return Case("guest-" + name, function, seconds=25)


def broken_keys(run):
    """Protection keys of a processor that has them wrong: hidden, and the log says why."""
    run.guest("keys")
    status, text = run.run_to_end(vm("keys", debug_exit="0xf4"), cpu="corei7_icelake_u")
    run.report_guest(text, "keys", EXPECTED_SKIPS)
    run.check("keys/why", re.search(r"keys: no protection keys: Bochs 2\.7", text), "no reason")
    run.check("keys/exit-status", status == 0, f"exit status {status}")


def poweroff(run):
    run.guest("poweroff")
    status, text = run.run_to_end(vm("poweroff", debug_exit="0xf4"))
    run.report_guest(text, "poweroff")
    ended = outcome(text, "poweroff")
    run.check("poweroff/outcome", ended == ("poweroff", 0), f"{ended}")
    run.check("poweroff/exit-status", status == 0, f"exit status {status}")


def triple_fault_stops(run):
    run.guest("triple")
    status, text = run.run_to_end(vm("triple", on_reset="stop"))
    ended = outcome(text, "triple")
    run.check("triple/outcome", ended == ("triple-fault", 0), f"{ended}")
    run.check("triple/exit-status", status == 1, f"exit status {status}")


def triple_fault_resets(run):
    run.guest("triple")
    with run.machine(run.make_image(vm("triple", on_reset="reset"))) as machine:
        for _ in range(3):
            machine.expect(rb"^triple fault\r?$", timeout=run.case.limit)
        key(machine, b"x")
        status = machine.wait()
        run.check("triple/resets", status == 1, f"exit status {status}")


def reset_stops(run):
    run.guest("reset")
    status, text = run.run_to_end(vm("reset", on_reset="stop", debug_exit="0xf4"))
    ended = outcome(text, "reset")
    run.check("reset/stop-outcome", ended and ended[0] == "reset", f"{ended}")
    run.check("reset/stop-exit-status", status == 1, f"exit status {status}")


def no_debug_exit(run):
    """Without the key, the port is not there: the guest goes on, can be reset and ended."""
    run.guest("hello")
    with run.machine(run.make_image(vm("hello"))) as machine:
        machine.expect(rb"^done\r?$", timeout=run.case.limit)
        key(machine, b"r")
        machine.expect(rb"^done\r?$", timeout=60)
        run.check("hello/escape-reset", True)
        key(machine, b"h")
        machine.expect(rb"power off", timeout=30)
        run.check("hello/escape-help", True)
        key(machine, b"q")
        machine.expect(rb"no such key", timeout=30)
        run.check("hello/escape-unknown", True)
        key(machine, b"x")
        run.check("hello/no-debug-exit", machine.wait() == 1)


def other_debug_exit(run):
    """A debug-exit port other than the guest's: nothing answers at 0xf4."""
    run.guest("hello")
    with run.machine(run.make_image(vm("hello", debug_exit="0x501"))) as machine:
        machine.expect(rb"^done\r?$", timeout=run.case.limit)
        key(machine, b"s")
        machine.expect(rb"^traprock: . hello +(running|halted)", timeout=60)
        key(machine, b"x")
        run.check("hello/other-debug-exit", machine.wait() == 1)


def escape_key(run):
    """The configured escape key, and not the default."""
    run.guest("spin")
    conf = "[traprock]\nescape = ctrl-]\n" + vm("spin")
    with run.machine(run.make_image(conf)) as machine:
        machine.expect(rb"^spinning", timeout=run.case.limit)
        machine.send(b"\x01x")
        machine.send(b"\x1ds")
        machine.expect(rb"^traprock: . spin +running", timeout=60)
        run.check("escape/default-is-off", "vm spin: killed" not in machine.log)
        machine.send(b"\x1dx")
        run.check("escape/configured", machine.wait() == 1)


def undisturbed(run):
    """A guest that computes, on a processor that no device interrupts, has no exit that it did not ask for."""
    run.guest("undisturbed")
    conf = "[traprock]\nloglevel = debug\n" + vm("undisturbed", pin=1, debug_exit="0xf4")
    status, text = run.run_to_end(conf, cpus=2)
    run.report_guest(text, "undisturbed")
    exits = cases_exits.counts(text, "undisturbed")
    run.check("undisturbed/counted", exits.get("IO_INSTRUCTION"), f"{exits}")
    for reason in ("PREEMPTION_TIMER", "EXTERNAL_INTERRUPT", "EXCEPTION_OR_NMI"):
        run.check(f"undisturbed/{reason}", not exits.get(reason), f"{exits}")
    run.check("undisturbed/exit-status", status == 0, f"exit status {status}")


def two_guests(run):
    """A flood and a spinning guest beside one that reports: it is not disturbed, and `n` changes
    who has the terminal."""
    for name in ("timers", "flood", "spin"):
        run.guest(name)
    conf = (vm("spin", pin=2) + vm("timers", debug_exit="0xf4", pin=0) + vm("flood", pin=1))
    with run.machine(run.make_image(conf), cpus=3) as machine:
        machine.expect(rb"^traprock: vm timers: debug-exit code=0", timeout=run.case.limit)
        run.report_guest(machine.log, "timers")
        key(machine, b"n")
        machine.expect(rb"the terminal is", timeout=60)
        key(machine, b"x")
        if machine.wait() != 1:
            raise CaseFailed("the exit status is that of the first guest that failed")
        for name in ("spin", "flood"):
            ended = outcome(machine.log, name)
            run.check(f"two-guests/{name}", ended and ended[0] == "killed", f"{ended}")


def line_beside_a_masked_guest(run):
    """The processor that takes the console's interrupts runs a guest that masks them forever; what
    another guest prints comes out in time, by the machine's own clock."""
    run.guest("ports")
    run.guest("spin")
    run.write("disk.bin", b"\0" * 4096)
    conf = vm("ports", debug_exit="0xf4", disk="disk.bin", pin=1) + vm("spin", pin=0)
    with run.machine(run.make_image(conf), cpus=2) as machine:
        machine.expect(rb"^traprock: vm ports: debug-exit code=0", timeout=run.case.limit)
        machine.send(b"\x01x")
        run.check("masked/exit-status", machine.wait() == 1)
        times = [float(seconds) for seconds in re.findall(r"^\[ *(\d+\.\d+)\]", machine.log, re.MULTILINE)]
        took = times[-1] - times[1]
        run.check("masked/in-time", took < 15, f"{took} seconds")


MODELS = {
    "sandy-bridge": ("corei7_sandy_bridge_2600k", NO_X2APIC),
    "ivy-bridge": ("corei7_ivy_bridge_3770k", ()),
    "haswell": ("corei7_haswell_4770", ()),
}

def reports(run):
    """A line that a guest did not get to the end of is no result under a shorter name."""
    for name, text, expected in (
            ("cut", "ok one\nok tw\r\ntraprock: vm g: killed\r\n", [("g/one", True), ("g/tw...", False)]),
            ("whole", "ok one\nnot ok two: no\n", [("g/one", True), ("g/two", False)]),
            ("crlf", "ok one\r\nok two\r\n", [("g/one", True), ("g/two", True)]),
            ("named", "ok one\nother: ok two\r\nok three\n",
             [("g/one", True), ("g/two", True), ("g/three", True)]),
            ("none", "hello\n", [("g/report", False)])):
        trial = Run(Case("trial", None), run.files)
        trial.report_guest(text, "g")
        os.rmdir(trial.directory)
        found = [result[:2] for result in trial.results]
        run.check(f"reports/{name}", found == expected, f"{found}")


CASES = [reporting(name) for name in ("hello", "architecture", "ports", "mmio", "cpuid", "msr", "crs", "modes", "keys",
                                      "interrupts", "stepping", "timers", "reset")]
CASES += [reporting(name, model=model, variant=f"{name}-{short}", skips=skips)
          for short, (model, skips) in MODELS.items() for name in ("interrupts", "msr")]
CASES += [
    endless("spin", rb"^spinning"),
    endless("flood", rb"flood 20\r?$"),
    endless("debug_loop", rb"^looping", errors=False),
    endless("align_loop", rb"^looping", errors=False),
    Case("guest-keys-broken", broken_keys, seconds=25),
    Case("guest-reports", reports, seconds=1),
    Case("guest-poweroff", poweroff),
    Case("guest-triple-stop", triple_fault_stops),
    Case("guest-triple-reset", triple_fault_resets),
    Case("guest-reset-stop", reset_stops),
    Case("guest-no-debug-exit", no_debug_exit),
    Case("guest-other-debug-exit", other_debug_exit),
    Case("guest-escape-key", escape_key),
    Case("guest-undisturbed", undisturbed, seconds=25),
    Case("guest-two-guests", two_guests, seconds=60),
    Case("guest-masked-and-console", line_beside_a_masked_guest, seconds=25),
]
