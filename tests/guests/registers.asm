; Control registers, debug registers and MSRs: every bit of each, and every illegal combination. The
; cases are made from the tables in tests/guests/registers, where the code is too; here is what must
; run in other modes.
%include "tests/guests/lib.inc"
%include "tests/guests/lib/c_guest.inc"
%include "tests/guests/registers/modes.inc"

extern registers_main

section .text
bits 64
main:
    jmp registers_main
