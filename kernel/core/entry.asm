; Where the boot program enters the monitor: long mode, interrupts off, RDI = struct boot_info
; (physical).

default rel
bits 64

extern kernel_main

section .text

global _start:function
_start:
        cli
        cld
        lea     rsp, [early_stack_top]
        xor     ebp, ebp                ; backtraces end here
        push    rbp
        jmp     kernel_main             ; void kernel_main(uint64_t boot_info_hpa)

section .bss nobits alloc noexec write align=4096

; Until the processor has a stack with a guard page.
global early_stack:data
global early_stack_top:data
early_stack:
        resb    32768
early_stack_top:

section .note.GNU-stack noalloc noexec nowrite progbits
