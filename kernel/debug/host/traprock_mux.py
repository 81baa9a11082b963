#!/usr/bin/env python3
"""Splits a machine's serial line, on which Traprock's console is, into several: the monitor's log goes
to standard output, its shell and each guest's console are pseudo-terminals, gdb finds the guests at a
TCP port, and dumps are written to files.

LINE is a serial device (/dev/ttyUSB0), HOST:PORT or unix:PATH of a socket, as QEMU, ser2net and
terminal servers have it, or listen:PORT, to which an emulator connects.

Where no monitor answers, this is a plain terminal. Ctrl-] ends it. docs/debugging.md describes it, and
the format of the frames on the line.
"""

import argparse
import contextlib
import errno
import os
import re
import selectors
import select
import signal
import socket
import stat
import struct
import sys
import termios
import time
import tty

from traprock_core import Part, RecordReader, unpack
from traprock_link import DUMP, GDB, GRANT_MAX, GUESTS, LOG, SHELL, Frame, FrameReader, Link

HELLO_SECONDS = 1.0  # between two
HELLO_TIMES = 3
POLL_BUSY, POLL_IDLE = 0.25, 0.5
RECONNECT_SECONDS = 1.0
NOTE_SECONDS = 1.0
OPEN_SECONDS = 0.2   # between two looks whether somebody has opened a pseudo-terminal
QUEUE_MAX = 4096     # bytes typed that wait for the monitor
KEPT_MAX = 65536     # of a console that nobody has opened
END_KEY = 0x1d       # Ctrl-]
BAUDS = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600)


class Problem(Exception):
    """What the user has to be told, and then the program ends."""


def say(text):
    sys.stderr.write(f"traprock-mux: {text}\n")
    sys.stderr.flush()


# ---- The line ------------------------------------------------------------------------------------


def open_device(path, baud):
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISSOCK(mode):
            return open_socket(socket.AF_UNIX, path, path)
        descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except PermissionError as error:
        raise Problem(f"{path}: {error.strerror}; serial devices belong to a group, often dialout") from error
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}") from error
    if not os.isatty(descriptor):
        os.close(descriptor)
        raise Problem(f"{path} is no serial device; LINE is a device, HOST:PORT, unix:PATH or listen:PORT")
    tty.setraw(descriptor)
    settings = termios.tcgetattr(descriptor)
    settings[2] |= termios.CLOCAL | termios.CREAD
    settings[2] &= ~(termios.CRTSCTS | termios.HUPCL)
    settings[4] = settings[5] = getattr(termios, f"B{baud}")
    termios.tcsetattr(descriptor, termios.TCSANOW, settings)
    return descriptor


def open_socket(family, address, name):
    end = socket.socket(family, socket.SOCK_STREAM)
    try:
        end.settimeout(10)
        end.connect(address)
    except OSError as error:
        end.close()
        raise Problem(f"{name}: {error.strerror or error}") from error
    if family != socket.AF_UNIX:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    end.setblocking(False)
    return end.detach()


def open_tcp(host, port, name):
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Problem(f"{name}: {error.strerror or error}") from error
    for index, (family, _, _, _, address) in enumerate(found):
        try:
            return open_socket(family, address, name)
        except Problem:
            if index == len(found) - 1:
                raise
    raise Problem(f"{name}: no address")


def open_listener(host, port, what):
    try:
        return socket.create_server((host, port), backlog=1)
    except (OSError, OverflowError) as error:
        why = os.strerror(error.errno) if getattr(error, "errno", None) else error
        raise Problem(f"{what} {port}: {why}") from error


class Line:
    """The serial line, whatever it is made of."""

    def __init__(self, name, baud):
        self.name, self.baud = name, baud
        self.descriptor = self.listener = None
        self.output = bytearray()
        listens = re.fullmatch(r"listen:(\d+)", name)
        if listens:
            self.listener = open_listener("127.0.0.1", int(listens.group(1)), "listen, port")
            self.listener.settimeout(3600)

    def open(self):
        if self.listener is not None:
            connection, _ = self.listener.accept()
            connection.setblocking(False)
            self.descriptor = connection.detach()
            return
        tcp = re.fullmatch(r"(?:\[([^]]+)\]|([^:/]+)):(\d{1,5})", self.name)
        if self.name.startswith("unix:"):
            self.descriptor = open_socket(socket.AF_UNIX, self.name[5:], self.name)
        elif tcp and not os.path.exists(self.name):
            self.descriptor = open_tcp(tcp.group(1) or tcp.group(2), int(tcp.group(3)), self.name)
        else:
            self.descriptor = open_device(self.name, self.baud)
        self.output.clear()

    def read(self):
        """What has come; None: the line is cut."""
        try:
            return os.read(self.descriptor, 65536) or None
        except BlockingIOError:
            return b""
        except OSError:
            return None

    def flush(self):
        """Sends what goes; False: the line is cut."""
        try:
            while self.output:
                del self.output[:os.write(self.descriptor, self.output)]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def close(self):
        if self.descriptor is not None:
            os.close(self.descriptor)
        self.descriptor = None


# ---- Ends ----------------------------------------------------------------------------------------


class Terminal:
    """A pseudo-terminal for a channel. What comes while nobody has opened it is kept, as far as there
    is room."""

    def __init__(self, mux, channel, name, links):
        self.mux, self.channel, self.name = mux, channel, name
        self.master, slave = os.openpty()
        self.path = os.ttyname(slave)
        tty.setraw(slave)
        os.close(slave)
        os.set_blocking(self.master, False)
        self.pending = bytearray()
        self.is_open = False
        self.link = self._make_link(links) if links else None
        say(f"{name}: {self.link or self.path}")

    def _make_link(self, folder):
        path = os.path.join(folder, self.name)
        try:
            os.makedirs(folder, exist_ok=True)
            if os.path.islink(path):
                os.unlink(path)
            os.symlink(self.path, path)
        except OSError as error:
            say(f"{path}: {error.strerror}")
            return None
        return path

    def room(self):
        return max(0, KEPT_MAX - len(self.pending)) if self.is_open else GRANT_MAX

    def take(self, data):
        self.pending += data
        if self.is_open:
            self.flush()
        else:
            del self.pending[:max(0, len(self.pending) - KEPT_MAX)]

    def look(self):
        """Whether somebody has opened it meanwhile."""
        if self.is_open:
            return
        poll = select.poll()
        poll.register(self.master, select.POLLIN)
        events = poll.poll(0)
        if not events or not events[0][1] & select.POLLHUP:
            self.is_open = True
            self.flush()

    def flush(self):
        with contextlib.suppress(BlockingIOError):
            while self.pending:
                try:
                    written = os.write(self.master, self.pending)
                except OSError as error:
                    if error.errno == errno.EAGAIN:
                        raise
                    self.is_open = False
                    return
                del self.pending[:written]

    def watch(self, watched):
        if self.is_open:
            wants = selectors.EVENT_READ if self.mux.can_take(self.channel) else 0
            wants |= selectors.EVENT_WRITE if self.pending else 0
            watched(self.master, wants, self.event)

    def event(self, events):
        if events & selectors.EVENT_WRITE:
            self.flush()
        if events & selectors.EVENT_READ:
            try:
                data = os.read(self.master, 1024)
            except BlockingIOError:
                return
            except OSError:  # the last who had it open has closed it
                self.is_open = False
                return
            self.mux.write(self.channel, data)

    def close(self):
        os.close(self.master)
        if self.link:
            with contextlib.suppress(OSError):
                os.unlink(self.link)


class GdbPort:
    """The TCP port at which a gdb, one at a time, finds the guests."""

    def __init__(self, mux, address, port):
        self.mux = mux
        self.listener = open_listener(address, port, "the port for gdb,")
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.client = None
        self.pending = bytearray()
        self.is_there = False

    def named(self):
        if not self.is_there:
            say(f"gdb: target remote :{self.port}")
        self.is_there = True

    def room(self):
        return max(0, KEPT_MAX - len(self.pending))

    def take(self, data):
        if self.client is not None:
            self.pending += data
            self.flush()

    def flush(self):
        try:
            while self.pending:
                del self.pending[:self.client.send(self.pending)]
        except BlockingIOError:
            pass
        except OSError:
            self._leave()

    def _leave(self):
        self.client.close()
        self.client = None
        self.pending.clear()

    def _accept(self, _):
        with contextlib.suppress(OSError):
            client, _ = self.listener.accept()
            if self.client is not None:
                say("a second gdb was sent away: the first is still there")
            elif not self.is_there:
                say("gdb was sent away: no monitor with `gdb` at its console's line has answered yet")
            else:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.setblocking(False)
                self.client = client
                self.mux.link.drop(GDB)
                return
            client.close()

    def watch(self, watched):
        watched(self.listener, selectors.EVENT_READ, self._accept)
        if self.client is not None:
            wants = selectors.EVENT_READ if self.mux.can_take(GDB) else 0
            wants |= selectors.EVENT_WRITE if self.pending else 0
            watched(self.client, wants, self._event)

    def _event(self, events):
        if events & selectors.EVENT_WRITE:
            self.flush()
        if events & selectors.EVENT_READ and self.client is not None:
            try:
                data = self.client.recv(1024)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if data:
                self.mux.write(GDB, data)
            else:
                self._leave()

    def close(self):
        if self.client is not None:
            self.client.close()
        self.listener.close()


class Dumps:
    """The channel for dumps: each becomes a file here, NAME.core, when it is whole."""

    def __init__(self, mux, folder):
        self.mux, self.folder = mux, folder
        self.reader = RecordReader()
        self.part = None

    def room(self):
        return GRANT_MAX

    def take(self, data):
        for record in self.reader.feed(data):
            try:
                self._record(record)
            except OSError as error:
                say(f"the dump: {error}")
                self.part = None

    def _record(self, record):
        if record.type == "B":
            self._begin(record)
        elif self.part is None:
            return
        elif record.type == "D":
            number, size, _, crc, _ = record.numbers
            data = unpack(record.payload, size, crc)
            if data is None or number >= self.part.blocks:
                self._ask(self.part.next)
                return
            self.part.put(number, data)
            self._reached(number + 1)
        elif record.type == "N":
            self._reached(record.numbers[0])
        elif record.type == "E":
            self.part.finish()
            say(f"{self.part.path} is whole")
            self.part = None
            self.mux.write(DUMP, b"S")

    def _begin(self, record):
        identity, low, high, blocks, _ = record.numbers
        name = re.sub(r"[^\w.-]", "_", record.payload.decode(errors="replace")) or "_"
        path = os.path.join(self.folder, name + ".core")
        self.part = Part(path, f"{identity:08x}", high << 32 | low, blocks)
        say(f"a dump comes to {path}, from block {self.part.next} of {blocks}")
        self._ask(self.part.next)

    def _reached(self, number):
        self.part.reached(number)
        self._ask(number)

    def _ask(self, number):
        self.mux.write(DUMP, struct.pack("<cI", b"G", number))


class Keyboard:
    """Our own terminal: the monitor's log, or all of a line on which no monitor answers."""

    def __init__(self, mux):
        self.mux = mux
        self.is_there = True
        self.saved = None
        self.hinted = False
        with contextlib.suppress(termios.error, ValueError, OSError):
            self.saved = termios.tcgetattr(0)

    def raw(self, is_raw):
        if self.saved is None:
            return
        if is_raw:
            tty.setraw(0)
        else:
            termios.tcsetattr(0, termios.TCSADRAIN, self.saved)

    def watch(self, watched):
        if self.is_there:
            watched(0, selectors.EVENT_READ, self._event)

    def _event(self, _):
        try:
            data = os.read(0, 1024)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.is_there = False
        elif self.saved is not None and END_KEY in data:
            self.mux.is_ended = True
        elif not self.mux.link.is_up:
            self.mux.line.output += data
        elif not self.hinted and self.saved is not None:
            self.hinted = True
            say("this is the monitor's log; shell and guests have terminals of their own. Ctrl-] or Ctrl-C ends")


def write_out(data):
    """To standard output, which may be a pipe that is full, or that nobody reads any more."""
    try:
        while data:
            data = data[os.write(1, data):]
    except BlockingIOError:
        select.select([], [1], [], 1)
    except BrokenPipeError as error:
        raise Problem("nobody reads standard output") from error


# ---- The program ---------------------------------------------------------------------------------


class Mux:
    def __init__(self, arguments):
        self.arguments = arguments
        self.reader = FrameReader()
        self.line = Line(arguments.line, arguments.baud)
        self.ends = {}  # by channel
        self.terminals = {}  # by name
        self.gdb = GdbPort(self, *arguments.gdb_port) if arguments.gdb_port else None
        self.keyboard = Keyboard(self)
        self.dumps = Dumps(self, arguments.dumps)
        self.link = Link(self._send, self._deliver, self._named, self._room, arguments.patience)
        self.selector = selectors.PollSelector()  # epoll takes no /dev/null, as a daemon has for input
        self.is_ended = False
        self.was_up = False
        self.hellos = 0  # that are still to be sent
        self.next_hello = self.next_poll = self.next_look = self.next_open = 0.0
        self.note_at = None  # when to tell that the monitor has said goodbye, behind what it says last
        self.text = b""  # the end of what was plain

    # ---- The link's ports ----

    def _send(self, wire):
        self.line.output += wire

    def _deliver(self, channel, data):
        if channel == LOG:
            write_out(data)
        elif channel in self.ends:
            self.ends[channel].take(data)

    def _room(self, channel):
        return self.ends[channel].room() if channel in self.ends else GRANT_MAX

    def _named(self, channel, name):
        if channel == GDB:
            if self.gdb is not None:
                self.gdb.named()
                self.ends[GDB] = self.gdb
        elif channel == DUMP:
            self.ends[DUMP] = self.dumps
        elif channel == SHELL or channel >= GUESTS:
            # A guest may be called like the monitor's shell.
            name = name if channel == SHELL or name != "shell" else "vm-shell"
            name = re.sub(r"[^\w.-]", "_", name) or "_"
            if name not in self.terminals:
                self.terminals[name] = Terminal(self, channel, name, self.arguments.links)
            self.terminals[name].channel = channel
            self.ends[channel] = self.terminals[name]

    # ---- For the ends ----

    def can_take(self, channel):
        return len(self.link.way(channel).queue) < QUEUE_MAX

    def write(self, channel, data):
        self.link.write(channel, data)

    # ---- The line ----

    def _ask(self):
        """Says hello a few times, from now on."""
        self.hellos = HELLO_TIMES
        self.next_hello = time.monotonic()

    def _plain(self, data):
        write_out(data)
        self.text = (self.text + data)[-200:]
        # A monitor that starts says so; one that ends or has panicked answers nobody.
        if not self.link.is_up and self.hellos == 0 and b"traprock" in self.text.lower():
            self.text = b""
            self._ask()

    def _from_line(self, events):
        if events & selectors.EVENT_READ:
            data = self.line.read()
            if data is None:
                self._cut()
                return
            for item in self.reader.feed(data):
                if isinstance(item, Frame):
                    self.link.receive(item)
                else:
                    self._plain(item)
            self._changed()
            self.link.serve()

    def _cut(self):
        self.line.close()
        self.link.is_up = False
        self.reader = FrameReader()
        if self.arguments.once:
            self.is_ended = True
            return
        say(f"the line is cut; trying {self.line.name} again until it is there")
        self.was_up = False
        self.next_open = time.monotonic() + RECONNECT_SECONDS

    def _changed(self):
        """Tells what has become of the line."""
        if self.link.is_up == self.was_up:
            return
        self.was_up = self.link.is_up
        self.keyboard.raw(not self.was_up)
        if self.was_up:
            self.hellos = 0
            say("the monitor answers; its log follows")
        else:
            self.note_at = time.monotonic() + NOTE_SECONDS

    def _open(self, now):
        if self.line.descriptor is not None or now < self.next_open:
            return
        try:
            self.line.open()
        except (Problem, OSError):
            self.next_open = now + RECONNECT_SECONDS
            return
        self._ask()

    def _times(self, now):
        if self.link.is_up and now - self.link.heard > self.arguments.patience:
            say(f"no answer for {self.arguments.patience} s; a plain terminal until there is one (Ctrl-] ends)")
            self.link.is_up = self.was_up = False
            self.keyboard.raw(True)
            self._ask()
        if self.link.is_up and now >= self.next_poll:
            self.link.poll()
            self.next_poll = now + (POLL_BUSY if self.link.waits() else POLL_IDLE)
        if not self.link.is_up and self.hellos > 0 and now >= self.next_hello:
            self.link.hello()
            self.hellos -= 1
            self.next_hello = now + HELLO_SECONDS
            if self.hellos == 0 and self.link.token == 0:
                say("no monitor answers; a plain terminal until one does (Ctrl-] ends)")
        if self.note_at is not None and now >= self.note_at:
            self.note_at = None
            if not self.link.is_up:
                say("the monitor has ended its part; a plain terminal until one answers (Ctrl-] ends)")
        if now >= self.next_look:
            self.next_look = now + OPEN_SECONDS
            for terminal in self.terminals.values():
                terminal.look()

    def _watch(self):
        """What the selector is to wait for, anew each time: it is little."""
        wanted = {}

        def watched(file, events, function):
            if events:
                wanted[file if isinstance(file, int) else file.fileno()] = (events, function)

        if self.line.descriptor is not None:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.line.output else 0)
            watched(self.line.descriptor, events, self._from_line)
        self.keyboard.watch(watched)
        for end in [*self.terminals.values()] + ([self.gdb] if self.gdb is not None else []):
            end.watch(watched)
        for key in list(self.selector.get_map().values()):
            if wanted.get(key.fd, (0, None))[0] != key.events:
                self.selector.unregister(key.fd)
        for descriptor, (events, function) in wanted.items():
            if descriptor in self.selector.get_map():
                self.selector.modify(descriptor, events, function)
            else:
                self.selector.register(descriptor, events, function)

    def run(self):
        try:
            self.line.open()
        except OSError as error:
            raise Problem(f"{self.line.name}: {error}") from error
        self._ask()
        self.keyboard.raw(True)
        while not self.is_ended:
            now = time.monotonic()
            self._open(now)
            self._times(now)
            if self.line.descriptor is not None and not self.line.flush():
                self._cut()
            self._watch()
            for key, events in self.selector.select(0.05):
                if key.fd in self.selector.get_map():
                    key.data(events)
            self.link.grant()
            self.link.pump()

    def close(self):
        self.keyboard.raw(False)
        if self.line.descriptor is not None:
            if self.link.is_up:
                self.link.goodbye()
            deadline = time.monotonic() + 1
            while self.line.output and self.line.flush() and time.monotonic() < deadline:
                time.sleep(0.01)
            self.line.close()
        for terminal in self.terminals.values():
            terminal.close()
        if self.gdb is not None:
            self.gdb.close()


def gdb_port(text):
    match = re.fullmatch(r"(?:(.+):)?(\d{1,5})", text)
    if text == "none":
        return None
    if not match or int(match.group(2)) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; write PORT, ADDRESS:PORT or none")
    return match.group(1) or "127.0.0.1", int(match.group(2))


def seconds(text):
    if not re.fullmatch(r"\d{1,3}", text) or not 2 <= int(text) <= 255:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 2 to 255")
    return int(text)


def arguments_parse(words):
    parser = argparse.ArgumentParser(prog="traprock-mux", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("line", metavar="LINE")
    parser.add_argument("--baud", type=int, default=115200, choices=BAUDS, metavar="N",
                        help="of a serial device (%(default)s, which is Traprock's)")
    parser.add_argument("--gdb-port", type=gdb_port, default=("127.0.0.1", 1234), metavar="[ADDRESS:]PORT",
                        help="where gdb finds the guests (1234, of this machine only; 0: any; none)")
    parser.add_argument("--links", metavar="DIR", help="make links there, NAME and `shell`, to the terminals")
    parser.add_argument("--dumps", metavar="DIR", default=".", help="where dumps go (here)")
    parser.add_argument("--patience", type=seconds, default=5, metavar="S",
                        help="seconds without an answer after which both sides go back to plain text (%(default)s)")
    parser.add_argument("--once", action="store_true", help="end when the line is cut, do not open it again")
    return parser.parse_args(words)


def main(words=None):
    arguments = arguments_parse(words)
    # However it ends, the terminal is put back, and the monitor told.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        with contextlib.ExitStack() as stack:
            mux = Mux(arguments)
            stack.callback(mux.close)
            mux.run()
    except Problem as problem:
        say(problem)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
