#!/usr/bin/env python3
"""Boots a configuration with its first guest stopped, and attaches gdb to it, with the guest's symbols.

    debug_guest.py --conf CONF --efi BOOTX64.EFI --config-tool TOOL --console FILE [--host HOST] ...

What gdb needs is added to a copy of the configuration: `gdb = com2`, the guest's `start = paused`, and for
Linux `nokaslr`, so that the symbols are where the kernel is. The symbols are those of an ELF kernel, or what
a compressed Linux kernel carries of them. The guest's console goes to FILE, since gdb has the terminal.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import guest_files  # noqa: E402
import host  # noqa: E402
import image  # noqa: E402
import kallsyms  # noqa: E402
from gdb import Bridge  # noqa: E402

SECTION = re.compile(r"^\s*\[\s*(traprock|vm\b[^\]]*)\]")
KEY = re.compile(r"^\s*([a-z-]+)\s*=\s*(.*?)(\s+#.*)?$")
LINUX_MAGIC = (0x202, b"HdrS")
STARTS = 180  # seconds for the firmware and the monitor, on a slow emulator


def is_linux(path):
    with open(path, "rb") as file:
        file.seek(LINUX_MAGIC[0])
        return file.read(4) == LINUX_MAGIC[1]


def sections(lines):
    """[(the section's name, {key: (number of its line, value)}, number of its first line)]."""
    found = []
    for number, line in enumerate(lines):
        section, key = SECTION.match(line), KEY.match(line)
        if section:
            found.append((section.group(1), {}, number))
        elif key and found:
            found[-1][1].setdefault(key.group(1), (number, key.group(2).strip('"')))
    return found


def prepare(text, is_kernel_linux):
    """The configuration for gdb, and the name of the first guest's kernel or None."""
    lines = text.splitlines()
    found = sections(lines)
    own = next((section for section in found if section[0] == "traprock"), None)
    guest = next((section for section in found if section[0].startswith("vm")), None)
    if guest is None:
        raise image.ImageError("the configuration has no guest, that is no section [vm NAME]")
    if own is not None and "gdb" in own[1] and own[1]["gdb"][1] != "com2":
        raise image.ImageError(f"gdb = {own[1]['gdb'][1]} is in the configuration already: "
                               f"gdb is attached by com2 here; leave the key out")
    kernel = guest[1].get("kernel", (0, None))[1]
    added = {}
    if "start" not in guest[1]:
        added.setdefault(guest[2], []).append("start = paused")
    else:
        lines[guest[1]["start"][0]] = "start = paused"
    if kernel is not None and is_kernel_linux(kernel):
        number, value = guest[1].get("cmdline", (None, ""))
        if number is None:
            added.setdefault(guest[2], []).append("cmdline = nokaslr")
        elif "nokaslr" not in value.split():
            lines[number] = f"cmdline = {value} nokaslr"
    if own is not None and "gdb" not in own[1]:
        added.setdefault(own[2], []).append("gdb = com2")
    for number in sorted(added, reverse=True):
        lines[number + 1:number + 1] = added[number]
    if own is None:
        lines[:0] = ["[traprock]", "gdb = com2"]
    return "\n".join(lines) + "\n", kernel


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


def write_image(arguments, folder):
    """The image, and the kernel of the first guest."""
    near = os.path.dirname(arguments.conf)
    files = image.gather(arguments.conf, arguments.efi, arguments.config_tool)
    with open(arguments.conf, encoding="utf-8") as file:
        text, kernel = prepare(file.read(), lambda name: is_linux(os.path.join(near, name)))
    conf, out = os.path.join(folder, "traprock.conf"), os.path.join(folder, "disk.img")
    with open(conf, "w", encoding="utf-8") as file:
        file.write(text)
    image.named_files(arguments.config_tool, conf)  # says what is wrong with it
    files[1] = (files[1][0], conf, os.path.getsize(conf))
    image.image_write(files, out, image.SIZE_MULTIPLE)
    return out, os.path.join(near, kernel) if kernel else None


def debug(arguments, folder):
    disk, kernel = write_image(arguments, folder)
    program = symbols(kernel, folder) if kernel else None
    os.makedirs(os.path.dirname(arguments.console) or ".", exist_ok=True)
    with open(arguments.console, "wb", buffering=0) as console, \
            host.Machine(disk, timeout=7 * 24 * 3600, com2="line", sinks=[console.write], host=arguments.host,
                         memory=arguments.mem, cpus=arguments.cpus) as machine:
        print(f"debug_guest.py: the guest's console: tail -f {arguments.console}", flush=True)
        machine.expect(rb"paused before its first instruction", timeout=STARTS)
        bridge = Bridge(machine.com2)
        command = ["gdb", "-q"] + ([program] if program else [])
        command += ["-ex", "set confirm off", "-ex", "set remotetimeout 30",
                    "-ex", f"target remote 127.0.0.1:{bridge.port}"]
        for line in arguments.command:
            command += ["-ex", line]
        # Ctrl-C is gdb's.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return subprocess.call(command + (["-batch"] if arguments.batch else []),
                                   preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
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
    parser.add_argument("--command", action="append", default=[], help="for gdb, before it asks")
    parser.add_argument("--batch", action="store_true", help="gdb ends after the commands")
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
