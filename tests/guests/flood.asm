; Prints forever, as fast as the line takes it: the monitor's escape key must still work, and other
; guests must not feel it.
%include "tests/guests/lib.inc"

main:
    xor eax, eax
.next:
    PRINT "flood "
    call print_decimal
    call print_newline
    inc rax
    jmp .next
