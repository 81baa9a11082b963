#!/usr/bin/env python3
"""How many instructions Linux takes to its init under Traprock, and on the bare machine.

    linux.py [--build DIR] [--cpu MODEL]

Both run in Bochs, where a tick of the TSC is an instruction, with the same kernel, initial RAM disk
and command line; the measure is the uptime that init reads, of a machine that is never idle. Prints
`bench: linux-to-init-bare N`, `bench: linux-to-init N` and `bench: linux-overhead-permille N BAR
ok|MISSED`; exits 1 where the bar is missed. The model must have no CPUID.15H, which Bochs answers
with the rate of the real processor.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(TESTS, "vm"), os.path.join(TESTS, "guests", "bare")]

import bare  # noqa: E402
from harness import Case, Files, Run, vm  # noqa: E402

BAR = 30  # permille
HZ = 50000000  # of the TSC, by Bochs's ips
MIB = 1 << 20
KERNEL = 16 * MIB  # where Debian's kernel is linked to lie
INITRD = 96 * MIB
MEMORY = 256 * MIB
COMMAND_LINE = ('quiet rdinit=/bin/sh console=ttyS0 cryptomgr.notests -- -c "b=/bin/busybox; '
                '$b mount -t proc p /proc; $b cat /proc/uptime; echo done; $b sleep 1000"')
NOTE_PVH_ENTRY = 18
SCRIPT = ("ENTRY(_start) SECTIONS {{ . = 0x100000; .text : {{ *(.text) }} . = {kernel}; "
          ".kernel : {{ *(.kernel) }} . = {initrd}; .initrd : {{ *(.initrd) }} }}")


def pvh_entry(kernel):
    """The address in the ELF note of the name Xen and the type PHYS32_ENTRY."""
    notes = subprocess.run(["readelf", "-nW", kernel], check=True, capture_output=True, text=True)
    entry = re.search(rf"\(0x{NOTE_PVH_ENTRY:08x}\)\s+description data: ([0-9a-f ]+)", notes.stdout)
    return int.from_bytes(bytes.fromhex(entry.group(1)), "little")


def build(files, folder):
    """The flat image's ELF."""
    def path(name):
        return os.path.join(folder, name)

    subprocess.run(["objcopy", "-O", "binary", files.vmlinux, path("kernel")], check=True)
    defines = {"ENTRY": pvh_entry(files.vmlinux), "INITRD": INITRD, "MEMORY": MEMORY,
               "INITRD_SIZE": os.path.getsize(files.initramfs), "COMMAND_LINE": f"`{COMMAND_LINE}`",
               "KERNEL_FILE": f"'{path('kernel')}'", "INITRD_FILE": f"'{files.initramfs}'"}
    subprocess.run(["nasm", "-f", "elf32", *[f"-D{key}={value}" for key, value in defines.items()],
                    "-o", path("linux.o"), os.path.join(HERE, "bare.asm")], check=True)
    with open(path("script"), "w", encoding="ascii") as file:
        file.write(SCRIPT.format(kernel=KERNEL, initrd=INITRD))
    subprocess.run(["ld", "-m", "elf_i386", "-nostdlib", "-static", "--no-warn-rwx-segments", "-T",
                    path("script"), "-o", path("linux.elf"), path("linux.o")], check=True)
    return path("linux.elf")


def instructions(text):
    uptime = re.search(r"^(\d+\.\d+) 0\.\d+\r?$", text, re.MULTILINE)
    return round(float(uptime.group(1)) * HZ) if uptime else None


def on_the_bare_machine(files, cpu):
    with tempfile.TemporaryDirectory() as folder:
        text = bare.run(build(files, folder), cpu, 600, memory=MEMORY // MIB, ignore_bad_msrs=1)
    return instructions(text)


def under_traprock(files, cpu):
    run = Run(Case("linux", measure, limit=600), files)
    run.cpu, run.text = cpu, ""
    run.execute()
    return instructions(run.text)


def measure(run):
    run.link("vmlinux", run.files.vmlinux)
    run.link("initramfs.cpio", run.files.initramfs)
    conf = vm("linux", kernel="vmlinux", initrd="initramfs.cpio", cmdline=COMMAND_LINE,
              memory=f"{MEMORY // MIB}M")
    with run.machine(run.make_image(conf), host="bochs", cpu=run.cpu) as machine:
        machine.expect(rb"^done", timeout=600)
        run.text = machine.log


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--cpu", default="corei7_haswell_4770", help="Bochs's model (%(default)s)")
    arguments = parser.parse_args()
    files = Files(os.path.abspath(arguments.build))
    alone, guest = (where(files, arguments.cpu) for where in (on_the_bare_machine, under_traprock))
    print(f"bench: linux-to-init-bare {alone}\nbench: linux-to-init {guest}")
    if alone is None or guest is None:
        return 1
    overhead = (guest - alone) * 1000 // alone
    print(f"bench: linux-overhead-permille {overhead} {BAR} {'ok' if overhead <= BAR else 'MISSED'}")
    return 0 if overhead <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
