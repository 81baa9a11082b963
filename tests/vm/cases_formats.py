"""Kernels of every format, each under its own protocol's rules; and the same files under QEMU."""

import os
import re

from harness import Case, outcome, vm
from under_qemu import LIKE_OURS, LIKE_OURS_SLOW, by_qemu, compare, screen, until

MODULES = {"m1": (0, 300000), "m2": (1, 5000)}  # as tests/guests/formats/protocols.c expects them

# name: (file, keys); the protocols' guests have modules and a command line.
PROTOCOLS = {
    "multiboot": ("protocols.elf", {}),
    "multiboot2": ("protocols.elf", {"format": "multiboot2"}),
    "pvh": ("protocols.elf", {"format": "pvh"}),
    "elf": ("protocols.elf", {"format": "elf"}),
    "addresses": ("addresses.elf", {"format": "multiboot"}),
    "addresses2": ("addresses.elf", {"format": "multiboot2"}),
    "pvh-alone": ("pvh.elf", {"module": None, "initrd": "m1"}),
}
PLAIN = {
    "plain32": ("plain32.elf", {}),
    "plain64": ("plain64.elf", {}),
    "low32": ("low32.elf", {}),
    "flat16": ("flat16.bin", {"format": "flat", "mode": "16"}),
    "flat32": ("flat32.bin", {"format": "flat", "load": "0x100000"}),
    "flat64": ("flat64.bin", {"format": "flat", "load": "1M", "mode": "64"}),
}


def write_modules(run):
    for name, (index, size) in MODULES.items():
        run.write(name, bytes(((index + 1) * 7 + n) & 0xff for n in range(size)))


def link_guest(run, name):
    run.link(name, os.path.join(run.files.build, "guests", "formats", name))


def said(text, name):
    """The lines of one guest, without its name before them."""
    return [line[len(name) + 2:] for line in text.replace("\r", "").split("\n")
            if line.startswith(name + ": ")]


def every_format(run):
    """All in one start of the machine, one after the other."""
    write_modules(run)
    sections = []
    for name, (file, keys) in {**PROTOCOLS, **PLAIN}.items():
        link_guest(run, file)
        modules = {"module": ["m1 a b", "m2"], "cmdline": "one two"} if name in PROTOCOLS else {}
        sections.append(vm(name, kernel=file, memory="8M", debug_exit="0xf4", **{**modules, **keys}))
    _, text = run.run_to_end("[traprock]\nrun = sequence\n" + "".join(sections))
    for name in {**PROTOCOLS, **PLAIN}:
        lines = said(text, name)
        run.report_guest("\n".join(lines), name)
        run.check(f"{name}/end", lines[-1:] == ["done"] or "done" in lines, "the guest did not end")
        ended = outcome(text, name)
        run.check(f"{name}/outcome", ended == ("debug-exit", 0), f"{ended}")
    for name, word in (("multiboot", "multiboot"), ("multiboot2", "multiboot2"), ("pvh", "pvh"),
                       ("pvh-alone", "pvh"), ("addresses2", "multiboot2")):
        run.check(f"{name}/protocol", f"protocol {word}" in said(text, name), "another protocol")
    run.check("multiboot2/both-rsdps", "rsdp-tags 3" in said(text, "multiboot2"), "not both")
    for name in ("multiboot2", "addresses2"):
        run.check(f"{name}/framebuffer", "framebuffers 1" in said(text, name), "it has none")
    formats_under_qemu(run, text)


def formats_under_qemu(run, text):
    """QEMU takes Multiboot 1 and ELF files with a PVH note by -kernel, and a boot sector from a disk;
    Multiboot 2, other ELF files and other flat binaries it does not take."""
    for name, modules in (("multiboot", "m1 a b,m2"), ("addresses", "m1 a b,m2"), ("pvh-alone", "m1")):
        lines, status = by_qemu(run, "-nodefaults", "-kernel", PROTOCOLS[name][0], "-append", "one two",
                                "-initrd", modules)
        compare(run, name, "formats", said(text, name), lines, least=15)
        run.check(f"{name}/status-under-qemu", status == 1, f"QEMU's status {status}")
    with open(run.path("flat16.bin"), "rb") as file:
        sector = file.read().ljust(510, b"\0") + b"\x55\xaa"
    run.write("sector.img", sector)
    # It has no start information there, and says so: it ran in real mode.
    lines, _ = by_qemu(run, "-drive", "file=sector.img,format=raw", end="done")
    run.check("flat16/as-a-boot-sector", any("plain-16" in line for line in lines), f"{lines}")


def refusals(run):
    """Malformed files beside good ones: each has its message and its result, the others run."""
    write_modules(run)
    for name in ("protocols.elf", "plain64.elf"):
        link_guest(run, name)
    with open(run.path("protocols.elf"), "rb") as file:
        kernel = file.read()
    run.write("cut.elf", kernel[:0x1100])
    at = kernel.index(bytes.fromhex("02b0ad1b"))
    run.write("flags.elf", kernel[:at + 4] + (0x13).to_bytes(4, "little") +
              (-(0x1badb002 + 0x13) & 0xffffffff).to_bytes(4, "little") + kernel[at + 12:])
    run.write("outside.elf", kernel[:24] + (0x900000).to_bytes(4, "little") + kernel[28:])
    run.write("big", bytes(9 << 20))
    cases = {
        "cut": ("cut.elf", {}, r"cut\.elf: truncated: segment \d+ lies past the end of the file"),
        "flags": ("flags.elf", {}, r"flags\.elf: its Multiboot header requires what is not offered"),
        "outside": ("outside.elf", {}, r"outside\.elf: malformed: its entry 0x900000 lies in no segm"),
        "module": ("protocols.elf", {"module": "big"}, r"big: the module of 9216 KiB does not fit"),
        "no-linux": ("protocols.elf", {"format": "linux"}, r"protocols\.elf: no Linux kernel"),
        "entry": ("protocols.elf", {"entry": "32"}, r"protocols\.elf: `entry` is for Linux kernels"),
        "no-pvh": ("plain64.elf", {"format": "pvh"}, r"plain64\.elf: an ELF file without a PVH ent"),
        "elf64": ("plain64.elf", {"format": "multiboot"}, r"plain64\.elf: no Multiboot header"),
        "address": ("plain64.elf", {"format": "flat", "load": "8M"}, r"plain64\.elf: its \d+ KiB do no"),
    }
    sections = [vm(name, kernel=file, memory="8M", debug_exit="0xf4", **keys)
                for name, (file, keys, _) in cases.items()]
    sections.append(vm("good", kernel="plain64.elf", memory="8M", debug_exit="0xf4"))
    status, text = run.run_to_end("[traprock]\nrun = sequence\n" + "".join(sections))
    text = text.replace("\r", "")
    for name, (_, _, pattern) in cases.items():
        run.check(f"refused/{name}", re.search(rf"traprock\.conf:\d+: {name}: {pattern}", text),
                  "no such message")
        run.check(f"refused/{name}-outcome", outcome(text, name) == ("stopped", 0),
                  f"{outcome(text, name)}")
    first_end = text.find("traprock: vm ")
    run.check("refused/told-first", 0 <= text.find("plain64.elf: its") < first_end,
              "a message came after the first guest's end")
    run.check("refused/the-others-run", outcome(text, "good") == ("debug-exit", 0), "good did not")
    run.check("refused/exit-status", status == 1, f"exit status {status}")


# ---- Debian's own ---------------------------------------------------------------------------------

IPXE_SCRIPT = "#!ipxe\necho Hello from ${platform}\necho Goodbye\nreboot\n"
IPXE_END = "Hello from pcbios"
XEN_WORDS = "com1=115200,8n1 console=com1 sync_console noreboot=0"
LINUX_WORDS = "console=ttyS0 panic=-1 init=/none cryptomgr.notests"


def debian(run, name):
    run.link(name, os.path.join(run.files.build, "guest", name))


def has(run, name, lines, *texts):
    for text in texts:
        run.check(f"{name}/{text.split(' ')[0].strip('(')}-{len(text)}",
                  any(text in line for line in lines), f"nothing like {text!r}")


def debian_kernels(run):
    """Stock kernels by the entries that QEMU takes, and those that it has not. Each ends by a reset:
    iPXE's script, Xen and Linux for want of a domain 0 and an init."""
    debian(run, "ipxe.lkrn")
    debian(run, "xen")
    run.link("vmlinuz", run.files.kernel)
    run.write("script.ipxe", IPXE_SCRIPT)
    run.write("m1", bytes(5000))
    xen = {"kernel": "xen", "cmdline": XEN_WORDS, "module": "m1 dom0 words"}
    linux = {"kernel": "vmlinuz", "cmdline": LINUX_WORDS}
    conf = "[traprock]\nrun = sequence\n" + "".join(
        vm(name, memory="128M", on_reset="stop", **keys) for name, keys in (
            ("ipxe", {"kernel": "ipxe.lkrn", "initrd": "script.ipxe"}),
            ("xen1", xen),
            ("xen2", {**xen, "format": "multiboot2"}),
            ("linux16", {**linux, "entry": "16"}),
            ("linux32", {**linux, "entry": "32"})))
    _, text = run.run_to_end(conf)
    version = re.search(r"\(XEN\) Xen version [\d.]+", text)
    xen_texts = (version.group(0) if version else "(XEN) Xen version",
                 f"(XEN) Command line: {XEN_WORDS}", "(XEN) Could not construct domain 0")
    ipxe_texts = ("iPXE initialising devices...ok", "Open Source Network Boot Firmware",
                  IPXE_END)
    linux_texts = ("Linux version ", f"Command line: {LINUX_WORDS}", "BIOS-e820: [mem 0x0000000000000000"
                   "-0x000000000009fbff] usable", "Unable to mount root fs")
    for name, texts in (("ipxe", ipxe_texts), ("xen1", xen_texts), ("xen2", xen_texts),
                        ("linux16", linux_texts), ("linux32", linux_texts)):
        has(run, name, said(text, name), *texts)
        run.check(f"{name}/outcome", outcome(text, name) == ("reset", 0), f"{outcome(text, name)}")
    debian_under_qemu(run, text, xen_texts[-1])


def debian_under_qemu(run, text, xen_end):
    linux_end = "Kernel Offset"
    lines, _ = by_qemu(run, *LIKE_OURS, "-kernel", "vmlinuz", "-append", LINUX_WORDS, end=linux_end)
    for name in ("linux16", "linux32"):
        compare(run, name, "linux", until(said(text, name), linux_end), until(lines, linux_end), least=200)
    lines, _ = by_qemu(run, *LIKE_OURS, "-kernel", "xen", "-append", XEN_WORDS, "-initrd", "m1 dom0 words",
                       end=xen_end)
    for name in ("xen1", "xen2"):
        compare(run, name, "xen", until(said(text, name), xen_end), until(lines, xen_end), least=25)
    lines, _ = by_qemu(run, *LIKE_OURS, "-machine", "graphics=off", "-kernel", "ipxe.lkrn", "-initrd",
                       "script.ipxe", end=IPXE_END)
    compare(run, "ipxe", "ipxe", until(said(text, "ipxe"), IPXE_END), until(lines, IPXE_END), least=3)


def memtest(variant):
    """memtest86+ draws its screen on the serial line, and tests until it is ended. What is compared is
    the screen as it is drawn first: which of its changes are shown depends on the time."""

    def function(run):
        name = f"memtest86+{variant}.bin"
        debian(run, name)
        conf = vm("memtest", kernel=name, memory="16M", cmdline="console=ttyS0,115200")
        with run.machine(run.make_image(conf)) as machine:
            machine.expect(rb"Memtest86\+ v6\.10", timeout=run.case.limit)
            machine.expect(rb"Moving inversions", timeout=run.case.limit)
            machine.send(b"\x01x")
            machine.wait()
            run.check(f"memtest-{variant}/errors", "Errors: 0" in machine.log, "it found errors")
            run.check(f"memtest-{variant}/memory", re.search(r"of 1[56](\.\d)?MB", machine.log),
                      "another size of memory")
            ended = outcome(machine.log, "memtest")
            run.check(f"memtest-{variant}/end", ended and ended[0] == "killed", f"{ended}")
            text = machine.log
        lines, _ = by_qemu(run, *LIKE_OURS_SLOW, "-kernel", name, "-append", "console=ttyS0,115200",
                           end="Moving inversions", memory=16)
        theirs = "\n".join(lines)
        compare(run, f"memtest-{variant}", "memtest", screen(text), screen(theirs), least=5)
        run.check(f"memtest-{variant}/errors-under-qemu", "Errors: 0" in theirs, "it found errors")

    return Case("formats-memtest-" + variant, function, seconds=20)


CASES = [
    Case("formats", every_format, seconds=40),
    Case("formats-refused", refusals, seconds=25),
    Case("formats-debian", debian_kernels, seconds=60),
    memtest("x64"),
    memtest("ia32"),
]
