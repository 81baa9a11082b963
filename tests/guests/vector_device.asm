; A vector instruction on device memory, which the emulator does not know: with CR0.TS, CR0.EM and
; CR4.OSFXSR as they are before an operating system saves vector registers, the guest gets its own
; fault first; then loads are the processor's own, and a store ends the guest, and only the guest.
%include "tests/guests/lib.inc"

DEVICE equ LAPIC32 + LAPIC_INITIAL

section .text
main:
    mov edi, DEVICE
    TEST "task-switched"
    mov rax, cr0
    or eax, CR0_TS
    mov cr0, rax
    TRY {movdqu xmm0, [rdi]}
    EXPECT_FAULT NM, 0, "MOVDQU load"
    TRY {movups [rdi], xmm0}
    EXPECT_FAULT NM, 0, "MOVUPS store"
    TRY {fld dword [rdi]}
    EXPECT_FAULT NM, 0, "FLD"
    TRY {fstp dword [rdi]}
    EXPECT_FAULT NM, 0, "FSTP"
    TRY {movq mm0, [rdi]}
    EXPECT_FAULT NM, 0, "MOVQ to MMX"
    TEST "no-coprocessor"
    and eax, ~CR0_TS
    or eax, CR0_EM
    mov cr0, rax
    TRY {movdqu xmm0, [rdi]}
    EXPECT_FAULT UD, 0, "MOVDQU load"
    TRY {movq [rdi], mm0}
    EXPECT_FAULT UD, 0, "MOVQ from MMX"
    TRY {fld dword [rdi]}
    EXPECT_FAULT NM, 0, "FLD"
    and eax, ~CR0_EM
    mov cr0, rax
    TEST "no-osfxsr"
    mov rax, cr4
    and eax, ~CR4_OSFXSR
    mov cr4, rax
    TRY {movdqu xmm0, [rdi]}
    EXPECT_FAULT UD, 0, "MOVDQU load"
    or eax, CR4_OSFXSR
    mov cr4, rax
    TEST "on-ram"
    movdqu xmm0, [rsp]
    movdqu [rsp - 64], xmm0
    TEST "load"
    mov dword [rdi], 0x12345678
    movdqu xmm0, [rdi]
    movd eax, xmm0
    EXPECT_EQ rax, 0x12345678, "MOVDQU"
    call test_end
    call serial_drain
    movdqu [rdi], xmm0
    FAIL "the instruction on the device went on"
    ret
