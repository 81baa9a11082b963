#!/usr/bin/env python3
"""Boots a configuration without a terminal and reports what became of each guest.

    ci.py --conf CONF --efi BOOTX64.EFI --config-tool TOOL [--logs DIR] [--junit FILE] [--tap FILE]
          [--host HOST] [--mem MIB] [--cpus N] [--cpu MODEL] [--timeout S]

The guests' consoles come out in lines, with the guest's name before each. Every guest of the
configuration is a test, and the run itself is one more, `traprock`: it fails when the machine did
not come to its end. The exit status is 0 if all of them passed, 1 if not, 2 if nothing was run.
DIR (build/ci) has the whole serial line, the emulator's own messages, each guest's console, and the
reports, junit.xml and results.tap, that are not sent elsewhere.
"""

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from xml.sax.saxutils import escape, quoteattr

import host
import image

RESULT = "traprock-result "
STARTED = "traprock: starting"
GUEST_LINE = re.compile(r"([\w.-]+): ?(.*)", re.DOTALL)
CONF_LINE = re.compile(r"traprock\.conf:(\d+):")
SECTION = re.compile(rb"[ \t]*\[[ \t]*traprock[ \t]*\]")
TERMINAL = re.compile(rb"[ \t]*terminal[ \t]*=")
CONSOLE = re.compile(rb"[ \t]*console[ \t]*=")
SECOND_LINE = re.compile(rb"^[ \t]*(?:hvc|shell)[ \t]*=[ \t]*com2\b", re.MULTILINE)
CONSOLE_MAX = 1 << 16  # characters of a console in a report
ERRORS_MAX = 10        # lines of the log in one
UNPRINTABLE = re.compile("[^\t\n\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd]")


# ---- The configuration ---------------------------------------------------------------------------


class Configuration:
    """A copy of the user's in which no guest has the terminal for itself, so that each line is told
    whose it is, and none can be taken for the monitor's; and the console is the line that is read."""

    def __init__(self, path, tool):
        self.path = path
        self.added = 0  # the number of a line that the user's does not have; 0: there is none
        self.guests = self._guests(tool)
        with open(path, "rb") as file:
            self.text = self._with_lines(file.read())

    def _guests(self, tool):
        listed = subprocess.run([tool, "--guests", self.path], capture_output=True, text=True, check=False)
        if listed.returncode != 0:
            raise image.ImageError(listed.stderr.strip())
        return [(name, int(line)) for line, name in
                (each.split(" ", 1) for each in listed.stdout.splitlines())]

    def _with_lines(self, text):
        lines, inside, has_terminal = text.split(b"\n"), None, False
        for number, line in enumerate(lines):
            bare = line.removeprefix(b"\xef\xbb\xbf")
            if bare.lstrip().startswith(b"["):
                if inside is not None:
                    break
                inside = number if SECTION.match(bare) else None
            elif inside is not None and CONSOLE.match(bare):
                lines[number] = b"console = com1"
            elif inside is not None and TERMINAL.match(bare):
                lines[number], has_terminal = b"terminal = lines", True
        if inside is None:
            return text + b"\n[traprock]\nterminal = lines\n"
        if not has_terminal:
            self.added = inside + 2
            lines.insert(inside + 1, b"terminal = lines")
        return b"\n".join(lines)

    def line(self, number):
        """The line of the user's for one of the copy."""
        return number - (self.added != 0 and number >= self.added)


# ---- What comes over the line --------------------------------------------------------------------


class Console:
    """Takes the line apart while it comes: shows it, and keeps each guest's part and result."""

    def __init__(self, configuration, show):
        self.configuration = configuration
        self.show = show
        self.names = {name for name, _ in configuration.guests}
        self.said = {name: [] for name in self.names}
        self.results = {}
        self.errors = []  # lines of the monitor and the boot program
        self.begun = False
        self.rest = b""
        self.lock = threading.Lock()

    def put(self, piece):
        with self.lock:
            *lines, self.rest = (self.rest + piece).split(b"\n")
            for line in lines:
                self._line(line.decode(errors="replace").rstrip("\r"))

    def finish(self):
        with self.lock:
            if self.rest:
                self._line(self.rest.decode(errors="replace").rstrip("\r"))
            self.rest = b""

    def _line(self, line):
        # What firmware prints before is full of orders to a terminal.
        at = line.find(STARTED)
        if at >= 0 and not self.begun:
            self.begun, line = True, line[at:]
        if not self.begun:
            return
        match = GUEST_LINE.match(line)
        if match and match.group(1) in self.names:
            self.said[match.group(1)].append(match.group(2))
        else:
            line = CONF_LINE.sub(lambda found: f"{self.configuration.path}:"
                                 f"{self.configuration.line(int(found.group(1)))}:", line)
            self._own(line)
        self.show(UNPRINTABLE.sub("?", line))

    def _own(self, line):
        if line.startswith(RESULT):
            with contextlib.suppress(ValueError, TypeError, KeyError):
                result = json.loads(line[len(RESULT):])
                self.results.setdefault(result["name"], result)
        elif re.search(r"\berror: |\bpanic\b", line):
            self.errors.append(line)


# ---- Tests ---------------------------------------------------------------------------------------


class Test:
    def __init__(self, name, passed, seconds=0.0, message="", detail="", is_error=False):
        self.name, self.passed, self.seconds = name, passed, seconds
        self.message, self.detail, self.is_error = message, detail, is_error
        self.console = ""


def timed_out(result):
    """A kernel that crashes by a reset looks like one that hangs, but for these."""
    resets = result["resets"]
    text = f"timeout after {result['seconds']:.3f} s of its time"
    return text + (f" and {resets} reset{'s' * (resets != 1)} (on-reset = stop ends it at the first)"
                   if resets else "")


def why(result, configuration):
    """What a result that did not pass means, for a person."""
    outcome, place = result["outcome"], lambda key: f"{configuration.path}:{configuration.line(result[key])}"
    ended = timed_out(result) if outcome == "timeout" else outcome
    if "missing" in result and outcome in ("poweroff", "debug-exit", "timeout", "reset"):
        return f"{ended}, and what {place('missing')} expects did not come"
    if "matched" in result and outcome in ("rejected", "panic"):
        return f"{outcome}: {result['matched']!r} matches {place('line')}"
    if outcome == "debug-exit":
        return f"debug-exit with {result['code']}"
    return "stopped by the monitor, which says why" if outcome == "stopped" else ended


def guest_test(name, console, configuration, reason):
    result = console.results.get(name)
    if result is None:
        test = Test(name, False, message=f"no result: {reason}", is_error=True)
    else:
        passed = result.get("passed") is True
        test = Test(name, passed, result.get("seconds", 0.0),
                    result["outcome"] if passed else why(result, configuration), json.dumps(result))
    about = [line for line in console.errors if re.search(rf"[ :]{re.escape(name)}: ", line)]
    if not test.passed and about:
        test.detail = "\n".join([*about[-ERRORS_MAX:], test.detail])
    test.console = "\n".join(console.said[name])
    return test


def run_reason(status, machine):
    """Why the run was none; empty where it came to its end."""
    return {host.EXIT_TIMEOUT: f"the run was ended after {machine.timeout} s; TIMEOUT allows more",
            host.EXIT_DIED: f"{machine.options.host} ended by itself, status {machine.process.returncode}",
            host.EXIT_KILLED: "the run was interrupted",
            255: "the monitor panicked"}.get(status, "")


# ---- Reports -------------------------------------------------------------------------------------


def clean(text):
    """What XML may hold."""
    return UNPRINTABLE.sub(lambda found: f"\\x{ord(found.group()):02x}", text)


def junit_case(test, suite):
    head = f'    <testcase classname={quoteattr(suite)} name={quoteattr(test.name)} time="{test.seconds:.3f}">'
    lines = [head]
    if not test.passed:
        kind = "error" if test.is_error else "failure"
        lines.append(f"      <{kind} message={quoteattr(clean(test.message))}>"
                     f"{escape(clean(test.detail or test.message))}</{kind}>")
    if test.console:
        lines.append(f"      <system-out>{escape(clean(test.console[-CONSOLE_MAX:]))}</system-out>")
    return "\n".join([*lines, "    </testcase>"])


def junit(tests, suite, seconds):
    errors = sum(not test.passed and test.is_error for test in tests)
    failures = sum(not test.passed and not test.is_error for test in tests)
    totals = f'tests="{len(tests)}" failures="{failures}" errors="{errors}" time="{seconds:.3f}"'
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', f"<testsuites {totals}>",
                      f"  <testsuite name={quoteattr(suite)} {totals}>",
                      *(junit_case(test, suite) for test in tests), "  </testsuite>", "</testsuites>", ""])


def tap(tests):
    lines = ["TAP version 13", f"1..{len(tests)}"]
    for number, test in enumerate(tests, 1):
        lines.append(f"{'ok' if test.passed else 'not ok'} {number} - {test.name}")
        if not test.passed:
            lines += ["  ---", "  message: " + json.dumps(test.message), "  ..."]
    return "\n".join([*lines, ""])


def make_way(arguments):
    """Before minutes are spent: whether the reports and logs can be written; and those of an earlier
    run go, so that none of them is taken for this one's."""
    wrong = []
    for what, path in (("LOGS", arguments.logs), ("JUNIT", arguments.junit), ("TAP", arguments.tap)):
        try:
            if what == "LOGS":
                os.makedirs(path, exist_ok=True)
            else:
                os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
                with open(path, "ab"):
                    pass
                os.unlink(path)
        except OSError as error:
            wrong.append(f"{what}={path}: cannot be written: {error.strerror}; name another")
    if wrong:
        print(wrong[0], file=sys.stderr)
        sys.exit(2)


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def report(arguments, tests, started):
    """Writes the reports, and a line for each test; returns the exit status."""
    suite, failed = os.path.basename(arguments.conf), [test for test in tests if not test.passed]
    write(arguments.junit, junit(tests, suite, time.monotonic() - started))
    write(arguments.tap, tap(tests))
    print()
    for test in tests:
        print(f"{'ok    ' if test.passed else 'FAILED'} {test.name}"
              + (f" ({test.seconds:.3f} s)" if test.seconds else "")
              + (f": {clean(test.message)}" if test.message else ""))
    print(f"ci: {len(tests) - len(failed)} passed, {len(failed)} failed "
          f"({time.monotonic() - started:.0f} s)")
    return 1 if failed else 0


# ---- The run -------------------------------------------------------------------------------------


def make_image(arguments, configuration, directory):
    copy, out = os.path.join(directory, "traprock.conf"), os.path.join(directory, "disk.img")
    with open(copy, "wb") as file:
        file.write(configuration.text)
    files = [(path, copy if path == image.CONF_PATH else source,
              len(configuration.text) if path == image.CONF_PATH else size)
             for path, source, size in image.gather(arguments.conf, arguments.efi, arguments.config_tool)]
    image.image_write(files, out, image.SIZE_MULTIPLE)
    return out


def boot(arguments, configuration, console, disk):
    """Returns why the run was none, or an empty text."""
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(open(os.path.join(arguments.logs, "serial.log"), "wb", buffering=0))
        com2 = ("file", os.path.join(os.path.abspath(arguments.logs), "com2.log"))
        machine = host.Machine(disk, timeout=arguments.timeout, sinks=[log.write, console.put],
                               com2=com2 if SECOND_LINE.search(configuration.text) else None,
                               host=arguments.host, memory=arguments.mem, cpus=arguments.cpus,
                               cpu=arguments.cpu)
        stack.enter_context(machine)
        status = machine.wait()
    console.finish()
    reason = run_reason(status, machine)
    if not reason and status == host.EXIT_NOT_STARTED and not console.results:
        reason = "the machine did not run the guests" + "".join(f"; {line}" for line in console.errors[:1])
    with open(os.path.join(arguments.logs, "emulator.log"), "w", encoding="utf-8") as file:
        file.write(machine.emulator_log)
    for name, _ in configuration.guests:
        with open(os.path.join(arguments.logs, name + ".log"), "w", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in console.said[name]))
    return reason


def run(arguments, started):
    configuration = Configuration(arguments.conf, arguments.config_tool)
    console = Console(configuration, lambda line: print(line, flush=True))
    with tempfile.TemporaryDirectory(prefix="traprock-ci-") as directory:
        disk = make_image(arguments, configuration, directory)
        try:
            reason = boot(arguments, configuration, console, disk)
        except host.HostError as error:
            reason = str(error)
        except SystemExit as error:
            reason = f"the run was interrupted by signal {error.code - 128}"
    tests = [guest_test(name, console, configuration, reason or "the log says why")
             for name, _ in configuration.guests]
    detail = "\n".join([*console.errors[-ERRORS_MAX:], reason])
    tests.append(Test("traprock", not reason, message=reason, detail=detail, is_error=True))
    return report(arguments, tests, started)


def arguments_parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--conf", required=True)
    parser.add_argument("--efi", required=True)
    parser.add_argument("--config-tool", required=True)
    parser.add_argument("--logs", metavar="DIR", default="build/ci")
    parser.add_argument("--junit", metavar="FILE", help="(LOGS/junit.xml)")
    parser.add_argument("--tap", metavar="FILE", help="(LOGS/results.tap)")
    parser.add_argument("--host", default="auto", choices=("auto", "bochs", "qemu", "qemu-tcg"))
    parser.add_argument("--mem", type=host.memory_size, default=1024)
    parser.add_argument("--cpus", type=host.number(1, host.CPUS_MAX), default=1)
    parser.add_argument("--cpu")
    parser.add_argument("--timeout", type=host.number(1, 1000000), default=1800,
                        help="seconds on the wall for the whole run (%(default)s)")
    arguments = parser.parse_args()
    arguments.junit = arguments.junit or os.path.join(arguments.logs, "junit.xml")
    arguments.tap = arguments.tap or os.path.join(arguments.logs, "results.tap")
    return arguments


def main():
    arguments, started = arguments_parse(), time.monotonic()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    make_way(arguments)
    try:
        return run(arguments, started)
    except (image.ImageError, OSError) as error:
        print(error, file=sys.stderr)
        test = Test("traprock", False, message="nothing was run", detail=str(error), is_error=True)
        report(arguments, [test], started)
        return 2


if __name__ == "__main__":
    sys.exit(main())
