"""GRUB's own images, made by Debian's packages: what a firmware starts from a disk, and a core image
in a kernel's clothes. What they print is compared with QEMU's.

Two of GRUB's platforms are not here, since they do not run under a plain QEMU either: i386-coreboot
looks for coreboot's tables (and QEMU's Multiboot loader, which takes the file, overwrites itself with
it), and i386-xen_pvh speaks to Xen by hypercalls, without a word on the serial port."""

import io
import os
import re
import shutil
import subprocess
import tarfile

from cases_firmware import OVMF, SEABIOS, pc, take
from cases_formats import said, write_modules
from cases_linux import FAST, initramfs
from harness import Case, CaseFailed, outcome, vm
from under_qemu import by_qemu, compare, plain

GRUB = "/usr/lib/grub"
MEMORY = 128  # MiB
MARK = "grub: "

SERIAL = "serial --unit=0 --speed=115200\nterminal_input serial\nterminal_output serial\n"
CORE = f"{SERIAL}echo '{MARK}a core image'\n"
# On the disk: under UEFI it tells what it sees, else it does what the second disk says.
RESCUE = SERIAL + f"""
echo "{MARK}platform $grub_platform, root $root"
if [ "$grub_platform" = efi ]; then
    lsefisystab
    halt
fi
configfile (hd1)/next.cfg
"""
NEXT = {
    "multiboot": "multiboot /guest.elf one two\nmodule /m1 m1 a b\nmodule /m2 m2\nboot\n",
    "multiboot2": "multiboot2 /guest.elf one two\nmodule2 /m1 m1 a b\nmodule2 /m2 m2\nboot\n",
    "linux": f"linux /vmlinuz {FAST}\ninitrd /initrd\nboot\n",
}
LINUX_TEXTS = ("ok command-line", "ok disk", "ok acpi-from-firmware", "done")
EFI_TEXTS = ("platform efi", "8868e871-e4f1-11d3-bc220080c73c8881   ACPI-2.0")


def tool(run, *command):
    try:
        subprocess.run(command, cwd=run.directory, check=True, stdin=subprocess.DEVNULL,
                       capture_output=True, text=True)
    except FileNotFoundError as error:
        raise CaseFailed(f"{command[0]} is missing; install grub-common, grub-pc-bin, "
                         "grub-efi-amd64-bin and xorriso") from error
    except subprocess.CalledProcessError as error:
        raise CaseFailed(f"{command[0]}: {error.stderr.strip()}") from error


def joined(run, name, *sources, size=0):
    data = b""
    for source in sources:
        with open(source, "rb") as file:
            data += file.read()
    run.write(name, data.ljust(size, b"\0"))


def core_images(run):
    """A disk whose boot sector loads the core image behind it, and a kernel that is one: the one
    powers off, the other resets."""
    for name, last in (("halt", "halt"), ("reboot", "reboot")):
        run.write(name + ".cfg", CORE + last + "\n")
        tool(run, "grub-mkimage", "-O", "i386-pc", "-p", "/boot/grub", "-c", name + ".cfg", "-o",
             name + ".core", "biosdisk", "serial", "terminal", "echo", last)
    joined(run, "core.img", f"{GRUB}/i386-pc/boot.img", run.path("halt.core"), size=1 << 20)
    joined(run, "core.lkrn", f"{GRUB}/i386-pc/lnxboot.img", run.path("reboot.core"))


def rescue_image(run):
    """What grub-mkrescue makes: a disk that starts under a BIOS and under UEFI, with its modules in
    an ISO 9660 file system, and kernels for it."""
    os.makedirs(run.path("tree/boot/grub"))
    run.write("tree/boot/grub/grub.cfg", RESCUE)
    for name, source in (("guest.elf", os.path.join(run.files.build, "guests/formats/protocols.elf")),
                         ("vmlinuz", run.files.kernel), ("initrd", run.path(initramfs(run, "grub.sh"))),
                         ("m1", run.path("m1")), ("m2", run.path("m2"))):
        shutil.copy(source, run.path("tree/" + name))
    tool(run, "grub-mkrescue", "--fonts=", "--locales=", "--themes=", "-o", run.path("rescue.iso"),
         run.path("tree"))
    for name, text in NEXT.items():
        with tarfile.open(run.path(name + ".tar"), "w") as tar:
            entry = tarfile.TarInfo("next.cfg")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))


def disk(name):
    return "-drive", f"if=none,id={name},format=raw,snapshot=on,file={name}", "-device", \
        f"virtio-blk-pci,drive={name}"


def from_mark(lines):
    """From GRUB's first own line on."""
    text = "\n".join(plain(line) for line in lines)
    return text[text.find(MARK):].split("\n") if MARK in text else []


def contains(run, name, lines, texts):
    for text in texts:
        run.check(f"{name}/{text.split(' ')[0]}-{len(text)}", any(text in line for line in lines),
                  f"nothing like {text!r}")


def placeless(lines):
    """Without the addresses of UEFI's tables, which lie where each machine's memory ends."""
    return [re.sub(r"^(Address: )?0x[0-9a-f]+", r"\1somewhere", line) for line in lines]


def under_qemu(run, name, ours, *options):
    lines, status = by_qemu(run, "-cpu", "Skylake-Server", "-vga", "none", "-nic", "none", *options, memory=MEMORY)
    theirs = from_mark(lines)
    run.check(f"{name}/ended-under-qemu", status is not None, "it did not end")
    compare(run, name, ("grub", "linux"), placeless(ours), placeless(theirs))


def sections():
    """(name, section, outcome, texts that it has to say, QEMU's options) of each guest."""
    small = {"memory": f"{MEMORY}M", "on_reset": "stop", "timeout": "60s"}
    yield ("core", pc("core", firmware="bios.bin", disk="core.img", **small), ("poweroff", 0), (),
           disk("core.img"))
    yield ("lnxboot", vm("lnxboot", kernel="core.lkrn", **small), ("reset", 0), (),
           ("-kernel", "core.lkrn"))
    for name in NEXT:
        is_linux = name == "linux"
        yield (name, pc(name, firmware="bios.bin", disk=["rescue.iso,ro", name + ".tar,ro"], **small),
               ("poweroff" if is_linux else "debug-exit", 0), LINUX_TEXTS if is_linux else (),
               (*disk("rescue.iso"), *disk(name + ".tar")))
    yield ("efi", pc("efi", firmware="OVMF.fd", disk="rescue.iso,ro", **small), ("poweroff", 0),
           EFI_TEXTS, ("-bios", OVMF, *disk("rescue.iso")))


def grub(run):
    """All in one start of the machine, one after the other."""
    take(run, "bios.bin", SEABIOS)
    take(run, "OVMF.fd", OVMF)
    write_modules(run)
    core_images(run)
    rescue_image(run)
    conf = "[traprock]\nrun = sequence\n" + "".join(section for _, section, _, _, _ in sections())
    _, text = run.run_to_end(conf, memory=768)
    for name, _, expected, texts, options in sections():
        lines = from_mark(said(text, name))
        run.check(f"{name}/outcome", outcome(text, name) == expected, f"{outcome(text, name)}")
        contains(run, name, lines, (MARK, *texts))
        if name in NEXT:
            run.report_guest("\n".join(lines), name)
        under_qemu(run, name, lines, *options)


CASES = [Case("grub", grub, seconds=70, limit=240)]
