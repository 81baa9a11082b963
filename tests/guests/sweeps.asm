; Sweeps over everything of a kind; the cases are in tests/guests/sweeps.
%include "tests/guests/lib.inc"
%include "tests/guests/lib/c_guest.inc"
%include "tests/guests/sweeps/probe.inc"

extern sweeps_main

section .text
bits 64
main:
    jmp sweeps_main
