"""Suites of guests: what a machine that reads the line learns of each one's end."""

import json
import re

from harness import Case, vm

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
    """Two at once, each with a time and a word of its own."""
    run.guest("say")
    conf = vm("a", kernel="say.elf", cmdline="good~n~h", expect="good", memory="4M") + \
        vm("b", kernel="say.elf", cmdline="x~h", timeout="200ms", reject="y", memory="4M")
    status, text = run.run_to_end(conf, cpus=2)
    ends = {result["name"]: result["outcome"] for result in results(text)}
    run.check("together/outcomes", ends == {"a": "expected", "b": "timeout"}, f"{ends}")
    run.check("together/status", status == 1, f"exit status {status}")


CASES = [
    Case("ci-sequence", sequence, seconds=30),
    Case("ci-verdicts", verdicts, seconds=30, limit=100),
    Case("ci-together", together, seconds=25),
]
