"""What a debugger's packets cost the monitor, by the emulator's own log of its second serial port."""

import os
import re
import statistics

from gdb import packet
from harness import Case, CaseFailed, Files, Run, vm

STEPS = 200
READS = 20
READ_BYTES = 1024
HZ = 50_000_000  # of Bochs, which counts an instruction a tick
CHARACTER = 10 * HZ // 115200  # ticks that one takes on the line

BYTE = re.compile(rb"^(\d+)d\[SER.*com2 register (read from|write to) +address: 0x02f8 = 0x([0-9a-f]{2})")


def exchanges(log):
    """[(ticks from a packet's last byte to the first one of its answer, bytes both ways)]."""
    found, tail, came, count = [], b"", None, 0
    for line in log.split(b"\n"):
        byte = BYTE.match(line)
        if not byte:
            continue
        when, value = int(byte.group(1)), bytes([int(byte.group(3), 16)])
        count += 1
        if byte.group(2) == b"read from":
            tail = (tail + value)[-3:]
            came = when if re.fullmatch(rb"#[0-9a-f]{2}", tail) else came
        elif value == b"$" and came is not None:
            found.append([when - came, 0])
            came = None
        if found:
            found[-1][1] = count
    # Of each, the bytes since the one before.
    return [(ticks, total - before[1]) for (ticks, total), before in zip(found, [(0, 0), *found])]


def ask(run, line, text):
    position = len(line.data)
    line.send(packet(text))
    with line.changed:
        if not line.changed.wait_for(lambda: re.search(rb"\$[^#]*#..", bytes(line.data[position:])),
                                     timeout=60 * run.scale):
            raise CaseFailed(f"no answer to {text}")


def measure(run):
    run.guest("debuggee")
    conf = "[traprock]\ngdb = com2\n" + vm("debuggee", start="paused")
    with run.machine(run.make_image(conf), com2="line", trace_devices=("serial",)) as machine:
        machine.expect(rb"paused before its first instruction", timeout=run.case.limit)
        asked = ["qSupported", "QStartNoAckMode", "?", *["vCont;s:1"] * STEPS, *[f"m100000,{READ_BYTES:x}"] * READS]
        for text in asked:
            ask(run, machine.com2, text)
        with open(os.path.join(machine.directory, "bochs.log"), "rb") as file:
            found = exchanges(file.read())[-STEPS - READS:]
    if len(found) != STEPS + READS:
        raise CaseFailed(f"{len(found)} packets in the emulator's log")
    step, read = found[:STEPS], found[STEPS:]
    step_ticks, step_bytes = (round(statistics.median(values)) for values in zip(*step))
    read_ticks, read_bytes = (round(statistics.median(values)) for values in zip(*read))
    run.values = {
        "gdb-step": step_ticks,
        "gdb-read-1k": read_ticks,
        "gdb-steps-per-second": HZ // (step_ticks + step_bytes * CHARACTER),
        "gdb-bytes-read-per-second": READ_BYTES * HZ // (read_ticks + read_bytes * CHARACTER),
    }


def measure_debugger(build):
    """{name: value}: instructions of the monitor from a packet's last byte to the first one of the answer, for a
    step and for 1 KiB of memory, and how many of them fit through a line of 115200 baud in a second."""
    run = Run(Case("bench-debugger", measure, limit=120), Files(os.path.abspath(build)))
    run.values = {}
    run.execute()
    return run.values
