; Debug exceptions around instructions that a monitor carries out: breakpoints on the instruction, on
; its data, single steps over each iteration, RF.
%include "tests/guests/lib.inc"
%include "tests/guests/lib/trace.inc"

HOLE equ 0x30000000
PORT equ 0x3ff
BAD_MSR equ 0x12345

EXECUTE equ 0
WRITE equ 1
ACCESS equ 3
BYTES_1 equ 0
BYTES_2 equ 1
BYTES_4 equ 3
BYTES_8 equ 2

section .bss
alignb 16
scratch: resq 4
buffer: resb 512
resume: resq 1

section .text
main:
    call pic_init
    call lapic_init
    mov dword [LAPIC + LAPIC_ICR_HIGH], 0
    TRACED DB_VECTOR
    TRACED VECTOR_LOW
    call test_instruction_breakpoints
    call test_fault_at_breakpoint
    call test_no_breakpoint_in_shadow
    call test_steps
    call test_rep_steps
    call test_rep_interrupt
    call test_data_breakpoints
    call test_general_detect
    call test_faults_with_tf
    ret

%macro BREAK_OFF 0
    push rax
    mov eax, 0x400
    mov dr7, rax
    pop rax
%endmacro

%macro EACH 1
    %1 "nop", {nop}
    %1 "cpuid", {cpuid}
    %1 "in", {in al, dx}
    %1 "out", {out dx, al}
    %1 "mmio-read", {mov r8d, [LAPIC + LAPIC_VERSION]}
    %1 "mmio-write", {mov [LAPIC + LAPIC_INITIAL], r9d}
    %1 "mmio-update", {add dword [rbp], 0}
    %1 "mmio-test", {test dword [rbp], 0}
    %1 "mmio-movs", {movsd}
    %1 "hole", {mov r8, [rbx]}
    %1 "rdmsr", {rdmsr}
    %1 "wrmsr", {wrmsr}
    %1 "mov-from-cr8", {mov r8, cr8}
    %1 "mov-to-cr8", {mov cr8, r9}
    %1 "mov-to-cr0", {mov cr0, r10}
    %1 "mov-to-cr3", {mov cr3, r11}
    %1 "mov-to-cr4", {mov cr4, r12}
    %1 "wbinvd", {wbinvd}
    %1 "clts", {clts}
    %1 "lmsw", {lmsw r10w}
    %1 "invlpg", {invlpg [rbx]}
    %1 "outsb", {outsb}
    %1 "insb", {insb}
    %1 "rep-outsb", {rep outsb}
    %1 "rep-insb", {rep insb}
    %1 "rep-movsb-mmio", {rep movsb}
    %1 "rep-stosd-hole", {rep stosd}
    %1 "rep-none", {rep outsb}
%endmacro

; RCX is the count of the repetitions: one call of the emulator does not do them all.
%macro OPERANDS 1
    mov r10, cr0
    mov r11, cr3
    mov r12, cr4
    mov ecx, 0x277 ; IA32_PAT
    rdmsr
    xor r9d, r9d
    mov rbp, LAPIC + LAPIC_INITIAL
    mov ebx, HOLE
    mov esi, buffer
    mov edi, buffer
    cld
    %ifidn %1, "cpuid"
    xor eax, eax
    %elifidn %1, "in"
    mov edx, PORT
    %elifidn %1, "out"
    mov edx, PORT
    %elifidn %1, "outsb"
    mov edx, PORT
    %elifidn %1, "insb"
    mov edx, PORT
    %elifidn %1, "mmio-movs"
    mov rsi, LAPIC + LAPIC_VERSION
    %elifidn %1, "rep-outsb"
    mov edx, PORT
    mov ecx, 300
    %elifidn %1, "rep-insb"
    mov edx, PORT
    mov ecx, 300
    %elifidn %1, "rep-movsb-mmio"
    mov esi, HOLE
    mov ecx, 300
    %elifidn %1, "rep-stosd-hole"
    mov edi, HOLE
    mov ecx, 300
    %elifidn %1, "rep-none"
    mov edx, PORT
    mov ecx, 0
    %endif
%endmacro

; ---- A breakpoint on the instruction and one behind it: each once, in this order ----

%macro INSTRUCTION_CASE 2
    TEST {"breakpoint-", %1}
    TRACE_BEGIN
    mov eax, %%at
    mov dr0, rax
    mov eax, %%behind
    mov dr1, rax
    OPERANDS %1
    push rax
    mov eax, 0x40a
    mov dr7, rax
    pop rax
    mov qword [trace_stepped], 1
%%at:
    %2
%%behind:
    nop
    BREAK_OFF
    mov qword [trace_stepped], 0
    EXPECT_EVENTS 2, "two breakpoints"
    EXPECT_EVENT 0, DB_VECTOR, %%at, "at the instruction"
    EXPECT_EVENT 1, DB_VECTOR, %%behind, "behind it"
    EXPECT_EVENT_FLAG 0, RFLAGS_RF, 0, "RF is clear in its frame"
    EXPECT_EVENT_FLAG 1, RFLAGS_RF, 0, "RF is clear behind it"
    mov rax, NOTED(0, DR6)
    and eax, 0x400f
    EXPECT_EQ rax, 1, "DR6.B0"
    mov rax, NOTED(1, DR6)
    and eax, 0x400f
    EXPECT_EQ rax, 2, "DR6.B1"
%endmacro

test_instruction_breakpoints:
    EACH INSTRUCTION_CASE
    ret

; An instruction that faults at its breakpoint: the fault's frame has RF.
test_fault_at_breakpoint:
    TEST "breakpoint-fault"
    HANDLE GP, skip_fault
    TRACE_BEGIN
    mov eax, .at
    mov dr0, rax
    mov qword [resume], .behind
    mov eax, 0x402
    mov dr7, rax
    mov qword [trace_stepped], 1
    mov ecx, BAD_MSR
.at:
    rdmsr
.behind:
    BREAK_OFF
    mov qword [trace_stepped], 0
    HANDLE GP, 0
    EXPECT_EVENTS 2, "#DB and #GP"
    EXPECT_EVENT 0, DB_VECTOR, .at, "#DB"
    EXPECT_EVENT 1, GP, .at, "#GP"
    EXPECT_EVENT_FLAG 1, RFLAGS_RF, 1, "RF in its frame"
    ret

skip_fault:
    call trace_event
    mov rax, [resume]
    mov [rdi + FRAME_RIP], rax
    and qword [rdi + FRAME_RFLAGS], ~RFLAGS_RF
    ret

; MOV SS holds instruction breakpoints off, too.
test_no_breakpoint_in_shadow:
    TEST "breakpoint-in-shadow"
    TRACE_BEGIN
    mov eax, .at
    mov dr0, rax
    mov eax, .behind
    mov dr1, rax
    mov eax, 0x40a
    mov dr7, rax
    mov qword [trace_stepped], 1
    mov edi, SEL_DATA
    xor eax, eax
    mov ss, edi
.at:
    cpuid
.behind:
    nop
    BREAK_OFF
    mov qword [trace_stepped], 0
    mov rax, [trace_count]
    dec rax
    EXPECT_BETWEEN rax, 0, 1, "an emulator may have the one in the shadow"
    mov rax, NOTED(0, RIP)
    cmp rax, .at
    jne .one
    EXPECT_EVENT 1, DB_VECTOR, .behind, "behind it"
    ret
.one:
    EXPECT_EVENT 0, DB_VECTOR, .behind, "behind it"
    ret

; ---- Single steps ----

%macro STEP_CASE 2
    %ifidn %1, "rep-outsb"
    %elifidn %1, "rep-insb"
    %elifidn %1, "rep-movsb-mmio"
    %elifidn %1, "rep-stosd-hole"
    %else
    TEST {"step-", %1}
    TRACE_BEGIN
    OPERANDS %1
    push RFLAGS_TF | 2
    popfq
    %2
%%behind:
    push 2
    popfq
    EXPECT_EVENTS 3, "traps behind it, PUSH and POPF"
    EXPECT_EVENT 0, DB_VECTOR, %%behind, "behind it"
    EXPECT_EVENT_FLAG 0, RFLAGS_RF, 0, "RF is clear in its frame"
    mov rax, NOTED(0, DR6)
    and eax, 0x400f
    EXPECT_EQ rax, 0x4000, "DR6.BS"
    %endif
%endmacro

test_steps:
    EACH STEP_CASE
    TEST "step-iret"
    ; TF by IRET, before an instruction that exits
    TRACE_BEGIN
    mov rax, rsp
    push SEL_DATA
    push rax
    push RFLAGS_TF | 2
    push SEL_CODE64
    push .at
    xor eax, eax
    iretq
.at:
    cpuid
.behind:
    push 2
    popfq
    EXPECT_EVENT 0, DB_VECTOR, .behind, "behind the instruction, not behind IRET"
    TEST "step-ring3"
    TRACE_BEGIN
    CALL_RING3 .ring3, RFLAGS_TF
    EXPECT_EVENT 0, DB_VECTOR, .ring3, "behind CALL"
    EXPECT_EVENT 1, DB_VECTOR, .ring3 + 2, "behind XOR"
    EXPECT_EVENT 2, DB_VECTOR, .ring3 + 4, "behind CPUID"
    EXPECT_EVENT 3, DB_VECTOR, .ring3 + 11, "behind a memory-mapped read"
    ret
.ring3:
    xor eax, eax
    cpuid
    mov eax, [LAPIC + LAPIC_VERSION]
.end:
    ret

; Three iterations: each is followed by its trap; until the last RIP stays and RF is pushed set.
%macro REP_STEP_CASE 2
    TEST {"step-", %1}
    TRACE_BEGIN
    OPERANDS %1
    mov ecx, 3
    push RFLAGS_TF | 2
    popfq
%%at:
    %2
%%behind:
    push 2
    popfq
    EXPECT_EVENTS 5, "traps behind three iterations, PUSH and POPF"
    EXPECT_EVENT 0, DB_VECTOR, %%at, "after the first"
    EXPECT_EQ NOTED(0, RCX), 2, "two are left"
    EXPECT_EVENT 1, DB_VECTOR, %%at, "after the second"
    EXPECT_EVENT 2, DB_VECTOR, %%behind, "after the last"
    EXPECT_EQ NOTED(2, RCX), 0, "none is left"
    EXPECT_EVENT_FLAG 2, RFLAGS_RF, 0, "RF is clear then"
%endmacro

test_rep_steps:
    REP_STEP_CASE "rep-outsb", {rep outsb}
    REP_STEP_CASE "rep-insb", {rep insb}
    REP_STEP_CASE "rep-movsb-mmio", {rep movsb}
    REP_STEP_CASE "rep-stosd-hole", {rep stosd}
    ret

; An interrupt that waits gets in between the iterations or behind the last; nothing is done twice.
test_rep_interrupt:
    TEST "rep-interrupt"
    TRACE_BEGIN
    OPERANDS "rep-stosd-hole"
    mov ecx, 1000
    SEND_SELF VECTOR_LOW
    sti
.at:
    rep stosd
.behind:
    cli
    EXPECT_EVENTS 1, "one interrupt"
    EXPECT_EQ rdi, HOLE + 4000, "all iterations"
    cmp NOTED(0, RCX), 0
    je .late
    EXPECT_EVENT 0, VECTOR_LOW, .at, "in the middle"
    ret
.late:
    EXPECT_EVENT 0, VECTOR_LOW, .behind, "behind the last"
    ret

; ---- Data breakpoints ----

; DATA_CASE name, address, R/W, LEN, instruction, 1 if it hits: a trap right behind it
%macro DATA_CASE 6
    TEST {"data-", %1}
    TRACE_BEGIN
    mov rax, %2
    mov dr2, rax
    OPERANDS %1
    push rax
    mov eax, 0x420 | (%3) << 24 | (%4) << 26
    mov dr7, rax
    pop rax
    %5
%%behind:
    nop
    BREAK_OFF
    EXPECT_EVENTS %6, "traps"
    %if %6 == 1
    EXPECT_EVENT 0, DB_VECTOR, %%behind, "behind the instruction"
    EXPECT_EVENT_FLAG 0, RFLAGS_RF, 0, "RF is clear in its frame"
    mov rax, NOTED(0, DR6)
    and eax, 0x400f
    EXPECT_EQ rax, 4, "DR6.B2"
    %endif
%endmacro

test_data_breakpoints:
    DATA_CASE "mmio-read", LAPIC + LAPIC_VERSION, ACCESS, BYTES_4, {mov r8d, [LAPIC + LAPIC_VERSION]}, 1
    DATA_CASE "mmio-read-byte", LAPIC + LAPIC_VERSION, ACCESS, BYTES_1, {mov r8d, [LAPIC + LAPIC_VERSION]}, 1
    DATA_CASE "mmio-read-write-only", LAPIC + LAPIC_VERSION, WRITE, BYTES_4, {mov r8d, [LAPIC + LAPIC_VERSION]}, 0
    DATA_CASE "mmio-read-beside", LAPIC + LAPIC_VERSION + 4, ACCESS, BYTES_4, {mov r8d, [LAPIC + LAPIC_VERSION]}, 0
    DATA_CASE "mmio-write", LAPIC + LAPIC_INITIAL, WRITE, BYTES_4, {mov [LAPIC + LAPIC_INITIAL], r9d}, 1
    DATA_CASE "mmio-update", LAPIC + LAPIC_INITIAL, WRITE, BYTES_4, {add dword [rbp], 0}, 1
    DATA_CASE "mmio-update-8", LAPIC + LAPIC_INITIAL, ACCESS, BYTES_8, {add dword [rbp], 0}, 1
    DATA_CASE "mmio-movs-source", LAPIC + LAPIC_VERSION, ACCESS, BYTES_4, {movsd}, 0
    DATA_CASE "hole-write", HOLE + 2, WRITE, BYTES_2, {mov [rbx], r9}, 1
    DATA_CASE "hole-write-beside", HOLE + 8, WRITE, BYTES_2, {mov [rbx], r9}, 0
    DATA_CASE "hole-misaligned", HOLE + 0x1000, ACCESS, BYTES_1, {mov r8, [rbx + 0xffc]}, 1
    DATA_CASE "mmio-movs", buffer, WRITE, BYTES_4, {movsd}, 1
    DATA_CASE "outsb", buffer, ACCESS, BYTES_1, {outsb}, 1
    DATA_CASE "insb", buffer, WRITE, BYTES_1, {insb}, 1
    DATA_CASE "outsb-beside", buffer + 1, ACCESS, BYTES_1, {outsb}, 0
    DATA_CASE "mmio-push", HOLE, ACCESS, BYTES_8, {push qword [rbx]}, 1
    pop rax
    TEST "data-and-step"
    TRACE_BEGIN
    mov rax, LAPIC + LAPIC_VERSION
    mov dr3, rax
    mov eax, 0xf0000480
    mov dr7, rax
    push RFLAGS_TF | 2
    popfq
    mov r8d, [LAPIC + LAPIC_VERSION]
.behind:
    push 2
    popfq
    BREAK_OFF
    EXPECT_EVENT 0, DB_VECTOR, .behind, "behind it"
    mov rax, NOTED(0, DR6)
    and eax, 0x400f
    EXPECT_EQ rax, 0x4008, "DR6.BS and B3"
    TEST "data-rep"
    ; on the second of three elements
    TRACE_BEGIN
    OPERANDS "rep-movsb-mmio"
    mov ecx, 3
    mov eax, buffer + 1
    mov dr0, rax
    mov eax, 0x00010402
    mov dr7, rax
.rep:
    rep movsb
.done:
    BREAK_OFF
    EXPECT_EVENTS 1, "one trap"
    EXPECT_EQ NOTED(0, VECTOR), DB_VECTOR, "#DB"
    EXPECT_EQ NOTED(0, RIP), .rep, "after the second iteration"
    EXPECT_EQ NOTED(0, RCX), 1, "one is left"
    ret

; ---- DR7.GD ----

test_general_detect:
    TEST "general-detect"
    TRACE_BEGIN
    mov eax, 0x2400
    mov dr7, rax
.at:
    mov rbx, dr6
    BREAK_OFF
    EXPECT_EVENTS 1, "one fault"
    EXPECT_EVENT 0, DB_VECTOR, .at, "at the access"
    mov rax, NOTED(0, DR6)
    and eax, 0x600f
    EXPECT_EQ rax, 0x2000, "DR6.BD"
    ret

; A fault with TF set: no step, TF in the frame.
test_faults_with_tf:
    TEST "step-fault"
    HANDLE GP, .fault
    TRACE_BEGIN
    mov qword [resume], .behind
    mov ecx, BAD_MSR
    push RFLAGS_TF | 2
    popfq
.at:
    rdmsr
.behind:
    nop
    HANDLE GP, 0
    EXPECT_EVENTS 1, "the fault alone"
    EXPECT_EVENT 0, GP, .at, "at the instruction"
    EXPECT_EVENT_FLAG 0, RFLAGS_TF, 1, "TF in its frame"
    ret
.fault:
    call skip_fault
    and qword [rdi + FRAME_RFLAGS], ~RFLAGS_TF
    ret
