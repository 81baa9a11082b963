#!/usr/bin/env python3
"""Prints which lines of each file the host tests and the corpora reach, from lcov's tracefile:

    coverage.py FILE.info --least 90 SOURCE... [--shown SOURCE...]

Fails where a source with functions reaches less than the bar, or is not in the tracefile; names the
lines that are not reached.
"""

import argparse
import os
import sys


def read_info(name):
    """{source: {line: count}}"""
    sources, lines = {}, None
    with open(name, encoding="utf-8") as file:
        for record in file:
            kind, _, rest = record.rstrip("\n").partition(":")
            if kind == "SF":
                lines = sources.setdefault(os.path.relpath(rest), {})
            elif kind == "DA":
                line, count = rest.split(",")[:2]
                lines[int(line)] = lines.get(int(line), 0) + int(count)
    return sources


def ranges(numbers):
    """1, 2, 3, 7 as `1-3 7`."""
    spans = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return " ".join(f"{first}-{last}" if first != last else str(first) for first, last in spans)


def has_functions(source):
    """A function's body begins with a brace in the first column."""
    with open(source, encoding="utf-8") as file:
        return any(line.startswith("{") for line in file)


def report(info, sources, least):
    """Prints a line for each source; returns (those below the bar, lines, lines reached)."""
    below, all_lines, all_reached = [], 0, 0
    for source in sorted(sources):
        if source not in info and not has_functions(source):
            print(f"   no functions        {source}")
            continue
        lines = info.get(source, {})
        missed = [line for line, count in lines.items() if count == 0]
        reached = len(lines) - len(missed)
        percent = 100 * reached / len(lines) if lines else 0
        all_lines += len(lines)
        all_reached += reached
        below += [source] if percent < least else []
        print(f"{percent:5.1f} %  {reached:4} of {len(lines):4}  {source}" +
              (f"  not reached: {ranges(missed)}" if missed else ""))
    return below, all_lines, all_reached


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("info")
    parser.add_argument("--least", type=float, required=True, help="percent of the lines of each file")
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--shown", nargs="*", default=[], help="sources without a bar")
    arguments = parser.parse_args()
    info = read_info(arguments.info)
    if arguments.shown:
        print("without a bar:")
        report(info, arguments.shown, 0)
        print(f"at least {arguments.least:g} % of the lines of each:")
    below, lines, reached = report(info, arguments.sources, arguments.least)
    print(f"{100 * reached / max(lines, 1):5.1f} %  {reached} of {lines} lines of "
          f"{len(arguments.sources)} files; below {arguments.least:g} %: {', '.join(below) or 'none'}")
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
