; NMIs: blocked from their delivery until an IRET, be it one that faults; one waits, more are merged;
; and RIP at the edge of canonical space.
%include "tests/guests/lib.inc"
%include "tests/guests/lib/trace.inc"

HOLE equ 0x30000000

section .bss
alignb 16
seen: resq 2
back: resq 1
back_rsp: resq 1

section .text
main:
    call pic_init
    call lapic_init
    mov dword [LAPIC + LAPIC_ICR_HIGH], 0
    mov rax, cr0
    or eax, CR0_AM
    mov cr0, rax
    TRACED NMI_VECTOR
    TRACED VECTOR_LOW
    TRACED DB_VECTOR
    call test_merging
    call test_iret_forms
    call test_faulting_iret
    call test_nested
    call test_masked
    call test_edge_by_iret
    call test_edge_by_retf
    call test_edge_by_sysret
    call test_edge_by_instruction
    ret

; ---- Blocking ----

test_merging:
    TEST "nmi-merging"
    HANDLE NMI_VECTOR, .handler
    TRACE_BEGIN
    SEND_NMI
.behind:
    nop
    TRACED NMI_VECTOR
    EXPECT_EVENTS 2, "three sent inside the handler are one"
    EXPECT_EVENT 1, NMI_VECTOR, .behind, "behind the handler's IRET"
    ret
.handler:
    call trace_event
    cmp qword [trace_count], 1
    jne .out
    SEND_NMI
    SEND_NMI
    SEND_NMI
    xor eax, eax
    cpuid
    in al, 0x61
    mov eax, [LAPIC + LAPIC_VERSION]
.out:
    ret

; Every IRET unblocks: of 16 and 32 bits in compatibility mode, from the handler of another event.
test_iret_forms:
    TEST "nmi-iret-of-inner-event"
    ; An INT inside the NMI's handler: its IRET unblocks already.
    HANDLE NMI_VECTOR, .handler
    TRACED SOFT
    TRACE_BEGIN
    SEND_NMI
    nop
    TRACED NMI_VECTOR
    EXPECT_EVENTS 3, "NMI, INT, and the second NMI"
    EXPECT_EQ NOTED(1, VECTOR), SOFT, "INT"
    EXPECT_EVENT 2, NMI_VECTOR, .behind_int, "behind the IRET of INT's handler"
    TEST "nmi-sysexit-like"
    ; Leaving the handler by a jump leaves NMIs blocked.
    HANDLE NMI_VECTOR, .leave
    TRACE_BEGIN
    mov [back_rsp], rsp
    mov qword [back], .left
    SEND_NMI
    jmp $
.left:
    mov rsp, [back_rsp]
    TRACED NMI_VECTOR
    SEND_NMI
    xor eax, eax
    cpuid
    nop
    EXPECT_EVENTS 0, "blocked still"
    mov rax, rsp
    push SEL_DATA
    push rax
    push 2
    push SEL_CODE64
    push .unblocked
    iretq
.unblocked:
    nop
    EXPECT_EVENTS 1, "behind an IRET"
    EXPECT_EVENT 0, NMI_VECTOR, .unblocked, "at once"
    TEST "nmi-interrupt-in-handler"
    ; Interrupts come inside the handler, when it lets them; their IRET unblocks.
    HANDLE NMI_VECTOR, .enables
    TRACE_BEGIN
    SEND_NMI
    nop
    TRACED NMI_VECTOR
    EXPECT_EVENTS 2, "the NMI and the interrupt"
    EXPECT_EVENT 1, VECTOR_LOW, .enabled, "the interrupt in its handler"
    ret
.handler:
    call trace_event
    cmp qword [trace_count], 1
    jne .out
    SEND_NMI
    int SOFT
.behind_int:
    nop
.out:
    ret
.leave:
    jmp [back]
.enables:
    call trace_event
    SEND_SELF VECTOR_LOW
    sti
    nop
.enabled:
    nop
    cli
    ret

; An IRET that faults has unblocked: the NMI that waits comes before the fault's handler's first
; instruction, or before the fault. Faults that the processor raises, and those that pass a monitor.
test_faulting_iret:
    TEST "nmi-iret-gp"
    HANDLE NMI_VECTOR, .bad_iret
    HANDLE GP, .fault
    TRACE_BEGIN
    mov [back_rsp], rsp
    mov qword [back], .after_gp
    SEND_NMI
    jmp $
.after_gp:
    TRACED NMI_VECTOR
    HANDLE GP, 0
    EXPECT_EVENTS 2, "the second NMI and #GP"
    EXPECT_EVENT 0, NMI_VECTOR, stubs64 + GP * 16, "the NMI, inside the fault's delivery"
    EXPECT_EVENT 1, GP, .iret, "#GP at IRET"
    TEST "nmi-iret-ac"
    ; A misaligned IRET at ring 3, reached from the handler without one
    HANDLE NMI_VECTOR, .to_ring3
    HANDLE AC_VECTOR, .fault
    TRACE_BEGIN
    mov [back_rsp], rsp
    mov qword [back], .after_ac
    mov ecx, IA32_EFER
    rdmsr
    or eax, EFER_SCE
    wrmsr
    mov ecx, 0xc0000081
    xor eax, eax
    mov edx, (0x30 | 3) << 16 | SEL_CODE64
    wrmsr
    SEND_NMI
    jmp $
.after_ac:
    TRACED NMI_VECTOR
    HANDLE AC_VECTOR, 0
    EXPECT_EVENTS 2, "the second NMI and #AC"
    EXPECT_EVENT 0, NMI_VECTOR, stubs64 + AC_VECTOR * 16, "the NMI, inside the fault's delivery"
    EXPECT_EVENT 1, AC_VECTOR, .ring3_iret, "#AC at IRET"
    ret
.bad_iret:
    TRACED NMI_VECTOR
    SEND_NMI
    push SEL_DATA
    push rsp
    push 2
    push 0x1238 ; no such segment
    push .iret
.iret:
    iretq
.fault:
    call trace_event
    mov rax, [back]
    mov [rdi + FRAME_RIP], rax
    mov rax, [back_rsp]
    mov [rdi + FRAME_RSP], rax
    mov qword [rdi + FRAME_CS], SEL_CODE64
    mov qword [rdi + FRAME_SS], SEL_DATA
    mov qword [rdi + FRAME_RFLAGS], 2
    ret
.to_ring3:
    TRACED NMI_VECTOR
    SEND_NMI
    mov ecx, .ring3
    mov r11d, RFLAGS_AC | 2
    mov esp, ring3_stack_top - 64
    o64 sysret
.ring3:
    mov qword [rsp], .ring3
    mov rsp, ring3_stack_top - 61
.ring3_iret:
    iretq

test_nested:
    TEST "nmi-beats-interrupt"
    ; Both wait: the NMI first, then the interrupt.
    HANDLE NMI_VECTOR, .handler
    TRACE_BEGIN
    SEND_NMI
    sti
    nop
.behind:
    cli
    TRACED NMI_VECTOR
    EXPECT_EVENTS 3, "two NMIs, one interrupt"
    EXPECT_EQ NOTED(1, VECTOR), NMI_VECTOR, "the NMI that waited"
    EXPECT_EQ NOTED(2, VECTOR), VECTOR_LOW, "then the interrupt"
    EXPECT_EQ NOTED(2, RIP), .behind, "behind STI's shadow"
    ret
.handler:
    call trace_event
    cmp qword [trace_count], 1
    jne .out
    SEND_SELF VECTOR_LOW
    SEND_NMI
.out:
    ret

; A single step inside an NMI's handler does not end the blocking; #DB's IRET does.
test_masked:
    TEST "nmi-step-in-handler"
    HANDLE NMI_VECTOR, .handler
    TRACE_BEGIN
    SEND_NMI
    nop
    TRACED NMI_VECTOR
    EXPECT_EQ NOTED(0, VECTOR), NMI_VECTOR, "the NMI"
    EXPECT_EVENT 1, DB_VECTOR, .stepped, "a step in its handler"
    EXPECT_EVENT 2, NMI_VECTOR, .stepped, "the next NMI behind #DB's IRET"
    ret
.handler:
    call trace_event
    cmp qword [trace_count], 1
    jne .out
    SEND_NMI
    xor eax, eax
    push RFLAGS_TF | 2
    popfq
    cpuid
.stepped:
    push 2
    popfq
.out:
    ret

; ---- RIP out of canonical space ----

EDGE equ 0x800000000000

edge_fault: ; RDI: frame
    call trace_event
    mov rax, [back]
    mov [rdi + FRAME_RIP], rax
    mov rax, [back_rsp]
    mov [rdi + FRAME_RSP], rax
    mov qword [rdi + FRAME_CS], SEL_CODE64
    mov qword [rdi + FRAME_SS], SEL_DATA
    mov qword [rdi + FRAME_RFLAGS], 2
    ret

%macro EDGE_BEGIN 1
    HANDLE GP, edge_fault
    mov qword [back], %1
    TRACE_BEGIN
%endmacro
%macro EDGE_END 0
    HANDLE GP, 0
    mov eax, SEL_DATA
    mov ds, eax
    mov es, eax
    mov ss, eax
%endmacro

test_edge_by_iret:
    TEST "edge-iret"
    EDGE_BEGIN .after
    mov [back_rsp], rsp
    mov rcx, EDGE
    mov rax, rsp
    push SEL_DATA
    push rax
    push 2
    push SEL_CODE64
    push rcx
.at:
    iretq
.after:
    EDGE_END
    EXPECT_EVENTS 1, "#GP"
    EXPECT_EVENT 0, GP, .at, "at IRET"
    EXPECT_EQ NOTED(0, ERROR), 0, "its error code"
    ret

test_edge_by_retf:
    TEST "edge-retf"
    EDGE_BEGIN .after
    mov [back_rsp], rsp
    mov rcx, EDGE
    push SEL_CODE64
    push rcx
.at:
    o64 retf
.after:
    EDGE_END
    EXPECT_EVENTS 1, "#GP"
    EXPECT_EVENT 0, GP, .at, "at RETF"
    TEST "edge-ret"
    EDGE_BEGIN .after_ret
    mov [back_rsp], rsp
    mov rcx, EDGE
    push rcx
.ret:
    ret
.after_ret:
    EDGE_END
    EXPECT_EVENTS 1, "#GP"
    TEST "edge-jmp"
    EDGE_BEGIN .after_jmp
    mov [back_rsp], rsp
    mov rcx, EDGE
    jmp rcx
.after_jmp:
    EDGE_END
    EXPECT_EVENTS 1, "#GP"
    ret

; SYSRET with such an RCX faults at ring 0.
test_edge_by_sysret:
    TEST "edge-sysret"
    mov ecx, IA32_EFER
    rdmsr
    or eax, EFER_SCE
    wrmsr
    mov ecx, 0xc0000081
    xor eax, eax
    mov edx, (0x30 | 3) << 16 | SEL_CODE64
    wrmsr
    EDGE_BEGIN .after
    mov [back_rsp], rsp
    mov rcx, EDGE
    mov r11d, 2
.at:
    o64 sysret
.after:
    EDGE_END
    EXPECT_EVENTS 1, "#GP"
    EXPECT_EVENT 0, GP, .at, "at SYSRET"
    mov rax, NOTED(0, RSP)
    EXPECT_EQ rax, qword [back_rsp], "on the stack of ring 0"
    ret

; Instructions that exit as the last ones of canonical space: behind them RIP is not canonical.
%macro LAST_CASE 3 ; name, bytes, length
    TEST {"edge-", %1}
    mov dword [last_code + 4096 - 4], 0x90909090
    mov rax, %2
    mov [last_code + 4096 - 8], rax
    EDGE_BEGIN %%after
    mov [back_rsp], rsp
    xor eax, eax
    xor ecx, ecx
    mov edx, 0x3ff
    mov rbx, EDGE - (%3)
    jmp rbx
%%after:
    EDGE_END
    EXPECT_EVENTS 1, "#GP"
    EXPECT_EQ NOTED(0, VECTOR), GP, "#GP"
    EXPECT_EQ NOTED(0, ERROR), 0, "its error code"
    mov rax, NOTED(0, RIP)
    mov rbx, EDGE
    EXPECT_EQ rax, rbx, "from the fetch behind it"
%endmacro

section .bss
alignb 4096
last_code: resb 4096
last_tables: resq 512 * 3

section .text
test_edge_by_instruction:
    mov rax, last_tables + 7
    mov [pml4 + 255 * 8], rax
    mov rax, last_tables + 4096 + 7
    mov [last_tables + 511 * 8], rax
    mov rax, last_tables + 8192 + 7
    mov [last_tables + 4096 + 511 * 8], rax
    mov rax, last_code + 7
    mov [last_tables + 8192 + 511 * 8], rax
    mov rax, cr3
    mov cr3, rax
    LAST_CASE "nop", 0x9000000000000000, 1
    LAST_CASE "cpuid", 0xa20f000000000000, 2
    LAST_CASE "in", 0xec00000000000000, 1
    LAST_CASE "out", 0xee00000000000000, 1
    LAST_CASE "wbinvd", 0x090f000000000000, 2
    LAST_CASE "clts", 0x060f000000000000, 2
    LAST_CASE "mov-from-cr8", 0xc0200f4400000000, 4
    ret
