; Says every character back that it is sent on its serial line, until that is a q.
%include "tests/guests/lib.inc"

LSR equ COM1 + 5
LSR_READY equ 1

main:
    PRINT `echo: ready\n`
.next:
    mov edx, LSR
    in al, dx
    test al, LSR_READY
    jz .next
    mov edx, COM1
    in al, dx
    cmp al, 'q'
    je .end
    call print_char
    jmp .next
.end:
    TEST "echoed"
    ret
