; An #AC whose delivery raises #AC again: at ring 3 with alignment checks, a gate that stays at ring 3
; pushes its frame on a misaligned stack. On a processor that nobody watches, the delivery never
; ends; the monitor must still answer. The guest ends only from outside.
%include "tests/guests/lib.inc"

section .text
bits 32
loop32:
    mov eax, cr0
    or eax, CR0_AM
    mov cr0, eax
    mov eax, .handler
    mov [idt32 + AC_VECTOR * 8], ax
    mov word [idt32 + AC_VECTOR * 8 + 2], SEL_USER_CODE32
    shr eax, 16
    mov [idt32 + AC_VECTOR * 8 + 6], ax
    push SEL_USER_DATA
    push ring3_stack_top - 2
    push RFLAGS_AC | 2
    push SEL_USER_CODE32
    push .ring3
    mov eax, SEL_USER_DATA
    mov ds, eax
    mov es, eax
    iret
.ring3:
    mov eax, [esp - 16]
    jmp .ring3
.handler:
    jmp .handler

bits 64
main:
    PRINT `looping\n`
    call serial_drain
    CALL_MODE MODE_FLAT32, loop32
    ret
