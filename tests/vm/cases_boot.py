"""How the UEFI program is started, and what happens when the last guest has ended."""

import os
import re
import time

from harness import Case, vm
from host import EXIT_NOT_STARTED

ESCAPE = b"\x01"


def hello(traprock=""):
    return f"[traprock]\n{traprock}" + vm("hello", debug_exit="0xf4")


def wait_for(run, line, pattern, name):
    """Bytes on a line other than the console, before the machine ends or its time is up."""
    compiled = re.compile(pattern, re.MULTILINE)
    with line.changed:
        found = line.changed.wait_for(
            lambda: compiled.search(bytes(line.data)) or line.closed, timeout=run.case.limit)
    run.check(name, found and compiled.search(bytes(line.data)),
              f"no {pattern!r} in {bytes(line.data[-400:])!r}")


# ---- Ways in -------------------------------------------------------------------------------------


def vmx_locked_out(run):
    """Chain-loaded by a program that has locked VMX out, as some firmware does."""
    folder = "EFI/BOOT/"
    image = run.make_files_image({
        folder + "BOOTX64.EFI": run.files.lock_vmx, folder + "TRAPROCK.EFI": run.files.efi,
        folder + "traprock.conf": run.write("test.conf", hello()),
        folder + "hello.elf": run.files.guest("hello")})
    with run.machine(image) as machine:
        status = machine.wait()
        text = machine.log
    run.check("boot/chain-loaded", "reading traprock.conf" in text and " ok" in text)
    run.check("boot/vmx-locked-out", "it lacks permission to use VMX" in text
              and "not started (unsupported)" in text, "no such message")
    run.check("boot/vmx-locked-out-status", status == EXIT_NOT_STARTED, f"exit status {status}")


def from_shell(run):
    """From the UEFI shell, out of a folder of its own, with the configuration's name; and again,
    with a name that is not there, back to the shell with an EFI status."""
    script = ("FS0:\r\n\\Tools\\trap.efi absent.conf\r\necho status %lasterror%\r\n"
              "\\Tools\\trap.efi sub\\other.conf\r\n")
    image = run.make_files_image({
        "startup.nsh": run.write("startup.nsh", script), "Tools/trap.efi": run.files.efi,
        "Tools/sub/other.conf": run.write("other.conf", hello()),
        "Tools/sub/hello.elf": run.files.guest("hello")})
    with run.machine(image) as machine:
        status = machine.wait()
        text = machine.log
    run.check("boot/shell-absent", 'file "absent.conf" cannot be opened (not found)' in text,
              "no such message")
    run.check("boot/shell-starts", "reading other.conf" in text and "reading hello.elf" in text)
    run.check("boot/shell-status", status == 0, f"exit status {status}")


# ---- The console's port --------------------------------------------------------------------------


def console_com2(run):
    run.guest("hello")
    with run.machine(run.make_image(hello("console = com2\n")), com2="line") as machine:
        wait_for(run, machine.com2, rb"^traprock: exit 0\r?$", "boot/console-com2")
        run.check("boot/console-com2-guest", b"ok hello" in machine.com2.data)
        run.check("boot/console-com2-only", "ok hello" not in machine.log)


# ---- Ways out ------------------------------------------------------------------------------------


def on_idle_wait(run):
    """The keys work on, and end it; and the monitor says nothing that is below its level."""
    run.guest("hello")
    conf = hello("on-idle = wait\nloglevel = error\n")
    with run.machine(run.make_image(conf)) as machine:
        machine.expect(rb"^traprock: exit 0\r?$", timeout=run.case.limit)
        machine.send(ESCAPE + b"s")
        machine.expect(rb"^traprock: . hello +debug-exit ", timeout=60)
        run.check("boot/on-idle-wait", True)
        run.check("boot/loglevel-error", "processors are up" not in machine.log)
        machine.send(ESCAPE + b"x")
        with machine.console.changed:
            ended = machine.console.changed.wait_for(lambda: machine.console.closed, timeout=60)
        run.check("boot/on-idle-wait-power-off", ended, "the key does not end the machine")


def resets(machine):
    """How often Bochs has reset the machine, power-on included."""
    with open(os.path.join(machine.directory, "bochs.log"), "rb") as file:
        return file.read(32 << 20).count(b"Reset(HARDWARE) called")


def on_idle_reboot(run):
    """Bochs resets; what comes after is not seen, since OVMF hangs there after a reset."""
    run.guest("hello")
    with run.machine(run.make_image(hello("on-idle = reboot\nloglevel = debug\n"))) as machine:
        machine.expect(rb"^traprock: exit 0\r?$", timeout=run.case.limit)
        deadline = time.monotonic() + 60
        while (count := resets(machine)) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
        run.check("boot/on-idle-reboot", count == 2, "the machine is not reset")
        run.check("boot/loglevel-debug", re.search(r"debug: memory: 0x\w+ \d+ pages", machine.log))


CASES = [
    Case("boot-vmx-locked-out", vmx_locked_out, seconds=15),
    Case("boot-from-shell", from_shell, seconds=40),
    Case("boot-console-com2", console_com2),
    Case("boot-on-idle-wait", on_idle_wait),
    Case("boot-on-idle-reboot", on_idle_reboot),
]
