"""Guests that a PC's firmware starts."""

import os

from harness import Case, CaseFailed, outcome, vm

SEABIOS = "/usr/share/seabios/bios-256k.bin"


def take(run, name, source):
    if not os.path.exists(source):
        raise CaseFailed(f"{source} is not there; install its package")
    run.link(name, source)


def seabios(run):
    """Debian's SeaBIOS finds the disk by virtio, and boots its first sector, which uses it."""
    take(run, "bios.bin", SEABIOS)
    run.link("disk.bin", run.files.guest("boot_sector").replace(".elf", ".bin"))
    conf = vm("seabios", debug_exit="0xf4", disk="disk.bin", firmware="bios.bin").replace(
        "kernel = seabios.elf\n", "")
    status, text = run.run_to_end(conf)
    run.check("seabios/console", "SeaBIOS (version" in text, "its greeting is not there")
    run.report_guest(text, "seabios")
    ended = outcome(text, "seabios")
    run.check("seabios/outcome", ended == ("debug-exit", 0) and status == 0,
              f"{ended}, exit status {status}")


CASES = [
    Case("firmware-seabios", seabios, seconds=20),
]
