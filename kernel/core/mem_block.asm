; The block operations of mem.h: string instructions, eight bytes at a time where there are many.
; (One iteration is one step of the clock on emulators; processors with fast strings do either form
; a cache line at a time.)

default rel
bits 64

section .text

; void *memcpy(void *restrict to, const void *restrict from, size_t n)
global memcpy:function
memcpy:
        mov     rax, rdi
        mov     rcx, rdx
        shr     rcx, 3
        rep     movsq
        mov     ecx, edx
        and     ecx, 7
        rep     movsb
        ret

; void *memmove(void *to, const void *from, size_t n)
global memmove:function
memmove:
        mov     rax, rdi
        sub     rax, rsi
        cmp     rax, rdx                ; unsigned: "to" below "from", or behind its end
        jae     memcpy
        mov     rax, rdi
        mov     rcx, rdx
        lea     rdi, [rdi + rdx - 1]
        lea     rsi, [rsi + rdx - 1]
        std
        rep     movsb
        cld
        ret

; void *memset(void *to, int value, size_t n)
global memset:function
memset:
        mov     r8, rdi
        movzx   eax, sil
        mov     r9, 0x0101010101010101
        imul    rax, r9
        mov     rcx, rdx
        shr     rcx, 3
        rep     stosq
        mov     ecx, edx
        and     ecx, 7
        rep     stosb
        mov     rax, r8
        ret

section .note.GNU-stack noalloc noexec nowrite progbits
