#!/usr/bin/env python3
"""Boots a disk image in an emulator and returns what Traprock says about the run.

    host.py run --image IMG [--host auto|bochs|qemu|qemu-tcg] [--mem MIB] [--cpus N] [--cpu MODEL]
                [--timeout S] [--serial-log FILE] [--com2 FILE|tcp:PORT] [--interactive]
                [--split DIR] [--trace FILE]
    host.py which

`qemu` uses KVM where its guests can use VMX, else TCG, which has no VMX. `auto` is QEMU with such a
KVM, else Bochs. COM1 of the machine is a TCP connection to this program: the terminal with
--interactive, traprock-mux's with --split, standard output otherwise. The verdict is the serial log's
last line, `traprock: exit N`: N becomes the exit status. Without it: 124 after --timeout seconds, 125
when the emulator ended on its own, 130 when the user ended it, 1 when the boot program did not start
the monitor.

Tests import Machine:

    with Machine("disk.img", cpus=2, timeout=120) as machine:
        machine.expect(rb"login: ", timeout=60)
        machine.send(b"root\\n")
        assert machine.wait() == 0
"""

import argparse
import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

EXIT_NOT_STARTED = 1
EXIT_TIMEOUT = 124
EXIT_DIED = 125
EXIT_KILLED = 130

OVMF = "/usr/share/ovmf/OVMF.fd"
BOCHS_DEFAULT_CPU = "corei7_skylake_x"
BOCHS_LOG_MAX = 64 << 20  # bytes of disk for what can have no end: a line for each EPT violation
BOCHS_LOG_TAIL = 1 << 20  # of what came before, that much is kept
BOCHS_TRACE_MAX = 4 << 30  # where each VM entry and exit is logged, and wanted: more ends the emulator
BOCHS_HOST_MEMORY_MAX = 2048
MEMORY_MAX = 1 << 20  # MiB, of Bochs
CPUS_MAX = 255
GEOMETRY = 16 * 63 * 512

VERDICT = re.compile(rb"^traprock: exit (\d+)\r?$", re.MULTILINE)
NOT_STARTED = re.compile(rb"^traprock: not started \(.*\)\r?$", re.MULTILINE)
STARTED = b"traprock: leaving the firmware"
# The machine powers itself off after its verdict; where it cannot, this is how long we wait.
AFTER_VERDICT = 3.0
TAIL_LINES = 40


class HostError(Exception):
    """The run cannot be made; a message for the user."""


class ExpectError(AssertionError):
    """What was expected did not come; the message has the log's tail."""


# ---- Which host ----------------------------------------------------------------------------------


def has_nested_vmx():
    """Whether KVM is usable here and lets its guests use VMX."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        if not re.search(r"^flags\s*:.*\bvmx\b", file.read(), re.MULTILINE):
            return False
    try:
        with open("/sys/module/kvm_intel/parameters/nested", encoding="utf-8") as file:
            return file.read().strip() in ("Y", "1")
    except OSError:
        return False


def host_choose(name):
    if name != "auto":
        return name
    if has_nested_vmx() and shutil.which("qemu-system-x86_64"):
        return "qemu"
    return "bochs"


# ---- The emulators' command lines ----------------------------------------------------------------


def bochs_check_model(model):
    """Bochs's own message about a model that it does not have names no model."""
    listed = subprocess.run(["bochs", "--help", "cpu"], stdin=subprocess.DEVNULL, capture_output=True,
                            text=True, check=False)
    models = re.findall(r"^ *(\w+)$", listed.stdout + listed.stderr, re.MULTILINE)
    if models and model not in models:
        raise HostError(f"Bochs has no processor model {model!r}; it has {', '.join(models)}")


def bochs_command(options, directory, com1, com2):
    """Writes the configuration into directory; returns the command."""
    size = os.path.getsize(options.image)
    if size % GEOMETRY != 0:
        raise HostError(f"{options.image} has {size} bytes, no multiple of {GEOMETRY}: "
                        f"make it with image.py")
    if options.cpu and shutil.which("bochs"):
        bochs_check_model(options.cpu)
    # What the run writes goes to a file beside this link, and is gone afterwards.
    os.symlink(os.path.abspath(options.image), os.path.join(directory, "disk.img"))
    lines = [
        "config_interface: textconfig",
        'display_library: rfb, options="timeout=0"',
        f"cpu: model={options.cpu or BOCHS_DEFAULT_CPU}, count={options.cpus}, ips={options.ips}, "
        f"reset_on_triple_fault=0, ignore_bad_msrs=1",
        f"memory: guest={options.memory}, host={min(options.memory, BOCHS_HOST_MEMORY_MAX)}",
        f"romimage: file={OVMF}, address=0xffe00000, options=none",
        "vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest",
        "vga: extension=vbe, update_freq=1, realtime=1",
        "pci: enabled=1, chipset=i440fx, slot2=pcivga",
        "ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14",
        f"ata0-master: type=disk, path={directory}/disk.img, mode=volatile, "
        f"cylinders={size // GEOMETRY}, heads=16, spt=63",
        "boot: disk",
        f"com1: enabled=1, mode=socket-client, dev=localhost:{com1}",
        "sound: driver=dummy",
        "panic: action=report",
        "error: action=" + ("report" if options.errors else "ignore"),
        "info: action=" + ("report" if options.errors else "ignore"),
        "debug: action=ignore" + "".join(f", {name}=report" for name in options.traced()),
        f"log: {directory}/bochs.log",
        f"clock: sync={'slowdown' if options.realtime else 'none'}, time0=local",
    ]
    if com2 is not None:
        modes = {"client": "socket-client, dev=localhost:{}", "server": "socket-server, dev=localhost:{}",
                 "file": "file, dev={}"}
        lines.append("com2: enabled=1, mode=" + modes[com2[0]].format(com2[1]))
    with open(os.path.join(directory, "bochsrc"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    # The debugger's commands: run, and at whatever stops the machine, leave.
    with open(os.path.join(directory, "rc"), "w", encoding="utf-8") as file:
        file.write("c\nq\n")
    return ["bochs", "-q", "-f", f"{directory}/bochsrc", "-rc", f"{directory}/rc"]


def qemu_command(options, directory, com1, com2, kvm):
    del directory
    command = [
        "qemu-system-x86_64", "-accel", "kvm" if kvm else "tcg", "-machine", "q35",
        "-cpu", options.cpu or ("host" if kvm else "max"), "-smp", str(options.cpus), "-m", f"{options.memory}M",
        "-bios", OVMF, "-drive", f"if=none,id=disk,format=raw,snapshot=on,file={options.image}",
        "-device", "ide-hd,drive=disk,bus=ide.0", "-nic", "none", "-vga", "std",
        "-display", "none", "-monitor", "none", "-no-reboot",
        "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
        "-serial", f"tcp:127.0.0.1:{com1}",
    ]
    if com2 is not None:
        modes = {"client": "tcp:127.0.0.1:{}", "server": "tcp:127.0.0.1:{},server=on,wait=off",
                 "file": "file:{}"}
        command += ["-serial", modes[com2[0]].format(com2[1])]
    return command


class Options:
    """How to make the machine; every field has its default here."""

    def __init__(self, image, host="auto", memory=512, cpus=1, cpu=None, ips=50_000_000,
                 realtime=False, trace_cpu=False, trace_devices=(), errors=True):
        self.image = image  # path of the disk image, which is not written to
        self.host = host_choose(host)
        self.memory = memory  # MiB
        self.cpus = cpus
        self.cpu = cpu  # a model of the emulator; None: its default here
        self.ips = ips  # Bochs: the TSC's frequency
        self.realtime = realtime  # Bochs: time goes no faster than the clock on the wall
        self.errors = errors  # Bochs: its errors and notes in bochs.log, one for each #AC of a guest
        self.trace_cpu = trace_cpu  # Bochs: each VM entry and exit into bochs.log
        self.trace_devices = trace_devices  # the same for what these devices of Bochs do, as "serial"

    def traced(self):
        return [*(["cpu0"] if self.trace_cpu else []), *self.trace_devices]

    def command(self, directory, com1, com2):
        if not os.path.isfile(self.image):
            raise HostError(f"{self.image} is no file; make the image first")
        if self.host == "bochs":
            command = bochs_command(self, directory, com1, com2)
        elif self.host in ("qemu", "qemu-tcg"):
            # KVM that cannot offer VMX has nothing over TCG: the boot program says what is missing.
            kvm = self.host == "qemu" and has_nested_vmx()
            command = qemu_command(self, directory, com1, com2, kvm)
        else:
            raise HostError(f"no host {self.host!r}: auto, bochs, qemu or qemu-tcg")
        if shutil.which(command[0]) is None:
            raise HostError(f"{command[0]} is missing; install it (packages: bochs bochsbios "
                            f"vgabios, or qemu-system-x86)")
        if not os.path.exists(OVMF):
            raise HostError(f"{OVMF} is missing; install the package ovmf")
        return command


# ---- A serial line -------------------------------------------------------------------------------


class Line:
    """One serial port of the machine: the emulator connects to us, so that no two runs can want the
    same port. A thread collects what comes."""

    def __init__(self, sinks=()):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self.port = self.listener.getsockname()[1]
        self.data = bytearray()
        self.changed = threading.Condition()
        self.closed = False
        self.last_time = time.monotonic()
        self.connection = None
        self.sinks = list(sinks)  # called with every piece
        self.thread = threading.Thread(target=self._collect, daemon=True)
        self.thread.start()

    def _collect(self):
        with contextlib.suppress(OSError):
            self.connection, _ = self.listener.accept()
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while piece := self._receive():
                with self.changed:
                    self.data += piece
                    self.last_time = time.monotonic()
                    self.changed.notify_all()
                for sink in self.sinks:
                    sink(piece)
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def _receive(self):
        """The emulator sends byte by byte, and holds what follows the first one until that is acknowledged
        (RFC 896), which a kernel puts off for 40 ms unless it is told each time."""
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return self.connection.recv(65536)

    def send(self, data):
        """Waits for the machine to connect, up to 30 s."""
        deadline = time.monotonic() + 30
        while self.connection is None:
            if self.closed or time.monotonic() > deadline:
                raise HostError("the emulator did not connect its serial port")
            time.sleep(0.01)
        self.connection.sendall(data)

    def close(self):
        # Shutting down wakes the thread up from accept and recv.
        for end in (self.connection, self.listener):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        for end in (self.connection, self.listener):
            if end is not None:
                end.close()


# ---- A machine -----------------------------------------------------------------------------------


class Machine:
    """A run of an emulator. timeout is the wall-clock limit of the whole run in seconds, whatever
    the tests wait for. com2: None (not there), "line" (machine.com2 is a Line), ("file", PATH), or
    ("server", PORT): a TCP port for whoever connects. sinks get every piece of the console.
    Remaining arguments as for Options."""

    def __init__(self, image, timeout=600, com2=None, sinks=(), **options):
        self.options = Options(image, **options)
        self.timeout = timeout
        self.com2_mode = com2
        self.sinks = sinks
        self.console = self.com2 = self.process = self.directory = self.result = None
        self.alive = None  # the guard's sign that we are
        self.killed = False  # by the user
        self.position = 0  # in the console, after what was expected last
        self.started = self.deadline = 0.0
        self.emulator_log = ""

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.close()

    def start(self):
        self.directory = tempfile.mkdtemp(prefix="traprock-vm-")
        try:
            self.console = Line(self.sinks)
            com2 = self.com2_mode
            if com2 == "line":
                self.com2 = Line()
                com2 = ("client", self.com2.port)
            command = self.options.command(self.directory, self.console.port, com2)
            self.started = time.monotonic()
            self.deadline = self.started + self.timeout
            guard = [sys.executable, os.path.abspath(__file__), "guard", self.directory,
                     str(int(self.timeout) + 15),
                     str(BOCHS_TRACE_MAX * 2 if self.options.traced() else BOCHS_LOG_MAX)]
            alive, self.alive = os.pipe()
            try:
                with open(os.path.join(self.directory, "output"), "wb") as output:
                    self.process = subprocess.Popen(
                        guard + command, stdin=alive, stdout=output, stderr=subprocess.STDOUT,
                        start_new_session=True, cwd=self.directory,
                        env=dict(os.environ, TMPDIR=self.directory))
            finally:
                os.close(alive)
        except BaseException:
            self.close()
            raise

    @property
    def log(self):
        """What the console has said, as text."""
        return bytes(self.console.data).decode(errors="replace")

    def tail(self, lines=TAIL_LINES):
        return "\n".join(self.log.replace("\r", "").split("\n")[-lines:])

    def send(self, data):
        """Types at the console."""
        self.console.send(data)

    def expect(self, pattern, timeout=60):
        """Waits until the regular expression (bytes) matches in what the console says after the
        last match; returns the match. ExpectError after timeout seconds, or when the machine
        ended."""
        compiled = re.compile(pattern, re.MULTILINE) if isinstance(pattern, bytes) else pattern
        deadline = min(time.monotonic() + timeout, self.deadline)
        with self.console.changed:
            while True:
                found = compiled.search(bytes(self.console.data), self.position)
                if found:
                    self.position = found.end()
                    return found
                left = deadline - time.monotonic()
                if self.console.closed or left <= 0:
                    reason = "the machine ended" if self.console.closed else "time is up"
                    raise ExpectError(f"{reason}, no {compiled.pattern!r} in the console's:\n"
                                      + self.tail())
                self.console.changed.wait(min(left, 1.0))
                self._check_emulator()

    def _check_emulator(self):
        """Ends an emulator that goes on, but can come to nothing."""
        with contextlib.suppress(OSError):
            if self.options.traced() and \
                    os.path.getsize(os.path.join(self.directory, "bochs.log")) > BOCHS_TRACE_MAX:
                self._kill()
        if "KVM internal error" in self._read("output", 4096):
            self._kill()

    def _verdict(self):
        """The exit status that the log's last line gives, or None. A guest may print the same line;
        then something follows it."""
        data = bytes(self.console.data)
        last = data.rstrip(b"\r\n\0 ")
        last = last[last.rfind(b"\n") + 1:]
        match = VERDICT.match(last)
        if match:
            return int(match.group(1)) & 0xFF
        if STARTED not in data and NOT_STARTED.search(data):
            return EXIT_NOT_STARTED
        return None

    def wait(self):
        """Waits for the end of the run, as long as the machine's timeout lets it; returns its exit
        status (see above). The emulator has ended afterwards."""
        while self.result is None:
            ended = self.process.poll() is not None
            if ended and self.console.connection is None:
                self.console.close()
            elif ended:
                self.console.thread.join(5)
            verdict = self._verdict()
            now = time.monotonic()
            if verdict is not None and (ended or self.console.closed or
                                        now - self.console.last_time > AFTER_VERDICT):
                self.result = verdict
            elif ended:
                self.result = EXIT_KILLED if self.killed else EXIT_DIED
            elif now > self.deadline:
                self.result = EXIT_TIMEOUT
            else:
                self._check_emulator()
                with self.console.changed:
                    self.console.changed.wait(0.2)
        self._kill()
        return self.result

    def _kill(self):
        """Lets the guard know that the emulator is to end, and waits for that."""
        if self.alive is not None:
            os.close(self.alive)
            self.alive = None
        if self.process is not None:
            self.process.wait()

    def kill(self):
        """What the user means by having had enough: wait() returns EXIT_KILLED."""
        self.killed = True
        self._kill()

    def close(self):
        """Ends the emulator, if need be, and removes what the run left on disk."""
        self._kill()
        for line in (self.console, self.com2):
            if line is not None:
                line.close()
        if self.directory is not None:
            self.emulator_log = "".join(map(self._read, ("output", "bochs.log.before", "bochs.log")))
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None

    def _read(self, name, limit=BOCHS_LOG_TAIL):
        """The end of one of the emulator's files."""
        with contextlib.suppress(OSError):
            return read_tail(os.path.join(self.directory, name), limit).decode(errors="replace")
        return ""

    def explain(self):
        """Why there is no verdict, for a person; empty where there is one."""
        if self.result not in (EXIT_TIMEOUT, EXIT_DIED) or self._verdict() is not None:
            return ""
        seconds = time.monotonic() - self.started
        what = (f"no end after {self.timeout} s" if self.result == EXIT_TIMEOUT
                else f"the emulator ended by itself (status {self.process.returncode}) "
                     f"after {seconds:.0f} s")
        notes = [line for line in self.emulator_log.split("\n")
                 if re.search(r"PANIC|>>|FAIL|[Ee]rror|qemu-system|cannot|timeout:", line)
                 and "terminating on signal" not in line]
        text = f"host.py: {self.options.host}: {what}; the console's last lines:\n{self.tail()}"
        if notes:
            text += "\n" + f"host.py: from {self.options.host} itself:\n" + "\n".join(notes[-20:])
        return text


# ---- The guard -----------------------------------------------------------------------------------


def group_kill(process):
    """Ends every process of the emulator's group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(3)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def read_tail(path, limit):
    """The end of a file, but for the hole that log_shorten leaves."""
    with open(path, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - limit))
        return file.read().lstrip(b"\0")


def log_shorten(directory, limit):
    """Takes what Bochs has logged from the disk where it is more than that, but for a tail beside it. Bochs
    goes on at its place in the file, which begins with a hole then."""
    path = os.path.join(directory, "bochs.log")
    with contextlib.suppress(OSError):
        if os.stat(path).st_blocks * 512 > limit:
            tail = read_tail(path, BOCHS_LOG_TAIL)
            with open(path + ".before", "wb") as file:
                file.write(tail)
            os.truncate(path, 0)


def guard(directory, seconds, log_max, command):
    """A process between us and the emulator, which outlives neither us, however we end, nor its
    time: standard input is a pipe whose other end closes with us. Returns the emulator's status."""
    parent = os.getppid()
    deadline = time.monotonic() + seconds
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and time.monotonic() < deadline:
        if select.select([0], [], [], 0.1)[0]:
            break
        log_shorten(directory, log_max)
    group_kill(process)
    if os.getppid() != parent:
        shutil.rmtree(directory, ignore_errors=True)
    return process.returncode


# ---- The terminal --------------------------------------------------------------------------------

KILL_KEY = b"\x1d"  # Ctrl-]
KILL_COUNT = 3
KILL_SECONDS = 1.0


class Terminal:
    """The user's terminal as the machine's console: raw while the machine runs, and put back
    however the run ends."""

    def __init__(self, machine):
        self.machine = machine
        self.saved = None
        self.presses = []

    def __enter__(self):
        if sys.stdin.isatty():
            import termios
            import tty
            self.saved = termios.tcgetattr(sys.stdin)
            print("host.py: Ctrl-] three times within a second ends the emulator", file=sys.stderr)
            tty.setraw(sys.stdin)
        return self

    def __exit__(self, *_):
        if self.saved is not None:
            import termios
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self.saved)
            self.saved = None
            print(file=sys.stderr)

    def _is_kill(self, data):
        """Whether the user has had enough."""
        now = time.monotonic()
        self.presses = [at for at in self.presses if now - at < KILL_SECONDS]
        self.presses += [now] * data.count(KILL_KEY)
        return len(self.presses) >= KILL_COUNT

    def pump(self):
        """Carries keys to the machine until it has ended; a thread, since wait() is busy."""
        while self.machine.result is None:
            ready, _, _ = select.select([0], [], [], 0.2)
            if not ready:
                continue
            data = os.read(0, 4096)
            if not data:
                return
            if self.saved is not None and self._is_kill(data):
                self.machine.kill()
                return
            with contextlib.suppress(OSError, HostError):
                self.machine.send(data)


@contextlib.contextmanager
def split(machine, links):
    """traprock-mux in this terminal, at the machine's console; what ends it ends the machine."""
    from gdb import Bridge
    bridge = Bridge(machine.console)
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "kernel", "debug", "host",
                           "traprock_mux.py")
    process = subprocess.Popen([sys.executable, program, f"127.0.0.1:{bridge.port}", "--links", links, "--once"])

    def watch():
        process.wait()
        machine.kill()

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        bridge.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2)
        process.terminate()
        process.wait()


# ---- The command ---------------------------------------------------------------------------------


def parse_com2(text):
    if text is None:
        return None
    if text.startswith("tcp:"):
        return ("server", int(text[4:]))
    return ("file", os.path.abspath(text))


def memory_size(text):
    """MiB, from a number of them or one with M or G behind it."""
    match = re.fullmatch(r"(\d{1,7})([MG]?)", text)
    size = int(match.group(1)) * (1024 if match.group(2) == "G" else 1) if match else 0
    if not 1 <= size <= MEMORY_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no size of memory; write MiB, for example 1024, "
                                         f"or 2G")
    return size


def number(least, most):
    """The type of an argument that is a whole number in these bounds."""
    def parse(text):
        if not re.fullmatch(r"\d{1,9}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {least} to {most}")
        return int(text)
    return parse


def write_all(descriptor, data):
    while data:
        data = data[os.write(descriptor, data):]


def run(arguments):
    sinks = [] if arguments.quiet or arguments.split else [lambda piece: write_all(1, piece)]
    log = open(arguments.serial_log, "wb", buffering=0) if arguments.serial_log else None
    if log is not None:
        sinks.append(log.write)
    machine = Machine(arguments.image, timeout=arguments.timeout, com2=parse_com2(arguments.com2),
                      sinks=sinks, host=arguments.host, memory=arguments.mem, cpus=arguments.cpus,
                      cpu=arguments.cpu, realtime=arguments.interactive or arguments.split is not None,
                      trace_cpu=arguments.trace is not None)
    if arguments.trace and machine.options.host != "bochs":
        raise HostError("--trace needs --host bochs")
    with contextlib.ExitStack() as stack:
        stack.callback(log.close if log is not None else lambda: None)
        # A signal must unwind what is below: the terminal, the emulator, the temporary files.
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda number, _: sys.exit(128 + number))
        stack.enter_context(machine)
        if arguments.interactive:
            terminal = stack.enter_context(Terminal(machine))
            threading.Thread(target=terminal.pump, daemon=True).start()
        if arguments.split:
            stack.enter_context(split(machine, arguments.split))
        result = machine.wait()
        if arguments.trace:
            shutil.copyfile(os.path.join(machine.directory, "bochs.log"), arguments.trace)
    if arguments.emulator_log:
        with open(arguments.emulator_log, "w", encoding="utf-8") as file:
            file.write(machine.emulator_log)
    explanation = machine.explain()
    if explanation:
        print(explanation, file=sys.stderr)
    return result


def arguments_parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("which", help="print the host that `auto` means on this machine")
    command = commands.add_parser("run", help="boot an image")
    command.add_argument("--image", required=True)
    command.add_argument("--host", default="auto",
                         choices=("auto", "bochs", "qemu", "qemu-tcg"))
    command.add_argument("--mem", type=memory_size, default=512,
                         help="MiB, or with M or G behind it (%(default)s)")
    command.add_argument("--cpus", type=number(1, CPUS_MAX), default=1)
    command.add_argument("--cpu", help="the processor's model, in the emulator's words")
    command.add_argument("--timeout", type=number(1, 1000000),
                         help="seconds (600; 43200 with --interactive or --split)")
    command.add_argument("--serial-log", help="a file for what COM1 says")
    command.add_argument("--emulator-log", help="a file for what the emulator says")
    command.add_argument("--trace", metavar="FILE",
                         help="Bochs: its whole log, with each VM entry and exit of processor 0")
    command.add_argument("--com2", help="FILE for what COM2 says, or tcp:PORT to connect to")
    command.add_argument("--interactive", action="store_true", help="the terminal is COM1")
    command.add_argument("--split", metavar="DIR",
                         help="COM1 split by traprock-mux, with links to its terminals there; gdb at port 1234")
    command.add_argument("--quiet", action="store_true", help="nothing on standard output")
    arguments = parser.parse_args()
    if arguments.command == "run" and arguments.timeout is None:
        arguments.timeout = 43200 if arguments.interactive or arguments.split else 600
    return arguments


def main():
    if sys.argv[1:2] == ["guard"]:
        # 128 and the number of a signal, as a shell has it.
        status = guard(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
        return status if status >= 0 else 128 - status
    arguments = arguments_parse()
    if arguments.command == "which":
        print(host_choose("auto"))
        return 0
    try:
        return run(arguments)
    except (HostError, OSError) as error:
        print(f"host.py: {error}", file=sys.stderr)
        return EXIT_DIED


if __name__ == "__main__":
    sys.exit(main())
