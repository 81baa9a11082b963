; A task gate, which the configuration's cmdline chooses how to reach. A monitor that does not switch
; tasks ends this guest, and no other.
%include "tests/guests/lib.inc"

HOLE equ 0x30000000

section .data
align 8
split_idt:
    dw 8 * 256 - 1
    dd 0

section .bss
alignb 4096
spare: resb 8192

section .text
main:
    PRINT `task gate\n`
    call serial_drain
    mov rsi, [start_info]
    mov rsi, [rsi + 24] ; hvm_start_info.cmdline_paddr
    movzx eax, byte [rsi]
    mov [spare], al
    CALL_MODE MODE_FLAT32, gate32
    PRINT `went on\n`
    ret

bits 32
gate32:
    mov word [idt32 + 0x60 * 8 + 2], SEL_TSS32
    mov byte [idt32 + 0x60 * 8 + 5], 0xe5
    cmp byte [spare], 's'
    je .by_software
    int 0x60
    ret
.by_software: ; #UD's handler in a code segment outside the GDT's memory: #GP, which is a task gate
    mov word [idt32 + GP * 8 + 2], SEL_TSS32
    mov byte [idt32 + GP * 8 + 5], 0xe5
    lgdt [.gdt]
    ud2
    ret
.gdt: dw 0xfff
    dd HOLE
