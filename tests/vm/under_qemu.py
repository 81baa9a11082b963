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


# One that is like that of a guest with firmware: the older chipset, and disks where Traprock has them.
PC_LIKE_OURS = ("-machine", "pc,hpet=off,graphics=off", "-cpu", "Skylake-Server", "-nodefaults", "-vga", "none")


def disk_like_ours(name, index=0):
    return "-drive", f"if=none,id={name},format=raw,snapshot=on,file={name}", "-device", \
        f"virtio-blk-pci,drive={name},addr={3 + index}"


def by_qemu(run, *options, end=None, memory=128, resets=False, typed=()):
    """What a machine of QEMU's says on its serial line, and its exit status; it is ended when it
    has said `end`, or is reset, unless it may be. typed: (what it has to say, what is typed then)."""
    log = run.path("qemu.txt")
    with open(log, "wb"):
        pass
    deadline = time.monotonic() + QEMU_SECONDS * run.scale
    with subprocess.Popen(
            ["qemu-system-x86_64", "-accel", "tcg", "-m", str(memory), "-display", "none",
             *(() if resets else ("-no-reboot",)),
             "-chardev", f"stdio,id=line,signal=off,logfile={log}", "-serial", "chardev:line",
             "-device", "isa-debug-exit,iobase=0xf4,iosize=4", *options],
            cwd=run.directory, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True) as machine:
        text, at, typed = "", 0, list(typed)
        while machine.poll() is None and time.monotonic() < deadline:
            with open(log, encoding="latin-1", newline="") as file:
                text = file.read()
            if end is not None and end in text:
                break
            if typed and typed[0][0] in text[at:]:
                at = text.index(typed[0][0], at) + len(typed[0][0])
                machine.stdin.write(typed.pop(0)[1])
                machine.stdin.flush()
            time.sleep(0.2)
        ended = machine.poll()
        machine.kill()
        message = machine.communicate()[1]
    with open(log, encoding="latin-1", newline="") as file:
        text = file.read()
    if not text:
        raise CaseFailed("qemu: " + message.strip())
    return text.replace("\r", "").split("\n"), ended


class Pattern:
    """A line of the list; used says whether it has fit anything in this run of the tests."""

    used = set()  # (kind, pattern) of all

    def __init__(self, kind, text):
        self.kind, self.text, self.pattern = kind, text, re.compile(text)

    def fits(self, line):
        if self.pattern.fullmatch(line) is None:
            return False
        Pattern.used.add((self.kind, self.text))
        return True


def listed(kinds=None):
    """The patterns of these kinds of guests, or of all. One that stands under no reason is a mistake."""
    patterns, kind, reasoned = [], None, False
    with open(LIST, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if re.fullmatch(r"\[\w+\]", line):
                kind, reasoned = line[1:-1], False
            elif line.startswith("# "):
                reasoned = True
            elif not line:
                reasoned = False
            elif not reasoned:
                raise CaseFailed(f"qemu_differences.txt:{number}: a pattern without a reason")
            elif kinds is None or kind in kinds:
                patterns.append(Pattern(kind, line))
    return patterns


def stale():
    """What is listed and fits nothing, once all cases have run: it hides nothing now, and would hide
    what comes."""
    return [f"[{pattern.kind}] {pattern.text}" for pattern in listed()
            if (pattern.kind, pattern.text) not in Pattern.used]


def plain(line):
    """Without time stamps and orders to a terminal."""
    return STAMP.sub("", TERMINAL.sub("", line)).rstrip()


def compare(run, name, kind, ours, theirs, least=0):
    """Two consoles, which must have the same lines in the same order, but for those that are listed
    for that kind of guest, or those kinds, and empty ones; and `least` of them at least."""
    patterns = listed((kind,) if isinstance(kind, str) else kind)

    def kept(lines):
        bare = [plain(line) for line in lines]
        return [line for line in bare
                if line and not any([pattern.fits(line) for pattern in patterns])]

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
