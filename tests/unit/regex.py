#!/usr/bin/env python3
"""Compares kernel/vm/regex*.c with Python's re on random patterns and texts: regex.py LIBRARY [COUNT]

For each text it must agree after every byte, with the text ending there, whether there has been a
match, and how long the longest one is that ends with the first byte at which there is one.
"""

import ctypes
import random
import re
import sys
import warnings

PROGRAM_SIZE, ROOM_SIZE, RUN_SIZE = 16384, 16384, 8192
ATOMS = ["a", "b", "c", ".", "[ab]", "[^a]", "[b-c]", "\\w", "\\d", "\\s", "\\W", "x", "1", " ", "\\n", "[^\\n1]",
         "\\.", "[]a]", "[^]a-b]", "\\x61", "A", "[A-b]", "_"]
REPEATS = ["*", "+", "?", "{2}", "{1,3}", "{2,}", "{0,2}", "{0}", "{0,}"]
BYTES = "aaabbbcx1 \n_.A\n"


def make(depth):
    """A random pattern."""
    pieces = []
    for _ in range(random.randint(1, 3)):
        kind = random.randrange(12)
        if kind < 2:
            pieces.append("^$"[kind])
            continue
        if kind < 5 and depth > 0:
            options = "|".join(make(depth - 1) for _ in range(random.randint(1, 3)))
            piece = random.choice(("(", "(?:")) + options + ")"
        else:
            piece = random.choice(ATOMS)
        pieces.append(piece + (random.choice(REPEATS) if random.randrange(3) == 0 else ""))
    return "".join(pieces)


class Error(ctypes.Structure):
    _fields_ = [("at", ctypes.c_size_t), ("what", ctypes.c_char_p)]


class Regex:
    """A pattern as the monitor understands it."""

    def __init__(self, library, pattern):
        self.library = library
        self.program = ctypes.create_string_buffer(PROGRAM_SIZE)
        self.room = (ctypes.c_uint64 * (ROOM_SIZE // 8))()
        self.run = (ctypes.c_uint64 * (RUN_SIZE // 8))()
        self.error = Error()
        self.is_right = library.regex_add(self.program, pattern, ctypes.c_size_t(len(pattern)),
                                          ctypes.byref(self.error)) == 0
        if self.is_right:
            library.regex_finish(self.program)

    def search(self, text):
        """For each prefix of the text: whether there has been a match if it ends there; and of the
        first byte that completes one, (the text's length up to it, the match's length)."""
        self.library.regex_init(self.run, self.program, self.room)
        found, seen, first = [], False, None
        for count in range(len(text) + 1):
            ended = self.library.regex_put_end(self.run) != 0
            found.append(seen or ended)
            if count == len(text):
                break
            at_end = count
            if self.library.test_regex_put(self.run, text[count]) != 0 and first is None:
                first = count + 1
                length = self.library.regex_find(self.run, 0, text, ctypes.c_size_t(first), True, False)
                if length == 0:  # it ended before the newline
                    first = at_end
                    length = self.library.regex_find(self.run, 0, text, ctypes.c_size_t(first), True, True)
                first = (first, length)
            seen = seen or first is not None
        return found, first


class Expected:
    """What Python says."""

    def __init__(self, pattern):
        self.whole = re.compile(pattern, re.MULTILINE)
        self.before_last = re.compile(b"(?:" + pattern + rb")(?=(?s:.)\Z)", re.MULTILINE)

    def first(self, text):
        for count in range(1, len(text) + 1):
            # \x01 is no end of a line, whatever follows in truth.
            match = self.before_last.search(text[:count] + b"\x01")
            if text[count - 1:count] == b"\n" and not match:
                count -= 1
                match = self.before_last.search(text[:count] + b"\n")
            if match:
                return count, count - match.start()
        return None


def compare(library, pattern):
    """Returns how many texts were compared, and how many matched."""
    regex = Regex(library, pattern)
    if not regex.is_right:
        if b"stands" not in regex.error.what and b"large" not in regex.error.what:
            raise SystemExit(f"not ok regex-as-python\n# {pattern}: {regex.error.what}")
        return 0, 0
    expected, matched = Expected(pattern), 0
    for _ in range(8):
        text = "".join(random.choices(BYTES, k=random.randint(0, 16))).encode()
        found, first = regex.search(text)
        wanted = [expected.whole.search(text[:count]) is not None for count in range(len(text) + 1)]
        wanted_first = expected.first(text)
        if found != wanted or first != wanted_first:
            raise SystemExit(f"not ok regex-as-python\n# {pattern} on {text}: {found} {first}, "
                             f"Python {wanted} {wanted_first}")
        matched += found[-1]
    return 8, matched


def main():
    warnings.simplefilter("ignore")
    library = ctypes.CDLL(sys.argv[1])
    library.regex_find.restype = ctypes.c_size_t
    library.regex_find.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_char_p, ctypes.c_size_t,
                                   ctypes.c_bool, ctypes.c_bool]
    random.seed(1)
    compared = matched = 0
    for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 1500):
        count, matches = compare(library, make(2).encode())
        compared += count
        matched += matches
    if not 0.1 < matched / compared < 0.9:
        raise SystemExit(f"not ok regex-as-python\n# {matched} of {compared} matched: hardly a test")
    print("ok regex-as-python")


if __name__ == "__main__":
    main()
