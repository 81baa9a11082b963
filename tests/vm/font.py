#!/usr/bin/env python3
"""Convert a console font (PSF 1 or 2, gzipped or not) for drivers/host/framebuffer.c.

Usage: font.py FONT.psf[.gz] OUTPUT

OUTPUT: the magic "TRFN", then as 32-bit little-endian numbers the glyphs' width, height and number
(256), then the glyphs in the order of Latin-1, row by row, each row padded to whole bytes, leftmost
pixel in the top bit. A character that the font lacks gets the glyph of U+FFFD, or of '?'.
"""

import gzip
import struct
import sys

PSF1_MAGIC = b"\x36\x04"
PSF1_512 = 0x01
PSF1_TABLE = 0x02 | 0x04
PSF2_MAGIC = b"\x72\xb5\x4a\x86"
PSF2_TABLE = 0x01


def parse_psf1(data):
    mode, height = data[2], data[3]
    count = 512 if mode & PSF1_512 else 256
    glyphs = [data[4 + i * height:4 + (i + 1) * height] for i in range(count)]
    table = {}
    if mode & PSF1_TABLE:
        words = struct.iter_unpack("<H", data[4 + count * height:])
        glyph, sequence = 0, False
        for (word,) in words:
            if word == 0xFFFF:
                glyph, sequence = glyph + 1, False
            elif word == 0xFFFE:
                sequence = True
            elif not sequence:
                table.setdefault(word, glyph)
    return 8, height, glyphs, table


def parse_psf2(data):
    _, header, flags, count, size, height, width = struct.unpack_from("<7I", data, 4)
    glyphs = [data[header + i * size:header + (i + 1) * size] for i in range(count)]
    table = {}
    if flags & PSF2_TABLE:
        for glyph, entry in enumerate(data[header + count * size:].split(b"\xff")[:count]):
            for character in entry.split(b"\xfe")[0].decode("utf-8"):
                table.setdefault(ord(character), glyph)
    return width, height, glyphs, table


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], "rb") as file:
        data = file.read()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if data[:2] == PSF1_MAGIC:
        width, height, glyphs, table = parse_psf1(data)
    elif data[:4] == PSF2_MAGIC:
        width, height, glyphs, table = parse_psf2(data)
    else:
        sys.exit(f"font.py: {sys.argv[1]}: not a PSF font")
    if not table:
        table = {i: i for i in range(min(256, len(glyphs)))}
    missing = table.get(0xFFFD, table.get(ord("?"), 0))
    with open(sys.argv[2], "wb") as file:
        file.write(b"TRFN" + struct.pack("<3I", width, height, 256))
        for code in range(256):
            file.write(glyphs[table.get(code, missing)])


main()
