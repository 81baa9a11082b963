"""One serial line for the log, the shell, gdb and all guests, split by the host's program."""

import contextlib
import os
import random
import re
import threading

import host
from gdb import gdb_run
from harness import Case, outcome, vm
from mux import TAKES, Mux, Relay

ESCAPE = b"\x01"


@contextlib.contextmanager
def split(run, conf, *options, **machine_options):
    """A machine with one serial port only, and the host's program at it, through a relay."""
    with contextlib.ExitStack() as stack:
        machine_options.setdefault("realtime", True)
        machine = stack.enter_context(run.machine(run.make_image(conf), **machine_options))
        relay = Relay(machine.console)
        stack.callback(relay.close)
        mux = Mux(run, relay.port, *options)
        stack.callback(mux.close)
        yield machine, relay, mux


def consoles(run):
    run.guest("echo")
    conf = vm("one", kernel="echo.elf", debug_exit="0xf4") + \
        vm("two", kernel="echo.elf", debug_exit="0xf4", memory="4M")
    with split(run, conf, cpus=2) as (machine, relay, mux):
        one, two = mux.terminal("one"), mux.terminal("two")
        one.type(b"first")
        two.type(b"second")
        one.wait(b"first")
        two.wait(b"second")
        run.check("mux/consoles", True)
        shell = mux.terminal("shell")
        shell.type(b"vm\r")
        said = shell.wait(rb"\* one(.|\n)*two(.|\n)*\(traprock\) ")
        run.check("mux/shell", "running" in said, repr(said))
        one.type(b"q")
        two.type(b"q")
        run.check("mux/exit-status", machine.wait() == 0)
        mux.out.wait(rb"^traprock: exit 0\r?\n")
        run.check("mux/ends", outcome(mux.out.data.decode(errors="replace"), "one") == ("debug-exit", 0))


def panic(run):
    """A panic is plain text, and the shell after it is at the program's own terminal."""
    run.guest("spin")
    with split(run, vm("spin"), "--patience", "2") as (machine, _, mux):
        shell = mux.terminal("shell")
        shell.wait(rb"\(traprock\) ", run.case.limit)
        shell.type(b"panic\r")
        mux.out.wait(rb"error: panic on processor 0:\r?\n(.|\n)*^traprock: exit 255\r?\n")
        run.check("mux/panic", True)
        mux.notes.wait(rb"no answer for 2 s; a plain terminal")
        mux.process.stdin.write(b"\ruptime\r")
        mux.process.stdin.flush()
        mux.out.wait(rb"^0 days")
        run.check("mux/panic-shell", True)
        mux.process.stdin.write(b"poweroff\r")
        mux.process.stdin.flush()
        with machine.console.changed:
            ended = machine.console.changed.wait_for(lambda: machine.console.closed, timeout=TAKES * run.scale)
        run.check("mux/panic-poweroff", ended, "the machine goes on")


# ---- A line that is disturbed, and cut -------------------------------------------------------------


class Noise:
    """Changes, loses and adds bytes, three in so many."""

    def __init__(self, seed, among):
        self.random = random.Random(seed)
        self.among = among
        self.changes = 0

    def __call__(self, piece):
        result = bytearray()
        for byte in piece:
            what = self.random.randrange(self.among)
            self.changes += what < 3
            if what == 0:
                result.append(byte ^ (1 << self.random.randrange(8)))
            elif what == 1:
                result += bytes((self.random.randrange(256), byte))
            elif what != 2:
                result.append(byte)
        return bytes(result)


def count_on(terminal, lines, timeout):
    """As many lines of the guest that counts; returns whether none of them is missing or broken."""
    said = terminal.wait(rb"(?:flood \d+\r?\n){%d}" % lines, timeout)
    numbers = [int(line.split()[1]) for line in said.splitlines() if line.startswith("flood ") and line[6:].isdigit()]
    return all(after == before + 1 for before, after in zip(numbers, numbers[1:])), said


def count_in_noise(relay, terminal, timeout):
    """As count_on, until enough was disturbed: what the terminal has had already passed in silence."""
    good, said = count_on(terminal, 400, timeout)
    while good and relay.to_client.changes <= 10:
        good, said = count_on(terminal, 400, timeout)
    return good, said


def answers(run, what, terminal, shell):
    """A guest's console, all of it and in order, and the shell."""
    text = bytes(random.Random(what).choices(b"abcdefghijklmnop 0123456789.", k=300))
    for at in range(0, len(text), 50):
        terminal.type(text[at:at + 50])
    terminal.wait(re.escape(text))
    shell.type(b"vm\r")
    shell.wait(rb"\* echo(.|\n)*flood(.|\n)*\(traprock\) ")
    run.check(f"mux/{what}", True)


def press_until(machine, pattern, run):
    """Somebody at a plain terminal who wants the guests' status: the monitor takes no key before it has heard
    nothing of the program for as long as that said, by its own clock."""
    machine.position = len(machine.console.data)
    for _ in range(int(TAKES * run.scale)):
        machine.send(ESCAPE + b"s")
        with contextlib.suppress(host.ExpectError):
            return machine.expect(pattern, timeout=2)
    return None


def disturbed(run):
    """Beside a guest that prints without end: a reader that does not read, noise, a line that is cut, a
    program that dies, a plain terminal, and the program again."""
    run.guest("echo")
    run.guest("flood")
    conf = vm("echo", debug_exit="0xf4") + vm("flood")
    with split(run, conf, "--patience", "3", cpus=2) as (machine, relay, mux):
        echo, shell = mux.terminal("echo"), mux.terminal("shell")
        shell.wait(rb"\(traprock\) ", run.case.limit)
        slow = os.open(os.path.join(mux.links, "flood"), os.O_RDWR | os.O_NOCTTY)
        answers(run, "one-does-not-read", echo, shell)
        os.close(slow)
        flood = mux.terminal("flood")
        flood.wait(rb"flood \d+\r?\n")
        answers(run, "one-prints-without-end", echo, shell)
        relay.to_client, relay.to_machine = Noise(1, 1000), Noise(2, 1000)
        good, said = count_in_noise(relay, flood, 2 * TAKES * run.scale)
        answers(run, "noise", echo, shell)
        relay.to_client = relay.to_machine = lambda piece: piece
        run.check("mux/noise-loses-nothing", good, said[-300:])
        relay.cut(True)
        mux.notes.wait(b"the line is cut")
        relay.cut(False)
        good, said = count_on(flood, 400, 2 * TAKES * run.scale)
        run.check("mux/cut-loses-nothing", good, said[-300:])
        answers(run, "cut", echo, shell)
        mux.process.kill()
        run.check("mux/plain-after-its-death", press_until(machine, rb"^traprock: . flood +running", run))
        again = Mux(run, relay.port)
        try:
            shell = again.terminal("shell")
            shell.wait(rb"\(traprock\) ")
            shell.type(b"poweroff\r")
            run.check("mux/again", machine.wait() == 1)
        finally:
            again.close()


# ---- gdb -------------------------------------------------------------------------------------------

DEBUG = """
attach()
stops = []
gdb.events.stop.connect(stops.append)
while value("*(long*)&counter") == 0:
    interrupt_after(1)
    run("continue")
note("ctrl-c", stops[-1].stop_signal)
run("break count")
run("continue")
note("break", value("$pc") == value("(long)&count"))
for _ in range(20):
    before = value("$pc")
    run("stepi")
    if value("$pc") == before:
        break
note("steps", value("$pc") != before)
run("delete")
note("symbols", run("monitor vm").count("debuggee"))
note("long", run("monitor vmcs").count(chr(10)) > 100)
block = bytes(gdb.selected_inferior().read_memory(value("(long)&pattern"), 8192))
note("block", block == bytes.fromhex("efcdab8967452301") * 1024)
run("detach")
"""

DEBUG_AGAIN = """
attach()
note("again", value("*(long*)&counter") > 0)
run("set *(long*)&goal = 1")
run("continue")
note("end", value("$_exitcode"))
"""


def debugged(run):
    """A real gdb by way of the console's line, on which there is noise, while the shell and another guest
    answer; two of them; and again, after a detach."""
    run.guest("echo")
    run.guest("debuggee")
    conf = "[traprock]\ngdb = com1\nshell = com1\n" + vm("debuggee", debug_exit="0xf4", start="paused") + \
        vm("echo", debug_exit="0xf4")
    with split(run, conf, cpus=2) as (machine, relay, mux):
        port = mux.gdb_port()
        echo, shell = mux.terminal("echo"), mux.terminal("shell")
        shell.wait(rb"\(traprock\) ", run.case.limit)
        relay.to_client, relay.to_machine = Noise(3, 5000), Noise(4, 5000)
        done = {}
        gdb = threading.Thread(target=lambda: done.update(
            zip(("notes", "text"), gdb_run(run, port, DEBUG, run.files.guest("debuggee")))))
        gdb.start()
        meanwhile = 0
        while gdb.is_alive():
            echo.type(b"abc")
            echo.wait(b"abc")
            shell.type(b"uptime\r")
            shell.wait(rb"2 guests running(.|\n)*\(traprock\) ")
            meanwhile += 1
        expected = {"break": True, "steps": True, "symbols": 1, "long": True, "block": True, "ctrl-c": "SIGINT"}
        for name, what in expected.items():
            run.check(f"mux/gdb-{name}", done["notes"].get(name) == str(what),
                      f"{done['notes'].get(name)!r}; gdb: {done['text'].splitlines()[-3:]}")
        run.check("mux/gdb-meanwhile", meanwhile >= 3, f"{meanwhile} times")
        run.check("mux/gdb-noise", relay.to_client.changes + relay.to_machine.changes > 5)
        notes, text = gdb_run(run, port, DEBUG_AGAIN, run.files.guest("debuggee"))
        run.check("mux/gdb-again", notes == {"again": "True", "end": "0"}, f"{notes}; {text.splitlines()[-3:]}")
        echo.type(b"q")
        run.check("mux/gdb-exit-status", machine.wait() == 0)


# ---- Noise without end -----------------------------------------------------------------------------

# A byte takes its time by the UART's clock. With so few instructions for a second it leaves the monitor about as many
# as it needs to take one; what comes faster is lost, and is noise as well.
NOISE_IPS = 4_000_000
NOISE_PIECE = 16384

# gdb at the guest, by the line that had the noise.
AFTER_NOISE = """
attach()
note("registers", value("$cr0") & 1)
run("detach")
"""


def noise(size):
    """That many bytes of noise into the console's line, with the program at its other end; the guest's console
    answers all the time, and the shell and gdb do afterwards."""

    def function(run):
        run.guest("echo")
        source = random.Random(5)
        conf = "[traprock]\ngdb = com1\nshell = com1\n" + vm("echo", debug_exit="0xf4")
        with split(run, conf, "--patience", "255", realtime=False, ips=NOISE_IPS, errors=False) as (machine, _, mux):
            port = mux.gdb_port()
            echo, shell = mux.terminal("echo"), mux.terminal("shell")
            shell.wait(rb"\(traprock\) ", run.case.limit)
            for _ in range(0, size, NOISE_PIECE):
                machine.send(source.randbytes(NOISE_PIECE))
                echo.type(b".")
                echo.wait(rb"\.", TAKES * run.scale)
            shell.type(b"uptime\r")
            shell.wait(rb"1 guests? running", TAKES * run.scale)
            run.check("mux/noise-into-the-line", True)
            notes, text = gdb_run(run, port, AFTER_NOISE)
            run.check("mux/noise-gdb", notes == {"registers": "1"}, f"{notes}; {text.splitlines()[-3:]}")
            echo.type(b"q")
            run.check("mux/noise-exit-status", machine.wait() == 0)

    return function


# A quarter of an hour of the line's time.
LONG = [Case("mux-noise-10-mb", noise(10_000_000), seconds=400, limit=1800)]

CASES = [
    Case("mux-consoles", consoles, seconds=30),
    Case("mux-panic", panic, seconds=25),
    Case("mux-disturbed", disturbed, seconds=50),
    Case("mux-gdb", debugged, seconds=40),
    Case("mux-noise", noise(200_000), seconds=25),
]
