"""What Traprock and its host's program say to each other on a serial line: frames, and channels in them.
docs/debugging.md describes both."""

import collections
import re
import struct
import time
import zlib

VERSION = 1
START, END, ESCAPE, ESCAPED = 0xfe, 0xfd, 0xfb, 0x20
SPECIAL = frozenset((START, END, ESCAPE, 0x0d, 0x0a, 0x11, 0x13, 0xff))
# Ours hold no control character, so that the rest of one that was cut, taken for keys, is no escape key.
ESCAPED_BY_US = SPECIAL | frozenset(range(0x20))
PAYLOAD_MAX = 128  # of the monitor's frames
PAYLOAD = 64       # of ours
WINDOW = 8         # frames of ours under way: the monitor's buffer has room for them

CONTROL, DIRECTORY, LOG, SHELL, GDB, DUMP, GUESTS = 0, 1, 2, 3, 4, 5, 8
MAGIC = b"traprock"
GRANT_MAX = 16384  # bytes that the monitor may send on a channel
GRANT_STEP = 1024


# ---- Frames --------------------------------------------------------------------------------------

Frame = collections.namedtuple("Frame", "channel sequence acknowledged payload")


def frame_encode(channel, sequence, acknowledged, payload=b""):
    body = bytes((channel, sequence, acknowledged)) + payload
    wire = bytearray((START,))
    for byte in body + struct.pack("<I", zlib.crc32(body)):
        wire += bytes((ESCAPE, byte ^ ESCAPED)) if byte in ESCAPED_BY_US else bytes((byte,))
    wire.append(END)
    return bytes(wire)


def frame_decode(raw):
    """The frame between its marks, or None."""
    body = bytearray()
    escaped = False
    for byte in raw:
        if byte == ESCAPE and not escaped:
            escaped = True
            continue
        body.append(byte ^ ESCAPED if escaped else byte)
        escaped = False
    if escaped or len(body) < 7 or struct.unpack("<I", body[-4:])[0] != zlib.crc32(body[:-4]):
        return None
    return Frame(body[0], body[1], body[2], bytes(body[3:-4]))


class FrameReader:
    """Bytes from the line into frames and what is plain text."""

    RAW_MAX = 2 * (3 + PAYLOAD_MAX + 4)

    def __init__(self):
        self.raw = None  # of a frame under way, without its START
        self.broken = 0

    def feed(self, data):
        """Yields Frame and bytes, in order. A frame that is cut short, as by a panic of the monitor,
        was none: what there is of it may be text."""
        plain = bytearray()
        for byte in data:
            if byte == START:
                plain += self._give_up()
                self.raw = bytearray()
            elif self.raw is None:
                plain.append(byte)
            elif byte == END:
                frame = frame_decode(self.raw)
                self.raw = None
                if plain and frame:
                    yield bytes(plain)
                    plain.clear()
                if frame:
                    yield frame
                else:
                    self.broken += 1
            elif (byte in SPECIAL and byte != ESCAPE) or len(self.raw) == self.RAW_MAX:
                plain += self._give_up()
                plain.append(byte)
            else:
                self.raw.append(byte)
        if plain:
            yield bytes(plain)

    def _give_up(self):
        raw, self.raw = self.raw, None
        if raw is None:
            return b""
        self.broken += 1
        # Text behind the last byte that no text has.
        return re.split(rb"[^\t\x1b-\x7e]", bytes(raw))[-1]


# ---- The link ------------------------------------------------------------------------------------


class Way:
    """One channel's counts, modulo 65536."""

    def __init__(self):
        self.sent = self.limit = self.received = self.granted = 0
        self.queue = bytearray()
        self.under_way = 0


class Link:
    """The protocol's state: numbers, what is under way, what may be sent. Pure: send is called with
    bytes for the line, deliver(channel, bytes) and named(channel, name) with what came."""

    def __init__(self, send, deliver, named, room, patience=5, clock=time.monotonic):
        self.send, self.deliver, self.named, self.room = send, deliver, named, room
        self.patience, self.clock = patience, clock
        self.token = 0
        self.is_up = False
        self.heard = 0.0
        self.resent = 0
        self.begin()

    def begin(self):
        """Nothing is known of a monitor, or it knows nothing of us."""
        self.ways = {}
        self.next = self.oldest = self.expected = 0
        self.under_way = collections.deque()  # (channel, payload), from number `oldest` on
        self.has_rejected = self.owes_state = False
        self.record = bytearray()
        self.directory = Way()

    def way(self, channel):
        return self.ways.setdefault(channel, Way())

    # ---- Sending ----

    def _frame(self, channel, sequence, payload):
        self.owes_state = False
        self.send(frame_encode(channel, sequence, self.expected, payload))

    def control(self, payload):
        self._frame(CONTROL, self.next, payload)

    def hello(self):
        self.control(b"H" + MAGIC + bytes((VERSION, self.patience)) + struct.pack("<I", self.token))

    def poll(self):
        self.has_rejected = False
        self.control(b"P")

    def goodbye(self):
        self.control(b"B")
        self.is_up = False

    def write(self, channel, data):
        self.way(channel).queue += data
        self.pump()

    def drop(self, channel):
        """What the monitor still has for this channel is for nobody."""
        self.directory.queue += bytes((ord("D"), channel, 0))
        self.pump()

    def waits(self):
        """Whether something is to be sent, or acknowledged."""
        return bool(self.under_way or self.directory.queue or any(way.queue for way in self.ways.values()))

    def pump(self):
        if not self.is_up:
            return
        while len(self.under_way) < WINDOW:
            if not self._send_one(DIRECTORY, self.directory, 65535) and \
                    not any([self._send_one(channel, way, (way.limit - way.sent) % 65536)
                             for channel, way in list(self.ways.items())]):
                return

    def _send_one(self, channel, way, allowed):
        count = min(len(way.queue), PAYLOAD, allowed if allowed < 32768 or channel == DIRECTORY else 0)
        if count == 0 or len(self.under_way) >= WINDOW:
            return False
        payload = bytes(way.queue[:count])
        del way.queue[:count]
        way.sent = (way.sent + count) % 65536
        self._frame(channel, self.next, payload)
        self.under_way.append((channel, payload))
        self.next = (self.next + 1) % 256
        return True

    def _send_again(self):
        for index, (channel, payload) in enumerate(self.under_way):
            self.resent += 1
            self._frame(channel, (self.oldest + index) % 256, payload)

    def grant(self):
        """Lets the monitor send as much as there is room for."""
        for channel, way in self.ways.items():
            limit = way.received + min(self.room(channel), GRANT_MAX)
            more = (limit - way.granted) % 65536
            if 0 < more < 32768 and (more >= GRANT_STEP or way.granted == way.received):
                way.granted = limit % 65536
                self.directory.queue += struct.pack("<BBBH", ord("G"), channel, 2, way.granted)

    def serve(self):
        """After frames have come."""
        if not self.is_up:
            return
        self.grant()
        self.pump()
        if self.owes_state:
            self.control(b"A")

    # ---- Receiving ----

    def receive(self, frame):
        self.heard = self.clock()
        if frame.channel == CONTROL and frame.payload[:1] == b"W" and len(frame.payload) >= 7:
            self._welcome(frame)
        if not self.is_up:
            return
        self._acknowledge(frame.acknowledged)
        if frame.channel == CONTROL:
            self._control(frame)
        elif frame.sequence == self.expected:
            self.expected = (self.expected + 1) % 256
            self.has_rejected = False
            self.owes_state = True
            self._data(frame)
        else:
            self.owes_state = True
            self._look_for_gap(frame.sequence)

    def _welcome(self, frame):
        goes_on, token = frame.payload[2], struct.unpack("<I", frame.payload[3:7])[0]
        if not (goes_on and token == self.token) and not (self.is_up and token == self.token):
            self.begin()
        self.token = token
        self.is_up = True

    def _acknowledge(self, number):
        count = (number - self.oldest) % 256
        if count > len(self.under_way):
            return
        for _ in range(count):
            self.under_way.popleft()
        self.oldest = number

    def _control(self, frame):
        kind = frame.payload[:1]
        if kind == b"R":
            self._send_again()
        elif kind in (b"A", b"P"):
            self.owes_state = self.owes_state or kind == b"P"
            self._look_for_gap(frame.sequence)
        elif kind == b"B":
            self.is_up = False

    def _look_for_gap(self, number):
        if 0 < (number - self.expected) % 256 < 128 and not self.has_rejected:
            self.has_rejected = True
            self.control(b"R")

    def _data(self, frame):
        if frame.channel == DIRECTORY:
            self.record += frame.payload
            while self._take_record():
                pass
            return
        way = self.way(frame.channel)
        way.received = (way.received + len(frame.payload)) % 65536
        self.deliver(frame.channel, frame.payload)

    def _take_record(self):
        record = self.record
        if len(record) < 3 or len(record) < 3 + record[2]:
            return False
        kind, channel, data = record[0], record[1], bytes(record[3:3 + record[2]])
        del record[:3 + len(data)]
        if kind == ord("G") and len(data) == 2:
            self.way(channel).limit = struct.unpack("<H", data)[0]
        elif kind == ord("N"):
            self.way(channel)
            self.named(channel, data.decode("ascii", "replace"))
        return True
