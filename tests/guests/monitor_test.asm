; For a build of the monitor for tests, which does what VMCALL asks for (tests/monitor/hooks.c). The
; command line says what: `sweep` works while NMIs come at every point of the exits, and looks after
; each exit whether a register has changed; `overflow`, `machine-check`, `tamper` and `broken-entry` have the monitor
; break itself, and are not expected to come back, or to end well.
%include "tests/guests/lib.inc"

TEST_MAGIC equ 0x54534554
STORM_ON equ 1
STORM_OFF equ 2
HITS equ 3
PROTECTIONS equ 4
OVERFLOW equ 5
MACHINE_CHECK equ 6
TAMPER equ 7
BREAK_ENTRY equ 8

CMDLINE_PADDR equ 24 ; in hvm_start_info
IOAPIC_WINDOW equ IOAPIC + 0x10
FLAGS equ RFLAGS_STATUS | 2
VECTOR_IPI equ 0x61

; ASK command, argument -> RAX
%macro ASK 1-2 0
    mov ebx, TEST_MAGIC
    mov ecx, %1
    mov edx, %2
    vmcall
%endmacro

section .data
align 16
pattern:
%assign i 1
%rep 12
    dq 0x0123456789abcdef * i
%assign i i + 1
%endrep
vector_pattern: dq 0x1122334455667788, 0x99aabbccddeeff00

section .bss
alignb 16
got: resq 12
vector_got: resq 2
rounds_left: resq 1
changed: resq 1     ; how often something was not as before
random: resq 1
interrupts: resq 1

section .text
bits 64

; RBX, RSI, RDI, RBP, R8 to R15 and XMM0.
load_pattern:
    mov rbx, [pattern]
    mov rsi, [pattern + 8]
    mov rdi, [pattern + 16]
    mov rbp, [pattern + 24]
%assign i 8
%rep 8
    mov r %+ i, [pattern + 32 + (i - 8) * 8]
%assign i i + 1
%endrep
    movaps xmm0, [vector_pattern]
    ret

check_pattern: ; but RBX; on the stack: the flags
    mov [got + 8], rsi
    mov [got + 16], rdi
    mov [got + 24], rbp
%assign i 8
%rep 8
    mov [got + 32 + (i - 8) * 8], r %+ i
%assign i i + 1
%endrep
    movaps [vector_got], xmm0
    mov rax, [rsp + 8]
    and eax, ~RFLAGS_IF
    cmp eax, FLAGS
    jne .changed
    mov esi, got + 8
    mov edi, pattern + 8
    mov ecx, 11
    cld
    repe cmpsq
    jne .changed
    mov esi, vector_got
    mov edi, vector_pattern
    mov ecx, 2
    repe cmpsq
    je .out
.changed:
    inc qword [changed]
.out:
    ret 8

; For 0 to 63 instructions and a few.
wait_randomly:
    mov rax, 6364136223846793005
    imul rax, [random]
    add rax, 1442695041
    mov [random], rax
    shr rax, 58
    inc eax
.next:
    dec eax
    jnz .next
    ret

; ROUNDS name, how often, PIT ticks between NMIs (and ms << 16 until
; they end), EAX, an instruction that exits: under NMIs; flags
; and all registers but RAX to RDX stay.
%macro ROUNDS 5+
    TEST %1
    ASK STORM_ON, %3
    mov qword [rounds_left], %2
%%next:
    call wait_randomly
    call load_pattern
    mov eax, %4
    xor ecx, ecx
    push FLAGS
    popfq
    %5
    pushfq
    call check_pattern
    dec qword [rounds_left]
    jnz %%next
    ASK STORM_OFF
    ASK HITS
    EXPECT_EQ qword [changed], 0, "registers that changed"
    mov qword [changed], 0
%endmacro

; Comes in the shadow's wake.
%macro SELF_INTERRUPT 0
    sti
    mov dword [LAPIC + LAPIC_ICR], VECTOR_IPI | 1 << 18
    nop
    cli
%endmacro

count_interrupt:
    inc qword [interrupts]
    mov dword [LAPIC + LAPIC_EOI], 0
    ret

main:
    mov qword [random], 1
    mov rsi, [start_info]
    mov rsi, [rsi + CMDLINE_PADDR]
    mov al, [rsi]
    cmp al, 'o'
    je overflow
    cmp al, 'm'
    je machine_check
    cmp al, 't'
    je tamper
    cmp al, 'b'
    je broken_entry

    TEST "storm-since-boot"
    ASK STORM_OFF
    EXPECT_BETWEEN rax, 100, 100000000, "NMIs since VMX is on"
    ASK HITS
    TEST "protections"
    ASK PROTECTIONS
    EXPECT_EQ rax, 0, "the answer"

    ROUNDS "nmi-cpuid", 100000, 30, 0, cpuid
    ROUNDS "nmi-io", 40000, 30, 0xff, out 0x21, al
    ROUNDS "nmi-mmio", 40000, 30, 0, mov eax, [IOAPIC_WINDOW]
    ROUNDS "nmi-dense", 2000, 3 | 5 << 16, 0, cpuid

    call pic_init
    call lapic_init
    HANDLE VECTOR_IPI, count_interrupt
    ROUNDS "nmi-interrupts", 60000, 30, 0, SELF_INTERRUPT
    EXPECT_EQ qword [interrupts], 60000, "interrupts"
    TEST "goes-on"
    DONE

overflow:
    ASK OVERFLOW
    jmp $
machine_check:
    ASK MACHINE_CHECK
    jmp $
tamper:
    ASK TAMPER
    DONE
broken_entry:
    ASK BREAK_ENTRY
    jmp $
