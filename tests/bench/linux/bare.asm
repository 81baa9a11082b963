; A kernel with a PVH entry, its initial RAM disk and its command line as one flat image, which the
; boot sector of tests/guests/bare starts on the bare machine. Built by linux.py.
bits 32

PVH_MAGIC equ 0x336ec578
PVH_VERSION equ 1 ; with a memory map
E820_RAM equ 1
E820_RESERVED equ 2
MIB equ 1 << 20

section .text
global _start
_start: ; EBX: what the boot sector has in place of the start info: the RSDP
    mov esi, [ebx + 32]
    mov [start_info.rsdp], esi
    mov ebx, start_info
    mov eax, ENTRY
    jmp eax

align 8
start_info:
    dd PVH_MAGIC, PVH_VERSION, 0, 1
    dd modules, 0, command_line, 0
.rsdp:
    dd 0, 0, memory_map, 0, 3, 0
modules:
    dq INITRD, INITRD_SIZE, 0, 0
memory_map:
    dq 0, 0x9fc00
    dd E820_RAM, 0
    dq 0xf0000, 0x10000
    dd E820_RESERVED, 0
    dq MIB, MEMORY - MIB
    dd E820_RAM, 0
command_line:
    db COMMAND_LINE, 0

section .kernel
    incbin KERNEL_FILE
section .initrd
    incbin INITRD_FILE
