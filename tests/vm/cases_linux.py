"""Debian's Linux under Traprock."""

import contextlib
import hashlib
import os
import re
import subprocess
import sys
import time

from harness import HERE, Case, CaseFailed, outcome, vm
from host import ExpectError
from under_qemu import LIKE_OURS, by_qemu, compare, until

CTRL_C = b"\x03"
ESCAPE = b"\x01"
PROMPT = rb"(?:/|~) # "
BOOT_SECONDS = 150
TSC_MHZ = 50.0  # of Bochs, by its ips
QUIET = "console=ttyS0 quiet"
# Debian's kernel tests its ciphers at each boot; that is half of its instructions.
FAST = QUIET + " cryptomgr.notests"
LOUD = "console=ttyS0 cryptomgr.notests"
KERNEL_END = "Run /init as init process"


def initramfs(run, script=None, files=(), modules=(), tree=None):
    """The initramfs of the default guest, with /test.sh if a script is named, and files of the
    case's folder by their names; with the modules of another kernel, if their folder is given."""
    if script is None:
        run.link("initramfs.cpio", run.files.initramfs)
        return "initramfs.cpio"
    name = script.replace(".sh", ".cpio")
    folder = os.path.join(HERE, "linux")
    command = [sys.executable, os.path.join(HERE, "guest_files.py"), "initramfs", "--modules",
               tree or run.files.modules, "--out", run.path(name), "--add", f"test.sh={folder}/{script}",
               "--add", f"report.sh={folder}/report.sh"]
    for file in files:
        command += ["--add", f"{file}={run.path(file)}"]
    for module in modules:
        command += ["--module", module]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise CaseFailed("guest_files.py: " + made.stderr.strip())
    return name


def linux(run, name="linux", kernel="vmlinuz", script=None, cmdline=FAST, disk=None, files=(),
          modules=(), **keys):
    """A [vm] section for Linux; kernel is vmlinuz or vmlinux. vmlinuz is the default, since the
    firmware takes longer to read vmlinux than the kernel to unpack itself; the disk is a small one
    for the same reason."""
    run.link(kernel, {"vmlinux": run.files.vmlinux, "vmlinuz": run.files.kernel}[kernel])
    if disk is None:
        disk = name + ".bin"
        run.write(disk, os.urandom(2 << 20))
    keys.setdefault("memory", "192M")
    return vm(name, kernel=kernel, initrd=initramfs(run, script, files, modules), cmdline=cmdline,
              disk=disk + ",discard", **keys)


def values(text):
    return dict(re.findall(r"^(?:[\w-]+: )?value ([\w-]+) (\S+)", text.replace("\r", ""), re.MULTILINE))


def check_complaints(run, text):
    """Nothing at warning level that QEMU does not show too."""
    with open(os.path.join(HERE, "linux", "complaints.txt"), encoding="utf-8") as file:
        known = [re.compile(line.strip()) for line in file
                 if line.strip() and not line.startswith("#")]
    lines = re.findall(r"^complaint (.*?)\r?$", text, re.MULTILINE)
    new = [line for line in lines if not any(pattern.fullmatch(line) for pattern in known)]
    run.check("linux/no-complaints", not new, "; ".join(new[:8]))


def check_end(run, status, text, name="linux"):
    ended = outcome(text, name)
    run.check(f"{name}/outcome", ended == ("poweroff", 0), f"{ended}")
    run.check(f"{name}/exit-status", status == 0, f"exit status {status}")


def platform(kernel):
    def function(run):
        status, text = run.run_to_end(
            linux(run, kernel=kernel, script="platform.sh", cmdline=LOUD, hvc="loop"), memory=768)
        run.report_guest(text, "linux")
        found = values(text)
        mhz = float(found.get("tsc-mhz", "0"))
        run.check("linux/tsc-frequency", abs(mhz - TSC_MHZ) < TSC_MHZ / 200, f"{mhz} MHz")
        check_complaints(run, text)
        check_end(run, status, text)
        # The kernel's own words, until it starts its first program.
        lines, _ = by_qemu(run, *LIKE_OURS, "-kernel", kernel, "-initrd", "platform.cpio", "-append", LOUD,
                           end=KERNEL_END, memory=192)
        ours = text.replace("\r", "").split("\n")
        begin = next((i for i, line in enumerate(ours) if "Linux version" in line), 0)
        compare(run, "linux", "linux", until(ours[begin:], KERNEL_END), until(lines, KERNEL_END), least=200)

    return function


def devices(run):
    """The guest writes a block that is made here eight times over, and reads back 32 MiB: hashing
    them once takes an emulated processor half a minute already."""
    run.link("root.ext4", run.files.disk)
    block = os.urandom(4 << 20)
    run.write("block", block)
    run.write("block.sha256", hashlib.sha256(block * 8).hexdigest() + "\n")
    status, text = run.run_to_end(
        linux(run, script="devices.sh", disk="root.ext4", hvc="loop",
              files=("block", "block.sha256")), memory=768)
    run.report_guest(text, "linux")
    check_end(run, status, text)


def interrupt(machine):
    """Ctrl-C until the prompt is back: the first may come before the command runs."""
    for _ in range(10):
        time.sleep(1)
        machine.send(CTRL_C)
        with contextlib.suppress(ExpectError):
            machine.expect(PROMPT, timeout=5)
            return
    raise CaseFailed("Ctrl-C does not interrupt")


def processes(run):
    status, text = run.run_to_end(linux(run, script="processes.sh"), memory=768)
    run.report_guest(text, "linux")
    check_end(run, status, text)


def shell(run):
    """What a person does: types, edits, interrupts, sends the escape key itself, powers off."""
    with run.machine(run.make_image(linux(run)), memory=768) as machine:
        machine.expect(PROMPT, timeout=BOOT_SECONDS)
        machine.send(b"echo answer $((6 * 7))\n")
        machine.expect(rb"^answer 42\r?$", timeout=30)
        run.check("linux/shell-types", True)
        machine.expect(PROMPT, timeout=30)
        machine.send(b"echo wronx\x7fg\n")
        machine.expect(rb"^wrong\r?$", timeout=30)
        run.check("linux/shell-edits", True)
        machine.send(b"echo sleeping; sleep 1000\n")
        machine.expect(rb"^sleeping\r?$", timeout=30)
        interrupt(machine)
        run.check("linux/shell-interrupts", True)
        machine.send(b"echo reading; cat -v\n")
        machine.expect(rb"^reading\r?$", timeout=30)
        time.sleep(1)
        machine.send(ESCAPE + ESCAPE + b"!\n")
        machine.expect(rb"^\^A!\r?$", timeout=30)
        interrupt(machine)
        run.check("linux/shell-escape-literal", True)
        machine.send(ESCAPE + b"s")
        machine.expect(rb"^traprock: . linux +(running|halted)", timeout=30)
        machine.send(b"\n")
        machine.expect(PROMPT, timeout=30)
        text = "x" * 200
        machine.send(f"echo {text} | wc -c\n".encode())
        machine.expect(rb"^201\r?$", timeout=30)
        run.check("linux/shell-long-line", True)
        machine.send(b"poweroff -f\n")
        status = machine.wait()
        check_end(run, status, machine.log)


def com2(run):
    """Bytes of every value over the machine's second serial port and back, by /dev/hvc0; the last
    ones are on their way when the guest switches off."""
    sent = bytes(range(256)) * 16
    conf = linux(run, script="com2.sh", hvc="com2")
    with run.machine(run.make_image(conf), memory=768, com2="line") as machine:
        line = machine.com2
        with line.changed:
            ready = line.changed.wait_for(lambda: b"ready\n" in line.data or line.closed,
                                          timeout=BOOT_SECONDS)
        run.check("linux/com2-ready", ready and not line.closed, f"{bytes(line.data[-80:])!r}")
        if not line.closed:
            line.send(sent)
        status = machine.wait()
        run.check("linux/com2-bytes", bytes(line.data).split(b"ready\n", maxsplit=1)[-1] == sent,
                  f"{len(line.data)} bytes came")
        run.report_guest(machine.log, "linux")
        check_end(run, status, machine.log)


def hvc_watched(run):
    """What is said on a virtio console's ports, wherever it goes, is what `expect` looks at, too."""
    conf = linux(run, script="hvc_watched.sh", hvc=["loop", "com2"], timeout="60s",
                 expect=["^said over the loop$", "^said over com2$"])
    with run.machine(run.make_image(conf), memory=768, com2="line") as machine:
        status = machine.wait()
        run.check("linux/hvc-on-com2", b"said over com2" in machine.com2.data, f"{bytes(machine.com2.data)!r}")
    run.check("linux/hvc-expected", outcome(machine.log, "linux") == ("expected", 0) and status == 0,
              f"{outcome(machine.log, 'linux')}, exit status {status}")


def reboot(run):
    """Linux resets its machine and comes up again; ends by the key."""
    with run.machine(run.make_image(linux(run, on_reset="reset")), memory=768) as machine:
        machine.expect(PROMPT, timeout=BOOT_SECONDS)
        machine.send(b"echo first > /first; reboot -f\n")
        machine.expect(PROMPT, timeout=BOOT_SECONDS)
        machine.send(b"ls /first || echo afresh\n")
        machine.expect(rb"^afresh\r?$", timeout=30)
        run.check("linux/reboot", True)
        machine.send(b"poweroff -f\n")
        check_end(run, machine.wait(), machine.log)


def reboot_stops(run):
    with run.machine(run.make_image(linux(run, on_reset="stop")), memory=768) as machine:
        machine.expect(PROMPT, timeout=BOOT_SECONDS)
        machine.send(b"reboot -f\n")
        status = machine.wait()
        ended = outcome(machine.log, "linux")
        run.check("linux/reboot-stop", ended and ended[0] == "reset" and status == 1,
                  f"{ended}, exit status {status}")


def two(run):
    """Two at once, on a processor each, with a disk each."""
    conf = (linux(run, name="left", script="short.sh", pin=0)
            + linux(run, name="right", script="short.sh", pin=1))
    status, text = run.run_to_end(conf, memory=1024, cpus=2)
    plain = text.replace("\r", "")
    run.report_guest("\n".join(line for line in plain.split("\n") if not line.startswith("right: ")),
                     "left")
    run.report_guest("\n".join(line for line in plain.split("\n") if line.startswith("right: ")),
                     "right")
    check_end(run, status, text, "left")
    check_end(run, status, text, "right")


def on_model(model, wanted):
    """Boots on another processor; wanted: what /proc/cpuinfo must and must not have."""

    def function(run):
        status, text = run.run_to_end(linux(run, script="short.sh"), memory=768, cpu=model)
        run.report_guest(text, model)
        found = values(text)
        for flag, value in wanted.items():
            run.check(f"{model}/{flag}", found.get(flag) == value, f"{found.get(flag)}, not {value}")
        check_end(run, status, text)

    return function


CASES = [
    Case("linux-two", two, seconds=150, limit=420),
    Case("linux-platform-bzimage", platform("vmlinuz"), seconds=90, limit=300),
    Case("linux-devices", devices, seconds=120, limit=420),
    Case("linux-reboot", reboot, seconds=90, limit=360),
    Case("linux-processes", processes, seconds=60, limit=300),
    Case("linux-shell", shell, seconds=60, limit=300),
    Case("linux-platform-vmlinux", platform("vmlinux"), seconds=60, limit=300),
    Case("linux-com2", com2, seconds=50, limit=300),
    Case("linux-hvc-watched", hvc_watched, seconds=45, limit=300),
    Case("linux-reboot-stop", reboot_stops, seconds=50, limit=300),
    Case("linux-sandy-bridge", on_model("corei7_sandy_bridge_2600k", {}), seconds=50, limit=300),
    Case("linux-ivy-bridge", on_model("corei7_ivy_bridge_3770k", {}), seconds=50, limit=300),
    Case("linux-haswell", on_model("corei7_haswell_4770", {"gbpages": "1"}), seconds=50, limit=300),
]
