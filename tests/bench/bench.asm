; What exits cost: reads the TSC around each operation SAMPLES times and prints the median, less that
; of an empty pair, as `bench-raw: NAME VALUE`. On Bochs with `clock: sync=none` the TSC counts
; instructions, exactly.
%include "tests/guests/lib.inc"
%include "tests/bench/virtio_blk.inc"

SAMPLES equ 129 ; odd: the middle one is the median
WARM_UP equ 8

VECTOR_IPI equ 0x61
VECTOR_TIMER equ 0x62
VECTOR_DISK equ 0x63
ICR_SELF equ 1 << 18
TSC_DEADLINE_MSR equ 0x6e0
X2APIC_SELF_IPI equ 0x83f
INTERCEPTED_MSR equ 0x1a0 ; IA32_MISC_ENABLE
UNKNOWN_MSR equ 0x40000400

section .bss
alignb 16
samples: resq SAMPLES
sample_at: resq 1
before: resq 1
after: resq 1       ; read by a handler where one ends the operation
deadline: resq 1
empty_pair: resq 1
bench_name: resq 1

section .text

; R15: where the sample ends up is MEASURE's business; the operation keeps R12 to R15 and RSP.
%macro START_CLOCK 0
    lfence
    rdtsc
    mov r13d, eax
    mov r14d, edx
%endmacro
; -> RAX: ticks since START_CLOCK.
%macro STOP_CLOCK 0
    rdtsc
    lfence
    shl rdx, 32
    or rax, rdx
    shl r14, 32
    or r13, r14
    sub rax, r13
%endmacro

; Runs the code up to END_MEASURE WARM_UP + SAMPLES times; it leaves a sample in RAX.
%macro MEASURE 1
    %push measure
    [section .rodata]
    %$name: db %1, 0
    __?SECT?__
    mov qword [bench_name], %$name
    mov r12d, -WARM_UP
%$again:
%endmacro
%macro END_MEASURE 0
    test r12d, r12d
    js %$warm
    mov [samples + r12 * 8], rax
%$warm:
    inc r12d
    movsxd r12, r12d
    cmp r12, SAMPLES
    jl %$again
    call print_median
    %pop
%endmacro
; The usual case: one instruction between two reads of the TSC.
%macro MEASURE_CODE 2+
    MEASURE %1
    START_CLOCK
    %2
    STOP_CLOCK
    END_MEASURE
%endmacro

; Sorts the samples (insertion) and prints the middle one, less the empty pair.
print_median:
    mov ecx, 1
.insert:
    mov rax, [samples + rcx * 8]
    mov edx, ecx
.shift:
    mov rbx, [samples + rdx * 8 - 8]
    cmp rbx, rax
    jbe .place
    mov [samples + rdx * 8], rbx
    dec edx
    jnz .shift
.place:
    mov [samples + rdx * 8], rax
    inc ecx
    cmp ecx, SAMPLES
    jb .insert
    mov rax, [samples + SAMPLES / 2 * 8]
    sub rax, [empty_pair]
    jns .print
    xor eax, eax
.print:
    PRINT "bench-raw: "
    mov rsi, [bench_name]
    call print
    push rax
    mov al, ' '
    call print_char
    pop rax
    call print_decimal
    call print_newline
    ret

main:
    call pic_init
    call lapic_init
    call time_init
    mov qword [empty_pair], 0
    MEASURE_CODE "empty-pair", nop
    mov rax, [samples + SAMPLES / 2 * 8]
    dec rax ; the NOP is an instruction of its own
    mov [empty_pair], rax
    call plain_exits
    call memory_exits
    call fault_exit
    call timer_exits
    call interrupts
    call disk
    PRINT `bench-end\n`
    ret

plain_exits:
    xor eax, eax
    MEASURE "cpuid"
    START_CLOCK
    xor eax, eax ; the clock leaves its low half there
    cpuid
    STOP_CLOCK
    END_MEASURE
    ; A hypercall that nobody knows: an error in RAX, or #UD where there are none.
    mov eax, 0x7fff
    TRY {db 0x0f, 0x01, 0xc1}
    cmp qword [caught_vector], NO_FAULT
    jne .no_vmcall
    MEASURE "vmcall-unknown"
    mov eax, 0x7fff
    START_CLOCK
    db 0x0f, 0x01, 0xc1
    STOP_CLOCK
    END_MEASURE
.no_vmcall:
    mov ecx, INTERCEPTED_MSR
    TRY rdmsr
    cmp qword [caught_vector], NO_FAULT
    jne .no_msr
    MEASURE "rdmsr-intercepted"
    mov ecx, INTERCEPTED_MSR
    START_CLOCK
    rdmsr
    STOP_CLOCK
    END_MEASURE
.no_msr:
    MEASURE_CODE "in-pit", {in al, PIT}
    MEASURE "out-pic-mask"
    mov al, 0xff
    START_CLOCK
    mov al, 0xff
    out PIC1 + 1, al
    STOP_CLOCK
    dec rax ; the MOV
    END_MEASURE
    MEASURE "uart-byte"
    call serial_drain
    mov dx, COM1
    START_CLOCK
    mov dx, COM1
    mov al, '.'
    out dx, al
    STOP_CLOCK
    sub rax, 2 ; the MOVs
    END_MEASURE
    call print_newline
    ret

memory_exits:
    mov dword [IOAPIC], 1
    MEASURE_CODE "ioapic-read", {mov ebx, [IOAPIC + 0x10]}
    MEASURE_CODE "lapic-read", {mov ebx, [LAPIC + LAPIC_VERSION]}
    ret

; The handler sits in the IDT itself, without lib's stubs, and reads the TSC first.
%macro SET_GATE 2 ; vector, handler
    mov rax, %2
    mov [idt64 + (%1) * 16], ax
    shr rax, 16
    mov [idt64 + (%1) * 16 + 6], eax
%endmacro

%macro NOTE_TIME 0 ; -> [after]; keeps nothing in RAX and RDX
    rdtsc
    mov [after], eax
    mov [after + 4], edx
%endmacro

on_gp: ; RIP of the next sample part is in R15
    NOTE_TIME
    add rsp, 8 ; the error code
    mov [rsp], r15
    iretq

fault_exit:
    mov ecx, UNKNOWN_MSR
    TRY rdmsr
    cmp qword [caught_vector], GP
    jne .none
    SET_GATE GP, on_gp
    MEASURE "rdmsr-unknown-to-gp"
    mov ecx, UNKNOWN_MSR
    mov r15, .behind
    START_CLOCK
    rdmsr
.behind:
    call elapsed
    END_MEASURE
    SET_GATE GP, stubs64 + GP * 16
.none:
    ret

; RAX = [after] - the time of START_CLOCK.
elapsed:
    mov rax, [after]
    shl r14, 32
    or r13, r14
    sub rax, r13
    ret

on_interrupt: ; of the local APIC; no register of the measured code's but RAX and RDX
    NOTE_TIME
    mov dword [LAPIC + LAPIC_EOI], 0
    iretq

timer_exits:
    mov eax, 1
    cpuid
    bt ecx, 24
    jnc .no_deadline
    SET_GATE VECTOR_TIMER, on_interrupt
    mov dword [LAPIC + LAPIC_LVT_TIMER], 0x40000 | VECTOR_TIMER
    mfence
    MEASURE "lapic-tsc-deadline-arm"
    mov eax, 1000000
    call time_ticks
    mov rbx, rax
    call read_tsc
    add rbx, rax
    mov rsi, rbx
    shr rsi, 32
    mov ecx, TSC_DEADLINE_MSR
    START_CLOCK
    mov eax, ebx
    mov edx, esi
    wrmsr
    STOP_CLOCK
    sub rax, 2 ; the MOVs
    END_MEASURE
    ; HLT until a deadline 1 ms away; how late the handler's first instruction runs
    MEASURE "hlt-to-timer"
    mov eax, 1000
    call time_ticks
    mov rbx, rax
    call read_tsc
    add rax, rbx
    mov [deadline], rax
    mov rdx, rax
    shr rdx, 32
    mov ecx, TSC_DEADLINE_MSR
    wrmsr
    sti
    hlt
    cli
    mov rax, [after]
    sub rax, [deadline]
    END_MEASURE
    mov dword [LAPIC + LAPIC_LVT_TIMER], 0x10000
.no_deadline:
    ret

on_interrupt_x2apic:
    NOTE_TIME
    push rcx
    mov ecx, 0x80b ; EOI
    xor eax, eax
    xor edx, edx
    wrmsr
    pop rcx
    iretq

interrupts:
    SET_GATE VECTOR_IPI, on_interrupt
    sti
    MEASURE "self-ipi-xapic"
    mov qword [after], 0
    START_CLOCK
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | VECTOR_IPI
.wait:
    cmp qword [after], 0
    je .wait
    call elapsed
    END_MEASURE
    cli
    mov eax, 1
    cpuid
    bt ecx, 21
    jnc .no_x2apic
    SET_GATE VECTOR_IPI, on_interrupt_x2apic
    mov ecx, IA32_APIC_BASE
    rdmsr
    push rax
    or eax, 1 << 10
    wrmsr
    sti
    MEASURE "self-ipi"
    mov qword [after], 0
    mov ecx, X2APIC_SELF_IPI
    START_CLOCK
    mov eax, VECTOR_IPI
    xor edx, edx
    wrmsr
.wait_x2apic:
    cmp qword [after], 0
    je .wait_x2apic
    call elapsed
    sub rax, 2 ; MOV and XOR
    END_MEASURE
    cli
    ; back: through disabled
    pop rbx
    mov ecx, IA32_APIC_BASE
    mov eax, ebx
    and eax, ~(1 << 11)
    xor edx, edx
    wrmsr
    mov eax, ebx
    wrmsr
    call lapic_init
.no_x2apic:
    ret

; One 4 KiB read, from the write to the notify register to the first instruction of the handler.
disk:
    call virtio_blk_init
    test eax, eax
    jz .none
    SET_GATE VECTOR_DISK, on_interrupt
    mov eax, VECTOR_DISK
    call virtio_blk_set_vector
    MEASURE "virtio-blk-read-4k"
    call virtio_blk_prepare
    mov qword [after], 0
    mov rdi, [virtio_notify]
    sti
    START_CLOCK
    mov word [rdi], 0
.wait:
    cmp qword [after], 0
    je .wait
    cli
    call elapsed
    mov rbx, rax
    call virtio_blk_check
    test eax, eax
    jz .failed
    mov rax, rbx
    END_MEASURE
.none:
    ret
.failed:
    PRINT `virtio-blk: the read failed\n`
    ret
