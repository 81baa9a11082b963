; HLT with a trap pending behind it: the debug exception wakes it at once. (Bochs sleeps on.)
%include "tests/guests/lib.inc"
%include "tests/guests/lib/trace.inc"

section .data
align 16
stack_selector: dd SEL_DATA, 0

section .text
main:
    TRACED DB_VECTOR
    TEST "step-hlt"
    TRACE_BEGIN
    push RFLAGS_TF | 2
    popfq
    hlt
.stepped:
    push 2
    popfq
    EXPECT_EVENTS 3, "traps behind HLT, PUSH and POPF"
    EXPECT_EVENT 0, DB_VECTOR, .stepped, "behind HLT"
    TEST "breakpoint-hlt"
    TRACE_BEGIN
    mov eax, stack_selector
    mov dr0, rax
    mov eax, 0x000f0402
    mov dr7, rax
    mov ss, [stack_selector]
    hlt
.woken:
    mov eax, 0x400
    mov dr7, rax
    EXPECT_EVENTS 1, "one trap"
    EXPECT_EVENT 0, DB_VECTOR, .woken, "behind HLT"
    ret
