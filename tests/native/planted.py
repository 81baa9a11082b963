#!/usr/bin/env python3
"""Plants bugs in the emulator, one after the other, and demands that the comparison with the
processor finds each: planted.py --build DIR --cc COMMAND

The sources are changed in a copy. Exits 1 when a bug is not found, or no longer has its place.
"""

import argparse
import os
import subprocess
import sys

CASES = "100000"
SKIPPED = "skipped: not found, but the test could not run as a whole on this machine"

# What the bug is: the file, what stands there, what is planted.
BUGS = {
    "flags-overflow-of-add": (
        "kernel/vm/alu.c",
        "flag_if(top_bit((a ^ result) & (b ^ result), size), RFLAGS_OF)",
        "flag_if(top_bit((a ^ result) & (a ^ b), size), RFLAGS_OF)"),
    "flags-carry-of-sar": (
        "kernel/vm/alu.c", "carry = (extended >> (count - 1) & 1) != 0;",
        "carry = (extended >> count & 1) != 0;"),
    "flags-inc-touches-carry": (
        "kernel/vm/alu.c", "set_flags(rflags, RFLAGS_CF, carry);", "(void)carry;"),
    "width-no-zero-extension": (
        "kernel/vm/emulate_memory.h", "if (size >= 4)", "if (size > 4)"),
    "width-high-byte": (
        "kernel/vm/decode.c", "decoder->rex == 0 && number >= 4", "number >= 4"),
    "width-immediate": (
        "kernel/vm/decode.c", "return size == 2 ? 2 : 4;", "return 4;"),
    "wrap-of-offset": (
        "kernel/vm/emulate.c",
        "uint64_t offset = address_sum(emulation) & bits_size_mask(instruction->address_size);",
        "uint64_t offset = address_sum(emulation) & bits_size_mask(instruction->address_size | 4);"),
    "wrap-at-4-gib": (
        "kernel/vm/emulate.c", "*linear = (descriptor->base + offset) & 0xffffffff;",
        "*linear = descriptor->base + offset;"),
    "wrap-of-pointer": (
        "kernel/vm/emulate_string.c", "emulate_write_register(emulation->state, number, size, "
        "value & bits_size_mask(size));", "emulation->state->gpr[number] = value;"),
    "bit-string-downwards": (
        "kernel/vm/emulate.c", "int64_t operands = (number >> unused)",
        "int64_t operands = (int64_t)((uint64_t)number >> unused)"),
    "segment-limit-last-byte": (
        "kernel/vm/emulate.c", "return last <= segment->limit;", "return offset <= segment->limit;"),
    "segment-expand-down-16": (
        "kernel/vm/emulate.c", "(segment->access & SEGMENT_DB) != 0 ? 0xffffffff : 0xffff;",
        "(segment->access & SEGMENT_DB) != 0 ? 0xffffffff : 0xffffffff;"),
    "segment-read-only": (
        "kernel/vm/emulate.c", "return kind != ACCESS_WRITE || writable;", "return true;"),
    "segment-stack-default": (
        "kernel/vm/decode.c", "base == GPR_RSP || base == GPR_RBP ? SEG_SS : SEG_DS",
        "base == GPR_RSP ? SEG_SS : SEG_DS"),
    "fault-moves-the-stack": (
        "kernel/vm/emulate.c", "        state->gpr[GPR_RSP] = rsp;\n", "        (void)rsp;\n"),
    "fault-write-of-a-read": (
        "kernel/vm/guest_access.c", "write ? GUEST_WALK_WRITE : 0, &gpa, exception);",
        "GUEST_WALK_WRITE, &gpa, exception);"),
    "fetch-past-the-limit": (
        "kernel/vm/guest_access.c", "if (cs->limit - offset + 1 < *room)", "if (cs->limit == 0)"),
    "repeat-width": (
        "kernel/vm/guest_access.c", "emulate_write_register(&state, to->number, to->size, value);",
        "emulate_write_register(&state, to->number, from->size, value);"),
    "repeat-any-address": (
        "kernel/vm/guest_access.c",
        "operand_offset(instruction, gpr, repeat->rip) != repeat->linear", "gpr == NULL"),
}


def plant(name, folder, build, compiler):
    """Builds the test with the bug in it; returns what is wrong, or None."""
    path, old, new = BUGS[name]
    with open(path, encoding="utf-8") as file:
        source = file.read()
    if source.count(old) != 1:
        return f"its place in {path} is gone"
    os.makedirs(os.path.join(folder, os.path.dirname(path)), exist_ok=True)
    with open(os.path.join(folder, path), "w", encoding="utf-8") as file:
        file.write(source.replace(old, new))
    # A header's bug is in all that include it.
    sources = [path]
    if path.endswith(".h"):
        sources = [f"kernel/vm/{unit}.c" for unit in ("emulate", "emulate_string")]
    objects = []
    for unit in sources:
        planted = os.path.join(folder, unit)
        if not os.path.exists(planted):
            planted = unit
        objects.append(os.path.join(folder, os.path.basename(unit) + ".o"))
        # The copy of a header goes before the header.
        options = [f"-I{folder}", *compiler.split()[1:], "-w", "-c", "-o", objects[-1], planted]
        subprocess.run([compiler.split()[0], *options], check=True)
    rest = []
    for base, _, files in os.walk(os.path.join(build, "native")):
        if "planted" in base:
            continue
        rest += [os.path.join(base, file) for file in files if file.endswith(".o") and
                 os.path.relpath(os.path.join(base, file), os.path.join(build, "native"))[:-2] + ".c"
                 not in sources]
    test = os.path.join(folder, "emulator")
    subprocess.run(compiler.split() + ["-o", test] + sorted(rest) + objects, check=True)
    done = subprocess.run([test], env={**os.environ, "NATIVE_CASES": CASES}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", timeout=120,
                          check=False)
    if "not ok emulator_agrees" in done.stdout:
        return None
    return SKIPPED if "# skipped" in done.stdout else "it is not found"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--cc", required=True)
    arguments = parser.parse_args()
    found = failed = 0
    for name in BUGS:
        folder = os.path.join(arguments.build, "native", "planted", name)
        os.makedirs(folder, exist_ok=True)
        wrong = plant(name, folder, arguments.build, arguments.cc)
        found += wrong is None
        failed += wrong not in (None, SKIPPED)
        if wrong is not None:
            print(f"planted bug {name}: {wrong}")
    print(f"the comparison with the processor finds {found} of {len(BUGS)} planted bugs")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
