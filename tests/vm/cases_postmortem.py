"""What is said of guests that died, and what can still be seen of them."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time

from cases_gdb import check_notes
from cases_shell import Shell
from gdb import Bridge, gdb_run
from harness import Case, outcome, vm
from mux import Mux, Relay

DELIVERED = r"^    \d\. the delivery of {} \(\d+\): {}, error code 0x{:x}"

ESCAPE = b"\x01"

# Each way of tests/guests/post_mortem.asm: its outcome, and what the report has to say of it.
WAYS = {
    "no_idt": ("triple-fault", r"^    1\. at RIP 0x\w+: #UD \(6\)$",
               DELIVERED.format("#DF", r"#GP \(13\)", 0x43) + ": entry 8 of the IDT$",
               r"^  vector 8, #DF: IDT entry at 0x80, beyond the limit$",
               r"fail with #GP: the gate lies beyond the IDT, whose limit is 0x0$"),
    "gate_absent": ("triple-fault",
                    r"^    1\. at RIP 0x\w+: #PF \(14\), error code 0x2: a write at 0x700000000123, which is not "
                    r"mapped$",
                    DELIVERED.format("#PF", r"#NP \(11\)", 0x73) + ": entry 14 of the IDT$",
                    DELIVERED.format("#DF", r"#NP \(11\)", 0x43),
                    r"^    not present, 64-bit interrupt gate \(type 14\) to 0008:[0-9a-f]{16}, DPL0, IST1$",
                    r"fail with #NP: the gate is not present$",
                    r"^  a fault's address 0x700000000123, 4-level paging: no translation: not present$",
                    r"^    PML4E  224 at 0x\w+ +0{16}  not present$"),
    "gate_type": ("triple-fault", r"^    present, no gate for events \(type 12\) to 0008:",
                  DELIVERED.format("#DF", r"#GP \(13\)", 0x43),
                  r"fail with #GP: type 12 is none of a gate for events$"),
    "code_selector": ("triple-fault", DELIVERED.format("#DF", r"#GP \(13\)", 0x1231) + ": selector 1230 of the GDT$",
                      r"^    handler's CS 0010 .* \[ data writable DPL0 32-bit G \]$",
                      r"the gate's selector 0010 is no code segment$",
                      r"handler's CS 1230 lies beyond the GDT, whose limit is 0x6f$"),
    "bad_stack": ("triple-fault", DELIVERED.format("#DF", r"#PF \(14\)", 2) + ": a write at 0x6ffffffffff8,",
                  r"^    its stack: the one in use, 0x700000000000$",
                  r"fail with #PF: the handler's stack cannot be written at 0x6fffffffffff$",
                  r"^  RSP 0x700000000000, 4-level paging: no translation: not present$"),
    "short_tss": ("triple-fault", DELIVERED.format("#UD", r"#TS \(10\)", 0x49) + ": selector 0048 of the GDT$",
                  r"fail with #TS: the TSS has no RSP0: its limit is 0x3$",
                  r"fail with #TS: the TSS has no IST1: its limit is 0x3$", r"^  64-bit mode, CPL3, active"),
    "empty_tables": ("triple-fault", r"#PF \(14\), error code 0x0: a read at 0x\w+, which is not mapped$",
                     r"^  RIP 0x\w+, 4-level paging: no translation: not present$",
                     r"^    PML4E    0 at 0x3000000 +0{16}  not present$",
                     r"fail with #PF: the IDT cannot be accessed at 0x\w+$"),
    "interrupt": ("triple-fault",
                  r"^    1\. the event that was injected last, interrupt 65: #GP \(13\), error code 0x20b",
                  r"^  1 events injected after these exits:$", r"^    interrupt 65, after the exit at rip "),
    "int_n": ("triple-fault", r"^    1\. the delivery of INT 66: #NP \(11\), error code 0x212: entry 66 of the IDT$",
              r"^  vector 66: IDT entry at 0x"),
    "real_mode": ("triple-fault", r"^  vector 8, #DF: entry of the interrupt table at 0x20, beyond the limit$",
                  r"^  real-address mode, CPL0, active"),
    "pm16": ("triple-fault", r"^    1\. at RIP 0x\w+: #GP \(13\), error code 0x\w+: selector \w{4} of the GDT$",
             r"^  protected mode, 16 bits, CPL0, active", r"^  vector 13, #GP: IDT entry at 0x68, beyond the limit$",
             r"^    selector \w{4} base 0{11}\w{5} limit 0000ffff access 0009\w \[ code readable DPL0 16-bit \]$",
             r"^  code at 0x\w+: 8e d0 c3"),
    "flat32": ("triple-fault", r"^    1\. at RIP 0x\w+: #GP \(13\), error code 0x1230: selector 1230 of the GDT$",
               r"^  protected mode, 32 bits, CPL0, active",
               r"^  selector 1230 lies beyond the GDT, whose limit is 0x6f$",
               r"^  RIP 0x\w+, paging is off: guest-physical 0x\w+, memory$",
               r"^  code at 0x\w+: 8e d8 c3", r"^  stack at 0x\w{6}: 13572468 [0-9a-f ]{62}$"),
    "paged32": ("triple-fault", r"^    1\. .*#PF \(14\), error code 0x2: a write at 0xffe00123, which is not mapped$",
                r"^  a fault's address 0xffe00123, 32-bit paging: no translation: not present$",
                r"^    PDE   1023 at 0x\w+ +0+  not present$"),
    "pae": ("triple-fault", r"^    1\. .*#PF \(14\), error code 0x2: a write at 0xffe00123, which is not mapped$",
            r"^  a fault's address 0xffe00123, PAE paging: no translation: not present$",
            r"^  PDPTE registers \w+001 \w+001 \w+001 \w+001$",
            r"^    PDPTE    3 at 0x\w+ +\w+  present", r"^    PDE    511 at 0x\w+ +0+  not present$"),
    "refused": ("stopped", r"warn: refused: cannot emulate the instruction at RIP",
                r"post-mortem: it was stopped for what stands above$",
                r"^  its last exit was for a write of guest-physical 0xfee00380, linear 0xfee00380$",
                r"^  a fault's address 0xfee00380, 4-level paging: guest-physical 0xfee00380, a device$",
                r"^  code at 0x\w+: f3 0f 7f 07"),
    "noisy": ("triple-fault", r"^    1\. at RIP 0x\w+: #UD \(6\)$", r"^warn: noisy: reports a panic of its kernel"),
    "panics": ("panic", r"post-mortem: its kernel has panicked; where it was:$"),
    "asks_for_reset": ("reset", r"post-mortem: it was to be reset, and on-reset = stop; where it was:$"),
    "says": ("rejected", r"post-mortem: it has said what it must not say; where it was:$"),
    "device_idt": ("triple-fault", r"^  it came of what exit EPT_VIOLATION raised:$",
                   r"^  under way was the delivery of #DF \(8\)$",
                   r"^  its last exit was for a read of guest-physical 0xfee00080, linear 0xfee00080$",
                   r"^  vector 8, #DF: IDT entry at 0xfee00080, which cannot be read$"),
    "hangs": ("timeout", r"post-mortem: its time was up; where it was:$", r"^  PREEMPTION_TIMER +rip "),
}
# Of every report.
ALWAYS = (r"^  rax [0-9a-f]{16}  rbx ", r"^  r15 1234567887654321$", r"^  cr0 \w+ \[ .*NE ", r"^  idtr base ",
          r"^  tr +0048 .* \[ TSS busy DPL0 \]$", r"^  RIP 0x\w+, ", r"^  RSP 0x\w+, ", r"exits; the last ones:$",
          r"^  \d+ events injected")


def report_on(text, name):
    """The lines of the report on a guest, without their times."""
    begin = text.find(f"{name} vcpu0: post-mortem: ")
    end = text.find(f"traprock: vm {name}:")
    before = text.rfind(f"{name}: starts ", 0, begin)
    return re.sub(r"^\[ *\d+\.\d+\] ", "", text[before:end], flags=re.MULTILINE) if 0 < begin < end else ""


def reports(run):
    """Every way to die, one after the other, and the report on it."""
    run.guest("post_mortem")
    conf = "[traprock]\nrun = sequence\n"
    for way in WAYS:
        conf += vm(way, kernel="post_mortem.elf", cmdline=way, on_reset="stop", timeout="3s", pvpanic="yes",
                   reject="failed")
    _, text = run.run_to_end(conf)
    text = text.replace("\r", "")
    for way, (end, *wanted) in WAYS.items():
        ended, said = outcome(text, way), report_on(text, way)
        run.check(f"post-mortem/{way}/outcome", ended == (end, 0), f"{ended}")
        for pattern in [*wanted, *ALWAYS]:
            run.check(f"post-mortem/{way}/report", re.search(pattern, said, re.MULTILINE),
                      f"no {pattern!r} in the report on {way}: {said[:2000]!r}")


def bounded(run):
    """A guest that dies again and again, which cannot fill the log, and is reported on at its end nonetheless."""
    run.guest("post_mortem")
    conf = vm("dies", kernel="post_mortem.elf", cmdline="no_idt", memory="4M", timeout="2s")
    _, text = run.run_to_end(conf)
    said = re.findall(r"dies vcpu0: post-mortem: (.{12})", text)
    resets = re.search(r'"outcome":"timeout".*"resets":(\d+)', text)
    run.check("post-mortem/bounded-resets", resets and int(resets.group(1)) > 3, str(resets))
    run.check("post-mortem/bounded", said == ["triple fault", "its time was"], f"{said}")


BESIDE = {"phases": 8, "ms": 250}
PACE = 0.95  # of the best phase: the line's interrupts are its processor's, but not the wait for the line


def beside(run):
    """While a report is on its way, for most of a second, the guest on the processor that takes the line's
    interrupts keeps its pace."""
    run.guest("post_mortem")
    run.guest("worker")
    cmdline = " ".join(f"{key}={count}" for key, count in BESIDE.items())
    conf = vm("worker", memory="4M", debug_exit="0xe5f4", pin=0, cmdline=cmdline) + \
        vm("dies", kernel="post_mortem.elf", cmdline="gate_absent", memory="4M", on_reset="stop", pin=1)
    _, text = run.run_to_end(conf, cpus=2)
    text = text.replace("\r", "")
    did = [int(count) for count in re.findall(r"^worker: phase \d did (\d+)$", text, re.MULTILINE)]
    run.check("post-mortem/beside-report", re.search(r"dies vcpu0: post-mortem: triple fault", text))
    run.check("post-mortem/beside", len(did) == BESIDE["phases"] and min(did) >= PACE * max(did), f"{did}")


# ---- What can still be seen ------------------------------------------------------------------------


def shell_after(run):
    """A guest that has died stays for the shell, beside one that runs and when all have ended; then it starts
    again, loaded afresh."""
    run.guest("post_mortem")
    run.guest("spin")
    conf = "[traprock]\non-idle = wait\n" + vm("spin", pin=0)
    conf += vm("dead", kernel="post_mortem.elf", cmdline="gate_absent", on_reset="stop", pin=1)
    with run.machine(run.make_image(conf), cpus=2) as machine:
        machine.expect(rb"^traprock: vm dead: triple-fault", timeout=run.case.limit)
        shell = Shell(run, machine)
        shell.enter()
        shell.check("ended", "vm dead", r"^\* dead +triple-fault +1 ")
        for _ in range(2):
            shell.check("ended-regs", "regs", r"^rip 0000000000\w{6}$", r"^r15 1234567887654321$",
                        r"^cr2 0000700000000123 ")
        shell.check("ended-x", "x/6xb $rip", r"^0x10\w+:  0xc7  0x00  0x01  0x00  0x00  0x00$")
        shell.check("ended-walk", "walk $cr2", r"^  PML4E  224 .*  not present$", r"^no translation: not present$")
        shell.check("ended-vmcs", "vmcs GUEST_RIP", r"^681e GUEST_RIP +0000000000\w{6}$")
        said = shell.check("ended-bt", "bt", r"^#0  0x\w{16}$", r"^#3  0x\w{16}$")
        report = report_on(machine.log.replace("\r", ""), "dead")
        calls = re.findall(r"^  (#\d+ +0x\w{16})$", report, re.MULTILINE)
        run.check("shell/ended-bt-as-reported", calls == re.findall(r"^#\d+ +0x\w{16}$", said, re.MULTILINE) != [],
                  f"{calls} in the report, {said!r} later")
        shell.check("ended-trace", "trace", r" TRIPLE_FAULT +0x0000000000\w{6} ")
        shell.check("ended-irq", "irq", r"^local APIC 0: xAPIC at 0xfee00000, enabled$")
        shell.check("ended-virtio", "virtio", r"virtio|no virtio device")
        shell.check("ended-set", "set/b 0x5000 = 0x41", r"\A\Z")
        shell.check("ended-set-there", "x/1xb 0x5000", r"^0x5000:  0x41$")
        shell.check("ended-memory", "mem", r"guest memory of dead$")
        shell.check("ended-inject", "inject nmi", r"^dead has ended \(triple-fault\); `start dead` runs it again$")
        shell.type(b"start dead\r")
        shell.wait(rb"dead: alive")
        shell.wait(rb"traprock: vm dead: triple-fault")
        shell.check("ended-again", "x/1xb 0x5000", r"^0x5000:  0x00$")
        shell.type(b"stop spin\r")
        shell.wait(rb"traprock: exit 1")
        shell.check("ended-all", "regs spin", r"^rip 0000000000\w{6}$")
        shell.check("ended-all-other", "regs dead", r"^r15 1234567887654321$")
        shell.check("ended-all-pages", "log", r"pages: \d+ of those that are free again hold guests that have ended")
        shell.type(b"poweroff\r")
        machine.wait()
    free = re.search(r"pages: (\d+) free after the guests, (\d+) before", machine.log)
    run.check("shell/ended-pages", free and free.group(1) == free.group(2), str(free))


GDB_EVENTS = """
signals, codes = [], []
gdb.events.stop.connect(lambda event: signals.append(getattr(event, "stop_signal", "")))
gdb.events.exited.connect(lambda event: hasattr(event, "exit_code") and codes.append(event.exit_code))
"""

GDB_DEATH = GDB_EVENTS + """
attach()
run("continue")
note("died", signals[-1])
note("r15", hex(value("$r15")))
note("at", run("info symbol $pc").split()[0])
note("bytes", bytes(gdb.selected_inferior().read_memory(value("$pc"), 2)).hex())
note("shell", "PML4E" in run("monitor walk $rip"))
run("continue")
note("ended", codes)
"""

GDB_RUN = GDB_EVENTS + """
run("target extended-remote localhost:PORT")
died, again = [], []
for _ in range(2):
    run("hbreak main")
    run("run" if died else "continue")
    again.append(value("$pc") == value("(long)&main"))
    run("delete")
    run("continue")
    died.append(signals[-1])
note("died", died)
note("run", again)
run("continue")
note("ended", codes)
"""

GDB_LATER = GDB_EVENTS + """
attach()
note("r15", hex(value("$r15")))
note("at", run("info symbol $pc").split()[0])
run("detach")
attach()
note("again", hex(value("$r15")))
run("continue")
note("ended", codes)
"""
AT_DEATH = {"r15": "0x1234567887654321", "at": "no_idt", "ended": [1]}


@contextlib.contextmanager
def gdb_at(run, conf, expected):
    with run.machine(run.make_image(conf), com2="line") as machine:
        bridge = Bridge(machine.com2)
        try:
            machine.expect(expected, timeout=run.case.limit)
            yield machine, bridge.port
        finally:
            bridge.close()


def gdb_at_death(run):
    """gdb sees a guest where it died, and then its end; the machine does not go off before that."""
    run.guest("post_mortem")
    conf = "[traprock]\ngdb = com2\n"
    conf += vm("dead", kernel="post_mortem.elf", cmdline="no_idt", on_reset="stop", start="paused")
    with gdb_at(run, conf, rb"paused before its first instruction") as (machine, port):
        notes, text = gdb_run(run, port, GDB_DEATH, symbols=run.path("post_mortem.elf"))
        machine.expect(rb"^traprock: vm dead: triple-fault")
        machine.wait()
    check_notes(run, notes, text, {**AT_DEATH, "died": "SIGSEGV", "bytes": "0f0b", "shell": True})


def gdb_runs_the_dead(run):
    """`run` of extended-remote starts a guest again that stands dead, without anybody who ends it first."""
    run.guest("post_mortem")
    conf = "[traprock]\ngdb = com2\non-idle = wait\n"
    conf += vm("dead", kernel="post_mortem.elf", cmdline="no_idt", on_reset="stop", start="paused")
    with gdb_at(run, conf, rb"paused before its first instruction") as (machine, port):
        notes, text = gdb_run(run, port, GDB_RUN.replace("PORT", str(port)), symbols=run.path("post_mortem.elf"))
        machine.expect(rb"^traprock: vm dead: triple-fault")
    check_notes(run, notes, text, {"died": ["SIGSEGV", "SIGSEGV"], "run": [True, True], "ended": [1]})
    lives = len(re.findall(r"^alive\r?$", machine.log, re.MULTILINE))
    run.check("gdb/run-dead-lives", lives == 2, f"{lives} lives")


def gdb_later(run):
    """A gdb that comes when the guest has ended finds it as it was; so does the next one."""
    run.guest("post_mortem")
    conf = "[traprock]\ngdb = com2\non-idle = wait\n"
    conf += vm("dead", kernel="post_mortem.elf", cmdline="no_idt", on_reset="stop")
    with gdb_at(run, conf, rb"^traprock: exit 1") as (_, port):
        notes, text = gdb_run(run, port, GDB_LATER, symbols=run.path("post_mortem.elf"))
    check_notes(run, notes, text, {**AT_DEATH, "again": "0x1234567887654321"})


def killed_at_death(run):
    """One that stands dead for a gdb that does not come back is let go by `stop`."""
    run.guest("post_mortem")
    conf = "[traprock]\ngdb = com2\n"
    conf += vm("dead", kernel="post_mortem.elf", cmdline="no_idt", on_reset="stop", start="paused")
    with gdb_at(run, conf, rb"paused before its first instruction") as (machine, _):
        machine.com2.send(b"$?#3f$c#63")
        machine.expect(rb"events injected")
        shell = Shell(run, machine)
        shell.enter()
        shell.check("standing-regs", "regs", r"^r15 1234567887654321$")
        shell.type(b"stop dead\r")
        shell.wait(rb"traprock: vm dead: triple-fault")
        status = machine.wait()
    run.check("gdb/standing-stopped", status == 1 and b"$T0bthread:1;" in machine.com2.data, f"status {status}")


# ---- Dumps -----------------------------------------------------------------------------------------

DUMP = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "kernel", "debug",
                    "host", "traprock_dump.py")

# What a live guest and its core file have to agree about.
SEEN = """
def seen():
    note("bt", [(frame.name(), hex(frame.pc())) for frame in frames()])
    note("names", [frame.name() for frame in frames()][:4])
    for name in ("rip", "rsp", "rbp", "rbx", "r12", "r13", "r14", "eflags", "cs", "ss", "fs_base", "gs_base"):
        note(name, hex(value("$" + name)))
    note("mxcsr", hex(value("$mxcsr")))
    memory = gdb.selected_inferior()
    for name, where, size in (("code", "$pc", 64), ("stack", "$sp", 64), ("noise", "0x200f000", 256)):
        note(name, bytes(memory.read_memory(value(where), size)).hex())
def frames():
    frame = gdb.newest_frame()
    while frame is not None:
        yield frame
        frame = frame.older()
"""

# gdb goes without a word, and the guest stands.
LIVE = SEEN + """
import os
attach()
seen()
os._exit(0)
"""

CORE = SEEN + """
run("core-file CORE")
seen()
note("physical", bytes(gdb.selected_inferior().read_memory(0x8000000000000000 + 0x200f000, 256)).hex())
"""


def take_dump(run, port, cut=False):
    """The status of traprock_dump.py, which is killed where the first blocks have come if cut says so."""
    words = [sys.executable, DUMP, f"localhost:{port}", "calls", "-o", run.path("calls.core")]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120 * run.scale
        while process.poll() is None and time.monotonic() < deadline:
            if cut and os.path.exists(run.path("calls.core.part.json")):
                break
            time.sleep(0.05)
        process.kill()
        _, said = process.communicate()
    return process.returncode, said


def dumped(run):
    """A core file that comes over the console, is cut and goes on, and that gdb opens with what it saw of the
    live guest."""
    run.guest("calls")
    symbols = run.files.guest("calls")
    conf = "[traprock]\ngdb = com2\n" + vm("calls", debug_exit="0xf4", memory="48M")
    with gdb_at(run, conf, rb"^alive") as (machine, port):
        live, text = gdb_run(run, port, LIVE, symbols)
        run.check("dump/live", "noise" in live, text[-300:])
        bridge = Bridge(machine.console)
        cut, _ = take_dump(run, bridge.port, cut=True)
        with open(run.path("calls.core.part.json"), encoding="utf-8") as file:
            note = json.load(file)
        run.check("dump/cut", cut != 0 and 0 < note["next"] < note["size"] // 65536, f"{cut}, {note}")
        status, said = take_dump(run, bridge.port)
        run.check("dump/taken", status == 0, f"{status}: {said}")
        bridge.close()
        machine.send(ESCAPE + b"x")
        machine.wait()
    run.check("dump/size", os.path.getsize(run.path("calls.core")) == note["size"], f"{note}")
    core, text = gdb_run(run, 0, CORE.replace("CORE", run.path("calls.core")), symbols)
    check_notes(run, core, text, {**live, "physical": live["noise"], "names": ["inner", "middle", "outer", "main"]})
    pages = re.search(r"pages: (\d+) free after the guests, (\d+) before", machine.log)
    run.check("dump/pages", pages and pages.group(1) == pages.group(2), str(pages))


def dumped_over_channel(run):
    """The same by the program that splits the line: it gets the file while the consoles go on, ends in the middle,
    and the next one goes on there."""
    run.guest("calls")
    symbols = run.files.guest("calls")
    conf = vm("calls", debug_exit="0xf4", memory="48M")
    with run.machine(run.make_image(conf), realtime=True) as machine:
        relay = Relay(machine.console)
        first = Mux(run, relay.port, "--dumps", run.path("."))
        shell = first.terminal("shell")
        shell.wait(rb"\(traprock\) ")
        shell.type(b"dump calls\r")
        shell.wait(rb"dump: calls id (.|\n)*the program at the line's other end takes the file(.|\n)*\(traprock\) ")
        first.notes.wait(rb"a dump comes to .*calls\.core, from block 0 of ")
        deadline = time.monotonic() + 60 * run.scale
        while not os.path.exists(run.path("calls.core.part.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        first.process.kill()
        first.close()
        second = Mux(run, relay.port, "--dumps", run.path("."))
        shell = second.terminal("shell")
        shell.wait(rb"\(traprock\) ")
        shell.type(b"vm\r")
        run.check("dump/held", "paused" in shell.wait(rb"\* calls .*\n"))
        shell.type(b"dump calls\r")
        said = second.notes.wait(rb"a dump comes to .*calls\.core, from block \d+ of ")
        run.check("dump/goes-on", not said.endswith("from block 0 of "), said)
        second.notes.wait(rb"calls\.core is whole", 90 * run.scale)
        said = ""
        for _ in range(20):  # the program's last word to the monitor is on its way
            shell.type(b"vm\r")
            said = shell.wait(rb"\* calls .*\n")
            if "running" in said:
                break
        run.check("dump/let-go", "running" in said, said)
        shell.type(b"stop calls\r")
        second.out.wait(rb"^traprock: exit 1\r?\n")
        second.close()
        machine.wait()
        relay.close()
    notes, text = gdb_run(run, 0, CORE.replace("CORE", run.path("calls.core")), symbols)
    check_notes(run, notes, text, {"names": ["inner", "middle", "outer", "main"], "r13": "0xd", "r14": "0xe",
                                   "rbx": "0x1122334455667788", "physical": notes.get("noise")})


CASES = [
    Case("post-mortem-reports", reports, seconds=40),
    Case("post-mortem-bounded", bounded, seconds=15),
    Case("post-mortem-beside", beside, seconds=15),
    Case("post-mortem-shell", shell_after, seconds=25),
    Case("post-mortem-gdb", gdb_at_death, seconds=25),
    Case("post-mortem-gdb-run", gdb_runs_the_dead, seconds=20),
    Case("post-mortem-gdb-later", gdb_later, seconds=25),
    Case("post-mortem-stands", killed_at_death, seconds=20),
    Case("post-mortem-dump", dumped, seconds=40),
    Case("post-mortem-channel", dumped_over_channel, seconds=50),
]
