; A storm on the local APIC: every delivery mode, level, trigger and shorthand of the ICR with vectors
; legal and not, every mode of the LVT entries. Afterwards it still works. (Not for a bare machine, whose
; firmware would see SMIs.)
%include "tests/guests/lib.inc"
%include "tests/guests/lib/trace.inc"

LAPIC_LVT_THERMAL equ 0x330
LAPIC_LVT_PERFORMANCE equ 0x340
INIT equ 5
STARTUP equ 6
ROUNDS equ 4096 ; bits 19:8 of the ICR

section .rodata
vectors: db 0, 0x0f, 0x10, VECTOR_LOW, 0xfe, 0xff
VECTORS equ $ - vectors
lvt_registers: dw LAPIC_LVT_TIMER, LAPIC_LVT_THERMAL, LAPIC_LVT_PERFORMANCE, LAPIC_LVT_LINT0
    dw LAPIC_LVT_LINT1, LAPIC_LVT_ERROR
LVTS equ ($ - lvt_registers) / 2

section .bss
alignb 8
storm_count: resq 1

section .text
; Any event: counted, and ended as often as it may be.
swallow:
    inc qword [storm_count]
    mov dword [LAPIC + LAPIC_EOI], 0
    ret

main:
    call pic_init
    call lapic_init
    mov ebx, 0x10
.handle:
    mov qword [handlers64 + rbx * 8], swallow
    inc ebx
    cmp ebx, 256
    jb .handle
    mov qword [handlers64 + NMI_VECTOR * 8], swallow
    mov qword [handlers64 + GP * 8], 0
    mov qword [handlers64 + PF * 8], 0
    call icr_storm
    call lvt_storm
    call flood
    call works
    ret

icr_storm:
    TEST "icr-storm"
    mov qword [storm_count], 0
    xor r12d, r12d
.mode:
    ; INIT and SIPI that would reach this processor end the guest: only by a shorthand, which does not
    mov eax, r12d
    and eax, 7
    cmp eax, INIT
    jb .send
    cmp eax, STARTUP
    ja .send
    test r12d, 3 << 10
    jz .skip
.send:
    xor r13d, r13d
.vector:
    mov eax, r12d
    shl eax, 8
    movzx ecx, byte [vectors + r13]
    or eax, ecx
    mov dword [LAPIC + LAPIC_ICR_HIGH], 0
    mov [LAPIC + LAPIC_ICR], eax
    mov dword [LAPIC + LAPIC_ICR_HIGH], 0xff000000
    mov [LAPIC + LAPIC_ICR], eax
    inc r13d
    cmp r13d, VECTORS
    jb .vector
    sti
    nop
    nop
    cli
.skip:
    inc r12d
    cmp r12d, ROUNDS
    jb .mode
    EXPECT_BETWEEN qword [storm_count], 1000, 1000000, "some of them arrive"
    ret

lvt_storm:
    TEST "lvt-storm"
    xor r12d, r12d ; bits 18:8
.mode:
    xor r13d, r13d
.entry:
    movzx ebx, word [lvt_registers + r13 * 2]
    mov eax, r12d
    shl eax, 8
    or eax, 0x51
    mov [LAPIC + rbx], eax
    mov dword [LAPIC + LAPIC_INITIAL], 1
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | 3 ; an illegal vector: an error
    mov dword [LAPIC + LAPIC_ESR], 0
    mov dword [LAPIC + rbx], 0x10000
    mov dword [LAPIC + LAPIC_INITIAL], 0 ; a timer as quick as that would leave no time to the guest
    sti
    nop
    nop
    cli
    inc r13d
    cmp r13d, LVTS
    jb .entry
    inc r12d
    cmp r12d, 1 << 11
    jb .mode
    mov dword [LAPIC + LAPIC_INITIAL], 0
    ret

; An error entry with an illegal vector raises an error, which raises an error.
flood:
    TEST "error-of-error"
    mov dword [LAPIC + LAPIC_LVT_ERROR], 3
    mov ecx, 1000
.next:
    mov dword [LAPIC + LAPIC_ICR], ICR_SELF | 3
    loop .next
    mov dword [LAPIC + LAPIC_LVT_ERROR], 0x10000
    mov dword [LAPIC + LAPIC_ESR], 0
    TEST "self-ipi-loop"
    ; A handler that sends itself the next one, with interrupts on: priorities bound it.
    mov qword [handlers64 + VECTOR_LOW * 8], .again
    mov qword [storm_count], 0
    SEND_SELF VECTOR_LOW
    sti
    mov ecx, 2000
.wait:
    loop .wait
    cli
    mov qword [handlers64 + VECTOR_LOW * 8], swallow
    EXPECT_EQ qword [storm_count], 1000, "each came once"
    ret
.again:
    inc qword [storm_count]
    mov dword [LAPIC + LAPIC_EOI], 0
    cmp qword [storm_count], 1000
    jae .enough
    SEND_SELF VECTOR_LOW
.enough:
    ret

works:
    TEST "works-afterwards"
    mov ecx, 64
.drain:
    sti
    nop
    nop
    cli
    mov dword [LAPIC + LAPIC_EOI], 0
    loop .drain
    call lapic_init
    mov dword [LAPIC + LAPIC_ICR_HIGH], 0
    TRACED VECTOR_LOW
    TRACED VECTOR_HIGH
    TRACE_BEGIN
    SEND_SELF VECTOR_LOW
    SEND_SELF VECTOR_HIGH
    sti
    nop
    nop
    cli
    EXPECT_EVENTS 2, "interrupts"
    EXPECT_EQ NOTED(0, VECTOR), VECTOR_HIGH, "by priority"
    TRACED NMI_VECTOR
    TRACE_BEGIN
    SEND_NMI
    nop
    EXPECT_EVENTS 1, "an NMI"
    ret
