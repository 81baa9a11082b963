; An exit that a debugger looks at first: entry.asm's, with vmx_exit_debug in vmx_exit's place.
bits 64
default rel

%include "vmx/entry.inc"

section .text
%ifndef DEBUG_CHECKS
extern vmx_exit_debug
extern vmx_resume
extern vmx_left

global vmx_exit_debug_stub
vmx_exit_debug_stub:
        SAVE_GUEST
        lea     rbp, [rsp + 48]
        call    vmx_exit_debug
        mov     rdi, [rsp]
        test    al, al
        jnz     vmx_resume
        jmp     vmx_left
%endif

section .note.GNU-stack noalloc noexec nowrite progbits
