#!/usr/bin/env python3
"""Boots an image under QEMU, stopped, and attaches gdb to the monitor: debug.py --image IMG --elf ELF

QEMU's own gdb stub is used, so this works with nested VMX as well as without (then up to the message
that says what is missing). gdb knows the monitor's symbols; a hardware breakpoint at kernel_main is
set, since the monitor is not in memory yet.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import host  # noqa: E402


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--image", required=True)
    parser.add_argument("--elf", required=True, help="the monitor with its symbols")
    parser.add_argument("--mem", type=host.memory_size, default=1024, help="MiB")
    parser.add_argument("--command", action="append", default=[], help="for gdb, before it asks")
    parser.add_argument("--batch", action="store_true", help="gdb ends after the commands")
    arguments = parser.parse_args()
    for tool in ("gdb", "qemu-system-x86_64"):
        if shutil.which(tool) is None:
            sys.exit(f"debug.py: {tool} is missing; install the package "
                     f"{'gdb' if tool == 'gdb' else 'qemu-system-x86'}")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        image = os.path.join(folder, "disk.img")
        shutil.copyfile(arguments.image, image)
        kvm = host.has_nested_vmx()
        command = ["qemu-system-x86_64", "-machine", "q35", "-m", str(arguments.mem),
                   *(["-accel", "kvm", "-cpu", "host"] if kvm else ["-accel", "tcg", "-cpu", "max"]),
                   "-bios", host.OVMF, "-drive", f"file={image},format=raw,if=virtio",
                   "-display", "none", "-serial", f"file:{folder}/serial.txt", "-no-reboot", "-S",
                   "-gdb", f"tcp:127.0.0.1:{port}"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as machine:
            gdb = ["gdb", "-q", arguments.elf, "-ex", "set confirm off",
                   "-ex", f"target remote 127.0.0.1:{port}", "-ex", "hbreak kernel_main"]
            for line in arguments.command:
                gdb += ["-ex", line]
            if arguments.batch:
                gdb.append("-batch")
            try:
                status = subprocess.call(gdb)
            finally:
                machine.kill()
    return status


if __name__ == "__main__":
    sys.exit(main())
