#!/usr/bin/env python3
"""The corpora of the fuzz targets, which are text in the tree: one input a line.

    corpus.py expand tests/fuzz/corpus/NAME.txt DIR    writes every input to a file of its own
    corpus.py pack DIR tests/fuzz/corpus/NAME.txt      the reverse, shortest first

A line is hexadecimal, or, where the input is mostly text, a string in double quotes with \\n, \\t,
\\", \\\\ and \\xNN. An input of more than 4096 bytes is left out when packing.
"""

import os
import re
import sys

SIZE_MAX = 4096
ESCAPES = {"n": b"\n", "t": b"\t", '"': b'"', "\\": b"\\"}
NAMES = {ord("\n"): "\\n", ord("\t"): "\\t", ord('"'): '\\"', ord("\\"): "\\\\"}


def decode(line):
    if not line.startswith('"'):
        return bytes.fromhex(line)
    if len(line) < 2 or not line.endswith('"'):
        raise ValueError(f"no closing quote: {line}")
    result = b""
    for match in re.finditer(r'\\x([0-9a-f]{2})|\\(.)|([^\\])', line[1:-1]):
        code, escape, plain = match.groups()
        if code is not None:
            result += bytes([int(code, 16)])
        elif escape is not None:
            result += ESCAPES[escape]
        else:
            result += plain.encode()
    return result


def encode(data):
    printable = sum(32 <= byte < 127 or byte in b"\n\t" for byte in data)
    if printable * 4 < len(data) * 3:
        return data.hex()
    return '"' + "".join(NAMES.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}")
                         for byte in data) + '"'


def read(name):
    with open(name, encoding="ascii") as file:
        return [decode(line.rstrip("\n")) for line in file if line.strip() and line[0] != "#"]


def expand(name, folder):
    os.makedirs(folder, exist_ok=True)
    for old in os.listdir(folder):
        os.unlink(os.path.join(folder, old))
    for number, data in enumerate(read(name)):
        with open(os.path.join(folder, f"{number:03}"), "wb") as file:
            file.write(data)


def pack(folder, name):
    inputs = set()
    for entry in os.listdir(folder):
        with open(os.path.join(folder, entry), "rb") as file:
            data = file.read()
        if 0 < len(data) <= SIZE_MAX:
            inputs.add(data)
    with open(name, "w", encoding="ascii") as file:
        for data in sorted(inputs, key=lambda data: (len(data), data)):
            file.write(encode(data) + "\n")


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in ("expand", "pack"):
        sys.exit(__doc__)
    (expand if sys.argv[1] == "expand" else pack)(sys.argv[2], sys.argv[3])


if __name__ == "__main__":
    main()
