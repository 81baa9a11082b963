#!/usr/bin/env python3
"""Symbols of a Linux kernel, from the table that it carries for its own backtraces.

    kallsyms.py VMLINUX --map FILE    writes them as a System.map
    kallsyms.py VMLINUX --elf FILE    writes an ELF file with nothing but them, for gdb

Debian's packages have no System.map, and their vmlinux no symbols; but a kernel with CONFIG_KALLSYMS_ALL
knows all of its names. The layout is that of x86-64 kernels with relative addresses
(CONFIG_KALLSYMS_BASE_RELATIVE, Linux 4.6 to 6.3): offsets of 4 bytes, their base, the count, the names
one after the other, a marker for each 256 of them, with Debian's 6.1 their order by name, 256 tokens, and
where each token begins. A name is a length and so many numbers of tokens; the first letter of the text is
the symbol's type.
"""

import argparse
import struct
import subprocess
import sys
import tempfile

MIB = 1 << 20
DIGITS = b"".join(b"%d\0" % digit for digit in range(10))


class NotFound(Exception):
    pass


def token_table(image):
    """Offset of the first token. Digits are tokens of themselves, at their ASCII numbers."""
    at = image.find(DIGITS)
    while at >= 0:
        start = at
        for _ in range(ord("0")):
            start = image.rfind(b"\0", 0, max(start - 1, 0)) + 1
        end = start
        for _ in range(256):
            end = image.find(b"\0", end) + 1
        index = -(-end // 8) * 8
        if index + 512 <= len(image):
            offsets = struct.unpack_from("<256H", image, index)
            if offsets[0] == 0 and start + offsets[ord("0")] == at and start + offsets[255] < end:
                return start, [image[start + offset:image.index(b"\0", start + offset)] for offset in offsets]
        at = image.find(DIGITS, at + 1)
    raise NotFound("no table of tokens")


def name_offsets(image, start, count, end):
    """Where each name begins, from start on; None where they reach beyond end."""
    at, offsets = start, []
    for _ in range(count):
        offsets.append(at - start)
        at += image[at] + 1
        if at > end:
            return None
    return offsets


def names_before(image, markers_at):
    """Offset of the first name, and where each one is from there: behind their count, before the
    markers, and as those say. None: these are no markers."""
    for start in range(markers_at - 8, max(markers_at - 8 * MIB, 32), -8):
        count = struct.unpack_from("<I", image, start - 8)[0]
        # A name has a byte at least beside its length, and the names fill the room but for a few bytes.
        if not 1000 <= count <= (markers_at - start) // 2 or image[start - 4:start] != bytes(4):
            continue
        markers = struct.unpack_from(f"<{-(-count // 256)}I", image, markers_at)
        if markers[-1] >= markers_at - start:
            continue
        offsets = name_offsets(image, start, count, markers_at)
        if offsets is not None and tuple(offsets[::256]) == markers:
            return start, offsets
    return None


def find_names(image, table):
    """The same, from the tokens. The markers lie before these, in some versions with a table between
    them: numbers that rise from 0."""
    for at in range(table // 8 * 8 - 32, max(table - 4 * MIB, 0), -8):
        first = struct.unpack_from("<6I", image, at)
        if first[0] == 0 and all(256 < b - a < 65536 for a, b in zip(first, first[1:])):
            found = names_before(image, at)
            if found is not None:
                return found
    raise NotFound("no names before the tokens")


def symbols(image):
    """[(address, type, name)] in the table's order."""
    table, token = token_table(image)
    start, offsets = find_names(image, table)
    base = struct.unpack_from("<Q", image, start - 16)[0]
    first = (start - 16 - 4 * len(offsets)) // 8 * 8
    places = struct.unpack_from(f"<{len(offsets)}i", image, first)
    if base >> 63 == 0:
        raise NotFound(f"their base is 0x{base:x}")
    found = []
    for offset, place in zip(offsets, places):
        at = start + offset
        text = b"".join(token[number] for number in image[at + 1:at + 1 + image[at]]).decode("ascii")
        # CONFIG_KALLSYMS_ABSOLUTE_PERCPU: what is not negative is no address but an offset.
        found.append((place if place >= 0 else base - 1 - place, text[0], text[1:]))
    return found


def write_map(path, found):
    with open(path, "w", encoding="ascii") as file:
        for address, kind, name in found:
            file.write(f"{address:016x} {kind} {name}\n")


def write_elf(path, found):
    """gdb takes the names of code only from a section that has them: one without contents, since it
    reads the guest's memory."""
    kernel = [(address, kind, name) for address, kind, name in found if address >> 63]
    low = min(address for address, _, _ in kernel) & ~0xfff
    high = max(address for address, _, _ in kernel) + 0x1000
    lines, seen = ['.section .kernel, "ax", @nobits', "kernel_image:", f".skip {high - low}"], set()
    for address, kind, name in kernel:
        if name in seen:  # of several files; gdb would not know which is meant
            continue
        seen.add(name)
        lines.append(f'.set "{name}", kernel_image + {address - low}')
        lines.append(f'.type "{name}", {"@function" if kind in "tTwW" else "@object"}')
        if kind.isupper():
            lines.append(f'.globl "{name}"')
    with tempfile.NamedTemporaryFile("w", suffix=".s") as source, tempfile.NamedTemporaryFile(suffix=".o") as code:
        source.write("\n".join(lines) + "\n")
        source.flush()
        subprocess.run(["as", "--64", "-o", code.name, source.name], check=True)
        subprocess.run(["ld", f"--section-start=.kernel=0x{low:x}", "-e", "0", "-z", "max-page-size=4096", "-o", path,
                        code.name], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("vmlinux")
    parser.add_argument("--map")
    parser.add_argument("--elf")
    arguments = parser.parse_args()
    with open(arguments.vmlinux, "rb") as file:
        image = file.read()
    try:
        found = symbols(image)
    except NotFound as error:
        sys.exit(f"kallsyms.py: {arguments.vmlinux}: {error}; is it an uncompressed x86-64 kernel, Linux 4.6 to 6.3?")
    if arguments.map:
        write_map(arguments.map, found)
    if arguments.elf:
        write_elf(arguments.elf, found)


if __name__ == "__main__":
    main()
