; The monitor's ELF file as this program carries it, and the jump into it.
; MONITOR, given by the build: the file's path, quoted.

bits 64
default rel

section .rodata align=4096

global monitor_elf
global monitor_elf_end
monitor_elf:
        incbin MONITOR
monitor_elf_end:

section .text

; void boot_enter(uint64_t page_tables, uint64_t entry, uint64_t boot_info, uint64_t stack_top)
global boot_enter:function hidden
boot_enter:
        cli
        cld
        mov     cr3, rdi                ; this code lies in the identity map of both tables
        mov     rsp, rcx
        mov     rdi, rdx
        xor     ebp, ebp
        push    rbp                     ; no return address: the stack is as after a call
        jmp     rsi

section .note.GNU-stack noalloc noexec nowrite progbits
