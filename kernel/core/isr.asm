; The 256 interrupt stubs, the common path to cpu_handle_vector, and the change of stacks.

default rel
bits 64

extern cpu_handle_vector

section .text

; Every stub leaves vector and error code on the stack, at a fixed distance from its predecessor, so
; that the IDT is filled by arithmetic. SDM: Error Code lists the vectors that push one.
%define STUB_SIZE 16

align 16
global isr_stubs:function
isr_stubs:
%assign vector 0
%rep 256
        align   STUB_SIZE
  %if vector != 8 && vector != 10 && vector != 11 && vector != 12 && vector != 13 && \
      vector != 14 && vector != 17 && vector != 21 && vector != 29 && vector != 30
        push    qword 0
  %endif
        push    qword vector
        jmp     near isr_common
  %assign vector vector + 1
%endrep

align 16
isr_common:
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

section .note.GNU-stack noalloc noexec nowrite progbits
