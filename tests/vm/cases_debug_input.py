"""What goes wrong between a debugger and a guest: each has an answer, and the guest lives."""

import os
import re
import time

from cases_gdb import bridged, check_notes, debuggee
from cases_gdb_trace import symbols_of
from cases_shell import Shell
from gdb import gdb_end, gdb_run, gdb_start, packet
from harness import Case, CaseFailed, vm

# Errors of gdb's by their text; `refused(what, *words)` notes whether all of the words are in it.
REFUSED = """
def refused(name, command, *words):
    try:
        said = run(command)
    except gdb.error as error:
        said = str(error)
    note(name, all(word in said for word in words) or said.replace(chr(10), " "))
"""

# ---- Addresses and commands ----------------------------------------------------------------------

EFFECTS = REFUSED + """
attach()
run("hbreak *&first")
run("continue")
run("delete")
isr = value("*(long*)&isr")
refused("unmapped", "x/1xb 0x7f0000000000", "Cannot access memory at address 0x7f0000000000")
refused("unmapped-write", "set *(char*)0x7f0000000000 = 1", "Cannot access memory at address 0x7f0000000000")
refused("not-canonical", "x/1xb 0x8000000000000000", "Cannot access memory")
refused("half-mapped", "x/2xb 0xffffffffffffffff", "Cannot access memory")
refused("device", f"x/1xb {isr}", "Cannot access memory at address " + hex(isr))
refused("device-write", f"set *(char*){isr} = 1", "Cannot access memory at address " + hex(isr))
refused("device-shell", f"monitor x/1xb {isr}", "a device is there", "`force` does it")
refused("nothing", "monitor x/1xb p:0x3f00000000", "neither memory nor a device is there")
run("monitor physical on")
refused("physical-device", f"x/2xb {isr}", "Cannot access memory")
refused("physical-nothing", "x/1xb 0x3f00000001", "Cannot access memory")
run("monitor physical off")
refused("unknown", "monitor frobnicate", "unknown command 'frobnicate'")
refused("argument", "monitor walk", "usage: walk")
refused("set", "monitor set rip", "usage: set")
refused("nobody", "monitor guest nobody", "no guest has this name")
refused("packet", "maintenance packet jk", 'received: ""')
refused("number", "maintenance packet m12345678901234567,1", 'received: "E16"')
refused("register", "maintenance packet pffff", 'received: "E02"')
refused("pause-paused", "monitor pause", "was paused already")
refused("interrupt-paused", "maintenance packet ?", 'received: "T05')
run("set *(long*)&goal = 1")
run("hbreak *&second")
run("continue")
run("delete")
refused("forced", f"monitor x/1xb {isr} force", ":  0x01")
run("set *(long*)&goal = 2")
run("continue")
note("end", value("$_exitcode"))
"""


def addresses(run):
    """Where there is no memory, and a register that a read would change; then what is no command."""
    run.write("disk.bin", bytes(1 << 16))
    with debuggee(run, "effects", disk="disk.bin,ro") as (machine, port):
        notes, text = gdb_run(run, port, EFFECTS, run.files.guest("effects"))
        names = re.findall(r'refused\("([\w-]+)"', EFFECTS)
        check_notes(run, notes, text, {**dict.fromkeys(names, True), "end": 0})
        run.check("effects/exit-status", machine.wait() == 0)
        run.report_guest(machine.log, "effects")


# ---- Lines that are cut, and who comes then ------------------------------------------------------

# The guest fills memory first, beside the code that is to have breakpoints, which make that slow.
FILLED = """
import os, signal
def fill():
    while value("*(long*)&counter") == 0:
        interrupt_after(0.5)
        run("continue")
"""

LEAVES = FILLED + """
attach()
fill()
run("hbreak *&count")
run("continue")
note("at", value("$pc") == value("(long)&count"))
run("continue")
note("again", value("$pc") == value("(long)&count"))
note("gone")
os.kill(os.getpid(), signal.SIGKILL)
"""

COMES = """
attach()
note("at", value("$pc") == value("(long)&count"))
note("code", bytes(gdb.selected_inferior().read_memory(value("$pc"), 1)) != bytes([0xcc]))
before = value("*(long*)&counter")
run("set *(long*)&goal = *(long*)&counter + 1000")
run("hbreak *&count")
run("continue")
note("counts", value("*(long*)&counter") == before + 1)
note("running")
run("delete")
run("set *(long*)&goal = -1")
run("continue")
note("not-here")
"""

LAST = """
attach()
run("set *(long*)&goal = *(long*)&counter + 1000")
run("continue")
note("end", value("$_exitcode"))
"""


def until(run, what, message):
    deadline = time.monotonic() + run.case.limit * run.scale
    while not what():
        if time.monotonic() > deadline:
            raise CaseFailed(message)
        time.sleep(0.05)


def answer(run, line, text):
    """What the stub says to a packet, sent as somebody does who is at the line himself."""
    position = len(line.data)
    line.send(packet(text))
    until(run, lambda: re.search(rb"\$[^#]*#..", bytes(line.data[position:])), f"no answer to {text}")
    return re.search(rb"\$([^#]*)#..", bytes(line.data[position:])).group(1)


# Packets to be cut at each byte.
PACKETS = ("X{counter:x},8:\x01\x02\x03\x04\x05\x06\x07\x08", "M{counter:x},1:ff", "m{counter:x},8", "vCont;c",
           "Z1,{counter:x},1", "qRcmd,706f7765726f6666", "vKill;1", "D")


def cut(run):
    """gdb is killed, the line is cut in the middle of packets, another gdb takes the line while one is there:
    each new one begins anew, and the guest notices nothing."""
    program = run.files.guest("debuggee")
    with bridged(run, "debuggee") as (machine, bridge):
        notes, text = gdb_run(run, bridge.port, LEAVES, program)
        check_notes(run, notes, text, {"at": True, "again": True, "gone": True})
        counter = symbols_of(program)["counter"]
        for text in PACKETS:
            whole = packet(text.format(counter=counter))
            bad = [end for end in range(1, len(whole)) if not is_answered(run, machine.com2, whole[:end])]
            run.check(f"cut/{text[:5]}", not bad, f"no answer after {bad} bytes of {whole}")
        bridge.said.clear()
        first = gdb_start(run, bridge.port, COMES, program)
        until(run, lambda: bridge.said.count(b"$vCont;c") >= 2, "the first gdb did not go on")
        notes, text = gdb_run(run, bridge.port, LAST, program)
        check_notes(run, notes, text, {"end": 0})
        notes, text = gdb_end(run, first)
        check_notes(run, notes, text, {"at": True, "code": True, "counts": True})
        run.check("cut/first-is-told", "Remote connection closed" in text and "not-here" not in notes,
                  f"{text.splitlines()[-3:]}")
        run.check("cut/exit-status", machine.wait() == 0)
        run.report_guest(machine.log, "debuggee")


def is_answered(run, line, piece):
    line.send(piece)
    return answer(run, line, "qC") == b"QC1"


# ---- gdb and the shell at one guest, and its end -------------------------------------------------

MEET = """
import os, threading, signal
def meet(name):
    open(os.path.join("FOLDER", name + ".asked"), "w").close()
    while not os.path.exists(os.path.join("FOLDER", name + ".done")):
        time.sleep(0.05)
def run_until_interrupted(name):
    def wait():
        meet(name)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=wait).start()
    run("continue")
stops = []
gdb.events.stop.connect(stops.append)
"""

CPU_TIME = r"^\* debuggee .* MiB +([\d.]+) s"

BESIDE = MEET + FILLED + """
attach()
fill()
run("hbreak *&count")
run("continue")
run("delete")
meet("stands")
note("held", "stands for gdb" in run("monitor resume") and value("$pc") == value("(long)&count"))
threading.Thread(target=meet, args=("pauses",)).start()
note("says", "the monitor's shell has paused the guest" in run("continue"))
note("paused", stops[-1].stop_signal)
counted = value("*(long*)&counter")
meet("paused")
run("maintenance flush dcache")
note("still", counted > 0 and value("*(long*)&counter") == counted)
run_until_interrupted("dumped")
note("dumped", stops[-1].stop_signal)
meet("lost")
run("disconnect")
attach()
note("went-on", value("*(long*)&counter") > counted)
meet("back")
run("continue")
note("killed", value("$_exitcode"))
"""

STANDS = MEET + """
attach()
note("afresh", value("$pc") == 0x100020 and value("*(long*)&counter") == 0)
run("set *(long*)&counter = 7")
meet("dies")
run("maintenance flush register-cache")
note("again", value("$pc") == 0x100020 and value("*(long*)&counter") == 0)
meet("dies-again")
run("continue")
note("killed", "exited" in run("info program") or "not being run" in run("info program"))
"""

RESETS = FILLED + """
attach()
fill()
run("hbreak *&serial_init")
run("monitor reset")
run("maintenance flush register-cache")
note("pc", hex(value("$pc")))
run("continue")
note("point-holds", value("$pc") == value("(long)&serial_init"))
note("afresh", value("*(long*)&counter"))
run("delete")
run("set *(long*)&goal = 100")
run("continue")
note("end", value("$_exitcode"))
"""


def beside(run):
    """gdb and the shell at one guest, and the ways in which it ends under gdb's hands."""

    def meet(name):
        until(run, lambda: os.path.exists(run.path(name + ".asked")), f"gdb did not get to {name}")

    def part(name):
        run.write(name + ".done", "")

    def is_now(state):
        until(run, lambda: re.search(rf"^\* debuggee +{state}", shell.command("vm"), re.MULTILINE),
              f"it is not {state}")

    def cpu_time():
        return float(re.search(CPU_TIME, shell.command("vm"), re.MULTILINE).group(1))

    def uptime():
        said = re.search(r"(\d+) days (\d+):(\d+):([\d.]+)", shell.command("uptime"))
        days, hours, minutes, rest = (float(part) for part in said.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + rest

    def stop():
        shell.type(b"stop debuggee\r")
        shell.wait(rb"traprock: vm debuggee: killed")

    def start_again():
        said = [shell.command("start debuggee")]
        until(run, lambda: "try again" not in said[-1] or said.append(shell.command("start debuggee")),
              "it cannot start")
        return said[-1]

    program = run.files.guest("debuggee")
    with bridged(run, "debuggee", own="on-idle = wait\n") as (machine, bridge):
        shell = Shell(run, machine)
        shell.enter()
        gdb = gdb_start(run, bridge.port, BESIDE.replace("FOLDER", run.directory), program)
        meet("stands")
        shell.check("beside-stands", "vm", r"^\* debuggee +paused")
        shell.check("beside-pause", "pause debuggee", r"^debuggee was paused already$")
        shell.check("beside-resume", "resume debuggee", r"^debuggee stands for gdb: .*`resume debuggee force`$")
        shell.check("beside-held", "vm", r"^\* debuggee +paused")
        part("stands")
        meet("pauses")
        is_now("running")
        shell.command("pause debuggee")
        shell.check("beside-paused", "vm", r"^\* debuggee +paused")
        part("pauses")
        meet("paused")
        shell.check("beside-resume-paused", "resume debuggee", r"^debuggee stands for gdb: ")
        part("paused")
        meet("dumped")
        is_now("running")
        shell.check("beside-dump", "dump debuggee", r"^debuggee stands until `dump debuggee stop`")
        is_now("paused")
        shell.command("dump debuggee stop")
        shell.check("beside-dumped", "vm", r"^\* debuggee +running")
        part("dumped")
        meet("lost")
        shell.check("beside-no-force", "resume debuggee please", r"^'please' behind a guest")
        shell.command("resume debuggee force")
        shell.check("beside-forced", "vm", r"^\* debuggee +running")
        part("lost")
        meet("back")
        part("back")
        is_now("running")
        stop()
        notes, text = gdb_end(run, gdb)
        check_notes(run, notes, text, {"held": True, "says": True, "paused": "SIGINT", "still": True,
                                       "dumped": "SIGINT", "went-on": True, "killed": 1})
        begun, had = uptime(), cpu_time()
        until(run, lambda: uptime() > begun + 1, "the clock stands still")
        start_again()
        is_now("paused")
        run.check("beside/cpu-time", cpu_time() < had + 1, "what it has had while it was no more")
        gdb = gdb_start(run, bridge.port, STANDS.replace("FOLDER", run.directory), program)
        meet("dies")
        stop()
        run.check("beside/starts-for-gdb", "debuggee stands before its first instruction, for gdb" in start_again())
        is_now("paused")
        part("dies")
        meet("dies-again")
        stop()
        part("dies-again")
        notes, text = gdb_end(run, gdb)
        check_notes(run, notes, text, {"afresh": True, "again": True, "killed": True})
        start_again()
        is_now("paused")
        notes, text = gdb_run(run, bridge.port, RESETS, program)
        check_notes(run, notes, text, {"pc": "0x100020", "point-holds": True, "afresh": 0, "end": 0})
        shell.type(b"poweroff\r")
        with machine.console.changed:
            ended = machine.console.changed.wait_for(lambda: machine.console.closed, timeout=60 * run.scale)
        run.check("beside/poweroff", ended, "the machine goes on")


# ---- Ctrl-C --------------------------------------------------------------------------------------

INTERRUPTS = """
attach()
stops = []
gdb.events.stop.connect(stops.append)
def interrupts():
    for _ in range(COUNT):
        interrupt_after(0.3)
        run("continue")
interrupts()
run("monitor guest flood")
run("disconnect")
attach()
interrupts()
note("signals", " ".join(str(stop.stop_signal) for stop in stops if hasattr(stop, "stop_signal")))
run("kill")
"""

CTRL_C_COUNT = 4
CTRL_C_SECONDS = 0.1
TICKS_PER_SECOND = 50_000_000  # of Bochs
IRQ_HIGH = re.compile(rb"^(\d+)d\[PIC.*IRQ line 3 now high")
READ_CTRL_C = re.compile(rb"^(\d+)d\[SER.*read from address: 0x02f8 = 0x03")
WRITE_END = re.compile(rb"^(\d+)d\[SER.*write to +address: 0x02f8 = 0x23")  # '#'


def ctrl_c_times(log):
    """How long each Ctrl-C took, by the emulator's own log: from the interrupt of the UART that had it, to the
    last of the stop reply's bytes but for its checksum. In ticks."""
    times, came, read = [], 0, None
    for line in log.split(b"\n"):
        if found := IRQ_HIGH.match(line):
            came = int(found.group(1)) if read is None else came
        elif READ_CTRL_C.match(line):
            read = came
        elif (found := WRITE_END.match(line)) and read is not None:
            times.append(int(found.group(1)) - read)
            read = None
    return times


def ctrl_c(run):
    """A guest with interrupts off, on the processor that has the UART, where this emulator keeps interrupts
    from the monitor; and one that leaves all the time."""
    run.guest("flood")
    script = INTERRUPTS.replace("COUNT", str(CTRL_C_COUNT))
    with bridged(run, "spin", other=vm("flood", pin=1), pin=0,
                 options={"cpus": 2, "trace_devices": ("serial", "pic")}) as (machine, bridge):
        notes, text = gdb_run(run, bridge.port, script)
        check_notes(run, notes, text, {"signals": " ".join(["SIGINT"] * 2 * CTRL_C_COUNT)})
        with open(os.path.join(machine.directory, "bochs.log"), "rb") as file:
            times = ctrl_c_times(file.read())
        run.check("ctrl-c/count", len(times) == 2 * CTRL_C_COUNT, f"{len(times)} in the emulator's log")
        slowest = max(times, default=TICKS_PER_SECOND) / TICKS_PER_SECOND
        run.check("ctrl-c/in-time", slowest <= CTRL_C_SECONDS, f"{slowest * 1000:.1f} ms")


CASES = [
    Case("debug-input-addresses", addresses, seconds=25),
    Case("debug-input-cut", cut, seconds=30),
    Case("debug-input-beside", beside, seconds=40),
    Case("debug-ctrl-c", ctrl_c, seconds=40),
]
