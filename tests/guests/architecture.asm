; What test kernels look at and no other guest here does: the local APIC as IA32_APIC_BASE has it, and
; CPUID and the MSRs that go with it. The cases are in tests/guests/architecture.
%include "tests/guests/lib.inc"
%include "tests/guests/lib/c_guest.inc"

extern architecture_main

section .text
bits 64
main:
    jmp architecture_main
