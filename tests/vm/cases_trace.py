"""`make trace`: what it reads over the shell's line, and what it makes of it."""

import base64
import gzip
import json
import os
import re
import struct
import subprocess
import sys

import trace_guest
import trace_plot
from cases_linux import LOUD, linux
from harness import Case, CaseFailed, vm

FIELDS = {"name", "ph", "pid", "tid", "ts", "dur", "args"}
RESULTS = {"ADVANCE", "ADVANCE_TO", "RETRY", "INJECT", "STOP_VM"}


def reads(run, shell):
    """The short form of the trace says what the long one says."""
    long = shell.json("trace json bench 400 7")["traceEvents"]
    short = trace_guest.parse_raw(shell.command("trace raw bench 400 7"))

    def told(events):
        return [(event["name"], event["args"], round(event["ts"], 2), round(event["dur"], 2)) for event in events]

    run.check("trace/raw-is-json", len(long) == 400 and told(long) == told(short),
              f"{told(long)[:2]} {told(short)[:2]}")


def is_made(run, name, events, accounts):
    prefix = run.path("trace")
    trace_guest.write(prefix, name, accounts, events)
    with open(prefix + ".json", encoding="utf-8") as file:
        text = file.read()
    made = json.loads(text)["traceEvents"]
    shown = [event for event in made if event["ph"] == "X"]
    exits = [event for event in shown if event["tid"] < trace_guest.GUEST]
    run.check("trace/fields", all(set(event) == FIELDS for event in shown), f"{shown[:2]}")
    run.check("trace/sorted", all(a["ts"] <= b["ts"] for a, b in zip(shown, shown[1:])))
    run.check("trace/results", {event["args"]["result"] for event in exits} <= RESULTS)
    run.check("trace/names", {event["args"]["name"] for event in made if event["ph"] == "M"} >=
              {"guest bench", "vCPU 0: the guest"}, f"{made[:3]}")
    run.check("trace/guest-between", len(shown) == 2 * len(exits) - 1, f"{len(shown)} of {len(exits)} exits")
    with open(prefix + ".html", encoding="utf-8") as file:
        page = file.read()
    packed = re.search(r'<script id="trace"[^>]*>([^<]+)</script>', page)
    run.check("trace/page-carries-it", gzip.decompress(base64.b64decode(packed.group(1))).decode() == text)
    run.check("trace/page-costs", page.count("<tr>") == 1 + len(accounts["exits"]) and "port 0x3f8" in page)
    with open(prefix + ".png", "rb") as file:
        picture = file.read()
    width, height = struct.unpack(">II", picture[16:24])
    run.check("trace/picture", picture.startswith(b"\x89PNG") and width > 1000 and height > 500, f"{width}x{height}")
    return exits


def counts(run, events):
    """What is drawn: each exit once, and all of the monitor's time."""
    bins, own, width = trace_plot.bins_of(events)
    run.check("trace/plot-counts", sum(map(sum, bins.values())) == len(events))
    total = sum(event["dur"] for event in events)
    run.check("trace/plot-time", abs(sum(own) - total) < 1e-3 * total and max(own) <= width * 1.001,
              f"{sum(own)} of {total}")


def refused(run):
    """A trace that says what cannot be is no trace; a line that says something else is none either."""
    def event(start, **more):
        return {"name": "CPUID", "ph": "X", "pid": 1, "tid": 0, "ts": start, "dur": 2, "args": {}, **more}

    for name, events in (("overlap", [event(1), event(2)]), ("time", [event(1, dur=-1)]), ("kind", [event(1, ph="B")])):
        run.check(f"trace/wrong-{name}", trace_guest.check({"traceEvents": events}) is not None)
    run.check("trace/right", trace_guest.check({"traceEvents": [event(1), event(3)]}) is None)


def trace(run):
    run.guest("bench")
    run.write("disk.bin", bytes(1 << 16))
    refused(run)
    text, name = trace_guest.prepare(vm("bench", debug_exit="0xf4", disk="disk.bin,ro", trace="3"), 20000)
    run.check("trace/configuration", name == "bench" and text.count("trace = ") == 1 and "shell = com2" in text, text)
    with run.machine(run.make_image(text), com2="line") as machine:
        trace_guest.wait_for(machine, name, None, run.case.limit * run.scale)
        shell = trace_guest.Shell(machine.com2)
        reads(run, shell)
        accounts = shell.json("exits json bench")
        total = sum(row["count"] for row in accounts["exits"])
        events = trace_guest.collect(shell, name, total)
        shell.line.send(b"poweroff\r")
        machine.wait()
    run.check("trace/all-exits", len(events) == min(total, 20000), f"{len(events)} of {total}")
    exits = is_made(run, name, events, accounts)
    run.check("trace/exits", len(exits) == len(events))
    counts(run, events)


def program(run, text, *options):
    """As `make trace` runs it; the files are out.json, out.html and out.png."""
    conf = run.write("trace.conf", text)
    done = subprocess.run(
        [sys.executable, os.path.join(os.path.dirname(trace_guest.__file__), "trace_guest.py"), "--conf", conf,
         "--efi", run.files.efi, "--config-tool", run.files.config_tool, "--out", run.path("out"), "--host", "bochs",
         *options], capture_output=True, text=True, check=False, timeout=run.case.limit * run.scale)
    made = [kind for kind in ("json", "html", "png") if os.path.exists(run.path("out." + kind))]
    if not run.check("trace/program", done.returncode == 0 and len(made) == 3, f"{made}: {done.stdout} {done.stderr}"):
        raise CaseFailed("there is nothing to look at")


def until(run):
    """Until the guest says something; it goes on meanwhile, and is paused."""
    run.guest("spin")
    program(run, vm("spin"), "--mem", "512", "--until", "^spinning")


# By Debian's Python, which has matplotlib: the picture's size, how many colours it has, and how much of it is white.
PICTURE = """
import sys, matplotlib.image, numpy
pixels = (matplotlib.image.imread(sys.argv[1])[:, :, :3] * 255).astype(int)
codes = pixels[:, :, 0] * 65536 + pixels[:, :, 1] * 256 + pixels[:, :, 2]
print(codes.shape[1], codes.shape[0], len(numpy.unique(codes)), (codes == 0xffffff).mean())
"""
BOOT_EXITS = 4000


def is_chrome(event):
    """Whether it is an event as the Trace Event Format has it: a complete one, or one of metadata."""
    if not isinstance(event.get("pid"), int) or not isinstance(event.get("name"), str):
        return False
    if event["ph"] == "M":
        return event["name"] in ("process_name", "thread_name") and isinstance(event["args"]["name"], str)
    return (event["ph"] == "X" and isinstance(event["tid"], int) and isinstance(event["args"], dict) and
            all(isinstance(event[key], (int, float)) and event[key] >= 0 for key in ("ts", "dur")))


def boot(run):
    """The beginning of a boot of Debian's kernel: a trace of the format, a page with it and a picture of it."""
    program(run, linux(run, cmdline=LOUD), "--mem", "768", "--until", "smpboot: CPU0", "--count", str(BOOT_EXITS))
    with open(run.path("out.json"), encoding="utf-8") as file:
        text = file.read()
    made = json.loads(text)
    wrong = [event for event in made["traceEvents"] if not is_chrome(event)]
    run.check("trace/boot-format", not wrong and made["displayTimeUnit"] == "ns", f"{wrong[:2]}")
    exits = [event for event in made["traceEvents"] if event["ph"] == "X" and event["tid"] < trace_guest.GUEST]
    reasons = {event["name"] for event in exits}
    run.check("trace/boot-exits", len(exits) == BOOT_EXITS and {"IO_INSTRUCTION", "CPUID"} & reasons and
              len(reasons) >= 3, f"{len(exits)}: {reasons}")
    # The kernel's text, where it is linked to be, unless that was moved by 2 MiB pages.
    kernel = [event for event in exits if int(event["args"]["rip"], 16) >> 30 == 0xffffffff80000000 >> 30]
    run.check("trace/boot-rip", len(kernel) > BOOT_EXITS // 2, f"{len(kernel)} exits of the kernel's text")
    with open(run.path("out.html"), encoding="utf-8") as file:
        page = file.read()
    packed = re.search(r'<script id="trace"[^>]*>([^<]+)</script>', page)
    run.check("trace/boot-page", packed and gzip.decompress(base64.b64decode(packed.group(1))).decode() == text and
              "data:image/png;base64," in page)
    seen = subprocess.run([trace_plot.PYTHON, "-c", PICTURE, run.path("out.png")], capture_output=True, text=True,
                          check=False)
    run.check("trace/boot-readable", seen.returncode == 0, seen.stderr)
    width, height, colours, white = map(float, seen.stdout.split() or [0] * 4)
    run.check("trace/boot-picture", width > 1000 and height > 500 and colours > 20 and white < 0.97, seen.stdout)


CASES = [
    Case("trace", trace, seconds=30),
    Case("trace-linux", boot, seconds=50, limit=300),
    Case("trace-until", until, seconds=25),
]
