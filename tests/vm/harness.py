"""What the cases of the VM tests share: images, machines, and the reports of guests."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import host  # noqa: E402
import image  # noqa: E402

# The lines of a guest's report; those of a guest that is not in focus begin with its name.
REPORT = re.compile(r"^([\w-]+: )?(ok|not ok|skip) ([\w./-]+)(?:: (.*))?(\r?)$", re.MULTILINE)
# A line of a guest's that the monitor's log came into, and the log.
CUT = re.compile(r"^((?:ok|not ok|skip) [^\r\n]*)\r\n(?:\[ *\d+\.\d{6}\] [^\n]*\n)+(?!(?:ok|not ok|skip) )",
                 re.MULTILINE)
TAIL_LINES = 25


class CaseFailed(AssertionError):
    """What a case expected and did not see."""


class Files:
    """Where the built files are."""

    def __init__(self, build):
        self.build = build
        self.efi = os.path.join(build, "BOOTX64.EFI")
        self.lock_vmx = os.path.join(build, "lock_vmx.efi")
        self.config_tool = os.path.join(build, "config_files")
        self.kernel = os.path.join(build, "guest", "vmlinuz")
        self.vmlinux = os.path.join(build, "guest", "vmlinux")
        self.initramfs = os.path.join(build, "guest", "initramfs.cpio")
        self.modules = os.path.join(build, "guest", "modules")
        self.disk = os.path.join(build, "guest", "root.ext4")

    def guest(self, name):
        return os.path.join(self.build, "guests", name + ".elf")


class Case:
    """One run, or a few that belong together. function(run) raises CaseFailed or ExpectError, and
    reports its parts by run.check and run.report_guest; a case without parts counts as one test."""

    def __init__(self, name, function, seconds=20, limit=180):
        self.name = name
        self.function = function
        self.seconds = seconds  # what it takes about: long ones start first
        self.limit = limit      # of each machine, in seconds


class Run:
    """A case under way: its folder, its machines, its results."""

    def __init__(self, case, files, keep=None, scale=1.0):
        self.case, self.files, self.keep, self.scale = case, files, keep, scale
        self.results = []  # (name, passed, message)
        self.skipped = []  # (name, why)
        self.exit_counts = {}  # {reason: exits}, where a case asks the monitor for them
        self.directory = tempfile.mkdtemp(prefix="traprock-case-")
        self.log = ""  # of the last machine
        self.at_end = contextlib.ExitStack()  # what a case starts and may not come to end

    # ---- Results ----

    def check(self, name, passed, message=""):
        self.results.append((name, bool(passed), message))
        return passed

    def report_guest(self, text, guest, allowed_skips=()):
        """Takes over what the guest reported. A skip that is not expected is a failure: this
        platform has what the case needs."""
        seen = 0
        lines = REPORT.findall(text)
        # The monitor ends a line with CR LF that a guest did not get to the end of: its name may be cut.
        # So it ends every line with a name before it, which tells nothing.
        own_end = "\r" if all(end for prefix, *_, end in lines if not prefix) else ""
        if not own_end:
            lines = REPORT.findall(CUT.sub(r"\1", text))
        for prefix, verdict, name, message, end in lines:
            seen += 1
            if not prefix and end != own_end:
                self.check(f"{guest}/{name}...", False, "the guest's line was cut off")
            elif verdict == "skip":
                self.skipped.append((f"{guest}/{name}", message))
                if f"{guest}/{name}" not in allowed_skips:
                    self.check(f"{guest}/{name}", False, "skipped: " + message)
            else:
                self.check(f"{guest}/{name}", verdict == "ok", message)
        if seen == 0:
            self.check(f"{guest}/report", False, "the guest reported nothing")

    # ---- Images ----

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data if isinstance(data, bytes) else data.encode())
        return self.path(name)

    def link(self, name, source):
        """The built file under a name beside the configuration."""
        if not os.path.exists(source):
            raise CaseFailed(f"{source} is not there; build it first")
        with contextlib.suppress(FileExistsError):
            os.symlink(os.path.realpath(source), self.path(name))

    def guest(self, name):
        self.link(name + ".elf", self.files.guest(name))

    def image_tool(self, conf, out, efi=None):
        """Runs image.py as `make image` does; returns the finished process."""
        return subprocess.run(
            [sys.executable, os.path.join(HERE, "image.py"), "--conf", conf, "--efi",
             efi or self.files.efi, "--config-tool", self.files.config_tool, "--out", out],
            capture_output=True, text=True, check=False)

    def make_image(self, conf, efi=None):
        """An image with the configuration (text) and the files beside it that it names; with another
        build of the UEFI program if efi says so."""
        conf_path, out = self.write("test.conf", conf), self.path("disk.img")
        made = self.image_tool(conf_path, out, efi)
        if made.returncode != 0:
            raise CaseFailed("image.py: " + made.stderr.strip())
        return out

    def make_raw_image(self, files):
        """An image with just these files, {path below EFI/BOOT: source}, unchecked: for what
        image.py would refuse."""
        return self.make_files_image({image.EFI_PATH: self.files.efi,
                                      **{"EFI/BOOT/" + name: files[name] for name in files}})

    def make_files_image(self, files):
        """An image with just these files, {path: source}."""
        out = self.path("disk.img")
        entries = [(path, source, os.path.getsize(source)) for path, source in files.items()]
        image.image_write(entries, out, image.SIZE_MULTIPLE)
        return out

    # ---- Machines ----

    @contextlib.contextmanager
    def machine(self, image_path, **options):
        # Bochs unless a case says otherwise: its models, its clock and its determinism are what the
        # cases were written for, also on a machine that has something faster.
        options.setdefault("host", "bochs")
        machine = host.Machine(image_path, timeout=self.case.limit * self.scale, **options)
        try:
            with machine:
                yield machine
        finally:
            self.log = machine.log
            if self.keep:
                name = re.sub(r"[^\w.-]", "_", self.case.name)
                with open(os.path.join(self.keep, name + ".log"), "a", encoding="utf-8") as file:
                    file.write(machine.log)

    def run_to_end(self, conf, **options):
        """Boots the configuration; returns (exit status, the console's text)."""
        with self.machine(self.make_image(conf), **options) as machine:
            status = machine.wait()
            if status == host.EXIT_TIMEOUT:
                raise CaseFailed(f"no end after {self.case.limit} s")
            return status, machine.log

    def tail(self):
        return "\n".join(self.log.replace("\r", "").split("\n")[-TAIL_LINES:])

    def execute(self):
        """Runs the case; afterwards results is complete."""
        started = time.monotonic()
        try:
            self.case.function(self)
            if not self.results:
                self.check(self.case.name, True)
        except (CaseFailed, host.ExpectError, host.HostError, image.ImageError) as error:
            self.check(self.case.name, False, str(error).split("\n", maxsplit=1)[0])
        except Exception as error:  # a mistake of the test's own is a failure too
            self.check(self.case.name, False, f"{type(error).__name__}: {error}")
        finally:
            self.at_end.close()
            shutil.rmtree(self.directory, ignore_errors=True)
        self.took = time.monotonic() - started
        return self


def vm(name, kernel=None, **keys):
    """The text of a [vm] section. Keys with a dash are written with an underscore; a value may be a
    list, for a key that repeats."""
    lines = [f"[vm {name}]", f"kernel = {kernel or name + '.elf'}"]
    keys.setdefault("memory", "64M")
    for key, value in keys.items():
        if value is None:
            continue
        for each in value if isinstance(value, list) else [value]:
            lines.append(f"{key.replace('_', '-')} = {each}")
    return "\n".join(lines) + "\n"


def outcome(text, name):
    """(outcome, code) of the guest as the monitor reports it, or None."""
    match = re.search(rf"^traprock: vm {re.escape(name)}: ([\w-]+) code=(\d+)", text, re.MULTILINE)
    return (match.group(1), int(match.group(2))) if match else None
