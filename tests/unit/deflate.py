#!/usr/bin/env python3
"""kernel/debug/deflate.c against zlib: deflate.py LIBRARY"""

import ctypes
import glob
import os
import random
import sys
import zlib

CASES = 400
MOST = 65536


def inputs():
    random.seed(1)
    yield b""
    yield bytes(MOST)
    yield random.randbytes(MOST)
    sources = b""
    for name in sorted(glob.glob(os.path.join(os.path.dirname(os.path.abspath(__file__)), "*.c"))):
        with open(name, "rb") as file:
            sources += file.read()
    for _ in range(CASES):
        size = random.choice((random.randint(0, 400), random.randint(0, MOST)))
        kind = random.randrange(4)
        if kind == 0:
            yield bytes(random.choices(b"ab", k=size))
        elif kind == 1:
            piece = random.randbytes(random.randint(1, 40000))
            yield (piece * (size // len(piece) + 1))[:size]
        elif kind == 2:
            start = random.randrange(len(sources) - MOST)
            yield sources[start:start + size]
        else:
            yield b"".join(bytes([random.randrange(256)]) * random.randint(1, 600) for _ in range(size // 300))[:size]


def main():
    library = ctypes.CDLL(sys.argv[1])
    library.deflate_all.restype = ctypes.c_size_t
    library.deflate_all.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p)
    library.core_crc32.restype = ctypes.c_uint32
    library.core_crc32.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
    state, to = ctypes.create_string_buffer(1 << 16), ctypes.create_string_buffer(MOST + 64)
    before = after = 0
    for data in inputs():
        used = library.deflate_all(state, data, len(data), to)
        inflate = zlib.decompressobj(-15)
        good = inflate.decompress(to.raw[:used]) == data and inflate.eof and not inflate.unused_data
        good = good and library.core_crc32(data, len(data)) == zlib.crc32(data)
        if not good:
            print(f"not ok deflate-zlib: {len(data)} bytes, {data[:20].hex()}...")
            return 1
        before, after = before + len(data), after + used
    print("ok deflate-zlib")
    print(f"# {before} bytes became {after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
