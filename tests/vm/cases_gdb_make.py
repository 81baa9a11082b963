"""`make gdb`, as a user runs it."""

import os
import re
import subprocess

from harness import Case

SCRIPT = """
set pagination off
printf "entry %#lx\\n", $pc
info registers cr0
x/2i $linear_pc()
break start_kernel
continue
printf "at %#lx\\n", $pc
backtrace 2
x/i $pc
monitor vm
detach
"""


def make_gdb(run):
    """The default guest before its first instruction, up to start_kernel, and let go."""
    script = run.write("session.gdb", SCRIPT)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "--no-print-directory", "gdb", "HOST=bochs", f"BUILD={run.files.build}",
         f"GDBFLAGS=-nx -batch -x '{script}'"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, env=environment, check=False, timeout=run.case.limit * run.scale)
    said = done.stdout
    if run.keep:
        with open(os.path.join(run.keep, run.case.name + ".log"), "w", encoding="utf-8") as file:
            file.write(said)

    def check(name, pattern):
        run.check("make-gdb/" + name, re.search(pattern, said, re.MULTILINE), f"{said[-800:]!r}")

    check("entry", r"^entry 0x[0-9a-f]{7}$")  # PVH's, at a physical address
    check("paging-off", r"^cr0 +0x\d*[13579b]1 ")
    check("code-of-32-bits", r"^=> 0x[0-9a-f]{7}:\s+(cld|lgdt)")
    check("start_kernel", r"^Breakpoint 1, (0xffffffff\w+) in start_kernel ")
    check("address", r"^at 0xffffffff[0-9a-f]{8}$")
    check("backtrace", r"^#0 +0xffffffff\w+ in start_kernel .*\n#1 +0xffffffff\w+ in \w+")
    check("monitor", r"^\* linux +paused ")
    check("detached", r"^\[Inferior 1 \(Remote target\) detached\]$")
    run.check("make-gdb/exit-status", done.returncode == 0, f"{done.returncode}: {said[-300:]!r}")


CASES = [Case("make-gdb", make_gdb, seconds=60)]
