"""One serial line for the log, the shell, gdb and all guests, split by the host's program."""

import contextlib
import random
import time

from gdb import gdb_run
from harness import Case, outcome, vm
from mux import Mux, Relay

ESCAPE = b"\x01"


@contextlib.contextmanager
def split(run, conf, *options, **machine_options):
    """A machine with one serial port only, and the host's program at it, through a relay."""
    with contextlib.ExitStack() as stack:
        machine = stack.enter_context(run.machine(run.make_image(conf), realtime=True, **machine_options))
        relay = Relay(machine.console)
        stack.callback(relay.close)
        mux = Mux(run, relay.port, *options)
        stack.callback(mux.close)
        yield machine, relay, mux


def consoles(run):
    run.guest("echo")
    conf = vm("one", kernel="echo.elf", debug_exit="0xf4") + vm("two", kernel="echo.elf", debug_exit="0xf4")
    with split(run, conf, cpus=2) as (machine, relay, mux):
        one, two = mux.terminal("one"), mux.terminal("two")
        one.type(b"first")
        two.type(b"second")
        one.wait(b"first")
        two.wait(b"second")
        run.check("mux/consoles", True)
        shell = mux.terminal("shell")
        shell.wait(rb"\(traprock\) ")
        shell.type(b"vm\r")
        said = shell.wait(rb"\* one(.|\n)*two(.|\n)*\(traprock\) ")
        run.check("mux/shell", "running" in said, repr(said))
        one.type(b"q")
        two.type(b"q")
        run.check("mux/exit-status", machine.wait() == 0)
        mux.out.wait(rb"^traprock: exit 0\r?\n")
        run.check("mux/ends", outcome(mux.out.data.decode(errors="replace"), "one") == ("debug-exit", 0))


CASES = [
    Case("mux-consoles", consoles, seconds=30),
]
