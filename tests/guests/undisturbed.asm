; Computes for three seconds with interrupts on, and asks for none.
%include "tests/guests/lib.inc"

main:
    TEST "undisturbed"
    call time_init
    sti
    mov eax, 3000000
    call delay
    cli
    ret
