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


CASES = [
    Case("ci-sequence", sequence, seconds=30),
]
