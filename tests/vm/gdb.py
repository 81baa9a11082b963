"""Debian's gdb at the second serial port of a machine."""

import contextlib
import os
import socket
import subprocess
import threading


class Bridge:
    """A TCP port for gdb whose other end is a machine's Line. gdb may come and go: the line stays. Who comes
    while another is there takes the line over, as with ser2net's `kickolduser`."""

    def __init__(self, line):
        self.line = line
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4)
        self.port = self.listener.getsockname()[1]
        self.client = None
        self.said = bytearray()  # what came from gdb
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
                before, self.client = self.client, client
                if before is not None:
                    with contextlib.suppress(OSError):
                        before.shutdown(socket.SHUT_RDWR)
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client):
        with contextlib.suppress(OSError):
            while piece := client.recv(4096):
                if self.client is client:
                    self.said += piece
                    self.line.send(piece)
        if self.client is client:
            self.client = None
        client.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def packet(text):
    """gdb: Remote Protocol, Overview."""
    return f"${text}#{sum(text.encode()) & 255:02x}".encode()


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
def interrupt_after(seconds):  # that the guest has gone on the next time
    import os, signal, threading
    def goes_on(_):
        gdb.events.cont.disconnect(goes_on)
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
    gdb.events.cont.connect(goes_on)
"""


def gdb_start(run, port, script, symbols=None):
    """Starts gdb with a script; a process whose standard output has its notes and all that it says."""
    path = run.write(f"script-{len(os.listdir(run.directory))}.py", PRELUDE.replace("PORT", str(port)) + script)
    command = ["gdb", "-nx", "-batch"] + (["-ex", f"file {symbols}"] if symbols else []) + ["-x", path]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, env=dict(os.environ, DEBUGINFOD_URLS=""))
    run.at_end.callback(process.kill)  # if it is still there: whom it waits for may have failed
    return process


def gdb_end(run, process, timeout=120):
    """Waits for its end; returns {name: what} of its notes, and all that gdb said."""
    try:
        text = process.communicate(timeout=timeout * run.scale)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        text = process.communicate()[0] + "gdb: time is up\n"
    if run.keep:
        with open(os.path.join(run.keep, run.case.name + ".gdb.log"), "a", encoding="utf-8") as file:
            file.write(text)
    notes = dict(line[5:].split("=", 1) for line in text.splitlines() if line.startswith("note "))
    return notes, text


def gdb_run(run, port, script, symbols=None, timeout=120):
    """Runs a script in gdb; returns as gdb_end."""
    return gdb_end(run, gdb_start(run, port, script, symbols), timeout)
