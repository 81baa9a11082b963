; Calls three deep, with frame pointers, then waits for whoever looks; some memory holds what does not
; compress. The callers have no labels within, which would be functions of their own to gdb.
%include "tests/guests/lib.inc"

NOISE equ 0x200a000
NOISE_SIZE equ 0xa000

section .text
make_noise:
    mov edi, NOISE
    mov ecx, NOISE_SIZE / 8
    mov rax, 0x9e3779b97f4a7c15
.next:
    mov rdx, rax
    shl rdx, 13
    xor rax, rdx
    mov rdx, rax
    shr rdx, 7
    xor rax, rdx
    mov rdx, rax
    shl rdx, 17
    xor rax, rdx
    stosq
    loop .next
    ret

main:
    push rbp
    mov rbp, rsp
    call make_noise
    mov r12, rax
    PRINT `alive\n`
    call serial_drain
    call outer
    DONE

outer:
    push rbp
    mov rbp, rsp
    mov r14, 14
    call middle
    leave
    ret

middle:
    push rbp
    mov rbp, rsp
    mov r13, 13
    call inner
    leave
    ret

inner:
    push rbp
    mov rbp, rsp
    mov rbx, 0x1122334455667788
    cmp byte [go_on], 0
    je $ - 8
    leave
    ret

section .data
global go_on
go_on: db 0
