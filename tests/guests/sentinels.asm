; Registers that an exit leaves alone, and what another guest or an earlier life of this one may have
; left in them; the cases are in tests/guests/sentinels.
%include "tests/guests/lib.inc"
%include "tests/guests/lib/c_guest.inc"

extern sentinels_main

section .text
bits 64
main:
    jmp sentinels_main
