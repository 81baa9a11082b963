"""Bad input: every mistake has a message that says where and what, and an end that is no success.

Two places refuse: image.py, on the machine that makes the image, and the boot program or the
monitor, for an image made elsewhere or changed since."""

import os
import re
import subprocess
import sys

from cases_firmware import OVMF, OVMF_CODE, OVMF_VARS, SEABIOS, take
from harness import Case, outcome, vm
from host import EXIT_NOT_STARTED

GIB = 1 << 30


# ---- By image.py ---------------------------------------------------------------------------------

# name, configuration, what the message must match. FILE stands for the configuration's path. The
# files good.elf, empty and directory/ lie beside it.
CONFIGURATIONS = [
    ("missing-kernel", "[vm a]\nkernel = absent.elf\n", r"FILE:2: .*absent\.elf.*[Nn]o such"),
    ("empty-kernel", "[vm a]\nkernel = empty\n", r"FILE:2: .*empty is empty"),
    ("directory-as-kernel", "[vm a]\nkernel = directory\n", r"FILE:2: .*directory is no regular file|"
     r"FILE:2: .*[Ii]s a directory"),
    ("missing-initrd", "[vm a]\nkernel = good.elf\ninitrd = absent\n", r"FILE:3: .*absent"),
    ("missing-disk", "[vm a]\nkernel = good.elf\n\ndisk = absent.img,ro\n", r"FILE:4: .*absent\.img"),
    ("huge-disk", "[vm a]\nkernel = good.elf\ndisk = huge\n", r"FILE:3: .*huge.*4 GiB"),
    ("no-kernel", "[vm a]\nmemory = 64M\n", r"FILE:1: .*kernel"),
    ("no-vm", "[traprock]\nconsole = com1\n", r"FILE.*\bvm\b"),
    ("empty-configuration", "\n", r"empty|\bvm\b"),
    ("unknown-key", "[vm a]\nkernel = good.elf\ncolour = red\n", r"FILE:3: .*colour"),
    ("unknown-section", "[machine]\nx = 1\n", r"FILE:1: .*unknown section"),
    ("repeated-key", "[vm a]\nkernel = good.elf\nmemory = 64M\nmemory = 64M\n", r"FILE:4: .*memory"),
    ("repeated-vm", "[vm a]\nkernel = good.elf\n[vm a]\nkernel = good.elf\n",
     r"FILE:3: .*second time.*line 1"),
    ("bad-memory", "[vm a]\nkernel = good.elf\nmemory = 12Q\n", r"FILE:3: .*memory = 12Q"),
    ("zero-memory", "[vm a]\nkernel = good.elf\nmemory = 0\n", r"FILE:3: .*memory = 0"),
    ("overflowing-memory", "[vm a]\nkernel = good.elf\nmemory = 99999999999999999999G\n", r"FILE:3: "),
    ("negative-number", "[vm a]\nkernel = good.elf\npin = -1\n", r"FILE:3: .*pin = -1"),
    ("bad-port", "[vm a]\nkernel = good.elf\ndebug-exit = 0x10000\n", r"FILE:3: .*debug-exit"),
    ("bad-on-reset", "[vm a]\nkernel = good.elf\non-reset = explode\n",
     r"FILE:3: .*on-reset = explode.*reset.*stop"),
    ("bad-console", "[traprock]\nconsole = usb\n[vm a]\nkernel = good.elf\n", r"FILE:2: .*console"),
    ("bad-disk-option", "[vm a]\nkernel = good.elf\ndisk = good.elf,rw\n", r"FILE:3: .*disk"),
    ("path-upwards", "[vm a]\nkernel = ../good.elf\n", r"FILE:2: .*'\.\.'"),
    ("no-value", "[vm a]\nkernel =\n", r"FILE:2: .*there is no value"),
    ("no-equals", "[vm a]\nkernel good.elf\n", r"FILE:2: not a section"),
    ("open-section", "[vm a\nkernel = good.elf\n", r"FILE:1: .*\]"),
    ("nul-byte", "[vm a]\nkernel = good.elf\0\n", r"FILE:2: .*NUL"),
    ("utf-16", "[vm a]\nkernel = good.elf\n".encode("utf-16"), r"FILE:1: .*UTF-16"),
    ("vars-without-firmware", "[vm a]\nkernel = good.elf\nfirmware-vars = good.elf\n",
     r"FILE:3: .*firmware-vars go with the code"),
    ("missing-vars", "[vm a]\nfirmware = good.elf\nfirmware-vars = absent.fd\n", r"FILE:3: .*absent\.fd"),
    ("empty-vars", "[vm a]\nfirmware = good.elf\nfirmware-vars = empty\n", r"FILE:3: .*empty is empty"),
    ("bad-expect", "[vm a]\nkernel = good.elf\nexpect = a(b\n", r"FILE:3: expect = a\(b: column 11: .*not closed"),
    ("bad-timeout", "[vm a]\nkernel = good.elf\ntimeout = 5 weeks\n", r"FILE:3: timeout = 5 weeks: not a time"),
    ("bad-run", "[traprock]\nrun = twice\n[vm a]\nkernel = good.elf\n", r"FILE:2: run = twice.*sequence"),
    ("several-errors", "[vm a]\nkernel = good.elf\npin = x\nmemory = y\n", r"(?s)FILE:3: .*FILE:4: "),
]

# These are right, however unusual.
GOOD = [
    ("crlf", b"[vm a]\r\nkernel = good.elf\r\nmemory = 64M\r\n"),
    ("byte-order-mark", b"\xef\xbb\xbf[vm a]\nkernel = good.elf\n"),
    ("sections-in-any-order", b"[vm a]\nkernel = good.elf\n[traprock]\nconsole = com1\n"),
    ("comments", b"# one\n[vm a] # two\nkernel = good.elf # three\ncmdline = a=\"b # c\" # four\n"),
    ("no-last-newline", b"[vm a]\nkernel = good.elf"),
]


def prepare(run):
    run.link("good.elf", run.files.guest("hello"))
    run.write("empty", b"")
    os.mkdir(run.path("directory"))
    with open(run.path("huge"), "wb") as file:
        file.truncate(5 * GIB) # sparse


def by_image_tool(run):
    prepare(run)
    for name, text, pattern in CONFIGURATIONS:
        conf, out = run.write("bad.conf", text), run.path("bad.img")
        made = run.image_tool(conf, out)
        wanted = pattern.replace("FILE", re.escape(conf))
        run.check(f"bad-input/{name}", made.returncode != 0 and re.search(wanted, made.stderr)
                  and not os.path.exists(out) and "Traceback" not in made.stderr,
                  f"status {made.returncode}, message: {made.stderr.strip()}")
    made = run.image_tool(run.path("absent.conf"), run.path("bad.img"))
    run.check("bad-input/absent-configuration",
              made.returncode != 0 and "absent.conf" in made.stderr
              and "Traceback" not in made.stderr, made.stderr.strip())


def good_configurations(run):
    prepare(run)
    for name, text in GOOD:
        made = run.image_tool(run.write("good.conf", text), run.path("good.img"))
        run.check(f"good-input/{name}", made.returncode == 0, made.stderr.strip())


# ---- By the boot program and the monitor ---------------------------------------------------------


def refused(run, name, image, pattern, status, **options):
    """The machine ends by itself with this status and a message that matches."""
    with run.machine(image, **options) as machine:
        ended = machine.wait()
        text = machine.log.replace("\r", "").replace("\n  ", " ")
    run.check(f"bad-input/{name}", re.search(pattern, text) is not None,
              f"no message like {pattern}")
    run.check(f"bad-input/{name}-status", ended == status, f"exit status {ended}, not {status}")


def boot_case(name, function, seconds=15):
    return Case("bad-input-" + name, function, seconds=seconds, limit=120)


def conf_case(name, conf, files, pattern):
    """An image whose boot program must refuse: conf, and {name: bytes or built guest}."""

    def function(run):
        sources = {"traprock.conf": run.write("test.conf", conf)}
        for file, data in files.items():
            sources[file] = run.write(file, data) if isinstance(data, bytes) else run.files.guest(data)
        refused(run, name, run.make_raw_image(sources), pattern, EXIT_NOT_STARTED)

    return boot_case(name, function)


def kernel_case(name, data, pattern, **keys):
    """A kernel that the monitor must refuse to load; the run ends with 1."""

    def function(run):
        content = data(run) if callable(data) else data
        run.write("kernel", content)
        refused(run, name, run.make_image(vm("a", kernel="kernel", **keys)), pattern, 1)

    return boot_case(name, function)


def truncated_vmlinux(run):
    with open(run.files.vmlinux, "rb") as file:
        return file.read(1 << 20)


def truncated_bzimage(run):
    with open(run.files.kernel, "rb") as file:
        return file.read(1 << 20)


def firmware_bzimage(run):
    """The same for firmware, which would find nothing to start, and not say why."""
    take(run, "bios.bin", SEABIOS)
    return truncated_bzimage(run)


def firmware_vars(run):
    """Files that are no variables, or go with no such code; the guest beside them runs."""
    take(run, "CODE.fd", OVMF_CODE)
    take(run, "OVMF.fd", OVMF)
    take(run, "VARS.fd", OVMF_VARS)
    run.guest("hello")
    with open(OVMF_VARS, "rb") as file:
        variables = file.read()
    run.write("text", b"these are no variables\n" * 1000)
    run.write("odd", variables[:-100])
    run.write("large", variables.ljust(8 << 20, b"\xff"))
    guests = (("text", "CODE.fd", "text", r":5: text: text: no UEFI variables: no volume of them"),
              ("odd", "CODE.fd", "odd", r":9: odd: odd: no UEFI variables: .*of whole 4 KiB"),
              ("both", "OVMF.fd", "VARS.fd", r":13: both: OVMF\.fd has variables of its own; remove firmware-vars"),
              ("large", "CODE.fd", "large", r":16: large: CODE\.fd: no firmware of a PC: .*up to 8 MiB"),
              ("none", "CODE.fd", None, r":20: none: CODE\.fd: no firmware of a PC: .*add firmware-vars"))
    sections = [vm(name, firmware=code, firmware_vars=variables).replace(f"kernel = {name}.elf\n", "")
                for name, code, variables, _ in guests]
    conf = "[traprock]\nrun = sequence\n" + "".join(sections) + vm("hello", debug_exit="0xf4")
    status, text = run.run_to_end(conf)
    text = text.replace("\r", "").replace("\n  ", " ")
    for name, _, _, pattern in guests:
        run.check(f"bad-input/vars-{name}", re.search(r"traprock\.conf" + pattern, text), f"no message like {pattern}")
        run.check(f"bad-input/vars-{name}-outcome", outcome(text, name) == ("stopped", 0), f"{outcome(text, name)}")
    run.check("bad-input/vars-others-run", outcome(text, "hello") == ("debug-exit", 0) and status == 1)


def no_pvh_note(run):
    """An ELF file, but of this machine's own programs."""
    with open("/bin/true", "rb") as file:
        return file.read()


def more_memory(run):
    run.guest("hello")
    refused(run, "more-memory", run.make_image(vm("hello", memory="2G")),
            r"traprock\.conf:3: hello: memory = 2048 MiB: .*this machine has \d+ MiB left", 1)


def too_many_guests(run):
    run.guest("hello")
    refused(run, "more-guests-than-processors",
            run.make_image("".join(vm(name, kernel="hello.elf", debug_exit="0xf4") for name in ("one", "two"))),
            r"traprock\.conf:5: two: no processor is left", 1)


def no_such_processor(run):
    run.guest("hello")
    refused(run, "no-such-processor", run.make_image(vm("hello", pin="3")),
            r"traprock\.conf:3: hello: pin = 3: there is no such processor", 1)


def odd_disk(run):
    """A disk of an odd size works without its last, incomplete sector; the log says so."""
    run.guest("hello")
    run.write("odd.img", os.urandom(4096 + 100))
    status, text = run.run_to_end(vm("hello", disk="odd.img,ro", debug_exit="0xf4"))
    wanted = r"traprock\.conf:3: hello: disk odd\.img.*4196 bytes.*multiple of 512"
    run.check("bad-input/odd-disk", re.search(wanted, text), "no warning")
    run.check("bad-input/odd-disk-status", status == 0 and outcome(text, "hello") is not None,
              f"exit status {status}")


def tiny_disk(run):
    """A disk without one whole sector is none."""
    run.guest("hello")
    run.write("tiny.img", b"x" * 100)
    status, text = run.run_to_end(vm("hello", disk="tiny.img", debug_exit="0xf4"))
    run.check("bad-input/tiny-disk",
              re.search(r"traprock\.conf:3: hello: disk tiny\.img holds not even one sector", text),
              "no message")
    run.check("bad-input/tiny-disk-status", status != 0, f"exit status {status}")


def model(name, model_name, pattern):
    def function(run):
        run.guest("hello")
        refused(run, name, run.make_image(vm("hello")), pattern, EXIT_NOT_STARTED, cpu=model_name)

    return boot_case("model-" + name, function)


def tcg_without_vmx(run):
    run.guest("hello")
    refused(run, "qemu-without-vmx", run.make_image(vm("hello")), r"it lacks VMX",
            EXIT_NOT_STARTED, host="qemu-tcg")


def host_messages(run):
    """host.py says what it misses."""
    tool = os.path.join(os.path.dirname(os.path.abspath(__file__)), "host.py")
    made = subprocess.run([sys.executable, tool, "run", "--image", run.path("absent.img")], capture_output=True,
                          text=True, check=False)
    run.check("bad-input/absent-image", made.returncode != 0 and "absent.img is no file"
              in made.stderr, made.stderr)
    run.write("odd-size.img", b"x" * 1000)
    made = subprocess.run([sys.executable, tool, "run", "--host", "bochs", "--image", run.path("odd-size.img")],
                          capture_output=True, text=True, check=False)
    run.check("bad-input/odd-image", made.returncode != 0 and "multiple of" in made.stderr,
              made.stderr)


# Arguments of host.py, and what the message must match.
ARGUMENTS = [
    ("host", ["--host", "vmware"], r"'vmware'.*bochs.*qemu"),
    ("memory", ["--mem", "lots"], r"'lots' is no size of memory; write MiB"),
    ("no-memory", ["--mem", "0"], r"'0' is no size of memory"),
    ("processors", ["--cpus", "0"], r"'0' is no number from 1 to 255"),
    ("many-processors", ["--cpus", "256"], r"'256' is no number from 1 to 255"),
    ("timeout", ["--timeout", "-3"], r"'-3' is no number from 1"),
    ("model", ["--host", "bochs", "--cpu", "z80"], r"no processor model 'z80'; it has .*corei7_skylake_x"),
]


def host_arguments(run):
    tool = os.path.join(os.path.dirname(os.path.abspath(__file__)), "host.py")
    run.write("disk.img", bytes(16 * 63 * 512))
    for name, arguments, pattern in ARGUMENTS:
        made = subprocess.run([sys.executable, tool, "run", "--image", run.path("disk.img"), *arguments],
                              capture_output=True, text=True, check=False)
        run.check(f"bad-input/argument-{name}", made.returncode != 0 and "Traceback" not in made.stderr
                  and re.search(pattern, made.stderr), made.stderr.strip())


def odd_names(run):
    """Through make and a shell: blanks and quotation marks in names and folders."""
    os.mkdir(run.path("it's a folder"))
    run.link("it's a folder/good.elf", run.files.guest("hello"))
    conf = run.write("it's a folder/my guests.conf", "[vm a]\nkernel = good.elf\n")
    out = run.path("a 'new' image.img")
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = {key: value for key, value in os.environ.items()
                   if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    # The build folder spelled as it was to make, which else would link again.
    build = os.path.relpath(run.files.build, root)
    made = subprocess.run(["make", "-s", "image", "NO_INSTALL=1", f"BUILD={build}", f"CONF={conf}",
                           f"IMG={out}"], cwd=root, env=environment, capture_output=True, text=True,
                          check=False)
    run.check("good-input/odd-names", made.returncode == 0 and os.path.exists(out), made.stderr.strip())


GOOD_CONF = "[vm a]\nkernel = a.elf\n"

CASES = [
    Case("bad-input-configurations", by_image_tool, seconds=5),
    Case("good-input-configurations", good_configurations, seconds=5),
    Case("bad-input-host", host_messages, seconds=2),
    Case("bad-input-arguments", host_arguments, seconds=3),
    Case("good-input-odd-names", odd_names, seconds=3),
    conf_case("boot-missing-file", GOOD_CONF, {},
              r'traprock\.conf:2: file "a\.elf" cannot be opened'),
    conf_case("boot-empty-file", GOOD_CONF, {"a.elf": b""}, r'traprock\.conf:2: file "a\.elf" is empty'),
    conf_case("boot-bad-configuration", "[vm a]\nkernel = a.elf\nmemory = lots\n", {"a.elf": "hello"},
              r"traprock\.conf:3: memory = lots"),
    conf_case("boot-unknown-key", "[vm a]\r\nkernel = a.elf\r\nspeed = 11\r\n", {"a.elf": "hello"},
              r"traprock\.conf:3: .*speed"),
    kernel_case("no-kernel-at-all", b"this is a text, not a kernel\n" * 100,
                r"traprock\.conf:2: a: kernel: not a kernel"),
    kernel_case("truncated-vmlinux", truncated_vmlinux, r"traprock\.conf:2: a: kernel: .*truncated"),
    kernel_case("truncated-bzimage", truncated_bzimage, r"traprock\.conf:2: a: kernel: .*truncated"),
    kernel_case("firmware-bzimage", firmware_bzimage,
                r"traprock\.conf:2: a: kernel: truncated: 1048576 bytes, and its header says",
                firmware="bios.bin"),
    boot_case("firmware-vars", firmware_vars, seconds=25),
    kernel_case("elf-without-pvh", no_pvh_note, r"traprock\.conf:2: a: kernel: .*PVH"),
    boot_case("more-memory", more_memory),
    boot_case("too-many-guests", too_many_guests),
    boot_case("no-such-processor", no_such_processor),
    boot_case("odd-disk", odd_disk),
    boot_case("tiny-disk", tiny_disk),
    model("no-vmx", "phenom_8650_toliman", r"it lacks VMX"),
    model("no-ept", "core2_penryn_t9600", r"it lacks (EPT|secondary|the VMX-preemption)"),
    model("no-unrestricted-guest", "corei5_lynnfield_750", r"it lacks unrestricted guest"),
    boot_case("qemu-without-vmx", tcg_without_vmx),
]
