#!/usr/bin/env python3
"""Boots a configuration with its first guest stopped, and attaches gdb to it, with the guest's symbols.

    debug_guest.py --conf CONF --efi BOOTX64.EFI --config-tool TOOL --console FILE [--host HOST] ...

What gdb needs is added to a copy of the configuration: `gdb = com2`, the guest's `start = paused`, and for
Linux `nokaslr`, so that the symbols are where the kernel is. The symbols are those of an ELF kernel, or what
a compressed Linux kernel carries of them. The guest's console goes to FILE, since gdb has the terminal.
"""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import changed_image  # noqa: E402
import guest_files  # noqa: E402
import host  # noqa: E402
import image  # noqa: E402
import kallsyms  # noqa: E402
from gdb import Bridge  # noqa: E402

LINUX_MAGIC = (0x202, b"HdrS")
MODES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../kernel/debug/host/traprock_gdb.py")
STARTS = 600  # seconds for the firmware and the monitor, on a slow emulator beside others


def is_linux(path):
    with open(path, "rb") as file:
        file.seek(LINUX_MAGIC[0])
        return file.read(4) == LINUX_MAGIC[1]


def prepare(text, is_kernel_linux):
    """The configuration for gdb, and the name of the first guest's kernel or None."""
    configuration = changed_image.Configuration(text)
    own, guest = configuration.monitor, configuration.guest
    if own is not None and own.value("gdb", "com2") != "com2":
        raise image.ImageError(f"gdb = {own.value('gdb')} is in the configuration already: "
                               f"gdb is attached by com2 here; leave the key out")
    kernel, keys = guest.value("kernel"), {"start": "paused"}
    if kernel is not None and is_kernel_linux(kernel):
        words = guest.value("cmdline", "").split()
        keys["cmdline"] = " ".join(words + ([] if "nokaslr" in words else ["nokaslr"]))
    return configuration.changed({"gdb": "com2"}, keys), kernel


def has_symbols(program):
    return subprocess.run(["nm", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          check=False).stdout != b""


def symbols(kernel, folder):
    """A file that gdb can take symbols from, or None with a message."""
    plain, out = os.path.join(folder, "vmlinux"), os.path.join(folder, "symbols.elf")
    try:
        if is_linux(kernel):
            guest_files.vmlinux(argparse.Namespace(kernel=kernel, out=plain))
        else:
            plain = kernel
        if has_symbols(plain):
            return plain
        with open(plain, "rb") as file:
            kallsyms.write_elf(out, kallsyms.symbols(file.read()))
    except (kallsyms.NotFound, guest_files.GuestError, subprocess.CalledProcessError, OSError) as error:
        print(f"debug_guest.py: {kernel}: gdb has no symbols ({error}); its command `symbol-file` takes some")
        return None
    return out


def debug(arguments, folder):
    near = os.path.dirname(arguments.conf)
    disk, kernel = changed_image.write(
        arguments, folder, lambda text: prepare(text, lambda name: is_linux(os.path.join(near, name))))
    program = symbols(os.path.join(near, kernel), folder) if kernel else None
    os.makedirs(os.path.dirname(arguments.console) or ".", exist_ok=True)
    with open(arguments.console, "wb", buffering=0) as console, \
            host.Machine(disk, timeout=7 * 24 * 3600, com2="line", sinks=[console.write], host=arguments.host,
                         memory=arguments.mem, cpus=arguments.cpus) as machine:
        print(f"debug_guest.py: the guest's console: tail -f {arguments.console}", flush=True)
        machine.expect(rb"paused before its first instruction", timeout=STARTS)
        bridge = Bridge(machine.com2)
        command = ["gdb", "-q"] + ([program] if program else [])
        command += ["-ex", "set confirm off", "-ex", "set remotetimeout 30", "-ex", f"source {MODES}",
                    "-ex", f"target remote 127.0.0.1:{bridge.port}", *shlex.split(arguments.gdb_flags)]
        # Ctrl-C is gdb's.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return subprocess.call(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                                   env=dict(os.environ, DEBUGINFOD_URLS=""))
        finally:
            signal.signal(signal.SIGINT, before)
            bridge.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--conf", required=True)
    parser.add_argument("--efi", required=True)
    parser.add_argument("--config-tool", required=True)
    parser.add_argument("--console", required=True, help="a file for what the guest says")
    parser.add_argument("--host", default="auto")
    parser.add_argument("--mem", type=host.memory_size, default=1024, help="MiB")
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--gdb-flags", default="", help="more for gdb, which is attached before them")
    arguments = parser.parse_args()
    if shutil.which("gdb") is None:
        sys.exit("debug_guest.py: gdb is missing; install the package gdb")
    with tempfile.TemporaryDirectory() as folder:
        try:
            return debug(arguments, folder)
        except image.ImageError as error:
            sys.exit(f"debug_guest.py: {arguments.conf}: {error}")


if __name__ == "__main__":
    sys.exit(main())
