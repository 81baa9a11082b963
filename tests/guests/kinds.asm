; More kinds of exits than the accounting tells apart: reads of so many ports where nobody is, at
; once and after a while. Then it waits for nothing.
%include "tests/guests/lib.inc"

FIRST equ 0x2000
KINDS equ 600

main:
    mov edx, FIRST
.next:
    in al, dx
    mov ecx, 2000
    loop $
    in al, dx
    inc edx
    cmp edx, FIRST + KINDS
    jne .next
    PRINT `all kinds\n`
    call serial_drain
    cli
.end:
    hlt
    jmp .end
