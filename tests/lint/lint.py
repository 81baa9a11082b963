#!/usr/bin/env python3
"""Checks the tree's own rules: lint.py [--deep] [FILE...]

Layers of includes, headers that compile alone, sizes, formatting, forbidden words and constructs,
the syntax of Python and shell. --deep adds cppcheck, which takes longer. Prints `FILE:LINE: what`
for each finding; exits 1 if there is one.
"""

import argparse
import ast
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys

from guest_rules import check_guest_rules, check_invd, check_planted

LINE_MAX = {".c": 100, ".h": 100, ".def": 100}
LINE_MAX_ELSEWHERE = 120
FILE_MAX = 800
FUNCTION_MAX = 80
EFI_INCLUDES = ["-isystem", "/usr/include/efi", "-isystem", "/usr/include/efi/x86_64",
                "-DGNU_EFI_USE_MS_ABI", "-fshort-wchar"]
# Tables, and code that has a reason to be long: the file, and why.
LONG_FUNCTIONS_ALLOWED = {}

# Which layers a layer may include besides itself; the longest prefix that matches decides. The
# order is that of docs/architecture.md: calls and includes point downward only.
CORE = ("kernel/core",)
VM = CORE + ("kernel/vm",)
LAYERS = {
    # boot_info.h is the hand-over; core's panic and log know nothing of it.
    "kernel/core": ("boot/boot_info.h",),
    "kernel/vm": CORE,
    "drivers/model": VM,
    "drivers/host": CORE + ("boot/boot_info.h",),
    "vmx": VM,
    "kernel/console": VM + ("drivers/host", "drivers/model"),
    "kernel": VM + ("kernel/console", "drivers/host", "drivers/model", "vmx", "boot/boot_info.h"),
    "boot": VM + ("kernel",),
}
# Only boot/ sees the firmware's headers.
EFI_HEADER = re.compile(r"^efi\w*\.h$")
FREESTANDING = ("kernel/", "drivers/", "vmx/", "boot/")
LIBC_ALLOWED = {"stddef.h", "stdint.h", "stdbool.h", "stdarg.h", "limits.h", "stdalign.h",
                "cpuid.h"}

FORBIDDEN = [
    # Written in two halves, so that this file passes.
    (re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b"), "unfinished work is finished or written down elsewhere"),
    (re.compile(r"\bplace" r"holder\b|\bfor no" r"w\b", re.IGNORECASE),
     "unfinished work"),
    (re.compile(r"/wor" r"k/|/ro" r"ot/|/hom" r"e/\w"), "a path of one machine"),
]
C_FORBIDDEN = [
    (re.compile(r"^\s*(?:(?:un)?signed(?: int)?|int|bool|char|u?int\d+_t)\s+\w*\s*:\s*\d+\s*[;,]"),
     "a bit-field: use masks"),
    (re.compile(r"^\s*#\s*if(?:def|\s+defined).*\bHOST\b"), "doubles are chosen at link time"),
    (re.compile(r"\b(?:malloc|calloc|realloc|free|alloca)\s*\("), "no heap here"),
    (re.compile(r"\b(?:float|double)\b(?!\s*fault|-)"), "no floating point here"),
    (re.compile(r"^\s*#\s*pragma\s+(?!once\b)"), "no pragma but `once`"),
]
# A mutable object at file scope.
GLOBAL = re.compile(r"^(?:static\s+)(?!const\b|inline\b|NORETURN\b|MUST_CHECK\b|_Noreturn\b)"
                    r"(?:(?:struct|enum|union)\s+)?\w+(?:\s+\w+)*?[\s*]+(\w+)(?:\[[^\]]*\])*\s*(?:=[^=]|;)")
GLOBALS_FORBIDDEN = ("kernel/vm/", "drivers/", "vmx/", "kernel/console/")


def git_files():
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            capture_output=True, check=True).stdout.decode()
    return sorted(name for name in listed.split("\0")
                  if name and os.path.isfile(name) and not name.startswith("build/"))


def read_lines(name):
    with open(name, encoding="utf-8") as file:
        return file.read().split("\n")


def layer_of(name):
    matching = [layer for layer in LAYERS if name.startswith(layer + "/")]
    return max(matching, key=len) if matching else None


def strip_code(lines):
    """The lines without comments, strings and character constants, for the checks of C."""
    text = "\n".join(lines)
    pattern = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'", re.DOTALL)

    def blank(match):
        return re.sub(r"[^\n]", " ", match.group()) if match.group()[0] == "/" else \
            match.group()[0] + " " * (len(match.group()) - 2) + match.group()[-1]

    return pattern.sub(blank, text).split("\n")


# ---- The checks: each yields (file, line, message) -----------------------------------------------


def check_text(name, lines):
    line_max = LINE_MAX.get(os.path.splitext(name)[1], LINE_MAX_ELSEWHERE)
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            yield name, number, "white space at the end"
        if len(line) > line_max and not name.endswith((".mk", "Makefile", ".md", ".txt", ".yml")):
            yield name, number, f"{len(line)} characters; {line_max} are allowed"
        for pattern, message in FORBIDDEN:
            if pattern.search(line):
                yield name, number, message
    if len(lines) > FILE_MAX and not name.endswith(".md"):
        yield name, FILE_MAX, f"{len(lines)} lines; {FILE_MAX} are allowed: split it"
    if lines and lines[-1] != "":
        yield name, len(lines), "no newline at the end"


def check_includes(name, lines):
    layer = layer_of(name)
    for number, line in enumerate(lines, 1):
        quoted = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        angled = re.match(r"\s*#\s*include\s+<([^>]+)>", line)
        if angled and name.startswith(FREESTANDING):
            header = os.path.basename(angled.group(1))
            if EFI_HEADER.match(header):
                if layer != "boot":
                    yield name, number, "only boot/ may include the firmware's headers"
            elif header not in LIBC_ALLOWED:
                yield name, number, f"<{angled.group(1)}> is no freestanding header"
        if not quoted:
            continue
        target = quoted.group(1)
        if not os.path.isfile(target) and not os.path.isfile(os.path.join("build", target)):
            yield name, number, f"{target} is not there; includes are from the root"
        elif layer is not None:
            allowed = LAYERS[layer]
            other = layer_of(target)
            if other != layer and target not in allowed and other not in allowed:
                yield name, number, f"{layer}/ may not include {target}"


def check_c(name, lines):
    if name.endswith(".h") and "#pragma once" not in lines:
        yield name, 1, "no #pragma once"
    code = strip_code(lines)
    own = name.startswith(FREESTANDING)
    for number, line in enumerate(code, 1):
        if own:
            for pattern, message in C_FORBIDDEN:
                if pattern.search(line):
                    yield name, number, message
        if name.startswith(GLOBALS_FORBIDDEN):
            found = GLOBAL.match(line)
            if found:
                yield name, number, f"{found.group(1)} is a mutable global; state has an owner"
    yield from check_functions(name, code)
    yield from check_guest_rules(name, code)


def check_functions(name, code):
    """Functions begin and end with a brace in the first column."""
    start = None
    for number, line in enumerate(code, 1):
        if line.startswith("{"):
            start = number
        elif line.startswith("}") and start is not None:
            if number - start - 1 > FUNCTION_MAX and not line.startswith("};") \
                    and name not in LONG_FUNCTIONS_ALLOWED:
                yield name, start, f"a function of {number - start - 1} lines; {FUNCTION_MAX} are allowed"
            start = None


def check_python(name, lines):
    try:
        ast.parse("\n".join(lines), name)
    except SyntaxError as error:
        yield name, error.lineno or 1, f"Python: {error.msg}"


def check_shell(name, _):
    """Scripts of the guest are for busybox; the syntax is the same."""
    made = subprocess.run(["sh", "-n", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        yield name, 1, "sh: " + made.stderr.strip()
    if shutil.which("shellcheck"):
        made = subprocess.run(["shellcheck", "-S", "warning", "-s", "sh", "-f", "gcc", "-e",
                               "SC1010,SC1091,SC3043", name], capture_output=True, text=True, check=False)
        for match in re.finditer(r"^(.*?):(\d+):\d+: (.*)$", made.stdout, re.MULTILINE):
            yield name, int(match.group(2)), "shellcheck: " + match.group(3)


def check_header(name):
    """A header must compile by itself."""
    flags = EFI_INCLUDES if name.startswith("boot/") else []
    made = subprocess.run(["gcc", "-std=gnu11", "-I.", "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
                           "-Wno-unused", *flags, "-x", "c", "-"], input=f'#include "{name}"\n',
                          capture_output=True, text=True, check=False)
    if made.returncode != 0:
        first = made.stderr.strip().split("\n")
        message = next((line for line in first if "error:" in line), first[0])
        return [(name, 1, "does not compile alone: " + message)]
    return []


def check_format(names):
    made = subprocess.run(["clang-format", "--dry-run", "-Werror", "--style=file", *names],
                          capture_output=True, text=True, check=False)
    return [(match.group(1), int(match.group(2)), "not as clang-format has it")
            for match in re.finditer(r"^(.*?):(\d+):\d+: error:", made.stderr, re.MULTILINE)]


def check_deep(names):
    made = subprocess.run(
        ["cppcheck", "--quiet", "--std=c11", "--enable=warning,portability", "--inline-suppr", "-I.",
         "-j2", "--template={file}:{line}: {id}: {message}",
         "--suppress=preprocessorErrorDirective", *names], capture_output=True, text=True, check=False)
    return [(match.group(1), int(match.group(2)), "cppcheck: " + match.group(3))
            for match in re.finditer(r"^(.*?):(\d+): (.*)$", made.stderr, re.MULTILINE)]


def lines_checks(name):
    if re.search(r"\.(c|h|def)$", name):
        return [check_text, check_includes, check_c, check_invd]
    if name.endswith(".py"):
        return [check_text, check_python]
    if name.endswith(".sh") or name == ".ci/run":
        return [check_text, check_shell]
    if re.search(r"\.(asm|inc|ld|mk|md|txt)$|Makefile$", name):
        return [check_text, check_invd]
    return []


def check_one(name):
    try:
        lines = read_lines(name)
    except UnicodeDecodeError:
        return [(name, 1, "not UTF-8")] if lines_checks(name) else []
    return [finding for check in lines_checks(name) for finding in check(name, lines)]


def check_security_page():
    """Every test that docs/security.md names is in the tree."""
    made = subprocess.run([sys.executable, "tests/flaws.py"], capture_output=True, text=True, check=False)
    for match in re.finditer(r"^(.*?):(\d+): (.*)$", made.stdout, re.MULTILINE):
        yield match.group(1), int(match.group(2)), match.group(3)
    if made.returncode != 0 and not made.stdout:
        yield "tests/flaws.py", 1, made.stderr.strip()[-200:]


def chunks(items, count):
    return [items[start::count] for start in range(count) if items[start::count]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--deep", action="store_true", help="cppcheck too")
    parser.add_argument("files", nargs="*")
    arguments = parser.parse_args()
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir))
    names = arguments.files or git_files()
    sources = [name for name in names if name.endswith((".c", ".h"))]
    headers = [name for name in sources if name.endswith(".h")]
    jobs = max(2, os.cpu_count() or 2)
    findings = list(check_planted()) + list(check_security_page())
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        work = [pool.submit(check_format, chunk) for chunk in chunks(sources, jobs)]
        work += [pool.submit(check_header, name) for name in headers]
        if arguments.deep:
            work.append(pool.submit(check_deep, [name for name in sources if name.endswith(".c")
                                                 and name.startswith(FREESTANDING)]))
        work += [pool.submit(check_one, name) for name in names]
        for done in work:
            findings += done.result()
    for name, line, message in sorted(set(findings)):
        print(f"{name}:{line}: {message}")
    print(f"lint: {len(names)} files, {len(set(findings))} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
