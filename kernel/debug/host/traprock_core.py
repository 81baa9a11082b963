"""A guest's core file as it comes from Traprock block by block, and the records that bring it over the channel
for dumps. docs/debugging.md describes both."""

import collections
import contextlib
import json
import os
import struct
import zlib

BLOCK = 65536


def unpack(packed, size, crc):
    """The block, or None where it is not whole."""
    try:
        data = zlib.decompress(packed, -15)
    except zlib.error:
        return None
    return data if len(data) == size and zlib.crc32(data) == crc else None


class Part:
    """The file as far as it has come, and a note beside it that says how far that is."""

    def __init__(self, path, identity, size, blocks):
        self.path, self.part, self.note = path, path + ".part", path + ".part.json"
        self.id, self.size, self.blocks = identity, size, blocks
        self.next = self._found()
        # Not to be followed or read over: what is there belongs to this dump.
        self.file = open(self.part, "r+b" if self.next else "w+b")

    def _found(self):
        with contextlib.suppress(OSError, ValueError, KeyError):
            with open(self.note, encoding="utf-8") as file:
                note = json.load(file)
            if note["id"] == self.id and note["size"] == self.size and os.path.exists(self.part):
                return int(note["next"])
        return 0

    def put(self, number, data):
        self.file.seek(number * BLOCK)
        self.file.write(data)

    def reached(self, number):
        self.next = number
        self.file.flush()
        with open(self.note + ".new", "w", encoding="utf-8") as file:
            json.dump({"id": self.id, "size": self.size, "next": number}, file)
        os.replace(self.note + ".new", self.note)

    def finish(self):
        self.file.truncate(self.size)
        self.file.close()
        os.replace(self.part, self.path)
        os.remove(self.note)


Record = collections.namedtuple("Record", "type numbers payload")


class RecordReader:
    """The bytes of the channel into records; what is none is skipped."""

    MAGIC, HEAD = b"TRDP", 32
    PAYLOAD_MAX = BLOCK + 64

    def __init__(self):
        self.data = bytearray()

    def feed(self, data):
        self.data += data
        while (start := self.data.find(self.MAGIC)) >= 0 and len(self.data) - start >= self.HEAD:
            del self.data[:start]
            head = bytes(self.data[:self.HEAD])
            kind, numbers = chr(head[4]), struct.unpack("<5I", head[8:28])
            length = numbers[4] if kind == "B" else numbers[2] if kind == "D" else 0
            if zlib.crc32(head[:28]) != struct.unpack("<I", head[28:])[0] or length > self.PAYLOAD_MAX:
                del self.data[:1]
                continue
            if len(self.data) < self.HEAD + length:
                return
            payload = bytes(self.data[self.HEAD:self.HEAD + length])
            del self.data[:self.HEAD + length]
            yield Record(kind, numbers, payload)
