; A virtio disk, writable or not, as its driver sees it; in C, in tests/guests/disk.
%include "tests/guests/lib.inc"
%include "tests/guests/lib/c_guest.inc"

extern disk_main

section .text
bits 64
main:
    jmp disk_main
