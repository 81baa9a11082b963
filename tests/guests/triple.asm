; A triple fault: no IDT, and an exception. What follows is the configuration's on-reset.
%include "tests/guests/lib.inc"

section .data
empty_idt: dw 0
    dq 0

section .text
main:
    PRINT `triple fault\n`
    call serial_drain
    lidt [empty_idt]
    ud2
