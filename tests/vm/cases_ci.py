"""Suites of guests: what a machine that reads the line learns of each one's end."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree

from harness import HERE, Case, CaseFailed, vm

RESULT = re.compile(r"^traprock-result (\{.*\})\r?$", re.MULTILINE)
PAGES = re.compile(r"pages: (\d+) free after the guests, (\d+) before")


def results(text):
    """What each guest's line says, in the order of their ends."""
    return [json.loads(line) for line in RESULT.findall(text)]


def traprock(**keys):
    return "[traprock]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


# ---- One after the other -------------------------------------------------------------------------

# Guest, its keys, and how it ends: outcome, code.
ENDS = [
    ("hello", {"debug_exit": "0xf4"}, ("debug-exit", 0)),
    ("triple", {"on_reset": "stop"}, ("triple-fault", 0)),
    ("broken", {"kernel": "broken.elf"}, ("stopped", 0)),
    ("large", {"kernel": "hello.elf", "memory": "8G"}, ("stopped", 0)),
    ("reset", {"on_reset": "stop", "debug_exit": "0xf4"}, ("reset", 0)),
    ("disk", {"kernel": "hello.elf", "disk": "disk.bin", "debug_exit": "0xf4"}, ("debug-exit", 0)),
    ("disk-again", {"kernel": "hello.elf", "disk": "disk.bin", "debug_exit": "0xf4"}, ("debug-exit", 0)),
    ("hello-again", {"kernel": "hello.elf", "hvc": ["loop", "com2"], "debug_exit": "0xf4"}, ("debug-exit", 0)),
    ("poweroff", {"debug_exit": "0xf4"}, ("poweroff", 0)),
]


def sequence(run):
    """Whatever becomes of a guest, the next one follows, on one processor, in the same memory."""
    for name in ("hello", "triple", "reset", "poweroff"):
        run.guest(name)
    run.write("broken.elf", b"no kernel" * 100)
    run.write("disk.bin", b"\0" * (1 << 20))
    conf = traprock(run="sequence") + "".join(
        vm(name, **{"memory": "200M", **keys}) for name, keys, _ in ENDS)
    status, text = run.run_to_end(conf, com2="line")
    seen = results(text)
    for number, (name, _, end) in enumerate(ENDS):
        found = (seen[number]["name"], seen[number]["outcome"], seen[number]["code"]) \
            if number < len(seen) else None
        run.check(f"sequence/{name}", found == (name, *end), f"{found}")
    run.check("sequence/count", len(seen) == len(ENDS), f"{len(seen)} results")
    run.check("sequence/exit-status", status == 1, f"exit status {status}")
    run.check("sequence/console", re.search(r"^hello-again: ok hello\r?$", text, re.MULTILINE),
              "the console is not shown in lines")
    pages = PAGES.search(text)
    run.check("sequence/pages", pages and pages.group(1) == pages.group(2), f"{pages}")


# ---- What they say -------------------------------------------------------------------------------

PANIC = "Kernel~spanic~s-~snot~ssyncing:~sno~sinit~n"

# Name, what tests/guests/say does, keys, outcome, and what the line has besides: exactly, or within
# these bounds.
VERDICTS = [
    ("line", "all~stests~spassed~n~h", {"expect": "tests? p\\w+d"}, "expected",
     {"passed": True, "matched": "tests passed", "line": 6, "seconds": (0, 0.5)}),
    ("prompt", "login:~h", {"expect": "login:"}, "expected", {"passed": True, "seconds": (1, 1.3)}),
    ("no-newline", "done~h", {"expect": "^done$", "timeout": "300ms"}, "expected",
     {"passed": True, "matched": "done"}),
    ("end-of-exit", "done~d0", {"expect": "^done$"}, "expected", {"passed": True, "code": 0}),
    ("multi-line", "one~ntwo~nthree~n~h", {"expect": "one\\ntwo$\\n^th"}, "expected",
     {"passed": True, "matched": "one\ntwo\nth"}),
    ("any-order", "second~nfirst~n~h", {"expect": ["first", "second"]}, "expected",
     {"passed": True, "matched": "first"}),
    ("missing", "first~n~d0", {"expect": ["first", "second"]}, "debug-exit", {"passed": False, "missing": 7}),
    ("missing-poweroff", "first~n~q", {"expect": "second", "shutdown-port": "0x8900"}, "poweroff",
     {"passed": False, "missing": 6}),
    ("reject", "ok~n1~sfailed~n~h", {"reject": "[1-9]\\d* failed"}, "rejected",
     {"passed": False, "matched": "1 failed", "line": 6, "seconds": (1, 1.3)}),
    ("reject-beats", "passed~sfailed~n~h", {"expect": "passed", "reject": "failed"}, "rejected",
     {"passed": False, "matched": "failed"}),
    ("reject-first", "failed~npassed~n~h", {"expect": "passed", "reject": "failed"}, "rejected",
     {"passed": False, "matched": "failed"}),
    ("last-words", "BUG:~sone~w~stwo~n~d0", {"reject": "BUG"}, "rejected",
     {"passed": False, "matched": "BUG", "seconds": (0.1, 0.6)}),
    ("reject-at-end", "BUG~d0", {"reject": "BUG$"}, "rejected", {"passed": False, "matched": "BUG"}),
    ("dies-after", "ok~t", {"expect": "ok", "on-reset": "stop"}, "triple-fault", {"passed": False}),
    ("fails-after", "ok~d3", {"expect": "ok"}, "debug-exit", {"passed": False, "code": 3}),
    ("panic", PANIC + "~h", {"on-panic": "stop"}, "panic",
     {"passed": False, "matched": "Kernel panic - not syncing", "seconds": (1, 1.3)}),
    ("panic-ignored", PANIC + "~d0", {"on-panic": "ignore"}, "debug-exit", {"passed": True}),
    ("panic-resets", PANIC + "~h", {"on-panic": "reset", "timeout": "3s"}, "timeout",
     {"passed": False, "resets": (2, 2)}),
    ("pvpanic", "~p~h", {"pvpanic": "yes"}, "panic", {"passed": False}),
    ("pvpanic-ignored", "~p~d0", {"pvpanic": "yes", "on-panic": "ignore"}, "debug-exit", {"passed": True}),
    ("hangs", "x~h", {"timeout": "200ms"}, "timeout", {"passed": False, "seconds": (0.2, 0.21)}),
    ("halts", "x", {"timeout": "200ms"}, "timeout", {"passed": False, "seconds": (0.2, 0.21)}),
    ("resets", "x~t", {"timeout": "200ms"}, "timeout", {"passed": False, "seconds": (0.2, 0.3),
                                                          "resets": (2, 10000)}),
    ("escapes", "<\\\u00e4>~n~h", {"expect": "<.*>"}, "expected",
     {"passed": True, "matched": "<\\\u00c3\u00a4>"}),
    ("code", "~d5", {}, "debug-exit", {"passed": False, "code": 5}),
    ("success", "~d5", {"debug-exit-success": "5"}, "debug-exit", {"passed": True, "code": 5}),
    ("no-success", "~d0", {"debug-exit-success": "5"}, "debug-exit", {"passed": False, "code": 0}),
    ("success-expected", "yes~d5", {"debug-exit-success": "5", "expect": "^yes$"}, "expected",
     {"passed": True, "code": 5}),
    ("off", "bye~n~q", {"shutdown_port": "0x8900", "timeout": "10s"}, "poweroff", {"passed": True}),
]


def fits(value, wanted):
    return wanted[0] <= value <= wanted[1] if isinstance(wanted, tuple) else value == wanted


def verdicts(run):
    """What a guest says and how it ends, against what its configuration expects, rejects and allows."""
    run.guest("say")
    conf, lines = traprock(run="sequence"), {}
    for name, says, keys, _, _ in VERDICTS:
        lines[name] = conf.count("\n")
        conf += vm(name, kernel="say.elf", cmdline=says, debug_exit="0xf4", memory="4M", **keys)
    status, text = run.run_to_end(conf)
    seen = {result["name"]: result for result in results(text)}
    for name, _, _, outcome, wanted in VERDICTS:
        result = seen.get(name, {})
        wanted = {"outcome": outcome, **wanted}
        for key in ("line", "missing"):  # from 1, and behind the section's header, kernel and cmdline
            if key in wanted:
                wanted[key] += lines[name]
        wrong = [key for key, value in wanted.items() if key not in result or not fits(result[key], value)]
        run.check(f"verdict/{name}", not wrong, f"{wrong} in {result}")
    run.check("verdict/status", status == 1, f"exit status {status}")
    run.check("verdict/last-words-shown", re.search(r"^last-words: BUG: one two\r?$", text, re.MULTILINE),
              "the guest was cut off")


def together(run):
    """Three at once, each with a time or a word of its own, or both; one begins again and again."""
    run.guest("say")
    conf = vm("a", kernel="say.elf", cmdline="good~n~h", expect="good", memory="4M") + \
        vm("b", kernel="say.elf", cmdline="x~h", timeout="200ms", reject="y", memory="4M") + \
        vm("c", kernel="say.elf", cmdline="x~t", timeout="300ms", on_reset="stop", on_end="restart", memory="4M")
    status, text = run.run_to_end(conf, cpus=3)
    ends = {result["name"]: result["outcome"] for result in results(text)}
    run.check("together/outcomes", ends == {"a": "expected", "b": "timeout", "c": "timeout"}, f"{ends}")
    lives = [result["resets"] for result in results(text) if result["name"] == "c"]
    run.check("together/lives", lives and lives[0] > 1, f"{lives}")
    run.check("together/status", status == 1, f"exit status {status}")


# ---- Many ----------------------------------------------------------------------------------------

MANY = 100
MONITOR_MEMORY_MAX = 4096  # KiB


def many(run):
    """A hundred kernels, each with an initrd and a disk, all files of their own, in one start of the
    machine."""
    conf = traprock(run="sequence")
    for number in range(MANY):
        run.link(f"k{number}.elf", run.files.guest("exit_code"))
        run.write(f"i{number}", b"initrd")
        run.write(f"d{number}", bytes(512))
        conf += vm(f"g{number}", kernel=f"k{number}.elf", initrd=f"i{number}", disk=f"d{number}", cmdline="0",
                   debug_exit="0xf4", memory="4M", timeout="10s", reject="panic")
    status, text = run.run_to_end(conf)
    seen = results(text)
    run.check("many/results", [result["name"] for result in seen] == [f"g{n}" for n in range(MANY)],
              f"{len(seen)} results")
    run.check("many/passed", status == 0 and all(result["passed"] for result in seen), f"exit status {status}")
    used = [int(size) for size in re.findall(r"memory: (\d+) KiB for the monitor", text)]
    run.check("many/memory", used and max(used) <= MONITOR_MEMORY_MAX and max(used) - used[0] < 64, f"{used}")


# ---- make ci -------------------------------------------------------------------------------------


class Ci:
    """A run of ci.py, as `make ci` makes it."""

    def __init__(self, run, conf, *arguments):
        self.junit, self.tap, self.logs = run.path("out.xml"), run.path("out.tap"), run.path("logs")
        self.conf = run.write("suite.conf", conf)
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "ci.py"), "--conf", self.conf, "--efi", run.files.efi,
             "--config-tool", run.files.config_tool, "--host", "bochs", "--mem", "512", "--junit", self.junit,
             "--tap", self.tap, "--logs", self.logs, *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        self.run = run
        self.output = ""

    def wait(self):
        """Returns the exit status; self.output, self.tests and self.lines are there afterwards."""
        try:
            rest, _ = self.process.communicate(timeout=self.run.case.limit * self.run.scale)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            rest, _ = self.process.communicate()
            raise CaseFailed("make ci did not end") from None
        finally:
            self.output += rest if "rest" in locals() else ""
            self.run.log = self.output
        self.took = time.monotonic() - self.started
        root = xml.etree.ElementTree.parse(self.junit).getroot()
        self.suite = root.find("testsuite")
        self.tests = {case.get("name"): case for case in self.suite.findall("testcase")}
        with open(self.tap, encoding="utf-8") as file:
            self.lines = file.read().split("\n")
        return self.process.returncode

    def failed(self):
        return {name for name, case in self.tests.items()
                if case.find("failure") is not None or case.find("error") is not None}


SUITE = 30
SUITE_SECONDS = 40
SUITE_FAILS = {"s7": "~d3", "s20": "~h", "s25": "~t"}


def suite(run):
    """Thirty small guests, three of which fail: the exit status, the reports, the logs, the time."""
    run.guest("say")
    conf = "# A suite.\n" + traprock(run="sequence")
    for number in range(SUITE):
        name = f"s{number}"
        end = SUITE_FAILS.get(name, "~d0")
        conf += vm(name, kernel="say.elf", cmdline=f"<{number}>~sok~n{end}", debug_exit="0xf4", memory="16M",
                   timeout="500ms")
    ci = Ci(run, conf)
    status = ci.wait()
    run.check("suite/status", status == 1, f"exit status {status}")
    run.check("suite/junit", len(ci.tests) == SUITE + 1 and ci.failed() == set(SUITE_FAILS), f"{ci.failed()}")
    run.check("suite/junit-totals", (ci.suite.get("tests"), ci.suite.get("failures"), ci.suite.get("errors"))
              == (str(SUITE + 1), str(len(SUITE_FAILS)), "0"), f"{ci.suite.attrib}")
    run.check("suite/junit-console", ci.tests["s3"].findtext("system-out") == "<3> ok",
              f"{ci.tests['s3'].findtext('system-out')}")
    for name, wanted in (("s7", r"debug-exit with 3"), ("s20", r"timeout after 0\.5\d\d s of its time"),
                         ("s25", r"timeout after 0\.5\d\d s of its time and [1-9]\d* resets? \(on-reset = stop .*\)")):
        message = ci.tests[name].find("failure").get("message")
        run.check(f"suite/reason-{name}", re.fullmatch(wanted, message), message)
    numbered = [line for line in ci.lines if re.match(r"(not )?ok \d+ - ", line)]
    run.check("suite/tap", ci.lines[:2] == ["TAP version 13", f"1..{SUITE + 1}"]
              and numbered[7] == "not ok 8 - s7" and numbered[8] == "ok 9 - s8" and len(numbered) == SUITE + 1,
              f"{numbered}")
    run.check("suite/prefix", "\ns5: <5> ok\n" in ci.output, "the console is not shown")
    with open(os.path.join(ci.logs, "s9.log"), encoding="utf-8") as file:
        run.check("suite/log", file.read() == "<9> ok\n", "the guest's log")
    with open(os.path.join(ci.logs, "serial.log"), "rb") as file:
        run.check("suite/serial-log", b"traprock: exit" in file.read(), "the serial log")
    run.check("suite/time", ci.took < SUITE_SECONDS * run.scale, f"{ci.took:.1f} s")
    print(f"ci-suite: {SUITE} guests in {ci.took:.1f} s")


def children(process):
    """The processes that it has started, and those that they have, as (id, name)."""
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError), open(f"/proc/{int(entry)}/stat", encoding="utf-8") as file:
            name, rest = re.match(r"\d+ \((.*)\) (.*)", file.read()).groups()
            if int(rest.split()[1]) == process:
                found += [(int(entry), name), *children(int(entry))]
    return found


# Guests that cannot be, and what is said of each.
UNBORN = {
    "large": ({"memory": "8G"}, "memory = 8192 MiB: "),
    "tiny": ({"disk": "tiny.bin"}, "disk tiny.bin holds not even one sector"),
    "ports": ({"debug-exit": "0x3f8"}, "debug-exit port (is it another device's?)"),
    "bad": ({"kernel": "bad.elf"}, "bad.elf: truncated"),
    "pinned": ({"pin": "9"}, "pin = 9: there is no such processor"),
    "left": ({}, "no processor is left for it"),
}


def unborn(way):
    """Guests that cannot be built, at once with one that can, or in a row: it runs, and each of the
    others is reported with the reason."""

    def function(run):
        run.guest("say")
        run.write("tiny.bin", b"x" * 100)
        with open(run.path("say.elf"), "rb") as file:
            run.write("bad.elf", file.read()[:0x1001])
        names = [name for name in UNBORN if way == "parallel" or name not in ("pinned", "left")]
        conf = traprock(run=way)
        for name in [*names[:2], "good", *names[2:]]:
            keys = {"kernel": "say.elf", "cmdline": "fine~d0", "debug-exit": "0xf4", "memory": "4M"}
            conf += vm(name, **{**keys, **(UNBORN[name][0] if name in UNBORN else {})})
        ci = Ci(run, conf, "--cpus", "5")
        status = ci.wait()
        run.check(f"unborn-{way}/status", status == 1, f"exit status {status}")
        run.check(f"unborn-{way}/failed", ci.failed() == set(names), f"{ci.failed()}")
        run.check(f"unborn-{way}/good", ci.tests["good"].findtext("system-out") == "fine", "did not run")
        for name in names:
            failure = ci.tests[name].find("failure")
            run.check(f"unborn-{way}/{name}", failure is not None and UNBORN[name][1] in failure.text
                      and '"outcome": "stopped"' in failure.text,
                      "an error, and no failure" if failure is None else failure.text)
        run.check(f"unborn-{way}/all", "\ntraprock: exit 1\n" in ci.output, "no end of the run")

    return function


def nobody(run):
    """No guest at all can be built: results, and an end."""
    run.guest("say")
    ci = Ci(run, vm("a", kernel="say.elf", memory="8G") + vm("b", kernel="say.elf", pin="7"))
    status = ci.wait()
    run.check("nobody/status", status == 1, f"exit status {status}")
    run.check("nobody/failed", ci.failed() == {"a", "b"} and ci.suite.get("errors") == "0", f"{ci.failed()}")


def killed_emulator(run):
    """The emulator goes while a guest runs: that guest has no result, and the run says why."""
    run.guest("say")
    conf = vm("endless", kernel="say.elf", cmdline="begun~n~h", memory="4M", hvc="com2")
    ci = Ci(run, conf)
    for line in ci.process.stdout:
        ci.output += line
        if line == "endless: begun\n":
            break
    emulators = [process for process, name in children(ci.process.pid) if name.startswith("bochs")]
    for process in emulators:
        os.kill(process, signal.SIGKILL)
    status = ci.wait()
    run.check("killed/found", len(emulators) == 1, f"{emulators}")
    run.check("killed/status", status == 1, f"exit status {status}")
    run.check("killed/failed", ci.failed() == {"endless", "traprock"}, f"{ci.failed()}")
    run.check("killed/reason", "bochs ended by itself" in ci.tests["traprock"].find("error").get("message"),
              "no reason")
    run.check("killed/second-line", os.path.exists(os.path.join(ci.logs, "com2.log")), "no log of COM2")
    run.check("killed/console", ci.tests["endless"].findtext("system-out") == "begun", "no console")


def bounded_from_outside(run):
    """A guest without a timeout that never ends: TIMEOUT ends the run."""
    run.guest("say")
    limit = int(12 * run.scale)
    ci = Ci(run, vm("endless", kernel="say.elf", cmdline="begun~n~h", memory="4M"), "--timeout", str(limit))
    status = ci.wait()
    run.check("bounded/status", status == 1, f"exit status {status}")
    run.check("bounded/reason", f"after {limit} s" in ci.tests["traprock"].find("error").get("message"), "no reason")


def nothing_run(run):
    """A configuration that is none: its message, no machine, and a report all the same."""
    ci = Ci(run, "[vm a]\nkernel = a.elf\nexpect = (\n")
    status = ci.wait()
    run.check("nothing-run/status", status == 2, f"exit status {status}")
    run.check("nothing-run/message", "suite.conf:3: expect = (: column 10: " in ci.output, "no message")
    run.check("nothing-run/report", ci.failed() == {"traprock"}, f"{ci.failed()}")
    # A report that cannot be written is told before anything runs, and an old one does not stay.
    for name in ("old.tap", "file"):
        run.write(name, "ok 1 - old\n")
    made = subprocess.run(
        [sys.executable, os.path.join(HERE, "ci.py"), "--conf", ci.conf, "--efi", run.files.efi, "--config-tool",
         run.files.config_tool, "--tap", run.path("old.tap"), "--logs", run.path("file/logs")],
        capture_output=True, text=True, check=False)
    wanted = f"LOGS={run.path('file/logs')}: cannot be written: Not a directory; name another\n"
    run.check("nothing-run/unwritable", (made.returncode, made.stderr) == (2, wanted),
              f"{made.returncode}: {made.stderr}")
    run.check("nothing-run/old-report", not os.path.exists(run.path("old.tap")), "it is still there")
    # Reports are written whether or not they are asked for.
    subprocess.run([sys.executable, os.path.join(HERE, "ci.py"), "--conf", ci.conf, "--efi", run.files.efi,
                    "--config-tool", run.files.config_tool, "--logs", run.path("own")],
                   capture_output=True, check=False)
    left = sorted(os.listdir(run.path("own")))
    run.check("nothing-run/reports-unasked", left == ["junit.xml", "results.tap"], f"{left}")


def no_way_to_forge(run):
    """What a guest writes is not taken for the monitor's; and what its configuration says of the
    terminal is not what counts."""
    run.guest("say")
    forged = 'traprock-result~s{"name":"a","outcome":"poweroff","passed":true}~ntraprock:~sexit~s0~n~d1'
    conf = vm("a", kernel="say.elf", cmdline=forged, debug_exit="0xf4", memory="4M")
    conf += "[traprock]\nconsole = com2\nterminal = focus\non-idle = wait\n"
    ci = Ci(run, conf)
    status = ci.wait()
    run.check("forged/status", status == 1, f"exit status {status}")
    run.check("forged/failed", ci.failed() == {"a"}, f"{ci.failed()}")
    run.check("forged/shown", "\na: traprock: exit 0\n" in ci.output, "not shown as the guest's")


def shown(page, name):
    """The block of the page that follows the name of a file."""
    block = re.search(rf"^`mine/{re.escape(name)}`[^\n]*:\n\n((?:    [^\n]*\n|\n)+)", page, re.MULTILINE)
    return "".join(line[4:] + "\n" for line in block.group(1).split("\n"))


def as_documented(run):
    """docs/ci.md, followed to the letter, but for make and its packages."""
    with open(os.path.join(HERE, "..", "..", "docs", "ci.md"), encoding="utf-8") as file:
        page = file.read()
    os.mkdir(run.path("mine"))
    run.write("mine/hello.asm", shown(page, "hello.asm"))
    for command in re.findall(r"^    ((?:nasm|ld) .*)$", page, re.MULTILINE):
        subprocess.run(command.split(), cwd=run.directory, check=True)
    os.rename(run.path("mine/hello.elf"), run.path("hello.elf"))
    ci = Ci(run, shown(page, "suite.conf"))
    status = ci.wait()
    run.check("documented/status", status == 0, f"exit status {status}")
    run.check("documented/tests", set(ci.tests) == {"hello", "traprock"} and not ci.failed(), f"{ci.failed()}")


# ---- The pages' pipelines ------------------------------------------------------------------------

KERNELS = """kernels:
	mkdir -p out
	nasm -f elf32 -o out/hello.o hello.asm
	ld -m elf_i386 -n -Ttext 0x100000 -o out/hello.elf out/hello.o
	cp suite.conf out/
"""


def pipeline(page, title):
    """The lines of the YAML under the title."""
    section = page[page.index(f"\n## {title}\n"):].split("\n## ")[1]
    return [line[4:] for line in section.split("\n") if line.startswith("    ")]


def github_commands(lines):
    """The shell commands of the steps; a checkout of another repository is one, too."""
    commands = []
    for line in lines:
        step = re.match(r" *- run: (.*?)(?: +#.*)?$", line)
        other = re.match(r" *with: \{repository: (\S+), path: (\S+)\}$", line)
        if step:
            commands.append(step.group(1))
        elif other:
            commands.append(f"git clone -q https://HOST/{other.group(1)}.git {other.group(2)}")
    return commands


def gitlab_commands(lines):
    script = lines[next(n for n, line in enumerate(lines) if line.strip() == "script:") + 1:]
    found = []
    for line in script:
        command = re.match(r" +- (.*?)(?: +#.*)?$", line)
        if command is None:
            break
        found.append(command.group(1))
    return found


def artifacts(lines):
    """What the pipeline keeps: it has to be there."""
    text = "\n".join(lines)
    named = re.search(r'path: "([^"]+)"', text)
    return named.group(1).split("\\n") if named else \
        re.search(r"paths: \[(\S+)\]", text).group(1).split(", ") + re.findall(r"junit: (\S+?)\}", text)


def run_pipeline(run, title, lines, commands):
    """In a folder as a runner has it, with the project's repository where the page has an address; what
    apt-get installs is here already."""
    work, tools = run.path(title), run.path(title + "-tools")
    os.mkdir(work)
    os.mkdir(tools)
    with open(os.path.join(tools, "apt-get"), "w", encoding="utf-8") as file:
        file.write('#!/bin/sh\n[ "$1" = update ] || '
                   '{ [ "$1 $2" = "install -y" ] && shift 2 && dpkg -s "$@" >/dev/null; }\n')
    os.chmod(file.name, 0o755)
    with open(os.path.join(HERE, "..", "..", "docs", "ci.md"), encoding="utf-8") as file:
        page = file.read()
    for name, text in (("Makefile", KERNELS), ("hello.asm", shown(page, "hello.asm")),
                       ("suite.conf", shown(page, "suite.conf"))):
        run.write(os.path.join(title, name), text)
    env = dict(os.environ, PATH=tools + ":" + os.environ["PATH"], GIT_CONFIG_COUNT="2",
               GIT_CONFIG_KEY_0=f"url.{os.path.realpath(os.path.join(HERE, '..', '..'))}/.git.insteadOf",
               GIT_CONFIG_VALUE_0="https://HOST/OWNER/traprock.git", GIT_CONFIG_KEY_1="safe.directory",
               GIT_CONFIG_VALUE_1="*")
    env.pop("MAKEFLAGS", None)
    for command in commands:
        done = subprocess.run(["sh", "-ec", command], cwd=work, env=env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False,
                              timeout=run.case.limit * run.scale)
        if not run.check(f"{title}/{command.split()[0]}-{len(command)}", done.returncode == 0,
                         f"{command}: {done.returncode}: {(done.stdout + done.stderr)[-600:]}"):
            return
    missing = [name for name in artifacts(lines) if not os.path.exists(os.path.join(work, name))]
    run.check(f"{title}/artifacts", not missing, f"{missing}")
    tree = xml.etree.ElementTree.parse(os.path.join(work, "results.xml")).getroot()
    names = [case.get("name") for case in tree.iter("testcase")]
    run.check(f"{title}/results", names == ["hello", "traprock"], f"{names}")


def pipelines(run):
    """docs/ci.md's examples for GitHub and GitLab: every command of them, in their order."""
    with open(os.path.join(HERE, "..", "..", "docs", "ci.md"), encoding="utf-8") as file:
        page = file.read()
    for title, commands_of, least in (("GitHub Actions", github_commands, 4), ("GitLab", gitlab_commands, 4)):
        lines = pipeline(page, title)
        commands = commands_of(lines)
        run.check(f"{title}/commands", len(commands) >= least and "ci CONF=" in commands[-1], f"{commands}")
        run_pipeline(run, title, lines, commands)


CASES = [
    Case("ci-pipelines", pipelines, seconds=120, limit=400),
    Case("ci-as-documented", as_documented, seconds=20),
    Case("ci-many", many, seconds=40),
    Case("ci-suite", suite, seconds=40),
    Case("ci-unborn", unborn("parallel"), seconds=25),
    Case("ci-unborn-sequence", unborn("sequence"), seconds=15),
    Case("ci-nobody", nobody, seconds=15),
    Case("ci-killed", killed_emulator, seconds=20),
    Case("ci-bounded", bounded_from_outside, seconds=30),
    Case("ci-nothing-run", nothing_run, seconds=1),
    Case("ci-forged", no_way_to_forge, seconds=20),
    Case("ci-sequence", sequence, seconds=30),
    Case("ci-verdicts", verdicts, seconds=30, limit=100),
    Case("ci-together", together, seconds=25),
]
