#!/usr/bin/env python3
"""Runs a test guest on a bare emulated machine, without a monitor: on Bochs, through a boot sector.

What a guest expects of a processor must hold there too, but for the rows of docs/differences.md.
Usage: bare.py [--model MODEL] [--seconds N] [--command-line TEXT] GUEST.elf; prints the serial line,
exits 0 if nothing else differs.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "vm"))

from differences import compare, outcomes  # noqa: E402

BOCHSRC = """\
config_interface: textconfig
display_library: rfb, options="timeout=0"
cpu: model={model}, count=1, ips=50000000, reset_on_triple_fault=0, ignore_bad_msrs={ignore_bad_msrs}
memory: guest={memory}, host={memory}
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
pci: enabled=1, chipset=i440fx
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, path={folder}/disk.img, mode=volatile, cylinders={cylinders}, heads=16, spt=63
boot: disk
com1: enabled=1, mode=file, dev={folder}/serial.txt
sound: driver=dummy
panic: action=report
error: action={errors}
info: action=ignore
debug: action=ignore
log: {folder}/bochs.log
clock: sync=none, time0=local
"""


def build_disk(elf, folder, command_line):
    """Writes disk.img: the boot sector and the guest's flat image. Returns the cylinders."""
    flat = os.path.join(folder, "flat")
    subprocess.run(["objcopy", "-O", "binary", elf, flat], check=True)
    header = subprocess.run(["readelf", "-hW", elf], check=True, capture_output=True, text=True)
    entry = re.search(r"Entry point address:\s+(\S+)", header.stdout).group(1)
    with open(flat, "rb") as file:
        image = file.read()
    sectors = (len(image) + 511) // 512
    boot = os.path.join(folder, "boot")
    subprocess.run(["nasm", "-f", "bin", f"-DSECTORS={sectors}", f"-DENTRY={entry}",
                    f"-DCOMMAND_LINE='{command_line}'", "-o", boot,
                    os.path.join(HERE, "boot.asm")], check=True)
    cylinder = 16 * 63 * 512
    with open(boot, "rb") as file:
        disk = file.read() + image
    cylinders = len(disk) // cylinder + 2
    with open(os.path.join(folder, "disk.img"), "wb") as file:
        file.write(disk.ljust(cylinders * cylinder, b"\0"))
    return cylinders


def run(elf, model, seconds, command_line="", errors="report", memory=128, ignore_bad_msrs=0):
    """Returns what the guest sent over the serial line. The command line has no quotes in it; what
    Bochs calls errors is in its log, or with "ignore" nowhere. memory is in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        cylinders = build_disk(elf, folder, command_line)
        with open(os.path.join(folder, "bochsrc"), "w", encoding="ascii") as file:
            file.write(BOCHSRC.format(model=model, folder=folder, cylinders=cylinders,
                                      errors=errors, memory=memory,
                                      ignore_bad_msrs=ignore_bad_msrs))
        with open(os.path.join(folder, "rc"), "w", encoding="ascii") as file:
            file.write("c\nq\n")
        process = subprocess.Popen(
            ["bochs", "-q", "-f", os.path.join(folder, "bochsrc"), "-rc", os.path.join(folder, "rc")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        serial = os.path.join(folder, "serial.txt")
        end = time.monotonic() + seconds
        text = ""
        try:
            while time.monotonic() < end and process.poll() is None:
                time.sleep(0.3)
                if os.path.exists(serial):
                    with open(serial, encoding="utf-8", errors="replace") as file:
                        text = file.read()
                if re.search(r"^done$", text, re.M):
                    break
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="corei7_skylake_x")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--command-line", default="")
    parser.add_argument("elf")
    arguments = parser.parse_args()
    text = run(arguments.elf, arguments.model, arguments.seconds, arguments.command_line)
    sys.stdout.write(text)
    name = os.path.splitext(os.path.basename(arguments.elf))[0]
    new, _ = compare("Bochs", name, outcomes(text))
    print(f"{name}: " + (f"differs: {', '.join(new)}" if new else "as docs/differences.md says"))
    return 1 if new else 0


if __name__ == "__main__":
    sys.exit(main())
