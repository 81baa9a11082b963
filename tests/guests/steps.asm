; For a debugger that steps: instructions that could show its trap flag, or lose it; and data to watch.
%include "tests/guests/lib.inc"

section .data
global watched, neighbour
align 64
neighbour: dq 0
watched: dq 0
flags: dq 0
seen: dq 0

section .text
global begin, after_popf, after_cpuid, writes, reads, over
main:
    PRINT `stepping\n`
begin:
    nop
    pushf
    pop rax
    mov [flags], rax
    push rax
    popf
after_popf:
    mov ecx, 3
.loop:
    dec ecx
    jnz .loop
    xor eax, eax
    cpuid
after_cpuid:
    inc qword [seen]
writes:
    mov byte [neighbour + 7], 1
    mov byte [watched + 8], 2
    mov byte [watched + 3], 3
.after:
    nop
reads:
    mov al, [neighbour + 7]
    mov al, [watched + 3]
.after:
    nop
over:
    TEST "flags"
    mov rax, [flags]
    and eax, 0x100
    EXPECT_EQ rax, 0, "TF in what PUSHF left"
    ret
