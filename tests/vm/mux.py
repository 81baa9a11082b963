"""The host's program, kernel/debug/host, at the serial port of a machine."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time

from harness import CaseFailed

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir,
                       "kernel", "debug", "host", "traprock_mux.py")
TAKES = 40  # seconds of wall-clock time that an answer may take on a loaded machine


class Relay:
    """A TCP port whose other end is a machine's Line, and which a test can cut, or disturb."""

    def __init__(self, line):
        self.line = line
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4)
        self.port = self.listener.getsockname()[1]
        self.client = None
        self.is_cut = False
        self.to_client = lambda piece: piece
        self.to_machine = lambda piece: piece
        line.sinks.append(self._from_machine)
        threading.Thread(target=self._serve, daemon=True).start()

    def _from_machine(self, piece):
        with contextlib.suppress(OSError, AttributeError):
            self.client.sendall(self.to_client(piece))

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                if self.is_cut:
                    client.close()
                    continue
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.client = client
                with contextlib.suppress(OSError):
                    while piece := client.recv(4096):
                        self.line.send(self.to_machine(piece))
                self.client = None
                client.close()

    def cut(self, is_cut):
        """Whoever is there is thrown out, and nobody comes in, until it is mended."""
        self.is_cut = is_cut
        client = self.client
        if is_cut and client is not None:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Reader:
    """What comes from a descriptor, collected by a thread."""

    def __init__(self, descriptor):
        self.descriptor = descriptor
        self.data = bytearray()
        self.position = 0
        self.closed = False
        self.changed = threading.Condition()
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self):
        with contextlib.suppress(OSError):
            while piece := os.read(self.descriptor, 65536):
                with self.changed:
                    self.data += piece
                    self.changed.notify_all()
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def wait(self, pattern, timeout=TAKES):
        """The text from where the last wait ended to the end of the match."""
        compiled = re.compile(pattern, re.MULTILINE)
        deadline = time.monotonic() + timeout
        with self.changed:
            while True:
                found = compiled.search(bytes(self.data), self.position)
                if found:
                    text = bytes(self.data[self.position:found.end()])
                    self.position = found.end()
                    return text.decode(errors="replace")
                if self.closed or time.monotonic() > deadline:
                    raise CaseFailed(f"no {pattern!r}, but {bytes(self.data[self.position:])[-600:]!r}")
                self.changed.wait(1.0)


class Terminal(Reader):
    """Somebody at one of the program's pseudo-terminals."""

    def __init__(self, path):
        super().__init__(os.open(path, os.O_RDWR | os.O_NOCTTY))

    def type(self, data):
        while data:
            data = data[os.write(self.descriptor, data):]

    def close(self):
        with contextlib.suppress(OSError):
            os.close(self.descriptor)


class Mux:
    """The program, at a port of this machine. out is its standard output, notes what it tells the user."""

    def __init__(self, run, port, *options):
        self.run = run
        self.links = run.path("terminals")
        self.terminals = []
        self.process = subprocess.Popen(
            [sys.executable, PROGRAM, f"127.0.0.1:{port}", "--links", self.links, "--gdb-port", "0",
             *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.out = Reader(self.process.stdout.fileno())
        self.notes = Reader(self.process.stderr.fileno())

    def terminal(self, name):
        self.notes.wait(rb"traprock-mux: " + name.encode() + rb": .*\n", self.run.case.limit)
        self.notes.position = 0
        terminal = Terminal(os.path.join(self.links, name))
        self.terminals.append(terminal)
        return terminal

    def gdb_port(self):
        text = self.notes.wait(rb"gdb: target remote :\d+\n", self.run.case.limit)
        self.notes.position = 0
        return int(text.rsplit(":", 1)[1])

    def end(self, timeout=10):
        """As a user would."""
        self.process.terminate()
        return self.process.wait(timeout)

    def close(self):
        for terminal in self.terminals:
            terminal.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.end()
        self.process.kill()
        self.process.wait()
        if self.run.keep:
            with open(os.path.join(self.run.keep, self.run.case.name + ".mux.log"), "ab") as file:
                file.write(bytes(self.notes.data) + b"----\n" + bytes(self.out.data))
        for end in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):
                end.close()
