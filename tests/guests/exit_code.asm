; Ends at once, with the number on its command line as a 32-bit write to the debug-exit port.
%include "tests/guests/lib.inc"

START_INFO_CMDLINE equ 24 ; hvm_start_info.cmdline_paddr

section .text
bits 64
main:
    mov rbx, [start_info]
    mov rsi, [rbx + START_INFO_CMDLINE]
    xor eax, eax
    xor ecx, ecx
.digit:
    mov cl, [rsi]
    inc rsi
    sub cl, '0'
    cmp cl, 9
    ja .number
    imul eax, eax, 10
    add eax, ecx
    jmp .digit
.number:
    call serial_drain
    mov dx, DEBUG_EXIT
    out dx, eax
.halt:
    cli
    hlt
    jmp .halt
