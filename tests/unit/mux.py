#!/usr/bin/env python3
"""The host's program (kernel/debug/host) without a machine: frames, a link with a monitor of this
file's own, terminals, and what it says about bad input. Prints a line for each test, as the others do."""

import contextlib
import os
import random
import select
import socket
import subprocess
import sys
import tempfile
import time
import unittest

HOST = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "kernel", "debug", "host")
sys.path.insert(0, HOST)
sys.dont_write_bytecode = True

import traprock_link as link  # noqa: E402
import traprock_mux  # noqa: E402

PROGRAM = os.path.join(HOST, "traprock_mux.py")


class Frames(unittest.TestCase):
    def test_hold_every_byte(self):
        payload = bytes(range(128, 256))
        wire = link.frame_encode(0xfe, 0xfd, 0xfb, payload)
        self.assertEqual(list(link.FrameReader().feed(wire)), [link.Frame(0xfe, 0xfd, 0xfb, payload)])
        self.assertFalse(any(byte < 0x20 or byte == 0xff for byte in link.frame_encode(1, 2, 3, bytes(range(64)))))

    def test_a_poll_is_what_the_page_says(self):
        self.assertEqual(link.frame_encode(0, 0, 0, b"P").hex(" "),
                         "fe fb 20 fb 20 fb 20 50 e8 8e 2f 4a fd")
        self.assertEqual(next(link.FrameReader().feed(bytes.fromhex("fe00000050e88e2f4afd"))).payload, b"P")

    def test_text_around_frames_is_text(self):
        wire = b"one" + link.frame_encode(2, 0, 0, b"x") + b"two\r\n"
        for size in (1, 3, 100):
            reader = link.FrameReader()
            items = [item for at in range(0, len(wire), size) for item in reader.feed(wire[at:at + size])]
            text = b"".join(item for item in items if isinstance(item, bytes))
            self.assertEqual((text, sum(isinstance(item, link.Frame) for item in items)), (b"onetwo\r\n", 1))

    def test_a_panic_within_a_frame_is_shown(self):
        cut = link.frame_encode(2, 0, 0, b"abc")[:6]
        self.assertIn(b"panic on processor 0:\r\n",
                      b"".join(link.FrameReader().feed(cut + b"panic on processor 0:\r\n")))

    def test_noise_is_no_frame(self):
        reader = link.FrameReader()
        noise = random.Random(1).randbytes(300000)
        self.assertFalse(any(isinstance(item, link.Frame) for item in reader.feed(noise)))
        self.assertEqual(list(reader.feed(link.frame_encode(1, 2, 3)))[-1], link.Frame(1, 2, 3, b""))


class Monitor:
    """As much of the monitor's end as these tests need: it is told to send, and keeps what came."""

    def __init__(self, send):
        self.send = send
        self.reader = link.FrameReader()
        self.next = self.expected = 0
        self.received = {}
        self.hellos = []
        self.sent = []
        self.token = 77

    def frame(self, channel, payload):
        self.sent.append((channel, self.next, payload))
        self.send(link.frame_encode(channel, self.next, self.expected, payload))
        self.next += 1

    def control(self, payload):
        self.send(link.frame_encode(0, self.next, self.expected, payload))

    def record(self, kind, channel, data):
        self.frame(link.DIRECTORY, bytes((ord(kind), channel, len(data))) + data)

    def open(self, *names):
        for channel, name in names:
            self.record("N", channel, name)
            self.record("G", channel, b"\x00\x10")

    def take(self, data):
        for frame in self.reader.feed(data):
            if not isinstance(frame, link.Frame):
                continue
            kind = frame.payload[:1]
            if frame.channel == 0 and kind == b"H":
                self.hellos.append(frame.payload)
                goes_on = frame.payload[11:15] == bytes((self.token, 0, 0, 0))
                self.control(b"W" + bytes((1, goes_on, self.token, 0, 0, 0)))
            elif frame.channel == 0 and kind == b"P":
                self.control(b"A")
            elif frame.channel == 0 and kind == b"R":
                for channel, number, payload in self.sent[frame.acknowledged:]:
                    self.send(link.frame_encode(channel, number, self.expected, payload))
            elif frame.channel != 0 and frame.sequence == self.expected:
                self.expected += 1
                self.received[frame.channel] = self.received.get(frame.channel, b"") + frame.payload
                self.control(b"A")


class Links(unittest.TestCase):
    def setUp(self):
        self.got, self.names, self.lost = {}, {}, 0
        self.room = 1000
        self.monitor = Monitor(self.to_us)
        self.ours = link.Link(self.to_monitor, self.deliver, self.names.__setitem__, lambda channel: self.room)
        self.reader = link.FrameReader()
        self.ours.hello()

    def to_us(self, wire):
        if self.lost > 0:
            self.lost -= 1
            return
        for frame in self.reader.feed(wire):
            self.ours.receive(frame)

    def to_monitor(self, wire):
        self.monitor.take(wire)

    def deliver(self, channel, data):
        self.got[channel] = self.got.get(channel, b"") + data

    def test_hello_and_names(self):
        self.assertTrue(self.ours.is_up)
        self.assertEqual(self.monitor.hellos[0], b"Htraprock\x01\x05\0\0\0\0")
        self.monitor.open((3, b"shell"), (8, b"linux"))
        self.assertEqual(self.names, {3: "shell", 8: "linux"})

    def test_what_is_lost_comes_again_once(self):
        self.monitor.open((8, b"linux"))
        self.lost = 1
        self.monitor.frame(8, b"first ")
        self.monitor.frame(8, b"second ")
        self.assertEqual(self.got, {8: b"first second "})
        self.lost = 1
        self.monitor.frame(8, b"last")
        self.ours.poll()
        self.assertEqual(self.got, {8: b"first second last"})

    def test_nothing_is_sent_without_a_grant(self):
        self.monitor.record("N", 8, b"linux")
        self.ours.write(8, b"x" * 100)
        self.assertNotIn(8, self.monitor.received)
        self.monitor.record("G", 8, b"\x0a\x00")
        self.ours.serve()
        self.assertEqual(self.monitor.received[8], b"x" * 10)

    def test_grants_follow_the_room(self):
        self.room = 0
        self.monitor.open((8, b"linux"))
        self.ours.serve()
        self.assertNotIn(link.DIRECTORY, self.monitor.received)
        self.room = 300
        self.ours.serve()
        self.assertEqual(self.monitor.received[link.DIRECTORY], b"G\x08\x02\x2c\x01")

    def test_the_same_monitor_goes_on_another_begins_anew(self):
        self.monitor.open((8, b"linux"))
        self.monitor.frame(8, b"a")
        self.ours.is_up = False
        self.ours.hello()
        self.assertEqual((self.ours.expected, self.ours.is_up), (3, True))
        self.monitor.token, self.monitor.next, self.monitor.expected = 78, 0, 0
        self.ours.is_up = False
        self.ours.hello()
        self.assertEqual((self.ours.expected, self.ours.is_up, self.ours.ways), (0, True, {}))

    def test_records_of_other_kinds_are_skipped(self):
        self.monitor.record("?", 9, b"whatever")
        self.monitor.open((9, b"after"))
        self.assertEqual(self.names, {9: "after"})


class Programs(unittest.TestCase):
    """The whole program, at a socket of ours."""

    def start(self, *options, stdin=subprocess.PIPE):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = folder = holder.name
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        self.server = server
        self.process = subprocess.Popen(
            [sys.executable, PROGRAM, "127.0.0.1:%d" % server.getsockname()[1], "--links", folder, "--gdb-port",
             "0", *options], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(self.stop)
        self.said = b""
        self.accept()

    def accept(self):
        self.line, _ = self.server.accept()
        self.line.settimeout(10)
        self.addCleanup(self.line.close)

    def stop(self):
        self.process.kill()
        self.process.communicate()

    def pump(self, monitor, until, seconds=10):
        """Lets the monitor answer until that is so."""
        deadline = time.monotonic() + seconds
        while not until():
            self.assertLess(time.monotonic(), deadline, "time is up")
            if select.select([self.line], [], [], 0.02)[0]:
                with contextlib.suppress(ConnectionError):  # it ends with something of ours unread
                    monitor.take(self.line.recv(4096))

    def hear(self, pattern):
        deadline = time.monotonic() + 10
        while pattern not in self.said:
            self.assertLess(time.monotonic(), deadline, f"no {pattern} in {self.said}")
            if select.select([self.process.stderr], [], [], 0.1)[0]:
                self.said += os.read(self.process.stderr.fileno(), 4096)

    def test_terminals_gdb_and_log(self):
        self.start()
        monitor = Monitor(self.line.sendall)
        self.pump(monitor, lambda: monitor.hellos)
        monitor.open((2, b"log"), (4, b"gdb"), (8, b"linux"))
        monitor.frame(8, b"before anybody looks\r\n")
        monitor.frame(2, b"[ 1.0] a line of the log\r\n")
        self.hear(b"linux: " + self.folder.encode() + b"/linux\n")
        self.hear(b"target remote :")
        self.assertIn(b"a line of the log\r\n", os.read(self.process.stdout.fileno(), 4096))
        terminal = os.open(os.path.join(self.folder, "linux"), os.O_RDWR | os.O_NOCTTY)
        self.addCleanup(os.close, terminal)
        self.assertEqual(os.read(terminal, 100), b"before anybody looks\r\n")
        os.write(terminal, b"typed\x01x\n")
        self.pump(monitor, lambda: monitor.received.get(8) == b"typed\x01x\n")
        port = int(self.said.split(b"target remote :")[1].split(b"\n")[0])
        with socket.create_connection(("127.0.0.1", port)) as gdb:
            gdb.sendall(b"+$g#67")
            self.pump(monitor, lambda: monitor.received.get(4) == b"+$g#67")
            with socket.create_connection(("127.0.0.1", port)) as second:
                self.assertEqual(second.recv(10), b"")
            monitor.frame(4, b"$00#60")
            self.assertEqual(gdb.recv(100), b"$00#60")
        self.process.terminate()
        self.pump(monitor, lambda: self.process.poll() is not None)
        self.assertEqual(self.process.returncode, 128 + 15)
        self.assertFalse(os.path.lexists(os.path.join(self.folder, "linux")))

    def test_a_cut_line_is_opened_again(self):
        self.start()
        monitor = Monitor(self.line.sendall)
        self.pump(monitor, lambda: monitor.hellos)
        monitor.open((8, b"linux"))
        self.hear(b"linux: ")
        self.line.close()
        self.hear(b"the line is cut")
        self.accept()
        monitor.send = self.line.sendall
        monitor.reader = link.FrameReader()
        self.pump(monitor, lambda: len(monitor.hellos) > 1)
        self.assertEqual(monitor.hellos[-1][11], 77)

    def test_nobody_needs_to_type(self):
        self.start("--once", stdin=subprocess.DEVNULL)
        monitor = Monitor(self.line.sendall)
        self.pump(monitor, lambda: monitor.hellos)
        self.line.close()
        self.assertEqual(self.process.wait(10), 0)

    def test_without_a_monitor_it_is_a_terminal(self):
        self.start("--patience", "2")
        heard = b""
        while heard.count(b"raprock") < traprock_mux.HELLO_TIMES:
            heard += self.line.recv(4096)
        self.hear(b"no monitor answers; a plain terminal")
        self.line.sendall(b"login: ")
        self.assertEqual(os.read(self.process.stdout.fileno(), 100), b"login: ")
        self.process.stdin.write(b"root\r")
        self.process.stdin.flush()
        self.assertEqual(self.line.recv(100), b"root\r")
        # A monitor that starts is asked again.
        self.line.sendall(b"\r\ntraprock: starting\r\n")
        self.assertIn(b"Htraprock", self.line.recv(100))

    def test_no_input_is_no_end(self):
        """As a daemon has it, a file that epoll does not take."""
        self.start("--patience", "2", stdin=subprocess.DEVNULL)
        self.hear(b"no monitor answers; a plain terminal")
        self.line.sendall(b"login: ")
        self.assertEqual(os.read(self.process.stdout.fileno(), 100), b"login: ")

    def refused(self, *words):
        made = subprocess.run([sys.executable, PROGRAM, *words], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False, timeout=20)
        self.assertNotIn("Traceback", made.stderr)
        return made.returncode, made.stderr.strip().split("\n")[-1]

    def test_bad_input(self):
        self.assertEqual(self.refused("/dev/nothing-there", "--gdb-port", "none"),
                         (1, "traprock-mux: /dev/nothing-there: No such file or directory"))
        self.assertEqual(self.refused(__file__, "--gdb-port", "none"),
                         (1, f"traprock-mux: {__file__} is no serial device; LINE is a device, HOST:PORT, unix:PATH "
                             f"or listen:PORT"))
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.assertEqual(self.refused("/dev/null", "--gdb-port", str(port)),
                             (1, f"traprock-mux: the port for gdb, {port}: Address already in use"))
        self.assertEqual(self.refused(f"127.0.0.1:{port}", "--gdb-port", "none"),
                         (1, f"traprock-mux: 127.0.0.1:{port}: Connection refused"))
        self.assertEqual(self.refused("unix:/nothing", "--gdb-port", "none"),
                         (1, "traprock-mux: unix:/nothing: No such file or directory"))
        for words, part in ((("--baud", "7", "x"), "invalid choice"), (("--gdb-port", "70000", "x"), "is no port"),
                            ((), "LINE"), (("--patience", "1", "x"), "is no number of seconds")):
            status, last = self.refused(*words)
            self.assertEqual((status, part in last), (2, True), last)


class Lines(unittest.TextTestResult):
    def addSuccess(self, test):
        print("ok mux_" + test._testMethodName)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        print("not ok mux_" + test._testMethodName)

    def addError(self, test, err):
        super().addError(test, err)
        print("not ok mux_" + test._testMethodName)


if __name__ == "__main__":
    runner = unittest.TextTestRunner(stream=sys.stdout, verbosity=0, resultclass=Lines)
    sys.exit(not runner.run(unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])).wasSuccessful())
