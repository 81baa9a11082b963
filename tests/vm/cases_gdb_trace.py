"""gdb steps through a guest that interrupts disturb: what it sees, against the same guest that nobody steps."""

import os
import re
import subprocess
import sys

from cases_gdb import check_notes, debuggee
from gdb import gdb_run
from harness import HERE, Case, CaseFailed

sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guests", "bare"))

import bare  # noqa: E402

STEPS = 10_000
PIECES = 10
REGISTERS = ["rax", "rbx", "rcx", "rdx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
             "r15", "rip"]
RFLAGS_RF = 1 << 16  # which a processor sets where it stops, at an exception or in the middle of a REP; not compared


# ---- The guest that nobody steps -----------------------------------------------------------------


def symbols_of(program):
    listed = subprocess.run(["nm", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    return {name: int(value, 16) for value, _, name in re.findall(r"^(\w+) (\w) (\S+)$", listed, re.MULTILINE)}


def bare_trace(run, program, start, count):
    """The registers before each of count instructions from the address on, as Bochs's own trace has them,
    of the guest on the bare machine: no monitor, no step, its interrupts as they come."""
    cylinders = bare.build_disk(program, run.directory, "")
    run.write("bochsrc", bare.BOCHSRC.format(model="corei7_skylake_x", folder=run.directory, cylinders=cylinders,
                                             errors="ignore", memory=128, ignore_bad_msrs=0))
    run.write("rc", f"lb {start:#x}\nc\nd 1\ntrace-reg on\ntrace on\ns {count}\nq\n")
    said = subprocess.run(["bochs", "-q", "-f", run.path("bochsrc"), "-rc", run.path("rc")], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False,
                          timeout=run.case.limit * run.scale).stdout
    trace, now = [], {}
    for line in said.split("\n"):
        register = re.match(r"(r\w\w?) ?: ([0-9a-f]{8})_([0-9a-f]{8})$", line)
        flags = re.match(r"eflags 0x([0-9a-f]{8}):", line)
        if register:
            now[register.group(1)] = int(register.group(2) + register.group(3), 16)
        elif flags:
            now["eflags"] = int(flags.group(1), 16) & ~RFLAGS_RF
        elif line.startswith("(0).[") and len(now) == len(REGISTERS) + 1:
            trace.append(now)
            now = {}
    return trace


def without_handler(trace, symbols):
    """What steps show of it: neither the timer's handler, since interrupts are held off, nor the
    instruction behind a MOV SS, which is of one step with it. Returns how often the handler was there, too."""
    begin, end, hidden = symbols["timer_begin"], symbols["timer_end"], symbols["ways.stack.in_shadow"]
    left, interrupts = [], 0
    for registers in trace:
        interrupts += registers["rip"] == begin
        if not begin <= registers["rip"] < end and registers["rip"] != hidden:
            left.append(registers)
    return left, interrupts


# ---- The guest that gdb steps --------------------------------------------------------------------

WALK = """
attach()
run("hbreak *ARM") # beside a breakpoint its timer would leave it no time for anything else
run("continue")
run("delete")
to_walk = 0
while value("$rip") != WALK:
    run("stepi")
    to_walk += 1
note("to-walk", to_walk)
def registers():
    return " ".join(hex(value("$" + name)) for name in NAMES)
before = value("*(long*)TICKS")
note("registers-0", registers())
for i in range(1, PIECES + 1):
    run("stepi EACH")
    note(f"registers-{i}", registers())
note("held-off", value("*(long*)TICKS") == before)
run("detach")
"""

# What comes along with each stop, by gdb's numbers of registers.
STOP = re.compile(rb"\$T05thread:1;6:([^;#]+);7:([^;#]+);10:([^;#]+);11:([^;#]+);[^#$]*#")


def unpack(text):
    """A register's bytes, with runs written out. gdb: Remote Protocol, Overview."""
    plain = re.sub(rb"(.)\*(.)", lambda run: run[1] * (run[2][0] - 28), text)
    return int.from_bytes(bytes.fromhex(plain.decode()), "little")


def told(line, skipped):
    """What gdb was told at each stop behind the first ones: registers, of which there are four."""
    stops = STOP.findall(bytes(line.data))[skipped:]
    steps = [dict(zip(("rbp", "rsp", "rip", "eflags"), map(unpack, stop))) for stop in stops]
    return [dict(step, eflags=step["eflags"] & ~RFLAGS_RF) for step in steps]


def compare_traces(run, seen, wanted):
    run.check("trace/steps", len(seen) == STEPS, f"gdb was told of {len(seen)} steps")
    for number, (step, registers) in enumerate(zip(seen, wanted[1:])):
        expected = {name: registers[name] for name in step}
        if step != expected:
            return run.check("trace/same", False, f"step {number + 1}: " + ", ".join(
                f"{name} {step[name]:#x}, unstepped {expected[name]:#x}" for name in step
                if step[name] != expected[name]) + f"; the step before was at {wanted[number]['rip']:#x}")
    return run.check("trace/same", True)


def compare_registers(run, notes, wanted):
    """All of them, now and then."""
    for piece in range(PIECES + 1):
        expected = wanted[piece * STEPS // PIECES]
        words = [int(word, 16) for word in notes.get(f"registers-{piece}", "").split()]
        seen = dict(zip(REGISTERS, words), eflags=words[-1] & ~RFLAGS_RF if words else 0)
        differing = [f"{name} {seen.get(name, 0):#x}, unstepped {value:#x}" for name, value in expected.items()
                     if seen.get(name) != value]
        run.check(f"trace/registers-{piece}", not differing, "; ".join(differing))


def digest(text):
    found = re.search(r"^digest (\S+)", text, re.MULTILINE)
    return found.group(1) if found else None


def trace(run):
    program = run.files.guest("trace_loop")
    symbols = symbols_of(program)
    whole = bare_trace(run, program, symbols["walk"], STEPS * 3 // 2)
    wanted, interrupts = without_handler(whole, symbols)
    if len(wanted) <= STEPS:
        raise CaseFailed(f"Bochs's trace has {len(wanted)} instructions")
    run.check("trace/unstepped-interrupts", interrupts >= 3, f"{interrupts} in {len(whole)} instructions")
    plain = digest(bare.run(program, "corei7_skylake_x", run.case.limit))
    script = WALK
    for name, what in {"WALK": symbols["walk"], "ARM": symbols["arm"], "TICKS": symbols["ticks"],
                       "EACH": STEPS // PIECES, "PIECES": PIECES, "NAMES": REGISTERS + ["eflags"]}.items():
        script = re.sub(rf"\b{name}\b", str(what), script)
    with debuggee(run, "trace_loop") as (machine, port):
        # Without symbols gdb asks for less at each step.
        notes, text = gdb_run(run, port, script, timeout=400)
        check_notes(run, notes, text, {"held-off": True})
        compare_traces(run, told(machine.com2, 2 + int(notes.get("to-walk", 0))), wanted)
        compare_registers(run, notes, wanted)
        # Interrupts that were held off come, and nothing of the steps is left in what the guest computes.
        run.check("trace/exit-status", machine.wait() == 0)
        run.report_guest(machine.log, "trace_loop")
        run.check("trace/digest", plain is not None and digest(machine.log) == plain,
                  f"{digest(machine.log)}, unstepped {plain}")


CASES = [
    Case("gdb-trace", trace, seconds=60, limit=400),
]
