"""Debian's gdb at the second serial port of a machine."""

import contextlib
import os
import socket
import subprocess
import threading


class Bridge:
    """A TCP port for gdb whose other end is a machine's Line. gdb may come and go: the line stays."""

    def __init__(self, line):
        self.line = line
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4)
        self.port = self.listener.getsockname()[1]
        self.client = None
        line.sinks.append(self._from_machine)
        threading.Thread(target=self._serve, daemon=True).start()

    def _from_machine(self, piece):
        with contextlib.suppress(OSError, AttributeError):
            self.client.sendall(piece)

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.client = client
                with contextlib.suppress(OSError):
                    while piece := client.recv(4096):
                        self.line.send(piece)
                self.client = None
                client.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


# What every script begins with. `note` is how a script tells what it saw.
PRELUDE = """
import gdb, time
def run(command):
    return gdb.execute(command, to_string=True)
def value(expression):
    return int(gdb.parse_and_eval(expression)) & 0xffffffffffffffff
def note(name, what=True):
    print(f"note {name}={what}", flush=True)
run("set pagination off")
run("set confirm off")
run("set remotetimeout 60")
run("set tcp connect-timeout 60")
def attach():
    return run("target remote localhost:PORT")
"""


def gdb_run(run, port, script, symbols=None, timeout=120):
    """Runs a script in gdb; returns {name: what} of its notes, and all that gdb said."""
    path = run.write("script.py", PRELUDE.replace("PORT", str(port)) + script)
    command = ["gdb", "-nx", "-batch"] + (["-ex", f"file {symbols}"] if symbols else []) + ["-x", path]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout * run.scale, check=False,
                              env=dict(os.environ, DEBUGINFOD_URLS=""))
        text = done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        text = (error.stdout or b"").decode(errors="replace") + "gdb: time is up\n"
    if run.keep:
        with open(os.path.join(run.keep, run.case.name + ".gdb.log"), "a", encoding="utf-8") as file:
            file.write(text)
    notes = dict(line[5:].split("=", 1) for line in text.splitlines() if line.startswith("note "))
    return notes, text
