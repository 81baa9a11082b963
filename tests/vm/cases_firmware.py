"""Guests that a PC's firmware starts."""

import os
import re

import image
from cases_linux import check_end, linux
from cases_formats import said
from harness import Case, CaseFailed, outcome, vm
from under_qemu import LIKE_OURS, PC_LIKE_OURS, by_qemu, compare, disk_like_ours, plain, until

SEABIOS = "/usr/share/seabios/bios-256k.bin"
LINUX_ROM = "/usr/share/qemu/linuxboot_dma.bin"
OVMF = "/usr/share/ovmf/OVMF.fd"
OVMF_CODE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
OVMF_VARS = "/usr/share/OVMF/OVMF_VARS_4M.fd"


def take(run, name, source):
    if not os.path.exists(source):
        raise CaseFailed(f"{source} is not there; install its package")
    run.link(name, source)


def pc(name, **keys):
    """A [vm] section without a kernel."""
    return vm(name, debug_exit="0xf4", **keys).replace(f"kernel = {name}.elf\n", "")


def alone(text, name):
    """The lines of the only guest."""
    text = text.replace("\r", "")
    begin, end = re.search(r"KiB for the monitor\n", text), text.find(f"traprock: vm {name}: ")
    return text[begin.end() if begin else len(text):end].split("\n")


def check_exit(run, status, text, name):
    ended = outcome(text, name)
    run.check(f"{name}/outcome", ended == ("debug-exit", 0) and status == 0,
              f"{ended}, exit status {status}")


def seabios(run):
    """Debian's SeaBIOS finds the disk by virtio, and boots its first sector, which uses it."""
    take(run, "bios.bin", SEABIOS)
    run.link("disk.bin", run.files.guest("boot_sector").replace(".elf", ".bin"))
    status, text = run.run_to_end(pc("seabios", disk="disk.bin", firmware="bios.bin"))
    run.check("seabios/console", "SeaBIOS (version" in text, "its greeting is not there")
    run.report_guest(text, "seabios")
    check_exit(run, status, text, "seabios")
    theirs, _ = by_qemu(run, *PC_LIKE_OURS, *disk_like_ours("disk.bin"), memory=64)
    compare(run, "seabios", "firmware", alone(text, "seabios"), theirs, least=8)


def own_flash(run):
    """QEMU's options for OVMF with its variables, on a copy that it may write."""
    with open(OVMF, "rb") as file:
        run.write("flash.fd", file.read())
    return "-drive", "if=pflash,format=raw,file=flash.fd"


def ovmf(run):
    """Debian's OVMF starts a program from a FAT disk, which keeps a variable over a reset."""
    take(run, "OVMF.fd", OVMF)
    program = os.path.join(run.files.build, "efi_guest.efi")
    image.image_write([("EFI/BOOT/BOOTX64.EFI", program, os.path.getsize(program))],
                      run.path("esp.bin"), image.SIZE_MULTIPLE)
    conf = pc("ovmf", disk="esp.bin", firmware="OVMF.fd", memory="128M")
    status, text = run.run_to_end(conf, memory=512)
    run.report_guest(text, "ovmf")
    run.check("ovmf/one-reset", text.count("ok variable-written") == 1 and
              "ok variable-kept-over-a-reset" in text)
    check_exit(run, status, text, "ovmf")
    theirs, _ = by_qemu(run, *PC_LIKE_OURS, *own_flash(run), *disk_like_ours("esp.bin"), resets=True)
    compare(run, "ovmf", "firmware", alone(text, "ovmf"), theirs, least=11)


# What is typed into OVMF's shell, and what it answers; in the echo each character stands alone.
SHELL_COMMANDS = [
    ("ver", rb"UEFI Interactive Shell v\d[^$]*UEFI v2\.\d+ \(EDK II"),
    ("pci", rb"Vendor 8086 Device 1237[^$]*Vendor 8086 Device 7113"),
    ("memmap", rb"ACPI_Recl[^$]*Total Memory: +127 MB"),
    ("set traprock stays", rb""),
]


def shell_type(machine, command, answer, limit):
    machine.send(command.encode() + b"\r")
    machine.expect(answer, timeout=limit)
    machine.expect(rb"Shell> ", timeout=limit)


def shell_answers(text, command):
    """The lines that follow the command's echo, to the next prompt."""
    lines = [plain(line) for line in text.replace("\r", "").split("\n")]
    begin = next((number for number, line in enumerate(lines) if re.search(r"Shell> ?" + command, line)), len(lines))
    return until(lines[begin + 1:], "Shell>")[:-1]


def shell_under_qemu(run, text):
    """What the shell answers does not depend on the machine."""
    theirs, _ = by_qemu(run, *PC_LIKE_OURS, *own_flash(run), typed=[
        ("Shell> ", "ver\r"), ("Shell> ", "set traprock stays\r"), ("Shell> ", "set traprock\r"),
        ("Shell> ", "reset -s\r")])
    for command in ("ver", "set traprock$"):
        compare(run, f"ovmf-shell-{command.split()[0]}", "firmware", shell_answers(text, command),
                shell_answers("\n".join(theirs), command))


def ovmf_shell(run):
    """Without a disk OVMF starts its shell, which obeys, resets and powers off. Its code and its
    variables are in two files here."""
    take(run, "CODE.fd", OVMF_CODE)
    take(run, "VARS.fd", OVMF_VARS)
    limit = run.case.limit * run.scale
    conf = pc("ovmf", firmware="CODE.fd", firmware_vars="VARS.fd", memory="128M")
    with run.machine(run.make_image(conf), memory=512) as machine:
        machine.expect(rb"Shell> ", timeout=limit)
        for command, answer in SHELL_COMMANDS:
            shell_type(machine, command, answer, limit)
            run.check(f"ovmf-shell/{command.split()[0]}", True)
        machine.send(b"reset\r")
        machine.expect(rb"Shell> ", timeout=limit)
        shell_type(machine, "set traprock", rb"stays", limit)
        run.check("ovmf-shell/reset-keeps-variables", True)
        machine.send(b"reset -s\r")
        status = machine.wait()
    shell_under_qemu(run, machine.log)
    ended = outcome(machine.log, "ovmf")
    run.check("ovmf-shell/power-off", ended == ("poweroff", 0) and status == 0 and
              '"resets":1' in machine.log, f"{ended}, exit status {status}")


LINUX_END = "Run /init as init process"


def ovmf_linux(run):
    """The kernel of fw_cfg starts through its EFI stub, with the command line and the initrd."""
    take(run, "OVMF.fd", OVMF)
    conf = linux(run, script="efi.sh", firmware="OVMF.fd", memory="256M", cmdline="console=ttyS0 cryptomgr.notests")
    status, text = run.run_to_end(conf, memory=768)
    run.report_guest(text, "linux")
    check_end(run, status, text)
    linux_under_qemu(run, conf, text)


def linux_under_qemu(run, conf, text):
    """To where the kernel starts its init: what the script says then is judged by itself."""
    key = dict(re.findall(r"^(\w+) = (.*)$", conf, re.MULTILINE))
    options = ["pc,hpet=off" if option.startswith("q35") else option for option in LIKE_OURS]
    theirs, _ = by_qemu(run, *options, *own_flash(run), "-kernel", key["kernel"], "-initrd", key["initrd"],
                        "-append", key["cmdline"], end=LINUX_END, memory=256)
    compare(run, "linux-by-firmware", ("linux", "firmware"), until(alone(text, "linux"), LINUX_END),
            until(theirs, LINUX_END), least=200)


FW_CFG_FILES = {"opt/org.example/key": b"the key", "opt/org.example/blob": bytes(range(256)) * 40}


def fw_cfg_lines(lines):
    """What the guest says, without the firmware before it."""
    text = "\n".join(lines)
    return text[text.find("fw-cfg begins"):].split("\n") if "fw-cfg begins" in text else []


def fw_cfg(run):
    """What a guest reads from fw_cfg, by ports and by DMA, is what it reads under QEMU: started by its
    16-bit entry, and by SeaBIOS."""
    take(run, "bios.bin", SEABIOS)
    take(run, "linux.rom", LINUX_ROM)
    run.link("kernel.bin", run.files.guest("fw_cfg").replace(".elf", ".bin"))
    run.write("initrd", bytes(n * 5 & 0xff for n in range(5000)))
    options = []
    for name, content in FW_CFG_FILES.items():
        run.write(os.path.basename(name), content)
        options += ["-fw_cfg", f"name={name},file={os.path.basename(name)}"]
    keys = {"timeout": "20s", "kernel": "kernel.bin", "initrd": "initrd", "cmdline": "one two", "debug_exit": "0xf4",
            "fw_cfg_file": [f"{name} {os.path.basename(name)}" for name in FW_CFG_FILES] +
                           ["genroms/linuxboot_dma.bin linux.rom"]}
    status, text = run.run_to_end("[traprock]\nrun = sequence\n" + vm("entry16", entry="16", fw_cfg="yes", **keys) +
                                  vm("seabios", firmware="bios.bin", **keys))
    theirs, _ = by_qemu(run, "-machine", "graphics=off", "-nic", "none", "-kernel", "kernel.bin", "-initrd",
                        "initrd", "-append", "one two", *options, memory=64)
    for name in ("entry16", "seabios"):
        compare(run, name, "fw_cfg", fw_cfg_lines(said(text, name)), fw_cfg_lines(theirs), least=48)
        check_exit(run, status, text, name)


CASES = [
    Case("firmware-ovmf-linux", ovmf_linux, seconds=120, limit=420),
    Case("firmware-ovmf-shell", ovmf_shell, seconds=60, limit=300),
    Case("firmware-ovmf", ovmf, seconds=60, limit=240),
    Case("firmware-seabios", seabios, seconds=20),
    Case("firmware-fw-cfg", fw_cfg, seconds=20),
]
