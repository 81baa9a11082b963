#!/usr/bin/env python3
"""Boots a configuration and draws what its first guest's exits were: build/trace.json, .html, .png.

    trace_guest.py --conf CONF --efi BOOTX64.EFI --config-tool TOOL --out PREFIX [--until REGEX]
                   [--count N] [--host HOST] ...

What it needs is added to a copy of the configuration: `shell = com2`, `on-idle = wait`, and in the guest's
section `trace = N`. The guest runs until it has said REGEX or has ended, and is paused; then its
accounting and its trace come over the shell's line, in pieces. PREFIX.json is Chrome's trace event format,
PREFIX.html a page that hands it to Perfetto, PREFIX.png a plot.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import changed_image  # noqa: E402
import host  # noqa: E402
import image  # noqa: E402
import trace_page  # noqa: E402
import trace_plot  # noqa: E402

PROMPT = b"(traprock) "
PIECE = 10000   # exits that one command asks for, so that somebody sees how far it is
ANSWER = 300    # seconds that one may take
STARTS = 180    # for the firmware and the monitor, on a slow emulator
COUNT_MAX = 1 << 20
PROCESS = 1     # of the trace's events: what stands for the guest
EXITS, GUEST = 0, 100  # its threads: vCPU n has n and 100 + n


class TraceError(Exception):
    """What is wrong, and what to do; for the user."""


# ---- The configuration -------------------------------------------------------------------------


def prepare(text, count):
    """The configuration with a shell and a trace, and the name of its first guest."""
    configuration = changed_image.Configuration(text)
    return (configuration.changed({"shell": "com2", "on-idle": "wait"}, {"trace": count, "accounting": "yes"}),
            configuration.guest.name.split(None, 1)[1])


# ---- The shell ---------------------------------------------------------------------------------


class Shell:
    """The monitor's shell on a line, with its pages and its editing turned off: what it answers may be
    megabytes, which are looked at once."""

    def __init__(self, line):
        self.line = line
        self.at = 0
        self.wait()
        self.command("terminal 256 0")

    def wait(self, seconds=ANSWER):
        """What was said up to the next prompt, which comes last."""
        end = time.monotonic() + seconds
        with self.line.changed:
            while not self.line.data.endswith(PROMPT) or len(self.line.data) <= self.at:
                if self.line.closed or time.monotonic() > end:
                    raise TraceError("the shell does not answer; its last words: "
                                     f"{bytes(self.line.data[-200:])!r}")
                self.line.changed.wait(1.0)
            text = bytes(self.line.data[self.at:-len(PROMPT)])
            self.at = len(self.line.data)
        return text

    def command(self, text):
        """What it prints, without its echo."""
        self.line.send(text.encode() + b"\r")
        return self.wait().partition(b"\r\n")[2].replace(b"\r", b"")

    def json(self, text):
        said = self.command(text)
        try:
            return json.loads(said)
        except ValueError as error:
            raise TraceError(f"`{text}` says no JSON ({error}): {said[-200:]!r}") from error


def parse_raw(text):
    """The events of what `trace raw` says, as `trace json` would say them."""
    head, names, *lines = text.decode().splitlines()
    ns, results = 1000000000 / int(head.split()[1]), names.split()[1:]
    reasons, events, start, rip, qualification = {}, [], 0, 0, 0
    for line in lines:
        *fields, injected = line.split(",", 6)
        reason, _, name = fields[2].partition("=")
        if name:
            reasons[reason] = name
        since, own, rip_change, change, result = (int(field or "0", 16) for field in
                                                  fields[:2] + fields[3:])
        start, rip, qualification = start + since, rip ^ rip_change, qualification ^ change
        events.append({"name": reasons[reason], "ph": "X", "pid": PROCESS, "tid": 0, "ts": start * ns / 1000,
                       "dur": own * ns / 1000, "args": {"rip": hex(rip), "qualification": hex(qualification),
                                                        "result": results[result], "event": injected}})
    return events


def collect(shell, name, count, tell=lambda _: None):
    """The trace of a guest that stands still, in the order of its time."""
    pieces, taken = [], 0
    while taken < count:
        wanted = min(PIECE, count - taken)
        said = shell.command(f"trace raw {name} {wanted} {taken}")
        try:
            pieces.append(parse_raw(said))
        except (ValueError, KeyError, IndexError) as error:
            raise TraceError(f"`trace raw` says what is no trace ({error!r}): {said[-200:]!r}") from error
        taken += len(pieces[-1])
        tell(taken)
        if len(pieces[-1]) < wanted:
            break
    return [event for piece in reversed(pieces) for event in piece]


# ---- What is made of it ------------------------------------------------------------------------


def assemble(name, events):
    """All that Perfetto shows: two rows for each vCPU, its exits, and the guest between them; time
    begins with the first exit."""
    begin = events[0]["ts"] if events else 0
    made = [{"name": "process_name", "ph": "M", "pid": PROCESS, "args": {"name": f"guest {name}"}}]
    for vcpu in sorted({event["tid"] for event in events}):
        made += [{"name": "thread_name", "ph": "M", "pid": PROCESS, "tid": row + vcpu,
                  "args": {"name": f"vCPU {vcpu}: {what}"}}
                 for row, what in ((EXITS, "the monitor, by exits"), (GUEST, "the guest"))]
    last = {}
    for event in events:
        vcpu, start, duration = event["tid"], round(event["ts"] - begin, 3), round(event["dur"], 3)
        if vcpu in last:
            made.append({"name": "guest", "ph": "X", "pid": PROCESS, "tid": GUEST + vcpu, "ts": last[vcpu],
                         "dur": max(0, round(start - last[vcpu], 3)), "args": {}})
        made.append({**event, "pid": PROCESS, "tid": EXITS + vcpu, "ts": start, "dur": duration})
        last[vcpu] = round(start + duration, 3)
    made.sort(key=lambda event: (event["ph"] != "M", event.get("ts", 0)))
    return {"traceEvents": made, "displayTimeUnit": "ns", "otherData": {"name": name}}


def check(trace):
    """What is wrong with it, in words, or None: what programs that read the format rely on."""
    last = {}
    for number, event in enumerate(trace["traceEvents"]):
        if event["ph"] == "M":
            continue
        row = event["pid"], event["tid"]
        if event["ph"] != "X" or not event["name"] or event["ts"] < 0 or event["dur"] < 0:
            return f"event {number} is none: {event}"
        if event["ts"] + 0.002 < last.get(row, 0):
            return f"event {number} begins before the one before it has ended: {event}"
        last[row] = event["ts"] + event["dur"]
    return None


def write(prefix, name, accounts, events):
    trace = assemble(name, events)
    wrong = check(trace)
    if wrong:
        raise TraceError(wrong)
    if not events:
        raise TraceError(f"{name} has had no exits")
    text = json.dumps(trace, separators=(",", ":"))
    with open(prefix + ".json", "w", encoding="utf-8") as file:
        file.write(text)
    wrong = trace_plot.run(prefix + ".json", prefix + ".png")
    if wrong:
        raise TraceError(f"no plot: {wrong}")
    trace_page.write(prefix + ".html", name, text, accounts, prefix + ".png")


# ---- The run -----------------------------------------------------------------------------------


def wait_for(machine, name, until, seconds):
    """Until the guest has said it, or has ended."""
    ends = rb"^traprock: vm %s: \S+ code=" % re.escape(name.encode())
    pattern = ends if until is None else rb"(?:%s)|(?:%s)" % (until.encode(), ends)
    machine.expect(pattern, timeout=seconds)


def trace(arguments, folder):
    disk, name = changed_image.write(arguments, folder, lambda text: prepare(text, arguments.count))
    with host.Machine(disk, timeout=arguments.timeout + 2 * STARTS + 3600, com2="line", host=arguments.host,
                      memory=arguments.mem, cpus=arguments.cpus) as machine:
        machine.expect(rb"starts \d+ us after the monitor", timeout=STARTS)
        print(f"trace_guest.py: {name} runs", flush=True)
        wait_for(machine, name, arguments.until, arguments.timeout)
        shell = Shell(machine.com2)
        shell.command(f"pause {name}")
        accounts = shell.json(f"exits json {name}")
        count = min(arguments.count, sum(row["count"] for row in accounts["exits"]))
        print(f"trace_guest.py: {count} exits to read", flush=True)
        events = collect(shell, name, count, lambda taken: print(
            f"\rtrace_guest.py: {taken} exits", end="", flush=True))
        print(flush=True)
    write(arguments.out, name, accounts, events)
    for kind in ("json", "html", "png"):
        print(f"trace_guest.py: {arguments.out}.{kind}")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--conf", required=True)
    parser.add_argument("--efi", required=True)
    parser.add_argument("--config-tool", required=True)
    parser.add_argument("--out", required=True, help="the files' name, without an extension")
    parser.add_argument("--until", help="what the guest says when enough is seen; else until it ends")
    parser.add_argument("--count", type=int, default=COUNT_MAX, help="the last exits, so many (%(default)s)")
    parser.add_argument("--timeout", type=int, default=600, help="seconds to wait for that (%(default)s)")
    parser.add_argument("--host", default="auto")
    parser.add_argument("--mem", type=host.memory_size, default=1024, help="MiB")
    parser.add_argument("--cpus", type=int, default=1)
    arguments = parser.parse_args()
    if not 1 <= arguments.count <= COUNT_MAX:
        sys.exit(f"trace_guest.py: --count {arguments.count}: allowed are 1 to {COUNT_MAX}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            return trace(arguments, folder)
        except image.ImageError as error:
            sys.exit(f"trace_guest.py: {arguments.conf}: {error}")
        except (TraceError, host.ExpectError, host.HostError) as error:
            sys.exit(f"trace_guest.py: {error}")


if __name__ == "__main__":
    sys.exit(main())
