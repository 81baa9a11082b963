#!/usr/bin/env python3
"""Takes a guest's core file from Traprock's shell, for gdb: traprock_dump.py LINE [GUEST]

LINE is where the shell is: a serial device, a pseudo-terminal of traprock_mux.py (its `shell`),
HOST:PORT or unix:PATH of a socket, or listen:PORT. Where the console is and no shell answers, the
escape key and c call it.

The guest stands meanwhile, and goes on afterwards. Blocks come compressed, zeros not at all; when the
line is cut, the same command goes on where it ended.
"""

import argparse
import base64
import binascii
import re
import select
import sys
import time

from traprock_core import Part, unpack
from traprock_mux import BAUDS, Line, Problem

TRIES = 8
SILENCE = 30.0        # seconds without a byte after which the line counts as cut
CALL_SECONDS = 3.0    # for the shell's prompt
PROMPT = b"(traprock) "
CONTROLS = re.compile(rb"\x1b\[[0-9;]*[A-Za-z]|[\a\b\r]")
HEAD = re.compile(r"^dump: (\S+) id ([0-9a-f]{8}) size (\d+) blocks (\d+)$", re.MULTILINE)
PIECE = re.compile(r"^dump: block (\d+) size (\d+) used (\d+) crc ([0-9a-f]{8})$")
LAST = re.compile(r"^dump: (?:next (\d+)|(end))$", re.MULTILINE)


class Cut(Exception):
    """The line has ended, or nothing comes any more."""


class Shell:
    """The monitor's, at the other end of a line."""

    def __init__(self, line):
        self.line = line

    def _read(self, seconds):
        """What comes next, or b"" when the time is up."""
        if not select.select([self.line.descriptor], [], [], seconds)[0]:
            return b""
        data = self.line.read()
        if data is None:
            raise Cut("the line has ended")
        return data

    def _send(self, data):
        self.line.output += data
        while self.line.output:
            if not self.line.flush():
                raise Cut("the line has ended")
            if self.line.output:
                select.select([], [self.line.descriptor], [], SILENCE)

    def _has_prompt(self, seconds):
        text, deadline = b"", time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            text += self._read(left)
            if CONTROLS.sub(b"", text).endswith(PROMPT):
                return True
        return False

    def call(self, escape):
        """Comes to the shell's prompt, with an empty line."""
        self._send(b"\x03\x15\r")
        if self._has_prompt(CALL_SECONDS):
            return
        self._send(escape + b"c")
        if not self._has_prompt(CALL_SECONDS):
            raise Cut("no shell answers")

    def ask(self, command):
        """What the command prints: from its echo, before which an earlier prompt may still come, to the next
        prompt."""
        self._send(command.encode() + b"\r")
        text, is_echoed = b"", False
        while True:
            piece = self._read(SILENCE)
            if not piece:
                raise Cut("nothing comes any more")
            text += piece
            if not is_echoed:
                echo = CONTROLS.sub(b"", text).rpartition(command.encode())
                is_echoed = b"\n" in echo[2] and echo[1] != b""
                text = command.encode() + echo[2] if is_echoed else text
            if is_echoed and CONTROLS.sub(b"", text[-200:]).endswith(PROMPT):
                return CONTROLS.sub(b"", text).decode(errors="replace")


def blocks_of(text):
    """Yields (number, bytes) of each block in the text; bytes are None where they are not whole."""
    lines = iter(text.split("\n"))
    for line in lines:
        head = PIECE.match(line)
        if not head:
            continue
        number, size, used = (int(head.group(i)) for i in (1, 2, 3))
        coded = "".join(next(lines, "") for _ in range((used + 89) // 90))
        try:
            yield number, unpack(base64.b64decode(coded, validate=True), size, int(head.group(4), 16))
        except binascii.Error:
            yield number, None


def take(shell, name, part, progress):
    """All blocks from part.next on."""
    tries = 0
    while part.next < part.blocks:
        said = shell.ask(f"dump {name} {part.next}")
        last = LAST.search(said)
        reached = part.blocks if last and last.group(2) else int(last.group(1)) if last else part.next
        for number, data in blocks_of(said):
            if data is None or number >= part.blocks:
                reached = min(reached, number)
                break
            part.put(number, data)
        if reached <= part.next:
            tries += 1
            if tries == TRIES:
                raise Problem(f"block {part.next} does not come: {said.strip()[-200:]}")
            continue
        tries = 0
        part.reached(reached)
        progress(part)


def show(part):
    sys.stderr.write(f"\rtraprock-dump: {part.next} of {part.blocks} blocks")
    sys.stderr.flush()


def dump(arguments):
    line = Line(arguments.line, arguments.baud)
    line.open()
    try:
        shell = Shell(line)
        shell.call(arguments.escape)
        shell.ask("terminal 80 0")
        said = shell.ask("dump " + arguments.guest if arguments.guest else "dump")
        head = HEAD.search(said)
        if not head:
            raise Problem(" ".join(said.split("\n")[1:-1]) or "the monitor has no such command")
        if "other end takes" in said:
            raise Problem("this line's shell comes by traprock_mux.py, which takes the file itself")
        path = arguments.output or head.group(1) + ".core"
        part = Part(path, head.group(2), int(head.group(3)), int(head.group(4)))
        take(shell, head.group(1), part, show if sys.stderr.isatty() else lambda _: None)
        part.finish()
        shell.ask(f"dump {head.group(1)} stop")
        shell.ask("terminal 80 24")
    finally:
        line.close()
    return path


def escape_key(text):
    match = re.fullmatch(r"ctrl-([a-z\]\\^_])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no escape key; write ctrl-a to ctrl-z, as in the configuration")
    return bytes((ord(match.group(1).upper()) & 0x1f,))


def main(words=None):
    parser = argparse.ArgumentParser(prog="traprock-dump", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("line", metavar="LINE")
    parser.add_argument("guest", metavar="GUEST", nargs="?", default="", help="the one that the shell means by default")
    parser.add_argument("-o", "--output", metavar="FILE", help="instead of GUEST.core")
    parser.add_argument("--baud", type=int, default=115200, choices=BAUDS, metavar="N", help="of a serial device")
    parser.add_argument("--escape", type=escape_key, default=b"\x01", metavar="KEY", help="the console's (ctrl-a)")
    arguments = parser.parse_args(words)
    try:
        print(dump(arguments))
    except (Problem, OSError) as problem:
        sys.stderr.write(f"traprock-dump: {problem}\n")
        return 1
    except Cut as cut:
        sys.stderr.write(f"traprock-dump: {cut}; what has come is kept, and the same command goes on there\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
