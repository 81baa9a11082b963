; For a debugger: counts in a loop that it never leaves by itself. What a debugger writes to `goal`
; ends it: with debug exit 0 once the counter has got there.
%include "tests/guests/lib.inc"

section .data
global counter
align 4096
counter: dq 0
goal: dq -1
pattern: times 1024 dq 0x0123456789abcdef

section .bss
alignb 4096
global pool
pool: resb 1 << 20

section .text
global count
main:
    mov rdi, pool
    mov ecx, (1 << 20) / 8
    mov rax, 1
    mov rdx, 6364136223846793005
    mov rbx, 1442695040888963407
.fill:
    imul rax, rdx
    add rax, rbx
    mov [rdi], rax
    add rdi, 8
    dec ecx
    jnz .fill
    PRINT `counting\n`
    mov rbx, 0x1122334455667788
.next:
    call count
    mov rax, [counter]
    cmp rax, [goal]
    jb .next
    TEST "counted"
    ret

count:
    inc qword [counter]
    ret
