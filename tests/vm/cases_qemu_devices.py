"""QEMU's and Bochs's small devices."""

import os
import re

from cases_linux import FAST, initramfs, linux
from harness import Case, outcome, vm

ALL_DEVICES = {"debug_exit": "0xf4", "debug_console": "0xe9", "pc_testdev": "yes", "pvpanic": "yes"}
# What a guest's command line asks for, the keys of its VM, and how it then ends.
ENDS = {
    "shutdown": ({"shutdown_port": "0x8900"}, ("poweroff", 0)),
    "panic": ({"pvpanic": "yes"}, ("panic", 0)),
    "crash": ({"pvpanic": "yes"}, ("debug-exit", 0)),
    "watchdog": ({"watchdog": "ib700", "watchdog_action": "stop"}, ("watchdog", 0)),
}


def devices(run):
    run.guest("qemu_devices")
    status, text = run.run_to_end(vm("qemu_devices", **ALL_DEVICES))
    run.report_guest(text, "qemu_devices")
    printed = re.search(r"^printed by the debug console\r?$", text, re.MULTILINE)
    run.check("qemu-devices/debug-console-output", printed, "not on the console")
    run.check("qemu-devices/outcome", outcome(text, "qemu_devices") == ("debug-exit", 0),
              f"{outcome(text, 'qemu_devices')}")
    run.check("qemu-devices/exit-status", status == 0, f"exit status {status}")


def ends(run):
    run.guest("ends")
    conf = "".join(vm(name, kernel="ends.elf", cmdline=name, debug_exit="0xf4", memory="8M", **keys)
                   for name, (keys, _) in ENDS.items())
    status, text = run.run_to_end(conf, cpus=len(ENDS))
    for name, (_, expected) in ENDS.items():
        ended = outcome(text, name)
        run.check(f"ends/{name}", ended == expected, f"{ended}")
    run.check("ends/crash-kernel-logged", "crash: reports a panic of its kernel, and goes on" in text)
    run.check("ends/exit-status", status == 1, f"exit status {status}")


def watchdog_resets(run):
    """The guest comes up again each time; as without the device, nothing happens by itself."""
    run.guest("ends")
    conf = vm("ends", cmdline="watchdog", memory="8M", watchdog="ib700")
    with run.machine(run.make_image(conf)) as machine:
        for _ in range(3):
            machine.expect(rb"^alive\r?$", timeout=run.case.limit)
        machine.send(b"\x01x")
        machine.wait()
    run.check("watchdog/logged", "ends: the watchdog has expired" in machine.log)
    run.check("watchdog/resets", outcome(machine.log, "ends") == ("killed", 0))


def linux_devices(run):
    """Debian's drivers find what ACPI names: fw_cfg's files as they were given, and pvpanic, by which
    the kernel's panic becomes the guest's result."""
    run.write("key", "the key")
    run.write("blob", os.urandom(300000))
    files = ["opt/org.example/key key", "opt/org.example/blob blob"]
    conf = linux(run, script="qemu_devices.sh", files=("blob",), modules=("qemu_fw_cfg", "pvpanic_mmio"),
                 fw_cfg_file=files, pvpanic="yes")
    status, text = run.run_to_end(conf, memory=768)
    run.report_guest(text, "linux")
    ended = outcome(text, "linux")
    run.check("linux-qemu-devices/panic", ended == ("panic", 0) and status == 1,
              f"{ended}, exit status {status}")


def linux_watchdog(run):
    """The kernel that Debian installs, with its own driver: a watchdog that is fed does nothing; one
    that is not ends the guest, after the time that was set."""
    folder = os.path.join(run.files.build, "guest", "standard")
    run.link("vmlinux", os.path.join(folder, "vmlinux"))
    initrd = initramfs(run, "watchdog.sh", modules=("ib700wdt",), tree=os.path.join(folder, "modules"))
    conf = vm("linux", kernel="vmlinux", initrd=initrd, cmdline=FAST, memory="192M", watchdog="ib700",
              watchdog_action="stop")
    status, text = run.run_to_end(conf, memory=768)
    run.report_guest(text, "linux")
    ended = outcome(text, "linux")
    run.check("linux-watchdog/outcome", ended == ("watchdog", 0) and status == 1,
              f"{ended}, exit status {status}")


CASES = [
    Case("linux-watchdog", linux_watchdog, seconds=40, limit=240),
    Case("linux-qemu-devices", linux_devices, seconds=60, limit=300),
    Case("guest-qemu-devices", devices, seconds=15),
    Case("guest-ends", ends, seconds=25),
    Case("guest-watchdog-resets", watchdog_resets, seconds=20),
]
