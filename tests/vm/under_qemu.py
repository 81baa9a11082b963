"""The same files under QEMU, without Traprock: what they say there, line by line.

What may differ is listed in qemu_differences.txt, by kinds of guests, with the reasons.
"""

import difflib
import os
import re
import subprocess
import time

from harness import HERE, CaseFailed

LIST = os.path.join(HERE, "qemu_differences.txt")
QEMU_SECONDS = 60
# A machine of QEMU's that is like Traprock's: PCI with ECAM, no HPET, no display, no network. Its time
# is that of its instructions, so that what else runs on this machine does not show.
LIKE_OURS = ("-machine", "q35,hpet=off", "-cpu", "Skylake-Server", "-nodefaults", "-vga", "none",
             "-icount", "shift=1,sleep=off", "-rtc", "clock=vm")
# The same at the pace of a slow emulator, for what waits for time to pass: 32 ns an instruction.
LIKE_OURS_SLOW = tuple("shift=5,sleep=off" if option.startswith("shift=") else option for option in LIKE_OURS)
TERMINAL = re.compile(r"\x1b(?:\[[0-9;?]*[a-zA-Z]|c)")
STAMP = re.compile(r"^\[ *\d+\.\d+\] ")
SHOWN = 6  # differences in a message


def by_qemu(run, *options, end=None, memory=128):
    """What a machine of QEMU's says on its serial line, and its exit status; it is ended when it
    has said `end`, since it would start anew."""
    log = run.path("qemu.txt")
    with open(log, "wb"):
        pass
    deadline = time.monotonic() + QEMU_SECONDS * run.scale
    with subprocess.Popen(
            ["qemu-system-x86_64", "-accel", "tcg", "-m", str(memory), "-display", "none", "-no-reboot",
             "-serial", "file:" + log, "-device", "isa-debug-exit,iobase=0xf4,iosize=4", *options],
            cwd=run.directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True) as machine:
        text = ""
        while machine.poll() is None and time.monotonic() < deadline:
            with open(log, encoding="latin-1", newline="") as file:
                text = file.read()
            if end is not None and end in text:
                break
            time.sleep(0.2)
        ended = machine.poll()
        machine.kill()
        message = machine.communicate()[1]
    with open(log, encoding="latin-1", newline="") as file:
        text = file.read()
    if not text:
        raise CaseFailed("qemu: " + message.strip())
    return text.replace("\r", "").split("\n"), ended


def listed(kind):
    """The patterns of a kind of guest. One that stands under no reason is a mistake."""
    patterns, here, reasoned = [], False, False
    with open(LIST, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if re.fullmatch(r"\[\w+\]", line):
                here, reasoned = line == f"[{kind}]", False
            elif line.startswith("# "):
                reasoned = True
            elif not line:
                reasoned = False
            elif not reasoned:
                raise CaseFailed(f"qemu_differences.txt:{number}: a pattern without a reason")
            elif here:
                patterns.append(re.compile(line))
    return patterns


def plain(line):
    """Without time stamps and orders to a terminal."""
    return STAMP.sub("", TERMINAL.sub("", line)).rstrip()


def compare(run, name, kind, ours, theirs, least=0):
    """Two consoles, which must have the same lines in the same order, but for those that are listed
    for that kind of guest, and empty ones; and `least` of them at least."""
    patterns = listed(kind)

    def kept(lines):
        bare = [plain(line) for line in lines]
        return [line for line in bare
                if line and not any(pattern.fullmatch(line) for pattern in patterns)]

    ours, theirs = kept(ours), kept(theirs)
    different = [line for line in difflib.unified_diff(theirs, ours, "qemu", "traprock", n=0, lineterm="")
                 if not line.startswith(("---", "+++", "@@"))]
    run.check(f"{name}/as-under-qemu", not different,
              f"{len(different)} lines (-: of QEMU, +: of Traprock): {different[:SHOWN]}")
    run.check(f"{name}/lines-under-qemu", len(ours) >= max(least, 1), f"{len(ours)} lines are left")


def screen(text):
    """What is drawn on a screen by orders that go to a place, up to the first place that is drawn on
    anew, in rows."""
    rows = {}
    for place in re.finditer(r"\x1b\[(\d+);1H([^\x1b]*(?:\x1b\[\d*m[^\x1b]*)*)", text):
        if int(place.group(1)) in rows:
            break
        rows[int(place.group(1))] = place.group(2)
    return [rows[row] for row in sorted(rows)]


def until(lines, text):
    """The lines to the first that has the text."""
    for number, line in enumerate(lines):
        if text in line:
            return lines[:number + 1]
    return lines
