; Says which events come, and waits for the next one; interrupts are let in by the first NMI.
%include "tests/guests/lib.inc"

VECTOR_A equ 0x41
UD equ 6
GP equ 13

section .text
main:
    call lapic_init
    HANDLE VECTOR_A, interrupt
    HANDLE 2, nmi
    HANDLE UD, say
    HANDLE GP, say
    PRINT `waiting\n`
    jmp $

interrupt:
    call say
    mov dword [LAPIC + LAPIC_EOI], 0
    ret

nmi:
    or qword [rdi + FRAME_RFLAGS], 1 << 9 ; IF
    jmp say

say: ; RDI: the frame
    push rdi
    PRINT `event `
    mov rdi, [rsp]
    mov rax, [rdi + FRAME_VECTOR]
    call print_hex
    PRINT ` error `
    mov rdi, [rsp]
    mov rax, [rdi + FRAME_ERROR]
    call print_hex
    PRINT `\n`
    pop rdi
    ret
