; Interrupts off, forever: only the monitor's escape key ends this guest.
%include "tests/guests/lib.inc"

main:
    PRINT `spinning\n`
    call serial_drain
    cli
    jmp $
