"""What nothing may break: a build of the monitor for tests breaks itself and is shot at by NMIs."""

import copy
import os
import re
import subprocess

from harness import Case, outcome, vm

EXIT_PANIC = 255


# ---- The build for tests -------------------------------------------------------------------------


def monitor_test(run, cmdline, **options):
    """Runs the guest `monitor_test` under the build for tests: (exit status, text)."""
    run.files = copy.copy(run.files)
    run.files.efi = os.path.join(run.files.build, "test-monitor", "BOOTX64.EFI")
    run.guest("monitor_test")
    status, text = run.run_to_end(vm("monitor_test", debug_exit="0xf4", cmdline=cmdline), **options)
    return status, text.replace("\r", "")


class Text:
    """The monitor's text: instructions, and what may follow each."""

    def __init__(self, elf):
        listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn", "-j", ".text",
                                  "-j", ".init.text", elf],
                                 capture_output=True, text=True, check=True).stdout
        self.symbol, self.mnemonic, self.operands, order = {}, {}, {}, []
        for line in listing.split("\n"):
            if match := re.match(r"([0-9a-f]+) <(.+)>:", line):
                self.symbol[match.group(2)] = int(match.group(1), 16)
            elif match := re.match(r"\s*([0-9a-f]+):\s+(\S+)\s*(.*)", line):
                address = int(match.group(1), 16)
                self.mnemonic[address], self.operands[address] = match.group(2), match.group(3)
                order.append(address)
        self.next = dict(zip(order, order[1:]))
        self.base = min(self.symbol.values())

    def target(self, address):
        match = re.match(r"([0-9a-f]+) <", self.operands[address])
        return int(match.group(1), 16) if match else None

    def way(self, start, end, hits):
        """Every instruction of the way from start on, as the NMIs saw it, up to those named `end`:
        what follows an instruction, and of a branch's two sides those that are taken often. What an
        indirect call reached is known by hits at a function's first instruction."""
        line = [start]
        while len(line) < 20:
            line.append(self.next[line[-1]])
        often = sorted(hits.get(address, 0) for address in line)[10] / 4
        waiting = [start] + [address for address in self.symbol.values()
                             if hits.get(address, 0) > often]
        seen = set()
        while waiting:
            address = waiting.pop()
            if address in seen or address not in self.mnemonic:
                continue
            seen.add(address)
            name, after, target = self.mnemonic[address], self.next[address], self.target(address)
            if name == end or name.startswith(("ret", "hlt", "ud2")):
                continue
            if name == "jmp" or name.startswith("j"):
                sides = [side for side in (target, after if name != "jmp" else None) if side]
                taken = [side for side in sides if hits.get(side, 0) > often]
                waiting += taken or [max(sides, key=lambda side: hits.get(side, 0))] if sides else []
            else:
                waiting += [after] + ([target] if name == "call" and target else [])
        return sorted(seen)


def hits_read(text, base):
    """[{address: how often}] for each list of hits, in order."""
    lists = []
    for part in re.findall(r"test: hits of .*?test: end of hits", text, re.DOTALL):
        lists.append({base + int(at, 16): int(count)
                      for at, count in re.findall(r" ([0-9a-f]+):(\d+)", part)})
    return lists


def sweep(run):
    """NMIs from the first IDT on; while the tables are loaded, again and again; and at every
    instruction from an exit to the next entry, for four kinds of exit: the guest's registers are as
    they were, and it goes on."""
    status, text = monitor_test(run, "sweep")
    run.report_guest(text, "monitor_test")
    for verdict, name in re.findall(r"test: (ok|not ok) ([\w-]+)", text):
        run.check(f"protections/{name}", verdict == "ok")
    for name in ("planted-mapping-found", "no-pointer-to-the-start", "start-is-free", "execute-start"):
        run.check(f"protections/{name}-ran", f"test: ok {name}\n" in text)
    early = re.search(r"test: (\d+) NMIs since the first IDT", text)
    run.check("nmi/early-boot", early and int(early.group(1)) >= 100, "none came")
    code = Text(os.path.join(run.files.build, "test-monitor", "traprock.elf"))
    lists = hits_read(text, code.base)
    names = ("enter", "boot", "cpuid", "io", "mmio", "dense", "interrupts")
    if not run.check("nmi/lists", len(lists) == len(names), f"{len(lists)} lists of hits"):
        return
    found = dict(zip(names, lists))
    for name in ("enter", "cpuid", "io", "mmio", "interrupts"):
        start = code.symbol["cpu_enter" if name == "enter" else "vmx_exit_stub"]
        way = code.way(start, "vmresume", found[name])
        missed = [hex(address) for address in way if address not in found[name]]
        run.check(f"nmi/every-instruction-{name}", not missed,
                  f"{len(missed)} of {len(way)} instructions saw no NMI: {' '.join(missed[:20])}")
        run.check(f"nmi/way-{name}", len(way) > 60, f"a way of {len(way)} instructions")
    # An exit that an NMI caused lets the next one in at once.
    nested = [int(count) for count in re.findall(r"(\d+) after an exit by NMI", text)]
    run.check("nmi/within-an-nmi-exit", nested[names.index("dense")] > 20,
              "none came between an exit by NMI and the next entry")
    run.check("nmi/exit-status", status == 0, f"exit status {status}")
    run.check("nmi/integrity", "integrity: text, page tables" in text and "panic" not in text)


# ---- A hostile guest -----------------------------------------------------------------------------

# Owners and kinds of memory that a guest must not reach; free pages and the firmware's belong to nobody.
NOT_OWNED = ("free", "below 1 MiB", "firmware")
HOSTILE_RAM = 4 << 20


def owned_by_others(text, owner):
    """[(address, pages)] of what is not the guest's own, from the log."""
    found = []
    for base, pages, whose, kind in re.findall(
            r"memory: 0x([0-9a-f]+) (\d+) pages, owner (\d+): ([\w -]+?)\r?$", text, re.MULTILINE):
        if kind not in NOT_OWNED and not (kind == "guest memory" and int(whose) == owner):
            found.append((int(base, 16), int(pages)))
    return found


def beyond_ram(extents):
    """What has an address that the guest can name at all: below the end of its RAM is its own."""
    for base, pages in extents:
        skip = max(0, min(pages, (HOSTILE_RAM - base) >> 12))
        if pages > skip:
            yield base + (skip << 12), pages - skip


def hostile(run):
    """Row 26 of docs/security.md, and 31: every page that others own, by every way that a guest has."""
    run.guest("hostile")
    run.guest("witness")
    run.write("disk.bin", os.urandom(4096))
    conf = "[traprock]\nloglevel = debug\n" + \
        vm("hostile", memory="4M", debug_exit="0xe5f4", disk="disk.bin", pin=0) + \
        vm("witness", memory="4M", debug_exit="0xe5f4", pin=1)
    with run.machine(run.make_image(conf), cpus=2, memory=128) as machine:
        machine.expect(rb"^hostile: where is it\?\r?$", timeout=run.case.limit)
        extents = list(beyond_ram(owned_by_others(machine.log, 1)))
        for base, pages in extents:
            machine.send(b"%x %x\n" % (base, pages))
            machine.expect(rb"^hostile: tried 0x%x %d\r?$" % (base, pages), timeout=run.case.limit)
        machine.send(b"0 0\n")
        machine.expect(rb"^hostile: (\d+) pages", timeout=run.case.limit)
        machine.expect(rb"^traprock: vm hostile: ", timeout=run.case.limit)
        machine.send(b"\x01s")
        machine.expect(rb"integrity: text.* unchanged", timeout=60)
        machine.send(b"\x01nq")
        status = machine.wait()
        text = machine.log.replace("\r", "")
    run.report_guest(text, "hostile")
    tried = sum(pages for _, pages in extents)
    run.check("hostile/pages", tried > 500, f"only {tried} pages")
    for name in ("hostile", "witness"):
        run.check(f"hostile/outcome-{name}", outcome(text, name) == ("debug-exit", 0),
                  f"{outcome(text, name)}")
    run.check("hostile/integrity", len(re.findall(r"integrity: text.* unchanged", text)) == 2)
    run.check("hostile/exit-status", status == 0, f"exit status {status}")


# ---- Floods ------------------------------------------------------------------------------------------

PHASES = ("nothing", "serial", "serial-rude", "key", "log", "self-ipi", "nmi", "kicks", "level")
PHASE_MS = 250
# What a neighbour's flood may cost: nothing but, on the processor that takes the machine's
# interrupts, those of the line, which sends 11,520 bytes a second whoever wrote them.
PACE = {"worker-a": 0.98, "worker-b": 0.995}
ANSWER_BYTES = 4096  # of the flood, at most, before the monitor's answer to a key


def floods(run):
    """Row 38 of docs/security.md: a guest that floods, and has the terminal, slows down only itself. Two that
    work, one of them on the processor that takes the machine's interrupts, keep their pace; the
    monitor answers its key."""
    run.guest("storm")
    run.guest("worker")
    run.write("disk.bin", os.urandom(4096))
    keys = {"memory": "4M", "debug_exit": "0xe5f4"}
    conf = vm("storm", disk="disk.bin", pin=1, cmdline=f"ms={PHASE_MS}", **keys) + "".join(
        vm(name, kernel="worker.elf", pin=pin, cmdline=f"phases={len(PHASES)} ms={PHASE_MS}", **keys)
        for name, pin in (("worker-a", 0), ("worker-b", 2)))
    with run.machine(run.make_image(conf), cpus=3) as machine:
        machine.expect(rb"k{100}", timeout=run.case.limit)
        before = len(machine.console.data)
        machine.send(b"\x01s")
        answer = machine.expect(rb"^traprock: \* storm +running", timeout=60)
        run.check("floods/answer", answer.start() - before < ANSWER_BYTES,
                  f"{answer.start() - before} bytes of the flood came first")
        for _ in PACE:
            machine.expect(rb"^traprock: vm worker-[ab]: debug-exit code=0", timeout=run.case.limit)
        machine.send(b"\x01x")
        machine.wait()
        text = machine.log.replace("\r", "")
    run.report_guest(text, "storm")
    for name, pace in PACE.items():
        did = [int(count) for count in re.findall(rf"^{name}: worker: phase \d did (\d+)$", text,
                                                  re.MULTILINE)]
        if not run.check(f"floods/{name}", len(did) == len(PHASES), f"{did}"):
            continue
        for phase, count in zip(PHASES[1:], did[1:]):
            if phase == "key":
                continue  # what the answer costs is the doing of who pressed it
            run.check(f"floods/{name}-{phase}", count >= pace * did[0],
                      f"{count} rounds instead of {did[0]}")
    # A hundred at once, and one a second as long as there are some, each behind a line that says how many were not.
    stamps = [float(stamp) for stamp in re.findall(r"^\[ *([\d.]+)\] warn: storm: ", text, re.MULTILINE)]
    seconds = stamps[-1] - stamps[0] if stamps else 0
    run.check("floods/log", 100 <= len(stamps) <= 102 + 2 * seconds,
              f"{len(stamps)} lines about the guest that floods, in {seconds} s")
    run.check("floods/suppressed", re.search(r"storm: \d+ messages suppressed", text))


# ---- What the monitor says of itself ------------------------------------------------------------


def boot_line(run):
    """The walk over the monitor's tables at boot, in the log of a plain run."""
    run.guest("hello")
    _, text = run.run_to_end(vm("hello", debug_exit="0xf4"), cpus=2)
    run.check("harden/page-tables", re.search(
        r"page tables: W\^X in all \d+ mappings, guards around all 8 stacks; WP NX SMEP SMAP", text))
    run.check("harden/integrity", re.search(r"integrity: text.* unchanged \([0-9a-f]{16}\)", text))


def broken(cmdline, *wanted):
    """The monitor breaks itself, and its report has all of `wanted`."""

    def function(run):
        status, text = monitor_test(run, cmdline)
        for pattern in wanted:
            run.check(f"{cmdline}/{re.sub(r'[^a-z]+', '-', pattern.lower()).strip('-')[:40]}",
                      re.search(pattern, text, re.MULTILINE), f"no {pattern!r}")
        run.check(f"{cmdline}/exit-status", status == EXIT_PANIC, f"exit status {status}")

    return Case("harden-" + cmdline, function, seconds=15)


def broken_entry(run):
    """A guest that cannot be entered: the rule that its state breaks, and the report on it; the monitor goes on."""
    status, text = monitor_test(run, "broken-entry")
    for pattern in (r"VM entry failed: ENTRY_FAILURE_GUEST_STATE", r"GUEST_INTERRUPTIBILITY_STATE = 0x3: ",
                    r"post-mortem: its processor could not be entered in this state", r"^\S* *\S* *rip [0-9a-f]{16}",
                    r"64-bit mode, CPL0, active; blocking by \[ MOV-SS STI \]", r"ENTRY_FAILURE_GUEST_STATE +rip",
                    r"^traprock: vm \S+: stopped code=0", r"integrity: text, page tables"):
        run.check("broken-entry/report", re.search(pattern, text, re.MULTILINE), f"no {pattern!r}")
    run.check("broken-entry/exit-status", status == 1, f"exit status {status}")


REPORT = (r"error: rax [0-9a-f]{16} rbx", r"error: rip [0-9a-f]{16} rflags", r"error: cr0 \w+ cr2 \w+",
          r"error: backtrace:", r"vmx_exit_stub\+0x", r"VMCALL +rip",
          r"processor 0 stopped the machine")

CASES = [
    Case("harden-broken-entry", broken_entry, seconds=15),
    Case("harden-boot-line", boot_line),
    Case("harden-hostile", hostile, seconds=60, limit=300),
    Case("harden-floods", floods, seconds=60, limit=300),
    Case("harden-nmi-sweep", sweep, seconds=40, limit=300),
    broken("overflow", r"panic on processor 0: #DF double fault", r"test: ok own-stack",
           r"error: at 0x\w+ recurse", r"stack overflow: guard page of the kernel stack of processor 0",
           r"error: +0x\w+ recurse.*\n.*(exit_vmcall|vmx_exit)", *REPORT),
    broken("machine-check", r"panic on processor 0: #MC machine check \(vector 18", r"test: ok own-stack",
           *REPORT),
    broken("tamper", r"panic on processor 0:\n.*integrity: descriptor tables: the hash is \w+, and was"),
]
