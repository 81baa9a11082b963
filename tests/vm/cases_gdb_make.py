"""`make gdb`, as a user runs it."""

import os
import re
import signal
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


def run_to_end(command, environment, limit):
    """(status, what is said); when its time is up, all that it has started goes with it."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, env=environment, start_new_session=True) as process:
        try:
            said = process.communicate(timeout=limit)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the emulator has a guard, which sees that
            said = process.communicate()[0] + "time is up\n"
    return process.returncode, said


def make_gdb(run):
    """The default guest before its first instruction, up to start_kernel, and let go."""
    script = run.write("session.gdb", SCRIPT)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    status, said = run_to_end(
        ["make", "--no-print-directory", "gdb", "HOST=bochs", f"BUILD={run.files.build}",
         f"GDBFLAGS=-nx -batch -x '{script}'"], environment, run.case.limit * run.scale)
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
    run.check("make-gdb/exit-status", status == 0, f"{status}: {said[-300:]!r}")


CASES = [Case("make-gdb", make_gdb, seconds=60)]
