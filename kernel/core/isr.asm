; The 256 interrupt stubs, the common path to cpu_handle_vector, and the change of stacks.

default rel
bits 64

extern cpu_handle_vector

section .text

; A stub is a call, whose return address says which one it was: the IDT is filled by arithmetic, and
; so is the vector found. SDM: Error Code lists the vectors that push one; the others get a zero.
%define STUB_SIZE 5
global isr_stubs:function
isr_stubs:
%rep 256
        call    strict near isr_common
%endrep

; In place of the return address comes the vector, and where the processor has pushed no error code,
; that is zero and the vector comes below it.
isr_common:
        push    rax
        mov     rax, [rsp + 8]
        sub     rax, isr_stubs + STUB_SIZE
        imul    eax, eax, 65536 / STUB_SIZE + 1
        shr     eax, 16
        cmp     eax, 31
        ja      .no_error_code
        bt      dword [error_codes], eax
        jnc     .no_error_code
        mov     [rsp + 8], rax
        pop     rax
        jmp     .registers
.no_error_code:
        mov     qword [rsp + 8], 0
        xchg    rax, [rsp]
.registers:
        cld
        push    rax
        push    rbx
        push    rcx
        push    rdx
        push    rsi
        push    rdi
        push    rbp
        push    r8
        push    r9
        push    r10
        push    r11
        push    r12
        push    r13
        push    r14
        push    r15
        mov     rdi, rsp
        sub     rsp, 16
        mov     rax, [rdi + 8*17]       ; the interrupted RIP
        mov     [rsp + 8], rax
        mov     rax, [rdi + 8*8]        ; and RBP: backtraces go through
        mov     [rsp], rax
        mov     rbp, rsp
        and     rsp, -16
        call    cpu_handle_vector
        lea     rsp, [rbp + 16]
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     r11
        pop     r10
        pop     r9
        pop     r8
        pop     rbp
        pop     rdi
        pop     rsi
        pop     rdx
        pop     rcx
        pop     rbx
        pop     rax
        add     rsp, 16
        iretq

; void cpu_switch_stack(uint64_t top, void (*run)(void *argument), void *argument)
global cpu_switch_stack:function
cpu_switch_stack:
        mov     rsp, rdi
        mov     rdi, rdx
        xor     ebp, ebp                ; backtraces end here
        push    rbp
        jmp     rsi

section .rodata align=4

error_codes:
        dd      1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17 | 1 << 21 | \
                1 << 29 | 1 << 30

section .note.GNU-stack noalloc noexec nowrite progbits
