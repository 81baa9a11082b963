#!/usr/bin/python3
"""The plot of a guest's trace: exits by reason, and the monitor's share, over the time of the trace.

    trace_plot.py TRACE.json OUT.png

A program of its own, since matplotlib is a Debian package and so is for Debian's Python, whatever other one
runs the rest.
"""

import collections
import json
import subprocess
import sys

PYTHON = "/usr/bin/python3"
BINS = 400
REASONS = 8  # that have a colour of their own
COLOURS = ("#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#e15759", "#edc948", "#76b7b2", "#9c755f")
OTHERS = "#bab0ac"
MONITOR = "#333333"


def bins_of(events, bins=BINS):
    """({reason: exits in each bin}, the monitor's microseconds in each bin, a bin's microseconds). Time
    begins with the first exit; an exit's own time that reaches over a border is divided."""
    begin = events[0]["ts"]
    end = max(event["ts"] + event["dur"] for event in events)
    width = max(end - begin, 1e-3) / bins
    counts = collections.defaultdict(lambda: [0] * bins)
    own = [0.0] * bins
    for event in events:
        start, left = event["ts"] - begin, event["dur"]
        at = min(int(start / width), bins - 1)
        counts[event["name"]][at] += 1
        while left > 0:
            piece = left if at == bins - 1 else min(left, (at + 1) * width - start)
            own[at] += max(piece, 0)
            left -= piece
            start += piece
            if at == bins - 1:
                break
            at += 1
    return counts, own, width


def rows_of(counts):
    """[(label, exits in each bin, colour)], the most frequent reasons first, then the rest together."""
    ordered = sorted(counts, key=lambda reason: (-sum(counts[reason]), reason))
    rows = [(reason, counts[reason], COLOURS[number]) for number, reason in enumerate(ordered[:REASONS])]
    rest = ordered[REASONS:]
    if rest:
        rows.append((f"{len(rest)} others", [sum(column) for column in zip(*(counts[r] for r in rest))], OTHERS))
    return rows


def run(trace, out):
    """Draws it in Debian's Python; returns what is wrong, or None."""
    try:
        done = subprocess.run([PYTHON, __file__, trace, out], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False)
    except OSError as error:
        return f"{PYTHON}: {error.strerror}; install python3 and python3-matplotlib"
    if "No module named 'matplotlib'" in done.stderr:
        return "matplotlib is missing; install python3-matplotlib"
    return done.stderr.strip() if done.returncode != 0 else None


def draw(path, name, events):
    import matplotlib  # pylint: disable=import-outside-toplevel
    matplotlib.use("Agg")
    from matplotlib import pyplot  # pylint: disable=import-outside-toplevel

    counts, own, width = bins_of(events)
    seconds = [bin_ * width / 1e6 for bin_ in range(len(own))]
    figure, (upper, lower) = pyplot.subplots(2, 1, sharex=True, figsize=(13, 7.5), height_ratios=(3, 1))
    rows = rows_of(counts)
    upper.stackplot(seconds, *[[value * 1000 / width for value in row] for _, row, _ in rows],
                    labels=[f"{label} ({sum(row)})" for label, row, _ in rows],
                    colors=[colour for _, _, colour in rows], step="post")
    upper.set_ylabel("exits per ms")
    upper.legend(loc="upper right", fontsize="small", framealpha=0.9)
    total = sum(own)
    length = len(own) * width
    upper.set_title(f"{name}: {len(events)} exits in {length / 1e6:.3f} s; the monitor took "
                    f"{100 * total / length:.1f} % of that time")
    lower.fill_between(seconds, [100 * value / width for value in own], step="post", color=MONITOR)
    lower.set_ylabel("monitor's time, %")
    lower.set_xlabel("seconds since the first exit that is shown")
    lower.set_ylim(0, 100)
    for axes in (upper, lower):
        axes.set_xlim(0, length / 1e6)
        axes.grid(alpha=0.25)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        trace = json.load(file)
    draw(sys.argv[2], trace["otherData"]["name"], [event for event in trace["traceEvents"] if
                                                   event["ph"] == "X" and event["name"] != "guest"])


if __name__ == "__main__":
    main()
