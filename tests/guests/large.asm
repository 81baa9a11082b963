; A guest of more than 1 GiB: every 2 MiB of its RAM is its own, up to the last byte, and across the
; borders of a GiB. In C, in tests/guests/large.
%include "tests/guests/lib.inc"
%include "tests/guests/lib/c_guest.inc"

global start_info
extern large_main

section .text
bits 64
main:
    jmp large_main
