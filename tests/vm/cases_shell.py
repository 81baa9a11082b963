"""The monitor's shell, on the console and on a serial port of its own."""

import json
import random
import re
import time

from gdb import Bridge, gdb_run
from harness import Case, CaseFailed, vm

ESCAPE = b"\x01"
PROMPT = rb"\(traprock\) "
# What a terminal would do with it: CSI K, CSI n D, backspaces and returns only move and erase.
CONTROLS = re.compile(rb"\x1b\[\d*[A-Z]|[\b\a]")
TAKES = 30  # seconds of wall-clock time that an answer may take on a loaded machine


class Shell:
    """Somebody at a shell: on the console, after the escape key, or on COM2."""

    def __init__(self, run, machine, line=None):
        self.run, self.machine = run, machine
        self.line = line or machine.console
        self.position = len(self.line.data) if line is None else 0

    def wait(self, pattern, times=1):
        """The text from where the last wait ended to the end of the match."""
        compiled = re.compile(pattern, re.MULTILINE)
        deadline = time.monotonic() + times * TAKES * self.run.scale
        with self.line.changed:
            while True:
                found = compiled.search(bytes(self.line.data), self.position)
                if found:
                    text = bytes(self.line.data[self.position:found.end()])
                    self.position = found.end()
                    return CONTROLS.sub(b"", text).decode(errors="replace").replace("\r", "")
                if self.line.closed or time.monotonic() > deadline:
                    raise CaseFailed(f"no {pattern!r} from the shell, but "
                                     f"{bytes(self.line.data[self.position:])[-600:]!r}")
                self.line.changed.wait(1.0)

    def type(self, data):
        self.line.send(data)

    def enter(self):
        """From the console."""
        self.type(ESCAPE + b"c")
        self.wait(rb"the terminal is the monitor's\r\n")
        self.wait(PROMPT)

    def command(self, text):
        """What the command prints, its pages put together."""
        self.type(text.encode() + b"\r")
        said = self.wait(re.escape(text.encode()[-8:]) + rb"\r\n(.|\n)*?(\(traprock\) |--More-- )")
        while said.endswith("--More-- "):
            self.type(b" ")
            said = said[:-len("--More-- ")] + self.wait(rb"\(traprock\) |--More-- ")
        return re.sub(r"\(Space: next page.*?quit\)", "", said.split("\n", 1)[1])[:-len("(traprock) ")]

    def check(self, name, text, *patterns):
        """The command's output has all of the patterns."""
        said = self.command(text)
        for pattern in patterns:
            self.run.check(f"shell/{name}", re.search(pattern, said, re.MULTILINE),
                           f"no {pattern!r} in what {text!r} says: {said!r}")
        return said


# ---- On the console ------------------------------------------------------------------------------


def console(run):
    run.guest("spin")
    conf = vm("spin", pin=0) + vm("other", kernel="spin.elf", pin=1)
    with run.machine(run.make_image(conf), cpus=2) as machine:
        machine.expect(rb"^spinning", timeout=run.case.limit)
        shell = Shell(run, machine)
        shell.enter()
        shell.check("help", "help", r"^  vm \[NAME\] +list the guests", r"^  log ", r"^  poweroff ",
                    r"`help COMMAND` says more")
        shell.check("help-command", "help mem", r"^usage: mem \[all\|ADDRESS\]$", r"ADDRESS: the piece")
        shell.check("unknown", "frobnicate", r"^unknown command 'frobnicate'; `help` lists")
        shell.check("ambiguous", "re", r"^ambiguous command 're': .*resume.*reset")
        shell.check("arguments", "vm a b", r"^usage: vm \[NAME\]$")
        shell.check("vm", "vm", r"^\* spin +running +0 +64 MiB +\d+\.\d{3} s +\d+ +0$",
                    r"^  other +running +1 ")
        shell.check("vm-choose", "vm other", r"^\* other")
        shell.check("vm-unknown", "vm nobody", r"^there is no guest 'nobody'; `vm` lists")
        shell.check("uptime", "uptime", r"^0 days 00:0\d:\d\d\.\d{3}; TSC at \d+ kHz, 2 guests running$")
        shell.check("log", "log", r"processors are up", r"starts \d+ us after the monitor")
        shell.check("loglevel", "loglevel", r"^info$")
        shell.check("loglevel-bad", "loglevel loud", r"'loud' is no level; allowed are error, warn")
        shell.command("loglevel debug")
        shell.check("loglevel-set", "loglevel", r"^debug$")
        shell.check("terminal", "terminal", r"^80 columns, 24 rows$")
        shell.check("terminal-bad", "terminal 3", r"^allowed are 20 to 256 columns")
        shell.check("whole", "powero", r"^`poweroff` has to be written out$")
        memory(run, shell)
        devices(run, shell)
        shell.command("vm spin")
        registers(run, shell)
        memory_of_guest(run, shell)
        shell.command("vm other")
        editing(run, shell)
        lives(run, shell, machine)


def memory(run, shell):
    text = shell.check("mem", "mem", r"^ +\d+ KiB  monitor image", r"^ +65\d+ KiB  guest memory of spin$",
                       r"guest memory of other$")
    everything = shell.check("mem-all", "mem all", r"^0x[0-9a-f]{12}-0x[0-9a-f]{12} .*monitor image")

    def total(pattern, said):
        return sum(int(count) for count in re.findall(pattern, said))

    kib = total(r"(\d+) KiB", text)
    run.check("shell/mem-sums", kib == total(r"(\d+) KiB", everything) and kib > 400 << 10, f"{kib} KiB")
    where = re.search(r"^0x([0-9a-f]+)-\S+ +\d+ KiB  guest memory of other", everything, re.MULTILINE)
    shell.check("mem-address", f"mem 0x{int(where.group(1), 16) + 4097:x}", r"guest memory of other$")
    shell.check("mem-nowhere", "mem 0xfffffffff000", r"^0xfffffffff000 is no memory")
    shell.check("mem-bad", "mem 12monkeys", r"^'12monkeys' is no number; write for example")


def devices(run, shell):
    shell.check("pci", "pci spin", r"^00:00\.0  \w{4}:\w{4}  class 060000")
    shell.check("irq", "irq spin", r"^local APIC 0: xAPIC at 0xfee00000", r"^  lvt lint0 .*extint",
                r"^I/O APIC: id 0", r"^PIC master: irr 00", r"^  irr: none$")
    shell.check("virtio", "virtio spin", r"virtio-\w+ at 00:0\d\.0: status 0x00|has no virtio device")
    del run


def registers(run, shell):
    """regs, set, vmcs and inject; the guest spins in long mode at an address that it maps one to one."""
    shell.check("regs", "regs spin", r"^rip 000000000010[0-9a-f]{4}$", r"^rax [0-9a-f]{16}  rbx",
                r"^cr0 8\w+ \[ PG .*NE .*PE \]$", r"^efer 500 \[ LMA LME \]$",
                r"^cs   0008 base 0000000000000000 limit ffffffff access 0a09b \[ code readable DPL0 64-bit G \]",
                r"^tr +\w+ .* \[ TSS busy DPL0 \]$", r"^ldtr .*\[ unusable \]$", r"^64-bit mode, CPL0, active")
    shell.command("set $r15 = 0x123456789abcdef0")
    shell.command("set r14 $r15-0xf0")
    shell.check("set-register", "regs", r"r14 123456789abcde00", r"r15 123456789abcdef0")
    shell.command("set r13 = -2")
    shell.check("set-negative", "regs", r"r13 fffffffffffffffe")
    shell.check("set-refused", "set cr0 = 0", r"^0x0 in cr0: the processor would not take it; nothing is changed$")
    shell.command("set es = 0")
    shell.command("set fs_base = 0xffff800000001000")
    shell.command("set gs_limit = 0xffff")
    shell.command("set gs_access = 0x4093")
    shell.check("set-segments", "regs", r"^es   0000 .* \[ unusable \]$", r"^fs   \w+ base ffff800000001000 ",
                r"^gs   \w+ base 0000000000000000 limit 0000ffff access 04093 \[ data writable DPL0 32-bit \]$")
    shell.command("set $es = 0x10")
    shell.check("set-selector", "regs", r"^es   0010 base 0000000000000000 limit ffffffff access 0c093 ")
    shell.check("set-no-descriptor", "set ds = 0x7ff8", r"^0x7ff8 in ds: its descriptor table has no such descriptor")
    shell.check("set-access", "set cs_access = 0", r"^0x0 in cs_access: the processor would not take it")
    shell.check("set-too-long", "set ds_limit = 0x100000000", r"^0x100000000 does not fit into ds_limit$")
    shell.check("msr", "msr", r"^IA32_PAT +277 [0-9a-f]{16}$", r"^IA32_EFER +c0000080 0000000000000500$")
    shell.check("set-unknown", "set foo = 1", r"^'foo' is no register that can be set")
    shell.check("set-syntax", "set rax to 1", r"^write set REGISTER = VALUE")
    shell.check("set-still", "regs", r"^cr0 8\w+ \[ PG ")
    shell.check("vmcs", "vmcs GUEST_RI", r"^681e GUEST_RIP +000000000010[0-9a-f]{4}$")
    everything = shell.command("vmcs")
    run.check("shell/vmcs-all", everything.count("\n") > 120 and "HOST_RSP" in everything,
              f"{everything.count(chr(10))} fields")
    shell.check("vmcs-none", "vmcs nothing", r"^no field has 'nothing' in its name")
    for bad in ("inject irq 3", "inject irq", "inject nmi 5", "inject smi"):
        shell.check("inject-syntax", bad, r"^write inject irq VECTOR")
    shell.check("inject-exception-number", "inject exception 40", r"^exceptions are 0 to 31")


def memory_of_guest(run, shell):
    """x and walk, and addresses that cannot be read."""
    shell.check("x", "x/8xb $rip", r"^0x10[0-9a-f]{4}:  0xeb  0xfe(  0x[0-9a-f]{2}){6}$")
    shell.check("set-memory", "set/g p:0x5000 = 0x6f77206f6c6c6568", r"\A\Z")
    shell.check("set-size", "set/b 0x5000 = 256", r"^0x100 does not fit into 1 bytes$")
    shell.check("x-virtual", "x/2xw 0x5000", r"^0x5000:  0x6c6c6568  0x6f77206f$")
    shell.check("x-string", "x/s 0x5000", r'^0x5000:  "hello wo')
    shell.check("x-characters", "x/3cb p:0x5000", r"^0x5000:  104 'h'  101 'e'  108 'l'$")
    shell.check("x-decimal", "x/2dh 0x5000", r"^0x5000:  25960  27756$")
    shell.check("x-goes-on", "x", r"^0x5004:  8303$")
    shell.check("x-binary", "x/1tb 0x5000", r"^0x5000:  01101000$")
    shell.check("x-octal", "x/1ob 0x5000", r"^0x5000:  0150$")
    shell.check("x-backward", "x/-2xb 0x5002", r"^0x5000:  0x68  0x65$")
    shell.check("x-backward-goes-on", "x/-1", r"^0x4fff:  0x\w\w$")
    shell.command("set/g 0x5100 = 0x3ff199999999999a")
    shell.command("set/w 0x5108 = 0xc0490fdb")
    shell.check("x-double", "x/2f 0x5100", r"^0x5100:  1\.1000000000000001  1\.\d+e-314$")
    shell.check("x-float", "x/fw 0x5108", r"^0x5108:  -3\.14159274$")
    shell.check("x-float-goes-on", "x/f 0x5108", r"^0x5108:  -3\.14159274$")
    shell.check("x-instructions", "x/2i $rip", r"^'i': the monitor has no disassembler; gdb's x/i")
    shell.command("set/g 0x5200 = 0x0064630062610000")
    shell.check("x-strings-backward", "x/-2s 0x5208", r'^0x5202:  "ab"$', r'^0x5205:  "cd"$')
    shell.check("x-strings-forward", "x/2s", r'^0x5202:  "ab"$', r'^0x5205:  "cd"$')
    shell.check("x-strings-nowhere", "x/-1s 0x7f0000000000", r"^Cannot access memory at address 0x7effff")
    shell.check("x-sum", "x/1xb 0x4000+0x1004-3", r"^0x5001:  0x65$")
    shell.check("x-monitor", "x/2xg m:0xffffffff80000000", r"^0xffffffff80000000:  0x[0-9a-f]{16}  0x")
    shell.check("x-monitor-unmapped", "x/xg m:0", r"^Cannot access memory at address 0x0: the monitor has nothing")
    shell.check("x-monitor-device", "x/xg m:0xffffe00000000000", r"a device is there.*`force` does it$")
    shell.check("x-device", "x/xw 0xfee00030", r"^Cannot access memory at address 0xfee00030 "
                r"\(guest-physical 0xfee00030\): a device is there.*`force` does it$")
    shell.check("x-device-forced", "x/xw 0xfee00030 force", r"^0xfee00030:  0x000\w0014$")
    shell.check("x-device-physical", "x/xw p:0xfee00030", r"a device is there")
    shell.check("x-nowhere", "x/xw p:0x3f00000000", r"neither memory nor a device is there$")
    shell.check("x-not-canonical", "x/xb 0x8000000000000000", r"the address is not canonical$")
    shell.check("x-unmapped", "x/xb 0x7f0000000000", r"0x7f0000000000: not present$")
    shell.check("x-format", "x/4q 0", r"^'q': after a count, write one of")
    shell.check("x-count", "x/9999xg 0", r"^that is more than 4096 bytes at once")
    shell.check("x-huge-count", "x/99999999999xb 0", r"^that is more than 4096 bytes at once")
    shell.check("x-register", "x $foo", r"^there is no register 'foo'$")
    shell.check("x-space", "x z:0", r"^'z:0': write p: for a physical address")
    shell.check("set-monitor", "set/b m:0xffffffff80000000 = 1", r"the monitor's memory is not for writing$")
    shell.check("walk", "walk $rip", r"^linear 0x10\w+, 4-level paging, CR3 0x\w+$",
                r"^  PML4E +0 at 0x\w+ +[0-9a-f]{16}  present writable user accessed$",
                r"^  PDE +0 .*  present writable user accessed dirty; maps 2 MiB$",
                r"^guest-physical 0x10\w+: memory$", r"^  EPT PTE .*read write execute .*memory type 6",
                r"^machine-physical 0x\w+$")
    shell.check("walk-device", "walk 0xfee00000", r"^guest-physical 0xfee00000: a device$",
                r"EPT .*not present: an access is an exit$")
    shell.check("walk-nowhere", "walk 0x7f0000000000", r"not present$", r"^no translation: not present$")
    shell.check("walk-monitor", "walk m:0", r"^walk is for addresses of the guest$")
    del run


def editing(run, shell):
    """Keys of an xterm, in one piece and byte by byte."""
    shell.type(b"uptimx\x7fe\x01\x01\x1b[C\x1b[D\x1b[F")
    for byte in b"\x1b[H\x1b[3~\x1b[3~":
        shell.type(bytes([byte]))
        time.sleep(0.02)
    shell.type(b"up\r")
    shell.wait(rb"\d+ days ")
    shell.wait(PROMPT)
    shell.type(b"\x1b[A\x1b[A\x1b[B\r")
    shell.wait(rb"\d+ days ")
    shell.wait(PROMPT)
    shell.type(b"upt\t\x15pci ot\t\r")
    shell.wait(rb"00:00\.0")
    shell.wait(PROMPT)
    shell.type(b"x/xw $cs_b\t\r")
    shell.wait(rb"0x0:  0x|address 0x0: ")
    shell.wait(PROMPT)
    shell.type(b"vm \t\t")
    shell.wait(rb"spin  other")
    shell.wait(PROMPT)
    shell.type(b"\x03")
    shell.wait(PROMPT)
    run.check("shell/editing", True)


def lives(run, shell, machine):
    """Pause, resume, stop, start, reset, kick, console: and each where it makes no sense."""
    shell.check("kick", "kick other", r"^other vcpu0: left the guest by exit reason \d+ at rip 0x10\w+$")
    shell.command("pause other")
    shell.check("paused", "vm", r"^[ *] other +paused")
    shell.check("pause-again", "pause other", r"^other was paused already$")
    shell.command("pause spin")
    shell.check("paused-both", "vm", r"^[ *] spin +paused")
    shell.command("resume spin")
    shell.command("resume other")
    shell.check("resumed", "vm", r"^[ *] spin +running", r"^[ *] other +running")
    shell.check("resume-again", "resume other", r"^other is not paused$")
    shell.check("start-running", "start other", r"^other has not ended$")
    shell.check("reset-short", "rese spin", r"^`reset` has to be written out$")
    shell.command("reset spin")
    shell.wait(rb"spin: spinning")
    shell.check("resets", "vm", r"^[ *] spin .* 1$")
    for name in ("other", "spin"):
        shell.type(b"stop " + name.encode() + b"\r")
        if name == "other":
            shell.wait(rb"traprock: vm other: killed")
            shell.check("stopped", "vm", r"^[ *] other +killed")
            for command in ("stop", "pause", "resume", "reset", "kick"):
                shell.check(command + "-ended", command + " other",
                            r"^other has ended \(killed\); `start other` runs it again$")
            shell.check("regs-ended", "regs other", r"^rip 000000000010[0-9a-f]{4}$", r"^64-bit mode, CPL0, active")
            shell.check("x-ended", "x/2xb $rip", r"^0x10\w+:  0xeb  0xfe$")
            shell.type(b"start other\r")
            shell.wait(rb"other: spinning")
            shell.check("started", "vm", r"^[ *] other +running .* 1$")
            shell.type(b"console spin\r")
            shell.wait(rb"the terminal is spin's\r\n")
            shell.enter()
    shell.wait(rb"traprock: vm spin: killed")
    shell.type(b"poweroff\r")
    status = machine.wait()
    run.check("shell/poweroff", status == 1 and "traprock: vm other: killed code=0" in machine.log,
              f"exit status {status}")


# ---- On a port of its own ------------------------------------------------------------------------

NOISE = 16_000


def own_port(run):
    """The shell has COM2 for itself, where noise of any bytes does no harm."""
    run.guest("spin")
    conf = "[traprock]\nshell = com2\non-idle = wait\n" + vm("spin", pin=0) + vm("other", kernel="spin.elf", pin=1)
    with run.machine(run.make_image(conf), cpus=2, com2="line") as machine:
        machine.expect(rb"^other: spinning", timeout=run.case.limit)
        shell = Shell(run, machine, machine.com2)
        shell.wait(PROMPT)
        shell.check("own-port", "vm", r"^\* spin +running", r"^  other +running")
        noise = random.Random(5).randbytes(NOISE)
        for start in range(0, NOISE, 4096):
            shell.type(noise[start:start + 4096])
        time.sleep(1)
        # Whatever it left: a key of several bytes, a page, a line.
        shell.position = len(shell.line.data)
        shell.type(b"q\x03\x03\x15terminal 80 0\r")
        shell.wait(rb"terminal 80 0\r\n" + PROMPT, 3)
        shell.check("after-noise", "vm", r"^\* spin +running", r"^  other +running")
        shell.type(b"stop other\rstop spin\r")
        machine.expect(rb"^traprock: exit 1\r?$", timeout=60)
        shell.check("own-port-stopped", "vm", r"^\* spin +killed", r"^  other +killed")
        shell.type(b"start spin\r")
        machine.expect(rb"^spinning", timeout=60)
        shell.check("own-port-started", "vm", r"^\* spin +running")
        shell.type(b"poweroff\r")
        with machine.console.changed:
            ended = machine.console.changed.wait_for(lambda: machine.console.closed, timeout=60)
        run.check("shell/own-port-poweroff", ended, "the machine goes on")


def absent_port(run):
    """A port that the machine has no UART at: the run goes on without."""
    run.guest("hello")
    status, text = run.run_to_end("[traprock]\nshell = 0x2e8\n" + vm("hello", debug_exit="0xf4"))
    run.check("shell/absent-port", "shell = 0x2e8: the machine has no UART there" in text, "not said")
    run.check("shell/absent-port-status", status == 0, f"exit status {status}")


# ---- While guests flood --------------------------------------------------------------------------


def flooded(run):
    """Two guests that print all the time, one of them with the terminal: commands are answered, their
    output is in one piece, and the guests go on."""
    run.guest("flood")
    conf = vm("flood", pin=0) + vm("also", kernel="flood.elf", pin=1)
    with run.machine(run.make_image(conf), cpus=2) as machine:
        machine.expect(rb"^also: flood \d+", timeout=run.case.limit)
        shell = Shell(run, machine)
        shell.enter()
        for number in range(5):
            said = shell.check(f"flooded-{number}", "vm", r"^\* flood +\w+ ", r"^  also +\w+ ")
            run.check(f"shell/flooded-whole-{number}",
                      re.search(r"NAME.*\n\* flood.*\n  also.*\n", said), f"not in one piece: {said!r}")
        before = len(machine.console.data)
        shell.wait(rb"also: (.|\n)*flood: ")
        run.check("shell/flood-goes-on", len(machine.console.data) > before)
        shell.type(b"pause flood\rpause also\ruptime\r")
        shell.wait(rb"^0 days .*, 2 guests running\r\n")
        shell.wait(PROMPT)
        shell.check("flood-paused", "vm", r"^\* flood +paused", r"^  also +paused")
        shell.type(ESCAPE + b"x")
        run.check("shell/flooded-exit-status", machine.wait() == 1)


def sequence(run):
    """Guests that come and go, on the processor that the shell runs on; the last one stays."""
    run.guest("hello")
    run.guest("spin")
    conf = "[traprock]\nshell = com2\nrun = sequence\non-idle = wait\n"
    conf += vm("hello", debug_exit="0xf4") + vm("spin")
    with run.machine(run.make_image(conf), com2="line") as machine:
        machine.expect(rb"^spin: spinning", timeout=run.case.limit)
        shell = Shell(run, machine, machine.com2)
        shell.wait(PROMPT)
        said = shell.check("sequence", "vm", r"^\* spin +running")
        run.check("shell/sequence-one", "hello" not in said, f"{said!r}")
        shell.check("sequence-gone", "vm hello", r"^there is no guest 'hello'")
        shell.check("sequence-start", "start spin", r"^spin has not ended$")
        shell.type(b"stop spin\r")
        machine.expect(rb"^traprock: exit 1")
        shell.check("sequence-left", "regs", r"^rip 0000000000\w{6}$")
        shell.check("sequence-left-memory", "mem", r"guest memory of spin$")
        shell.type(b"start spin\r")
        machine.expect(rb"^spin: spinning")
        shell.check("sequence-again", "vm", r"^\* spin +running")
        shell.type(b"stop spin\r")
        machine.expect(rb"^traprock: exit 1")
        shell.check("sequence-left-again", "regs", r"^rip 0000000000\w{6}$")
        shell.type(b"poweroff\r")
        run.check("shell/sequence-exit-status", machine.wait() == 1)
    pages = re.findall(r"pages: (\d+) free after the guests, (\d+) before", machine.log)
    run.check("shell/sequence-pages", pages and all(after == before for after, before in pages), f"{pages}")


# ---- Symbols -------------------------------------------------------------------------------------


def symbols(run):
    """Names of the guest's in place of addresses, from a file that its configuration names."""
    run.guest("spin")
    run.write("spin.map", "0000000000001000 T low\n0000000000100000 T image_start\n"
              "0000000000100010 t inner\n0000000000100020 t outer\n0000000000200000 B image_end\n")
    conf = "[traprock]\nshell = com2\n" + vm("spin", symbols="spin.map")
    with run.machine(run.make_image(conf), com2="line") as machine:
        machine.expect(rb"^spinning", timeout=run.case.limit)
        shell = Shell(run, machine, machine.com2)
        shell.wait(PROMPT)
        shell.check("symbol-address", "x/2xb inner+1", r"^0x100011 <inner\+0x1>:  0x")
        shell.check("symbol-unknown", "x nowhere", r"^spin has no symbol 'nowhere'$")
        for offset, value in ((0, "0x5010"), (8, "inner+4"), (16, "0x5020"), (24, "outer+8"), (32, "0x900000000000"),
                              (40, "image_start+2")):
            shell.command(f"set/g 0x{0x5000 + offset:x} = {value}")
        shell.command("set rbp = 0x5000")
        shell.check("symbol-a", "x/a 0x5008", r"^0x5008 <low\+0x4008>:  0x100014 <inner\+0x4>$")
        shell.check("bt", "bt", r"\A#0  0x000000000010\w{4} <outer\+0x\w+>\n#1  0x0000000000100014 <inner\+0x4>\n"
                    r"#2  0x0000000000100028 <outer\+0x8>\n#3  0x0000000000100002 <image_start\+0x2>\n"
                    r"\(no frame at 0x900000000000\)\n\Z")
        shell.type(b"walk in\t\r")
        shell.wait(rb"linear 0x100010, ")
        shell.wait(PROMPT)
        shell.check("symbol-regs", "regs", r"^rip 0000000000\w+ <outer\+0x\w+>$")
        shell.type(b"poweroff\r")
        run.check("shell/symbols-exit-status", machine.wait() == 1)


# ---- Events --------------------------------------------------------------------------------------


def inject(run):
    """Exceptions, with the error code that they have, an interrupt, which waits for the guest's leave,
    and an NMI, at which the guest gives it."""
    run.guest("injected")
    conf = "[traprock]\nshell = com2\n" + vm("injected")
    with run.machine(run.make_image(conf), com2="line") as machine:
        machine.expect(rb"^waiting", timeout=run.case.limit)
        shell = Shell(run, machine, machine.com2)
        shell.wait(PROMPT)
        shell.command("inject exception 6 5")
        machine.expect(rb"^event 0x6 error 0x0\r?$", timeout=30)
        shell.command("inject exception 13 0x28")
        machine.expect(rb"^event 0xd error 0x28\r?$", timeout=30)
        shell.command("inject irq 0x41")
        shell.check("inject-waits", "irq", r"^  irr: 41$", r"an interrupt is pending$")
        run.check("shell/inject-masked", "event 0x41" not in machine.log)
        shell.command("inject nmi")
        machine.expect(rb"^event 0x2 error 0x0\r?\nevent 0x41 error 0x0\r?$", timeout=30)
        shell.check("inject-taken", "irq", r"^  irr: none$", r"^  isr: none$")
        shell.type(b"poweroff\r")
        run.check("shell/inject-exit-status", machine.wait() == 1)


# ---- After a panic -------------------------------------------------------------------------------


# What the shell has then, and says.
AFTER_PANIC = [
    ("log", r"error: panic on processor 0:", r"asked for in the shell"),
    ("mem", r"guest memory of \w+$"),
    ("uptime", r"^0 days"),
    ("vm", r"^unknown command 'vm'; `help` lists those that there are after a panic$"),
    ("help", r"^  reboot ", r"^  log "),
]


def panic(run):
    """The verdict comes first, and is the last line; then a key brings the shell back, for what needs
    nobody else, also while the panic was its own command."""
    run.guest("spin")
    conf = vm("spin", pin=0) + vm("other", kernel="spin.elf", pin=1)
    with run.machine(run.make_image(conf), cpus=2) as machine:
        machine.expect(rb"^spinning", timeout=run.case.limit)
        shell = Shell(run, machine)
        shell.enter()
        shell.type(b"panic\r")
        machine.expect(rb"panic on processor 0:", timeout=60)
        machine.expect(rb"asked for in the shell", timeout=60)
        machine.expect(rb"^traprock: exit 255\r\n", timeout=60)
        time.sleep(2)
        run.check("shell/panic-verdict-last", machine.log.endswith("traprock: exit 255\r\n"),
                  f"{machine.log[-80:]!r}")
        shell.position = len(machine.console.data)
        shell.type(b"\r")
        shell.wait(PROMPT)
        for line, *wanted in AFTER_PANIC:
            shell.check("panic", line, *wanted)
        shell.type(b"poweroff\r")
        with machine.console.changed:
            ended = machine.console.changed.wait_for(lambda: machine.console.closed, timeout=60)
        run.check("shell/panic-poweroff", ended, "the machine goes on")


def panic_own_port(run):
    """The shell of a port of its own is there after a panic too, for the same commands."""
    run.guest("spin")
    conf = "[traprock]\nshell = com2\n" + vm("spin")
    with run.machine(run.make_image(conf), com2="line") as machine:
        machine.expect(rb"^spinning", timeout=run.case.limit)
        shell = Shell(run, machine, machine.com2)
        shell.wait(PROMPT)
        shell.type(b"panic\r")
        machine.expect(rb"^traprock: exit 255\r\n", timeout=60)
        time.sleep(2)
        run.check("shell/panic-own-quiet", machine.com2.data.endswith(b"panic\r\n"), f"{machine.com2.data[-80:]!r}")
        shell.position = len(machine.com2.data)
        shell.type(b"\r")
        shell.wait(PROMPT)
        for line, *wanted in AFTER_PANIC:
            shell.check("panic-own", line, *wanted)
        run.check("shell/panic-own-console", machine.log.endswith("traprock: exit 255\r\n"), f"{machine.log[-80:]!r}")
        shell.type(b"poweroff\r")
        with machine.console.changed:
            ended = machine.console.changed.wait_for(lambda: machine.console.closed, timeout=60)
        run.check("shell/panic-own-poweroff", ended, "the machine goes on")


def exits(run):
    """What exits cost, by the guest that asks CPUID, its UART and the debug exit's port all the time."""
    run.guest("bench")
    run.write("disk.bin", bytes(1 << 16))
    conf = ("[traprock]\nshell = com2\non-idle = wait\n" +
            vm("bench", debug_exit="0xf4", disk="disk.bin,ro", trace="1000") + vm("plain", kernel="spin.elf"))
    run.guest("spin")
    with run.machine(run.make_image(conf), cpus=2, com2="line") as machine:
        machine.expect(rb"^traprock: vm bench: debug-exit code=0", timeout=run.case.limit)
        shell = Shell(run, machine, machine.com2)
        shell.wait(PROMPT)
        shell.command("terminal 0 200")
        shell.check("exits", "exits", r"^bench vcpu0: times in ns", r"^IO_INSTRUCTION +port 0x3f8 +\d+ +\d+",
                    r"^CPUID +leaf 0x0 +1\d\d ", r"^RDMSR +msr 0x1a0 +\d+ ", r"^EPT_VIOLATION +page 0xfec00000 ")
        shell.check("exits-histogram", "exits histogram", r"^CPUID leaf 0x0: counts", r"^  own +2\^\d+ +\d+ #+$")
        shell.check("exits-off", "exits plain", r"^plain: its exits are not accounted; `accounting = yes`")
        accounts = json.loads(shell.command("exits json bench").strip())
        of_leaf = [row for row in accounts["exits"] if (row["reason"], row["what"]) == ("CPUID", "leaf 0x0")]
        run.check("shell/exits-json", len(of_leaf) == 1 and accounts["name"] == "bench", f"{accounts}")
        own, guest = of_leaf[0]["own"], of_leaf[0]["guest"]
        run.check("shell/exits-sums", 0 < own["min"] <= own["mean"] <= own["max"] and
                  sum(guest["log2"].values()) == of_leaf[0]["count"], f"{of_leaf}")
        trace = json.loads(shell.command("trace json bench 300 10").strip())["traceEvents"]
        run.check("shell/trace-json", len(trace) == 300 and all(event["ph"] == "X" for event in trace), f"{trace}")
        run.check("shell/trace-order", all(a["ts"] + a["dur"] <= b["ts"] for a, b in zip(trace, trace[1:])))
        shell.check("trace", "trace bench 5", r"^ +TSC |^TSC ", r"IO_INSTRUCTION +0x\w+ 0x\w+ (ADVANCE|RETRY)$")
        shell.check("trace-untimed", "trace plain 3", r"^- +- ")
        shell.check("trace-bad", "trace bench few", r"few")
        shell.type(b"poweroff\r")
        machine.wait()


EXITS_JSON = """
import json
attach()
said = run("monitor exits json")
note("lines", said.count(chr(10)))
note("rows", len(json.loads(said)["exits"]))
note("vm", run("monitor vm").count("kinds"))
"""


CUTS = 10  # the emulator's line may be quicker than the one who types


def is_cut(shell):
    shell.type(b"exits json\r")
    shell.wait(rb'"what":"')
    shell.type(b"\x03")
    return "(all others)" not in shell.wait(rb"\r\n\(traprock\) ")


def exits_full(run):
    """With every row of the accounting in use, `exits json` is one line of JSON: with pages, by gdb, and
    where Ctrl-C ends it in the middle the prompt comes back."""
    run.guest("kinds")
    conf = "[traprock]\ngdb = com2\n" + vm("kinds", accounting="yes")
    with run.machine(run.make_image(conf), com2="line") as machine:
        machine.expect(rb"^all kinds", timeout=run.case.limit)
        shell = Shell(run, machine)
        shell.enter()
        shell.type(b"exits json\r")
        line = shell.wait(rb"^\{.*\]\}\r\n", 4)
        rows = json.loads(line[line.index("{"):])["exits"]
        run.check("shell/exits-json-rows", len(rows) == 513, f"{len(rows)}")
        run.check("shell/exits-json-long", len(line) > 98304, f"{len(line)}")
        run.check("shell/exits-json-rest", rows[-1]["reason"] == "(all others)" and rows[-1]["count"] > 80,
                  f"{rows[-1]}")
        shell.wait(PROMPT)
        run.check("shell/exits-json-ctrl-c", any(is_cut(shell) for _ in range(CUTS)), "all of it came")
        bridge = Bridge(machine.com2)
        try:
            notes, text = gdb_run(run, bridge.port, EXITS_JSON)
        finally:
            bridge.close()
        run.check("shell/exits-json-gdb", notes == {"lines": "1", "rows": "513", "vm": "1"},
                  f"{notes}: {text[-300:]}")
        shell.type(b"poweroff\r")
        machine.wait()


CASES = [
    Case("shell-sequence", sequence),
    Case("shell-inject", inject),
    Case("shell-panic", panic),
    Case("shell-panic-own-port", panic_own_port),
    Case("shell-symbols", symbols),
    Case("shell-exits", exits, seconds=40),
    Case("shell-exits-full", exits_full, seconds=40),
    Case("shell-console", console, seconds=40),
    Case("shell-own-port", own_port, seconds=40),
    Case("shell-absent-port", absent_port),
    Case("shell-flooded", flooded, seconds=30),
]
