"""Rules about what guests feed: it is read once, and never asserted on.

A guest may change its memory between two looks at it, so that what was checked is not what is used
(XSA-155, CVE-2015-8550). Nearly everything therefore reads it by guest_mem_read, guest_mem_load or
virtqueue_read, into memory of the monitor's own. The functions that have an address of guest memory
all the same are listed here, each with the reason why it is none the worse; a further one is a
finding, and so is a listed one that is gone.
"""

import os
import re

# What gives an address of the monitor's at which guest memory is.
RAW = re.compile(r"\b(guest_mem_span|guest_walk_host|virtqueue_peek|virtqueue_next|virtqueue_last_writable)\s*\("
                 r"|\bregion(?:\[\w+\])?(?:->|\.)host\b")
BEFORE_THE_GUEST_RUNS = "the guest does not run yet"
ONLY_WHETHER = "asks whether RAM is there, and does not look at it"
ONE_COPY = "moves bytes on as they are, once"
RAW_ALLOWED = {
    "kernel/vm/guest_mem.c": {
        "guest_mem_span": "this is the accessor", "is_ram": ONLY_WHETHER,
        "guest_mem_read": ONE_COPY, "guest_mem_write": ONE_COPY,
        "locate": "for one atomic access by its callers",
    },
    "kernel/vm/guest_walk.c": {
        "read_entry": "one atomic load of a paging-structure entry",
        "note_path": "where the entries are that a site compares before it is used",
    },
    "kernel/vm/guest_access.c": {
        "remember": "a page's translation; operands are loaded or stored once each",
        "read_tss": "one byte",
        "guest_access_fetch": "one copy of the instruction's bytes",
    },
    "kernel/vm/page_walk.c": {"find_piece": ONE_COPY},
    "vmx/vmcs_setup.c": {"map_guest_memory": BEFORE_THE_GUEST_RUNS},
    "drivers/model/pci_bus.c": {"overlaps_ram": ONLY_WHETHER},
    "drivers/model/virtqueue.c": {
        "is_ram": ONLY_WHETHER, "add_buffer": "makes the spans of a descriptor that was copied",
        "virtqueue_next": "hands a span on", "virtqueue_read": ONE_COPY, "virtqueue_write": ONE_COPY,
    },
    "drivers/model/virtio_blk.c": {"run_transfer": ONE_COPY, "complete": "writes the status byte"},
    "drivers/model/virtio_console.c": {"send_chain": ONE_COPY},
    "drivers/model/virtio_rng.c": {"fill": "only writes"},
}
# A device model reads no value at such an address: it moves bytes.
DEREFERENCE = re.compile(r"(?:^|[=(,!&|+<>-]|\breturn)\s*\*\s*(?:host\b|virtqueue_last_writable\()"
                         r"(?![^;=]*[^=!<>]=[^=])|\bhost\s*(?:\[|->)")
MODELS = "drivers/model/"

# Where guests' values go about. ASSERT and panic are for the monitor's own mistakes, so here they
# may stand only in functions that no guest's value reaches, or that end the machine for its own sake.
FED_BY_GUESTS = ("kernel/vm/", "drivers/model/", "vmx/")
FATAL = re.compile(r"\b(ASSERT|panic)\s*\(")
WHILE_BUILT = "called while the guest is built, with what the composition gives"
FATAL_ALLOWED = {
    "kernel/vm/msr_policy.c": {"msr_state_slot": "the row is one that msr_policy_find gave"},
    "drivers/model/irq_router.c": {"irq_router_line": WHILE_BUILT},
    "drivers/model/lapic.c": {"lapic_init": WHILE_BUILT},
    "drivers/model/loopback.c": {"loopback_init": WHILE_BUILT},
    "drivers/model/pci_function.c": {
        "pci_function_set_bar": WHILE_BUILT, "pci_function_add_capability": WHILE_BUILT,
        "pci_function_add_msix": WHILE_BUILT,
    },
    "drivers/model/virtio_pci.c": {"virtio_pci_init": WHILE_BUILT},
    "vmx/exit_misc.c": {"exit_machine_check": "the machine itself is broken"},
    "vmx/run.c": {"vmcs_write_failed": "the field or the VMCS is the monitor's"},
    "vmx/vmcs_setup.c": {
        "vmx_vcpu_reset": "the address is the monitor's",
        "vmx_vcpu_release": "the address is the monitor's",
    },
}


def functions(code):
    """(name, first line, last line) of each function: it begins and ends with a brace in the first
    column."""
    start = name = None
    for number, line in enumerate(code, 1):
        if line.startswith("{"):
            head = " ".join(code[max(0, number - 6):number - 1])
            head = re.split(r"[;}]", head)[-1]
            found = re.search(r"(\w+)\s*\([^()]*(?:\([^()]*\)[^()]*)*\)\s*$", head)
            start, name = number, found.group(1) if found else "?"
        elif line.startswith("}") and start is not None:
            yield name, start, number
            start = None


def function_at(spans, number):
    return next((name for name, first, last in spans if first <= number <= last), None)


def check_listed(name, code, pattern, allowed, what):
    """Findings where the pattern stands in a function that is not listed, and for each that is
    listed and has it no more."""
    spans, used = list(functions(code)), set()
    for number, line in enumerate(code, 1):
        function = function_at(spans, number)
        if function is None or not pattern.search(line):
            continue
        used.add(function)
        if function not in allowed:
            yield name, number, f"{function}: {what}"
    for function in sorted(set(allowed) - used):
        yield name, 1, f"{function} is listed in tests/lint/guest_rules.py for nothing: take it out"


def check_guest_rules(name, code):
    """code: the file's lines without comments and strings."""
    if not name.endswith(".c") or not name.startswith(FED_BY_GUESTS):
        return
    yield from check_listed(name, code, RAW, RAW_ALLOWED.get(name, {}),
                            "an address of guest memory; read it once, by guest_mem_read or virtqueue_read")
    yield from check_listed(name, code, FATAL, FATAL_ALLOWED.get(name, {}),
                            "asserts where guests feed; answer as the hardware does, or stop that guest")
    if name.startswith(MODELS):
        for number, line in enumerate(code, 1):
            if DEREFERENCE.search(line):
                yield name, number, "a value read from guest memory in place: copy it first"


# INVD throws away what all have written and not yet brought to memory; no code of ours has it. In C it
# would stand in a string, in assembly by itself.
INVD = re.compile(r"\binvd\b")
INVD_PLANTED = ['    __asm__ volatile("invd" ::: "memory");', "    invd"]


def check_invd(name, lines):
    """lines: the file as it is."""
    if not name.endswith((".c", ".h", ".asm")) or not name.startswith(("kernel/", "vmx/", "drivers/", "boot/")):
        return
    for number, line in enumerate(lines, 1):
        if INVD.search(line):
            yield name, number, "INVD, which loses what others have written"


# What the rules must find, each in a file where nothing is listed: (lines, a part of the finding).
PLANTED = [
    (["static void f(struct guest_mem *mem)", "{", "    guest_mem_span(mem, gpa, &n);", "}"],
     "f: an address of guest memory"),
    (["static int f(struct virtqueue_chain *chain)", "{", "    int n = *virtqueue_last_writable(chain);", "}"],
     "read from guest memory in place"),
    (["static int f(const uint8_t *host)", "{", "    return *host;", "}"], "read from guest memory in place"),
    (["static int f(const struct header *host)", "{", "    return host->type;", "}"],
     "read from guest memory in place"),
    (["static void f(unsigned index,", "              unsigned n)", "{", "    ASSERT(index < n);", "}"],
     "f: asserts where guests feed"),
]


def check_planted():
    """A rule that finds nothing is no rule."""
    for code, wanted in PLANTED:
        if not any(wanted in message for _, _, message in check_guest_rules("drivers/model/planted.c", code)):
            yield "tests/lint/guest_rules.py", 1, f"does not find what is planted: {wanted}"
    if len(list(check_invd("kernel/planted.c", INVD_PLANTED))) != len(INVD_PLANTED):
        yield "tests/lint/guest_rules.py", 1, "does not find an INVD that is planted"
    for name in sorted(set(RAW_ALLOWED) | set(FATAL_ALLOWED)):
        if not os.path.isfile(name):
            yield "tests/lint/guest_rules.py", 1, f"{name} is listed and not there"
