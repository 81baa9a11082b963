"""Disks as the configuration has them, the values of the debug exit, a large guest."""

import re

from harness import Case, outcome, vm

SECTORS = 256
DISK = bytes((sector * 7 + i) & 255 for sector in range(SECTORS) for i in range(512))
READ_ONLY = {"disk/read-only-write-refused", "disk/read-only-discard-refused", "disk/read-only-unchanged"}
WRITABLE = {"disk/write", "disk/write-outside", "disk/discard", "disk/write-zeroes", "disk/broken-rings"}
BROKEN_RINGS = 300
LINES_AT_ONCE = 100


def log_is_limited(run, text):
    """The guest broke its rings BROKEN_RINGS times, which is a line each time: a hundred are shown, then one
    for each second that it took, and the number of the others."""
    shown = text.count("disk: virtio-blk: queue 0 needs a reset")
    left_out = sum(map(int, re.findall(r"disk: (\d+) messages suppressed", text)))
    run.check("log-flood/limited", LINES_AT_ONCE <= shown <= LINES_AT_ONCE + 30, f"{shown} lines")
    run.check("log-flood/counted", shown + left_out == BROKEN_RINGS, f"{shown} shown, {left_out} left out")


def disk(option, wanted):
    """The same guest finds out what the disk is; the cases that it then runs must be those."""

    def function(run):
        run.guest("disk")
        run.write("disk.bin", DISK)
        status, text = run.run_to_end(vm("disk", debug_exit="0xf4", disk="disk.bin" + option))
        run.report_guest(text, "disk")
        ran = {name for name, _, _ in run.results}
        run.check("disk/cases", wanted <= ran and not (READ_ONLY | WRITABLE) - wanted & ran, f"{ran}")
        run.check("disk/exit-status", status == 0, f"exit status {status}")
        if wanted is WRITABLE:
            log_is_limited(run, text)

    return function


def exit_codes(run):
    """Each guest's value is shown whole; of the first that ends with another than 0 comes the exit
    status, the low byte of (value << 1) | 1."""
    run.guest("exit_code")
    codes = {"zero": 0, "byte": 256, "large": 0x80000042}
    conf = "".join(vm(name, kernel="exit_code.elf", debug_exit="0xf4", cmdline=str(code), memory="8M")
                   for name, code in codes.items())
    status, text = run.run_to_end(conf, cpus=len(codes))
    for name, code in codes.items():
        ended = outcome(text, name)
        run.check(f"exit-code/{name}", ended == ("debug-exit", code), f"{ended}")
    ended = [int(code) for code in re.findall(r"^traprock: vm \w+: debug-exit code=(\d+)", text, re.MULTILINE)]
    first = next((code for code in ended if code != 0), 0)
    run.check("exit-code/status", first != 0 and status == (first << 1 | 1) & 255,
              f"exit status {status} after {ended}")


def large(run):
    """More than a GiB, all of it there and zeroed. This processor may fail on an executable page of two
    sizes, so that each of EPT's leaves is of 4 KiB. Bochs forgets what it holds where a machine uses more
    than 2 GiB, so that no guest here has a whole GiB, from 1 GiB on, that one leaf could map."""
    run.guest("large")
    conf = "[traprock]\nloglevel = debug\n" + vm("large", memory="1536M", debug_exit="0xf4")
    status, text = run.run_to_end(conf, memory=2048)
    run.report_guest(text, "large")
    found = re.search(r"large: EPT: (\d+) leaves of 1 GiB, (\d+) of 2 MiB, (\d+) of 4 KiB", text)
    leaves = [int(count) for count in found.groups()] if found else [0, 0, 0]
    run.check("large/small-executable-leaves", leaves == [0, 0, (1536 << 8) - 32], f"leaves: {leaves}")
    run.check("large/exit-status", status == 0, f"exit status {status}")


CASES = [
    Case("guest-disk", disk("", WRITABLE)),
    Case("guest-disk-read-only", disk(",ro", READ_ONLY)),
    Case("guest-exit-codes", exit_codes, seconds=30),
    Case("guest-large", large, seconds=30),
]
