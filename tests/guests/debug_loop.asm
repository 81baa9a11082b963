; A #DB whose delivery raises #DB again: data breakpoints on the very stack that delivery writes. On
; a processor that nobody watches, the delivery never ends; the monitor must still answer. The guest
; ends only from outside.
%include "tests/guests/lib.inc"

%ifdef STACK_IN_HOLE
spare_stack_top equ 0x30001000
%else
section .bss
alignb 4096
spare_stack: resb 4096
spare_stack_top:
%endif

section .text
main:
    PRINT `looping\n`
    call serial_drain
    ; #DB on IST1, with a data breakpoint for writes on the frame that its delivery pushes there.
    mov byte [idt64 + DB_VECTOR * 16 + 4], 2
    mov qword [tss64 + 44], spare_stack_top
    mov rax, handler
    mov [idt64 + DB_VECTOR * 16], ax
    mov rdx, rax
    shr rdx, 16
    mov [idt64 + DB_VECTOR * 16 + 6], edx
    mov rax, spare_stack_top - 8
    mov dr0, rax
    mov rax, spare_stack_top - 24
    mov dr1, rax
    mov eax, 0x0099040f ; both: writes of 8 bytes
    mov dr7, rax
    mov qword [spare_stack_top - 8], 0
.spin:
    mov qword [spare_stack_top - 24], 0
    jmp .spin

handler: ; the frame's writes hit the breakpoint again, which is recognised before this instruction
    iretq
