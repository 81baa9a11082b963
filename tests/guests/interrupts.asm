; Interrupts and exceptions: sources, priorities, shadows and delivery.
%include "tests/guests/lib.inc"

VECTOR_A equ 0x41
VECTOR_B equ 0x52
VECTOR_C equ 0x63
VECTOR_TIMER equ 0x70
VECTOR_IOAPIC equ 0x74
SOFT equ 0x90

ICR_SELF equ 1 << 18
ICR_NMI equ 4 << 8
TSC_DEADLINE_MSR equ 0x6e0

section .bss
alignb 16
scratch: resq 4
saved_rsp_test: resq 1
caught_df: resq 1

section .text
main:
    call time_init
    call pic_init
    call lapic_init
    HANDLE VECTOR_A, count_event_lapic
    HANDLE VECTOR_B, count_event_lapic
    HANDLE VECTOR_C, count_event_lapic
    HANDLE VECTOR_TIMER, count_event_lapic
    HANDLE VECTOR_IOAPIC, count_event_lapic
    HANDLE PIC_BASE, count_event_pic
    HANDLE SOFT, count_event
    HANDLE PIC_BASE + 7, count_event ; spurious
    call test_pit
    call test_lapic_timer
    call test_hlt
    call test_shadows
    call test_nmi
    call test_priorities
    call test_exceptions
    call test_double_fault
    call test_soft
    ret

; Waits for RSI events of vector %1, at most %2 microseconds.
%macro WAIT_FOR 2
    mov edi, event_count + (%1) * 8
    mov eax, %2
    call wait_for_count
%endmacro

test_pit:
    TEST "pit-via-pic"
    call forget_events
    mov al, 2
    mov cx, 11932 ; 10 ms
    call pit_start
    mov al, 0xfe
    out PIC1 + 1, al
    mov esi, 3
    WAIT_FOR PIC_BASE, 200000
    EXPECT_BETWEEN qword [event_count + PIC_BASE * 8], 3, 4, "ticks"
    TEST "pic-masked"
    mov al, 0xff
    out PIC1 + 1, al
    mov esi, 1
    mov eax, 30000
    sti
    call delay
    cli
    call forget_events
    sti
    mov eax, 30000
    call delay
    cli
    EXPECT_EQ qword [event_total], 0, "no tick when masked"

    TEST "pit-via-ioapic"
    mov ecx, 2 ; IRQ 0 arrives at input 2
    mov eax, VECTOR_IOAPIC
    call ioapic_route
    mov esi, 3
    WAIT_FOR VECTOR_IOAPIC, 200000
    EXPECT_BETWEEN qword [event_count + VECTOR_IOAPIC * 8], 3, 4, "ticks"
    mov ecx, 2
    mov eax, 0x10000
    call ioapic_route
    call forget_events
    sti
    mov eax, 30000
    call delay
    cli
    EXPECT_EQ qword [event_total], 0, "no tick when masked"

    TEST "pit-one-shot"
    mov al, 0
    mov cx, 11932
    call pit_start
    mov al, 0xfe ; the masked input may have latched an edge of the earlier mode: let it go first
    out PIC1 + 1, al
    sti
    nop
    nop
    cli
    mov al, 0
    call pit_start
    call forget_events
    mov esi, 2
    WAIT_FOR PIC_BASE, 60000
    EXPECT_BETWEEN qword [event_count + PIC_BASE * 8], 1, 1, "mode 0 fires once"
    mov al, 0xff
    out PIC1 + 1, al
    ret

test_lapic_timer:
    TEST "lapic-one-shot"
    call forget_events
    mov dword [LAPIC + LAPIC_LVT_TIMER], VECTOR_TIMER
    mov dword [LAPIC + LAPIC_DIVIDE], 0xb
    mov dword [LAPIC + LAPIC_INITIAL], 100000
    mov esi, 2
    WAIT_FOR VECTOR_TIMER, 50000
    EXPECT_EQ qword [event_count + VECTOR_TIMER * 8], 1, "fires once"
    mov eax, [LAPIC + LAPIC_CURRENT]
    EXPECT_EQ rax, 0, "the count stays at zero"
    TEST "lapic-periodic"
    call forget_events
    mov dword [LAPIC + LAPIC_LVT_TIMER], 0x20000 | VECTOR_TIMER
    mov dword [LAPIC + LAPIC_INITIAL], 200000
    mov esi, 4
    WAIT_FOR VECTOR_TIMER, 200000
    EXPECT_BETWEEN qword [event_count + VECTOR_TIMER * 8], 4, 5, "ticks"
    mov eax, [LAPIC + LAPIC_CURRENT]
    EXPECT_BETWEEN rax, 1, 200000, "the count runs"
    mov dword [LAPIC + LAPIC_INITIAL], 0
    call forget_events
    sti
    mov eax, 20000
    call delay
    cli
    EXPECT_EQ qword [event_total], 0, "an initial count of zero stops it"
    TEST "lapic-divide"
    mov dword [LAPIC + LAPIC_LVT_TIMER], 0x10000 | VECTOR_TIMER
    mov dword [LAPIC + LAPIC_DIVIDE], 0x3 ; by 16
    mov dword [LAPIC + LAPIC_INITIAL], 0xffffffff
    mov eax, 10000
    call delay
    mov ebx, [LAPIC + LAPIC_CURRENT]
    not ebx
    mov dword [LAPIC + LAPIC_DIVIDE], 0xb ; by 1
    mov dword [LAPIC + LAPIC_INITIAL], 0xffffffff
    call delay
    mov eax, [LAPIC + LAPIC_CURRENT]
    not eax
    mov dword [LAPIC + LAPIC_INITIAL], 0
    xor edx, edx
    test ebx, ebx
    jz .ratio
    div ebx
.ratio:
    mov eax, eax
    EXPECT_BETWEEN rax, 8, 32, "by 1 against by 16"
    TEST "tsc-deadline"
    mov eax, 1
    cpuid
    bt ecx, 24
    jnc .no_deadline
    call forget_events
    mov dword [LAPIC + LAPIC_LVT_TIMER], 0x40000 | VECTOR_TIMER
    mfence
    mov eax, 1000
    call time_ticks
    mov rbx, rax
    call read_tsc
    add rbx, rax
    mov rax, rbx
    mov rdx, rbx
    shr rdx, 32
    mov ecx, TSC_DEADLINE_MSR
    wrmsr
    rdmsr
    shl rdx, 32
    or rax, rdx
    EXPECT_EQ rax, rbx, "the deadline reads back"
    mov esi, 1
    WAIT_FOR VECTOR_TIMER, 50000
    EXPECT_EQ qword [event_count + VECTOR_TIMER * 8], 1, "fires"
    call read_tsc
    EXPECT_BETWEEN rax, rbx, -1, "not before the deadline"
    mov ecx, TSC_DEADLINE_MSR
    rdmsr
    or eax, edx
    EXPECT_EQ rax, 0, "disarmed after it fired"
    TEST "tsc-deadline-past"
    call forget_events
    mov eax, 1
    xor edx, edx
    wrmsr
    mov esi, 1
    WAIT_FOR VECTOR_TIMER, 10000
    EXPECT_EQ qword [event_count + VECTOR_TIMER * 8], 1, "a deadline in the past fires at once"
    TEST "tsc-deadline-cancel"
    call forget_events
    mov eax, 2000
    call time_ticks
    mov rbx, rax
    call read_tsc
    add rax, rbx
    mov rdx, rax
    shr rdx, 32
    mov ecx, TSC_DEADLINE_MSR
    wrmsr
    xor eax, eax
    xor edx, edx
    wrmsr
    mov esi, 1
    WAIT_FOR VECTOR_TIMER, 10000
    EXPECT_EQ qword [event_total], 0, "zero disarms"
    mov dword [LAPIC + LAPIC_LVT_TIMER], 0x10000
    ret
.no_deadline:
    SKIP "not offered"
    mov dword [LAPIC + LAPIC_LVT_TIMER], 0x10000
    ret

; Arms the one-shot timer for EAX ticks (divide by 1).
arm:
    mov dword [LAPIC + LAPIC_LVT_TIMER], VECTOR_TIMER
    mov [LAPIC + LAPIC_INITIAL], eax
    ret

test_hlt:
    TEST "hlt"
    call forget_events
    mov eax, 500000
    call arm
    sti
    hlt
.woken:
    cli
    EXPECT_EQ qword [event_count + VECTOR_TIMER * 8], 1, "woken by the timer"
    EXPECT_EQ qword [event_rip], .woken, "the return address is behind HLT"
    TEST "hlt-pending"
    ; An interrupt that waits when STI; HLT begins: taken behind HLT, which ends at once.
    call forget_events
    mov eax, 1
    call arm
    mov eax, 2000
    call delay
    sti
    hlt
.woken_at_once:
    cli
    EXPECT_EQ qword [event_count + VECTOR_TIMER * 8], 1, "taken"
    EXPECT_EQ qword [event_rip], .woken_at_once, "behind HLT"
    ret

test_shadows:
    TEST "sti-shadow"
    call forget_events
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | VECTOR_A
    sti
    nop
.after_one:
    nop
    cli
    EXPECT_EQ qword [event_count + VECTOR_A * 8], 1, "taken"
    EXPECT_EQ qword [event_rip], .after_one, "one instruction behind STI"
    TEST "sti-cli"
    call forget_events
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | VECTOR_A
    sti
    cli
    nop
    EXPECT_EQ qword [event_total], 0, "not between STI and CLI"
    sti
    nop
    nop
    cli
    EXPECT_EQ qword [event_total], 1, "afterwards"
    TEST "sti-shadow-over-exit"
    ; The instruction in the shadow exits to a monitor: the shadow ends with it, not before.
    call forget_events
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | VECTOR_A
    xor eax, eax
    sti
    cpuid
.after_cpuid:
    nop
    cli
    EXPECT_EQ qword [event_rip], .after_cpuid, "behind CPUID"
    call forget_events
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | VECTOR_A
    sti
    in al, 0x61
.after_in:
    nop
    cli
    EXPECT_EQ qword [event_rip], .after_in, "behind IN"
    call forget_events
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | VECTOR_A
    sti
    mov eax, [LAPIC + LAPIC_VERSION]
.after_mmio:
    nop
    cli
    EXPECT_EQ qword [event_rip], .after_mmio, "behind a memory-mapped read"
    TEST "mov-ss-shadow"
    call forget_events
    mov eax, SEL_DATA
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | VECTOR_A
    sti
    mov ss, eax ; in STI's shadow; its own covers the NOP
    nop
.after_mov_ss:
    nop
    cli
    EXPECT_EQ qword [event_count + VECTOR_A * 8], 1, "taken"
    TEST "popf-no-shadow"
    call forget_events
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | VECTOR_A
    push RFLAGS_IF | 2
    popfq
.after_popf:
    nop
    cli
    EXPECT_EQ qword [event_rip], .after_popf, "right behind POPF"
    ret

; NMI to itself; afterwards it is blocked until IRET.
nmi_handler_again:
    call count_event
    cmp qword [event_count + NMI_VECTOR * 8], 1
    ja .out
    mov dword [LAPIC + LAPIC_ICR], ICR_NMI | 1 << 14
    mov ecx, 1000
.wait:
    loop .wait
    mov rax, [event_count + NMI_VECTOR * 8]
    mov [scratch], rax ; 1: the second one waits
.out:
    ret

test_nmi:
    TEST "nmi"
    HANDLE NMI_VECTOR, count_event
    call forget_events
    mov dword [LAPIC + LAPIC_ICR_HIGH], 0
    call send_nmi
    EXPECT_EQ qword [event_count + NMI_VECTOR * 8], 1, "taken with interrupts off"
    TEST "nmi-blocked"
    HANDLE NMI_VECTOR, nmi_handler_again
    call forget_events
    mov qword [scratch], 0
    call send_nmi
    EXPECT_EQ qword [scratch], 1, "blocked inside the handler"
    EXPECT_EQ qword [event_count + NMI_VECTOR * 8], 2, "taken after IRET"
    HANDLE NMI_VECTOR, count_event
    TEST "nmi-wakes-hlt"
    call forget_events
    HANDLE VECTOR_A, .nmi_from_handler
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | VECTOR_A
    mov eax, 300000
    call arm
    sti
    hlt ; the IPI wakes it at once
    cli
    EXPECT_EQ qword [event_count + NMI_VECTOR * 8], 1, "an NMI inside an interrupt handler"
    HANDLE VECTOR_A, count_event_lapic
    mov dword [LAPIC + LAPIC_INITIAL], 0
    ret
.nmi_from_handler:
    call count_event_lapic
send_nmi: ; physical destination 0, as a self shorthand takes no NMI
    push rcx
    mov dword [LAPIC + LAPIC_ICR_HIGH], 0
    mov dword [LAPIC + LAPIC_ICR], ICR_NMI | 1 << 14
    mov ecx, 10000
.wait:
    pause
    loop .wait
    pop rcx
    ret

test_priorities:
    TEST "ipi-priority"
    call forget_events
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | VECTOR_A
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | VECTOR_C
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | VECTOR_B
    sti
    nop
    nop
    cli
    mov eax, [event_order]
    EXPECT_EQ rax, VECTOR_A << 16 | VECTOR_B << 8 | VECTOR_C, "the highest vector first"
    TEST "irr-isr"
    call forget_events
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | VECTOR_A
    mov eax, [LAPIC + LAPIC_IRR + 0x10 * (VECTOR_A / 32)]
    EXPECT_EQ rax, 1 << (VECTOR_A % 32), "IRR while it waits"
    HANDLE VECTOR_A, .in_service
    sti
    nop
    nop
    cli
    EXPECT_EQ qword [scratch], 1 << (VECTOR_A % 32), "ISR in the handler"
    EXPECT_EQ qword [scratch + 8], VECTOR_A & 0xf0, "PPR in the handler"
    EXPECT_EQ qword [scratch + 16], 0, "the same class waits"
    EXPECT_EQ qword [event_count + VECTOR_B * 8], 1, "a higher class interrupts"
    HANDLE VECTOR_A, count_event_lapic
    TEST "tpr"
    call forget_events
    mov dword [LAPIC + LAPIC_TPR], VECTOR_B & 0xf0
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | VECTOR_A
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | VECTOR_B
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | VECTOR_C
    sti
    nop
    nop
    EXPECT_EQ qword [event_total], 1, "only what is above the TPR"
    EXPECT_EQ qword [event_count + VECTOR_C * 8], 1, "the highest"
    mov eax, (VECTOR_A >> 4)
    mov cr8, rax
    nop
    nop
    EXPECT_EQ qword [event_total], 2, "a lower CR8 lets the next in"
    xor eax, eax
    mov cr8, rax
    nop
    nop
    cli
    EXPECT_EQ qword [event_total], 3, "zero lets all in"
    TEST "self-ipi-same-vector"
    call forget_events
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | VECTOR_A
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | VECTOR_A
    sti
    nop
    nop
    cli
    EXPECT_EQ qword [event_total], 1, "two become one"
    ret
.in_service:
    call count_event
    mov eax, [LAPIC + LAPIC_ISR + 0x10 * (VECTOR_A / 32)]
    mov [scratch], rax
    mov eax, [LAPIC + LAPIC_PPR]
    mov [scratch + 8], rax
    HANDLE VECTOR_A + 1, count_event_lapic
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | (VECTOR_A + 1)
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | VECTOR_B
    sti
    nop
    nop
    cli
    mov rax, [event_count + (VECTOR_A + 1) * 8]
    mov [scratch + 16], rax
    mov dword [LAPIC + LAPIC_EOI], 0
    ret

test_exceptions:
    TEST "exceptions"
    xor edx, edx
    xor ecx, ecx
    TRY {div ecx}
    EXPECT_FAULT DE, 0, "#DE"
    TRY ud2
    EXPECT_FAULT UD, 0, "#UD"
    mov rax, 0x0000700000000000
    TRY {mov byte [rax], 1}
    EXPECT_FAULT PF, 2, "#PF, a write"
    mov rbx, 0x0000700000000000
    EXPECT_EQ qword [caught_cr2], rbx, "CR2"
    mov eax, SEL_ABSENT
    TRY {mov es, eax}
    EXPECT_FAULT NP, SEL_ABSENT, "#NP"
    mov eax, 0x1238
    TRY {mov es, eax}
    EXPECT_FAULT GP, 0x1238, "#GP with a selector"
    mov eax, SEL_CODE64
    TRY {mov ss, eax}
    EXPECT_FAULT GP, SEL_CODE64, "#GP, SS from a code segment"
    xor eax, eax
    mov rbx, 1 << 47
    mov rcx, rsp
    mov rsp, rbx
    TRY {push rax}
    mov rsp, rcx
    EXPECT_EQ qword [caught_vector], DF_VECTOR, "a stack that is not canonical: #SS becomes #DF"
    TRY {mov rax, [rbx]}
    EXPECT_FAULT GP, 0, "#GP, a non-canonical address"
    TRY int3
    EXPECT_EQ qword [caught_vector], BP_VECTOR, "#BP"
    mov rax, [catch_at]
    inc rax
    EXPECT_EQ qword [caught_rip], rax, "#BP is a trap"
    TEST "exception-ac"
    mov rax, cr0
    or eax, CR0_AM
    mov cr0, rax
    CALL_RING3 .misaligned, RFLAGS_AC
    mov rax, cr0
    and eax, ~CR0_AM
    mov cr0, rax
    SKIP_ON_TCG .of, "TCG checks no alignment"
    EXPECT_EQ qword [scratch], AC_VECTOR, "#AC at ring 3"
    EXPECT_EQ qword [scratch + 8], 0, "its error code"
.of:
    TEST "exception-of-br"
    CALL_MODE MODE_FLAT32, into32
    mov eax, [scratch]
    EXPECT_EQ rax, OF_VECTOR, "INTO"
    mov eax, [scratch + 4]
    EXPECT_EQ rax, BR, "BOUND"
    TEST "exception-mf-xm"
    fninit
    mov dword [scratch], 0x37b ; #ZE unmasked
    fldcw [scratch]
    fldz
    fld1
    fdiv st1
    TRY fwait
    EXPECT_FAULT MF, 0, "#MF"
    fnclex
    fninit
    ret
.misaligned:
    TRY {mov eax, [scratch + 1]}
    ; AC still on: keep every access aligned
    mov rax, [caught_vector]
    mov [scratch], rax
    mov rax, [caught_error]
    mov [scratch + 8], rax
    ret

bits 32
into32:
    mov eax, 0x7fffffff
    inc eax
    TRY into
    mov eax, [caught_vector]
    mov [scratch], eax
    mov eax, 100
    TRY {bound eax, [.bounds]}
    mov eax, [caught_vector]
    mov [scratch + 4], eax
    ret
.bounds: dd 0, 10

bits 64
; A fault while a fault is delivered.
test_double_fault:
    TEST "double-fault"
    ; #UD whose gate is not present: #NP while delivering... becomes #NP; #PF there becomes #DF.
    mov word [idt64 + UD * 16 + 4], 0x6e00
    TRY ud2
    EXPECT_EQ qword [caught_vector], NP, "a gate that is not present: #NP"
    cmp byte [on_tcg], 0 ; which counts 16 bytes a vector
    jne .on_tcg
    EXPECT_EQ qword [caught_error], UD * 8 + 3, "its error code: IDT and EXT"
.on_tcg:
    mov word [idt64 + UD * 16 + 4], 0xee00
    mov word [idt64 + GP * 16 + 4], 0x6e00
    mov rbx, 1 << 47
    TRY {mov rax, [rbx]}
    EXPECT_EQ qword [caught_vector], DF_VECTOR, "#GP's gate not present: #DF"
    EXPECT_EQ qword [caught_error], 0, "its error code"
    mov word [idt64 + GP * 16 + 4], 0xee00
    TEST "page-fault-in-delivery"
    ; The stack of #DE's handler is absent: #PF in the delivery of a contributory fault.
    call window_init
    mov ecx, 1
    xor eax, eax
    call window_protect
    mov byte [idt64 + DE * 16 + 4], 3 ; IST3
    mov qword [tss64 + 52], WINDOW + 2 * 4096
    xor edx, edx
    xor ecx, ecx
    TRY {div ecx}
    EXPECT_EQ qword [caught_vector], PF, "#DE, then #PF: the #PF is delivered"
    EXPECT_EQ qword [caught_cr2], WINDOW + 2 * 4096 - 8, "CR2"
    EXPECT_EQ qword [caught_error], 2, "its error code"
    mov byte [idt64 + PF * 16 + 4], 3
    mov rax, 0x0000700000000000
    TRY {mov al, [rax]}
    EXPECT_EQ qword [caught_vector], DF_VECTOR, "#PF, then #PF: #DF"
    mov byte [idt64 + PF * 16 + 4], 0
    mov byte [idt64 + DE * 16 + 4], 0
    mov ecx, 1
    mov eax, 7
    call window_protect
    TEST "delivery-to-emulated-page"
    ; An interrupt's frame pushed to a page that only the second level of translation may know late.
    call forget_events
    mov byte [idt64 + SOFT * 16 + 4], 3
    mov qword [tss64 + 52], 0x3000000
    int SOFT
    mov byte [idt64 + SOFT * 16 + 4], 0
    EXPECT_EQ qword [event_count + SOFT * 8], 1, "on memory never touched before"
    ret

test_soft:
    TEST "int-n"
    call forget_events
    int SOFT
.behind:
    EXPECT_EQ qword [event_count + SOFT * 8], 1, "taken with interrupts off"
    EXPECT_EQ qword [event_rip], .behind, "returns behind INT"
    TEST "int-n-privilege"
    mov word [idt64 + SOFT * 16 + 4], 0x8e00
    CALL_RING3 .ring3, 0
    mov word [idt64 + SOFT * 16 + 4], 0xee00
    EXPECT_EQ qword [scratch], GP, "INT n through a gate of ring 0"
    cmp byte [on_tcg], 0
    jne .int1
    EXPECT_EQ qword [scratch + 8], SOFT * 8 + 2, "its error code"
.int1:
    TEST "int1"
    SKIP_ON_TCG .modes, "TCG knows no INT1"
    TRY {db 0xf1}
    EXPECT_EQ qword [caught_vector], DB_VECTOR, "INT1"
.modes:
    TEST "int-in-other-modes"
    CALL_MODE MODE_REAL, int16
    mov eax, [low_result]
    EXPECT_EQ rax, 0x31, "real mode"
    mov dword [handlers32 + SOFT * 4], count32
    mov qword [scratch], 0
    CALL_MODE MODE_FLAT32, int32
    EXPECT_EQ qword [scratch], 1, "protected mode"
    CALL_MODE MODE_PAE, int32
    EXPECT_EQ qword [scratch], 2, "PAE"
    call forget_events
    CALL_MODE MODE_COMPAT, int32
    EXPECT_EQ qword [event_count + SOFT * 8], 1, "compatibility mode"
    ret
.ring3:
    TRY {int SOFT}
    mov rax, [caught_vector]
    mov [scratch], rax
    mov rax, [caught_error]
    mov [scratch + 8], rax
    ret

bits 32
count32:
    inc dword [scratch]
    ret
int32:
    int SOFT
    ret

section .low
bits 16
int16:
    int 0x31
    mov eax, [caught_vector16 - low_begin]
    mov [low_result - low_begin], eax
    ret
