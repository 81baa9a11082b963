"""For gdb: disassembly in the guest's mode. (gdb) source traprock_gdb.py

One description of 64-bit registers serves all modes, so that gdb stays attached through every change; it
takes all code for 64-bit code then. With this file `x/i`, `display/i` and `disassemble` show what the
processor would execute, by the D and L flags of CS: 16-bit and 32-bit code comes from objdump, at the
offsets in CS that its jumps have. gdb's $pc is such an offset too: where CS has a base, the instruction
is at $linear_pc(). Needs gdb 13 and binutils.
"""

import os
import subprocess
import tempfile

import gdb
import gdb.disassembler

INSTRUCTION_MAX = 15
LONG, WIDE = 1 << 13, 1 << 14  # SDM: Guest Register State, access rights
LMA = 1 << 10


def register(name):
    return int(gdb.selected_frame().read_register(name)) & 0xffffffffffffffff


def code_bits():
    access = register("cs_access")
    if register("efer") & LMA and access & LONG:
        return 64
    return 32 if access & WIDE else 16


def objdump(code, bits, offset):
    """The length and the text of the instruction that code begins with."""
    machine = "i8086" if bits == 16 else "i386"
    options = machine + (",intel" if gdb.parameter("disassembly-flavor") == "intel" else "")
    with tempfile.NamedTemporaryFile() as file:
        file.write(code)
        file.flush()
        said = subprocess.run(["objdump", "-D", "-w", "-b", "binary", "-m", "i386", "-M", options,
                               f"--adjust-vma={offset:#x}", file.name], check=True, text=True,
                              env=dict(os.environ, LC_ALL="C"), stdout=subprocess.PIPE).stdout
    for line in said.splitlines():
        columns = line.split("\t")
        if len(columns) > 2:
            return len(columns[1].split()), columns[2].strip()
    raise ValueError(said)


class OfTheMode(gdb.disassembler.Disassembler):
    """Code of 16 and 32 bits by objdump; gdb's own does the rest."""

    def __init__(self):
        super().__init__("traprock")
        self.known = {}

    def __call__(self, info):
        try:
            bits, base = code_bits(), register("cs_base")
        except (gdb.error, ValueError):
            return None
        if bits == 64:
            return None
        code = self.read(info)
        offset = (info.address - base) % (1 << 32)
        if bits == 16 and offset >> 16:
            offset = info.address
        key = (code, bits, offset, gdb.parameter("disassembly-flavor"))
        if key not in self.known:
            self.known[key] = objdump(*key[:3])
        length, text = self.known[key]
        return gdb.disassembler.DisassemblerResult(length=length, string=text)

    @staticmethod
    def read(info):
        """What there is of an instruction's bytes, up to memory's end."""
        for size in range(INSTRUCTION_MAX, 1, -1):
            try:
                return bytes(info.read_memory(size))
            except gdb.MemoryError:
                continue
        return bytes(info.read_memory(1))


class LinearPc(gdb.Function):
    """$linear_pc(): where the next instruction is, with the base of CS."""

    def __init__(self):
        super().__init__("linear_pc")

    def invoke(self):
        base = 0 if code_bits() == 64 else register("cs_base")
        return base + register("rip")


gdb.disassembler.register_disassembler(OfTheMode(), "i386:x86-64")
LinearPc()
