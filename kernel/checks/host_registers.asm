; Everything of the processor that a VM exit loads and an instruction can read, for the checks of a
; build with DEBUG_CHECKS=1.
bits 64
default rel

section .text

; void host_registers_read(struct host_registers *registers): the members in their order, 8 bytes each.
global host_registers_read
host_registers_read:
        xor     eax, eax
        mov     ax, es
        mov     [rdi], rax
        mov     ax, cs
        mov     [rdi + 8], rax
        mov     ax, ss
        mov     [rdi + 16], rax
        mov     ax, ds
        mov     [rdi + 24], rax
        mov     ax, fs
        mov     [rdi + 32], rax
        mov     ax, gs
        mov     [rdi + 40], rax
        sldt    ax
        mov     [rdi + 48], rax
        str     ax
        mov     [rdi + 56], rax
        xor     edx, edx
        lsl     edx, eax
        mov     [rdi + 64], rdx         ; what the descriptor says, where the GDT now is
        sub     rsp, 16
        sgdt    [rsp]
        movzx   eax, word [rsp]
        mov     [rdi + 72], rax
        mov     rax, [rsp + 2]
        mov     [rdi + 80], rax
        sidt    [rsp]
        movzx   eax, word [rsp]
        mov     [rdi + 88], rax
        mov     rax, [rsp + 2]
        mov     [rdi + 96], rax
        add     rsp, 16
        mov     rax, cr0
        mov     [rdi + 104], rax
        mov     rax, cr3
        mov     [rdi + 112], rax
        mov     rax, cr4
        mov     [rdi + 120], rax
        mov     rax, cr8
        mov     [rdi + 128], rax
        mov     rax, dr7
        mov     [rdi + 136], rax
        ret

section .note.GNU-stack noalloc noexec nowrite progbits
