; The shadows of STI, MOV SS and POP SS, and the order of debug traps and interrupts, over
; instructions that run by themselves and over those that a monitor carries out.
%include "tests/guests/lib.inc"
%include "tests/guests/lib/trace.inc"

HOLE equ 0x30000000
PORT equ 0x3ff ; the UART's scratch register

section .bss
alignb 16
scratch: resq 4
string: resb 64

section .data
align 16
stack_selector: dd SEL_DATA, 0
lss_pointer: dd 0, SEL_DATA

section .text
main:
    call pic_init
    call lapic_init
    mov dword [LAPIC + LAPIC_ICR_HIGH], 0
    TRACED DB_VECTOR
    TRACED VECTOR_LOW
    TRACED VECTOR_HIGH
    TRACED SOFT
    TRACED BP_VECTOR
    TRACED NMI_VECTOR
    call test_sti
    call test_mov_ss
    call test_mov_ss_step
    call test_mov_ss_breakpoint
    call test_other_loads
    call test_soft_in_shadow
    call test_fault_in_shadow
    call test_trap_before_interrupt
    call test_windows
    call test_hlt
    call test_protected
    ret

; What stands in a shadow, one instruction each: EACH macro, ... expands macro NAME, {instruction}.
; The registers that they need: set_operands.
%macro EACH 1
    %1 "nop", {nop}
    %1 "cpuid", {cpuid}
    %1 "in", {in al, dx}
    %1 "out", {out dx, al}
    %1 "mmio-read", {mov r8d, [LAPIC + LAPIC_VERSION]}
    %1 "mmio-write", {mov [LAPIC + LAPIC_INITIAL], r9d}
    %1 "mmio-update", {add dword [rdi], 0}
    %1 "hole", {mov r8, [rsi]}
    %1 "rdmsr", {rdmsr}
    %1 "wrmsr", {wrmsr}
    %1 "mov-from-cr8", {mov r8, cr8}
    %1 "mov-to-cr8", {mov cr8, r9}
    %1 "mov-to-cr0", {mov cr0, r10}
    %1 "mov-to-cr3", {mov cr3, r11}
    %1 "mov-to-cr4", {mov cr4, r12}
    %1 "wbinvd", {wbinvd}
    %1 "clts", {clts}
    %1 "outsb", {outsb}
    %1 "insb", {insb}
%endmacro

set_operands: ; keeps flags and RBX; the LAPIC's timer is off
    mov r10, cr0
    mov r11, cr3
    mov r12, cr4
    mov ecx, 0x277 ; IA32_PAT
    rdmsr
    xor r9d, r9d
    mov rdi, LAPIC + LAPIC_INITIAL
    mov esi, HOLE
    ret

; OUTSB and INSB take their memory at RSI and RDI.
%macro OPERANDS 1
    call set_operands
    %ifidn %1, "cpuid"
    xor eax, eax
    xor ecx, ecx
    %endif
    %ifidn %1, "in"
    mov edx, PORT
    %elifidn %1, "out"
    mov edx, PORT
    %elifidn %1, "outsb"
    mov edx, PORT
    mov esi, string
    %elifidn %1, "insb"
    mov edx, PORT
    mov edi, string
    %endif
%endmacro

; ---- STI ----

%macro STI_CASE 2
    TEST {"sti-", %1}
    TRACE_BEGIN
    OPERANDS %1
    SEND_SELF VECTOR_LOW
    sti
    %2
%%behind:
    cli
    EXPECT_EVENTS 1, "one interrupt"
    EXPECT_EVENT 0, VECTOR_LOW, %%behind, "behind the instruction in the shadow"
%endmacro

test_sti:
    EACH STI_CASE
    TEST "sti-sti"
    TRACE_BEGIN
    SEND_SELF VECTOR_LOW
    sti
    sti
.behind_second:
    nop
    cli
    EXPECT_EVENT 0, VECTOR_LOW, .behind_second, "the second STI casts no shadow"
    TEST "sti-shadow-once"
    ; With IF set before, STI casts none.
    TRACE_BEGIN
    mov dword [LAPIC + LAPIC_TPR], 0xf0
    SEND_SELF VECTOR_LOW
    sti
    nop
    sti
    mov dword [LAPIC + LAPIC_TPR], 0
.behind_tpr:
    nop
    cli
    EXPECT_EVENT 0, VECTOR_LOW, .behind_tpr, "right behind the instruction that unmasks"
    ret

; ---- MOV SS ----

; The interrupt waits behind STI's shadow, which holds MOV SS; whose own holds the instruction.
%macro MOV_SS_CASE 2
    TEST {"mov-ss-", %1}
    TRACE_BEGIN
    OPERANDS %1
    SEND_SELF VECTOR_LOW
    mov r13d, SEL_DATA
    sti
    mov ss, r13d
    %2
%%behind:
    cli
    EXPECT_EVENTS 1, "one interrupt"
    EXPECT_EVENT 0, VECTOR_LOW, %%behind, "behind the instruction in the shadow"
%endmacro

test_mov_ss:
    EACH MOV_SS_CASE
    TEST "mov-ss-mov-ss"
    TRACE_BEGIN
    SEND_SELF VECTOR_LOW
    mov r13d, SEL_DATA
    sti
    mov ss, r13d
    mov ss, r13d
    nop
.later:
    nop
    cli
    EXPECT_EVENTS 1, "one interrupt"
    EXPECT_BETWEEN NOTED(0, RIP), .later - 1, .later, "the second may cast a shadow or not"
    ret

; A single step over MOV SS and an instruction: one trap, behind that instruction.
%macro MOV_SS_STEP_CASE 2
    TEST {"mov-ss-step-", %1}
    TRACE_BEGIN
    OPERANDS %1
    mov r13d, SEL_DATA
    push RFLAGS_TF | 2
    popfq
    mov ss, r13d
    %2
%%behind:
    nop
%%second:
    push 2
    popfq
    EXPECT_EVENTS 4, "traps behind it, NOP, PUSH and POPF"
    EXPECT_EVENT 0, DB_VECTOR, %%behind, "behind the instruction in the shadow"
    EXPECT_EVENT 1, DB_VECTOR, %%second, "behind the one after"
    mov rax, NOTED(0, DR6)
    and eax, 0x400f
    EXPECT_EQ rax, 0x4000, "DR6.BS alone"
%endmacro

test_mov_ss_step:
    EACH MOV_SS_STEP_CASE
    ret

; ---- A data breakpoint on what MOV SS reads ----

%macro BREAK_ON_SELECTOR 0
    mov eax, stack_selector
    mov dr0, rax
    mov eax, 0x000f0402 ; reads and writes of 4 bytes
    mov dr7, rax
%endmacro
%macro BREAK_OFF 0
    push rax
    mov eax, 0x400
    mov dr7, rax
    pop rax
%endmacro

%macro MOV_SS_BREAKPOINT_CASE 2
    TEST {"mov-ss-breakpoint-", %1}
    TRACE_BEGIN
    BREAK_ON_SELECTOR
    OPERANDS %1
    mov ss, [stack_selector]
    %2
%%behind:
    nop
    BREAK_OFF
    EXPECT_EVENTS 1, "one trap"
    EXPECT_EVENT 0, DB_VECTOR, %%behind, "behind the instruction in the shadow"
    mov rax, NOTED(0, DR6)
    and eax, 0x400f
    EXPECT_EQ rax, 1, "DR6.B0 alone"
    TEST {"mov-ss-breakpoint-step-", %1}
    TRACE_BEGIN
    BREAK_ON_SELECTOR
    OPERANDS %1
    push RFLAGS_TF | 2
    popfq
    mov ss, [stack_selector]
    %2
%%stepped:
    push 2
    popfq
    BREAK_OFF
    EXPECT_EVENTS 3, "traps behind it, PUSH and POPF"
    EXPECT_EVENT 0, DB_VECTOR, %%stepped, "behind the instruction in the shadow"
    mov rax, NOTED(0, DR6)
    and eax, 0x400f
    EXPECT_EQ rax, 0x4001, "DR6.BS and B0"
%endmacro

test_mov_ss_breakpoint:
    EACH MOV_SS_BREAKPOINT_CASE
    ret

; ---- LSS ----

test_other_loads:
    TEST "lss-no-shadow"
    mov eax, esp
    mov [lss_pointer], eax
    TRACE_BEGIN
    SEND_SELF VECTOR_LOW
    sti
    lss esp, [lss_pointer]
.behind_lss:
    cpuid
    cli
    EXPECT_EVENTS 1, "one interrupt"
    EXPECT_EVENT 0, VECTOR_LOW, .behind_lss, "right behind LSS"
    ret

; ---- INT n, INT3 and INT1 in the shadow ----

; What MOV SS left pending comes at the handler's first instruction; emulators lose it.

%macro SOFT_CASE 4 ; name, instruction, vector, first instruction of its stub
    TEST {"mov-ss-breakpoint-", %1}
    TRACE_BEGIN
    BREAK_ON_SELECTOR
    mov ss, [stack_selector]
    %2
%%behind:
    BREAK_OFF
    cmp qword [trace_count], 1
    je %%lost
    EXPECT_EVENTS 2, "the event, and #DB inside it"
    EXPECT_EVENT 0, DB_VECTOR, %4, "at the handler's first instruction"
    EXPECT_EVENT 1, %3, %%behind, "the event itself"
    jmp %%step
%%lost:
    EXPECT_EVENT 0, %3, %%behind, "the event itself"
%%step:
    TEST {"mov-ss-step-", %1}
    TRACE_BEGIN
    mov r13d, SEL_DATA
    push RFLAGS_TF | 2
    popfq
    mov ss, r13d
    %2
%%stepped:
    push 2
    popfq
    EXPECT_EVENTS 3, "the event, and traps behind PUSH and POPF"
    EXPECT_EVENT 0, %3, %%stepped, "the event"
    EXPECT_EVENT_FLAG 0, RFLAGS_TF, 1, "TF in its frame"
%endmacro

test_soft_in_shadow:
    SOFT_CASE "int", {int SOFT}, SOFT, {stubs64 + SOFT * 16}
    SOFT_CASE "int3", {int3}, BP_VECTOR, {stubs64 + BP_VECTOR * 16}
    TEST "mov-ss-step-int1"
    TRACE_BEGIN
    mov r13d, SEL_DATA
    push RFLAGS_TF | 2
    popfq
    mov ss, r13d
    db 0xf1
.stepped:
    push 2
    popfq
    EXPECT_EVENTS 3, "the event, and traps behind PUSH and POPF"
    EXPECT_EVENT 0, DB_VECTOR, .stepped, "the event"
    mov rax, NOTED(0, DR6)
    and eax, 0x400f
    EXPECT_EQ rax, 0, "INT1 leaves DR6 alone"
    ret

; ---- A fault in the shadow ----

%macro FAULT_CASE 4 ; name, instruction, vector, bytes to go on behind
    TEST {"fault-in-shadow-", %1}
    TRACE_BEGIN
    mov qword [scratch], %%resume
    BREAK_ON_SELECTOR
    HANDLE %3, skip_fault
    mov ecx, 0x12345
    mov ss, [stack_selector]
%%at:
    %2
%%resume:
    nop
    BREAK_OFF
    HANDLE %3, 0
    EXPECT_EVENT 0, %3, %%at, "the fault"
    EXPECT_EVENT_FLAG 0, RFLAGS_RF, 1, "RF in its frame"
    EXPECT_EVENTS 1, "the pending trap is lost"
%endmacro

skip_fault:
    call trace_event
    mov rax, [scratch]
    mov [rdi + FRAME_RIP], rax
    and qword [rdi + FRAME_RFLAGS], ~RFLAGS_RF
    ret

test_fault_in_shadow:
    FAULT_CASE "ud2", {ud2}, UD, 2
    FAULT_CASE "rdmsr", {rdmsr}, GP, 2
    FAULT_CASE "vmcall-like", {vmxoff}, UD, 3
    ret

; ---- Traps on the instruction before come before interrupts ----

%macro TRAP_ORDER_CASE 2 ; name, what sends the event
    TEST {"trap-before-", %1}
    TRACE_BEGIN
    mov r8d, ICR_SELF | VECTOR_LOW
    mov r9d, ICR_NMI
    push RFLAGS_TF | RFLAGS_IF | 2
    popfq
    %2
%%behind:
    push 2
    popfq
    EXPECT_EVENTS 4, "the step, the event, and traps behind PUSH and POPF"
    mov r14, %%behind
%endmacro

test_trap_before_interrupt:
    TRAP_ORDER_CASE "interrupt", {mov [LAPIC + LAPIC_ICR], r8d}
    EXPECT_EVENT 0, DB_VECTOR, r14, "the single step first"
    EXPECT_EVENT 1, VECTOR_LOW, r14, "the interrupt behind its handler's IRET"
    TRAP_ORDER_CASE "nmi", {mov [LAPIC + LAPIC_ICR], r9d}
    EXPECT_EVENT 0, NMI_VECTOR, stubs64 + DB_VECTOR * 16, "the NMI at the trap handler's begin"
    EXPECT_EVENT 1, DB_VECTOR, r14, "the single step was first"
    ret

; ---- When a waiting interrupt goes in ----

test_windows:
    TEST "window-popf"
    TRACE_BEGIN
    SEND_SELF VECTOR_LOW
    push RFLAGS_IF | 2
    popfq
.popf:
    nop
    cli
    EXPECT_EVENT 0, VECTOR_LOW, .popf, "right behind POPF"
    TEST "window-iret"
    TRACE_BEGIN
    SEND_SELF VECTOR_LOW
    mov rax, rsp
    push SEL_DATA
    push rax
    push RFLAGS_IF | 2
    push SEL_CODE64
    push .iret
    iretq
.iret:
    cpuid
    cli
    EXPECT_EVENT 0, VECTOR_LOW, .iret, "right behind IRET"
    TEST "window-cr8"
    TRACE_BEGIN
    mov eax, 15
    mov cr8, rax
    SEND_SELF VECTOR_LOW
    sti
    nop
    nop
    EXPECT_EVENTS 0, "held by CR8"
    mov eax, VECTOR_LOW >> 4
    mov cr8, rax
    nop
    EXPECT_EVENTS 0, "its own class is held"
    dec eax
    mov cr8, rax
.cr8:
    nop
    cli
    EXPECT_EVENT 0, VECTOR_LOW, .cr8, "right behind MOV to CR8"
    TEST "window-tpr"
    TRACE_BEGIN
    mov dword [LAPIC + LAPIC_TPR], 0xf0
    SEND_SELF VECTOR_LOW
    sti
    nop
    EXPECT_EVENTS 0, "held by the TPR"
    mov dword [LAPIC + LAPIC_TPR], 0
.tpr:
    nop
    cli
    EXPECT_EVENT 0, VECTOR_LOW, .tpr, "right behind the write"
    TEST "window-two"
    TRACE_BEGIN
    SEND_SELF VECTOR_LOW
    SEND_SELF VECTOR_HIGH
    sti
    nop
.two:
    nop
    cli
    EXPECT_EVENTS 2, "both"
    EXPECT_EVENT 0, VECTOR_HIGH, .two, "the higher one first"
    EXPECT_EVENT 1, VECTOR_LOW, .two, "the other behind its IRET"
    TEST "window-eoi"
    TRACE_BEGIN
    HANDLE VECTOR_HIGH, .in_service
    SEND_SELF VECTOR_HIGH
    sti
    nop
    nop
    cli
    TRACED VECTOR_HIGH
    EXPECT_EVENTS 2, "both"
    EXPECT_EVENT 1, VECTOR_LOW, .behind_eoi, "right behind the EOI of the higher one"
    TEST "window-xchg"
    ; A waiting interrupt, and IF that comes and goes.
    TRACE_BEGIN
    SEND_SELF VECTOR_LOW
    mov ebx, 3
.again:
    sti
    cli
    dec ebx
    jnz .again
    EXPECT_EVENTS 0, "STI; CLI lets nothing in"
    sti
    nop
.in:
    cli
    EXPECT_EVENT 0, VECTOR_LOW, .in, "STI; NOP does"
    ret
.in_service:
    push rdi
    mov qword [trace_count], 1
    SEND_SELF VECTOR_LOW
    sti
    nop
    nop
    mov dword [LAPIC + LAPIC_EOI], 0
.behind_eoi:
    nop
    cli
    pop rdi
    ret

test_hlt:
    TEST "mov-ss-hlt"
    ; HLT in a shadow, with an interrupt that waits: over at once.
    TRACE_BEGIN
    SEND_SELF VECTOR_LOW
    mov eax, SEL_DATA
    sti
    mov ss, eax
    hlt
.woken:
    cli
    EXPECT_EVENTS 1, "one interrupt"
    EXPECT_EVENT 0, VECTOR_LOW, .woken, "behind HLT"
    ret

; ---- POP SS, in 32-bit mode ----

test_protected:
    TEST "pop-ss"
    CALL_MODE MODE_FLAT32, pop_ss32
    mov eax, [scratch]
    EXPECT_EQ rax, 0x41, "the interrupt came"
    mov eax, [scratch + 4]
    EXPECT_EQ rax, pop_ss32.behind, "behind the instruction in the shadow"
    TEST "pop-ss-step"
    CALL_MODE MODE_FLAT32, pop_ss_step32
    mov eax, [scratch]
    EXPECT_EQ rax, DB_VECTOR, "a trap"
    mov eax, [scratch + 4]
    EXPECT_EQ rax, pop_ss_step32.behind, "behind the instruction in the shadow"
    ret

bits 32
first32: ; notes the first event; EDI: frame
    cmp dword [scratch], 0
    jne .out
    movzx eax, byte [edi + FRAME32_VECTOR]
    mov [scratch], eax
    mov eax, [edi + FRAME32_EIP]
    mov [scratch + 4], eax
.out:
    and dword [edi + FRAME32_EFLAGS], ~RFLAGS_TF
    mov eax, 0xffff0ff0
    mov dr6, eax
    cmp byte [edi + FRAME32_VECTOR], VECTOR_LOW
    jne .done
    mov dword [LAPIC32 + LAPIC_EOI], 0
.done:
    ret

pop_ss32:
    mov dword [scratch], 0
    mov dword [handlers32 + VECTOR_LOW * 4], first32
    mov dword [LAPIC32 + LAPIC_ICR], ICR_SELF | VECTOR_LOW
    push SEL_DATA
    sti
    pop ss
    cpuid
.behind:
    nop
    cli
    ret

pop_ss_step32:
    mov dword [scratch], 0
    mov dword [handlers32 + DB_VECTOR * 4], first32
    push SEL_DATA
    push RFLAGS_TF | 2
    popf
    pop ss
    cpuid
.behind:
    nop
    ret
