; For a debugger that steps: a loop with interrupts on whose way is known beforehand, through what a
; step could disturb: flags on stacks, interrupt shadows, exceptions, exits, ring 3. Each round takes one
; of 16 ways, as the digits of a linear congruential generator say. What the rounds compute becomes a
; digest, which nobody may change by looking on; the timer's handler, between timer_begin and timer_end,
; counts by itself.
%include "tests/guests/lib.inc"

ROUNDS equ 4000
PERIOD equ 3001 ; of the timer, in its ticks
VECTOR_TIMER equ 0x62
SOFT equ 0x90
ABSENT equ 0x7000_0000_0000

section .data
align 16
seed: dq 1
multiplier: dq 6364136223846793005
rounds: dq 0
ticks: dq 0
kernel_rsp: dq 0
scratch: times 8 dq 0x0123456789abcdef
double: dq 1.5

section .rodata
align 8
ways: dq .add, .call, .count, .string, .flags, .shadow, .stack, .cpuid, .port, .msr, .soft, .undefined
    dq .absent, .user, .device, .vector

section .text
global walk, timer_begin, timer_end
%macro SET_GATE 2 ; vector, handler
    mov rax, %2
    mov [idt64 + (%1) * 16], ax
    shr rax, 16
    mov [idt64 + (%1) * 16 + 6], eax
%endmacro
%macro WRITE_MSR 2 ; number, value of 64 bits
    mov ecx, %1
    mov rax, %2
    mov rdx, rax
    shr rdx, 32
    wrmsr
%endmacro

main:
    TEST "digest"
    call pic_init
    call lapic_init
    SET_GATE VECTOR_TIMER, timer_begin
    SET_GATE SOFT, on_soft
    SET_GATE UD, on_undefined
    SET_GATE PF, on_absent
    mov ecx, IA32_EFER
    rdmsr
    or eax, EFER_SCE
    wrmsr
    WRITE_MSR 0xc0000081, (0x30 | 3) << 48 | SEL_CODE64 << 32
    WRITE_MSR 0xc0000082, on_syscall
    WRITE_MSR 0xc0000084, 0x100 ; the trap flag, as Linux has it
arm:
    mov dword [LAPIC + LAPIC_LVT_TIMER], 0x20000 | VECTOR_TIMER ; periodic
    mov dword [LAPIC + LAPIC_INITIAL], PERIOD
    xor r12d, r12d
    xor ebx, ebx
    sti
walk:
    mov rbx, [seed]
    imul rbx, [multiplier]
    add rbx, 1442695040888963407 >> 33
    mov [seed], rbx
    mov eax, ebx
    mov ecx, ebx
    shr rbx, 60
    jmp [ways + rbx * 8]

ways.add:
    sbb rax, rcx
    bswap rax
    jmp join
ways.call:
    call .twice
    jmp join
.twice:
    call .once
.once:
    add eax, 0x1234567
    ret
ways.count:
    and ecx, 7
    inc ecx
.again:
    ror rax, 3
    loop .again
    jmp join
ways.string:
    cld
    mov esi, scratch
    mov edi, scratch + 24
    and ecx, 7
    rep movsb
    mov rax, [scratch + 24]
    add [scratch], eax
    jmp join
ways.flags:
    add al, 0x70
    pushfq
    pop rax
    push rax
    xor byte [rsp], 0x41
    popfq
    cmovz eax, ecx
    jmp split
section .text.split progbits alloc exec align=4096
    times 4095 nop
split: ; PUSHF in two pages, the prefix in the first one
    o16 pushf
    o16 popf
    o16 pushf
    pop dx
    add eax, edx
    jmp join
section .text
ways.shadow:
    cli
    add eax, 5
    sti
    nop
    pushfq
    pop rax
    jmp join
ways.stack:
    mov edx, SEL_DATA
    mov ss, edx
.in_shadow:
    mov esi, 1 ; of one step with the one before
    pushfq
    pop rax
    jmp join
ways.cpuid:
    xor eax, eax
    cpuid
    movzx eax, cl
    shr eax, 8
    jmp join
ways.port:
    in al, 0x61
    mov al, 7
    out 0x80, al
    movzx eax, al
    jmp join
ways.msr:
    mov ecx, IA32_APIC_BASE
    rdmsr
    and eax, 0x800
    jmp join
ways.soft:
    int SOFT
    jmp join
on_soft:
    mov rax, [rsp + 16] ; the flags
    iretq
ways.undefined:
    ud2
    jmp join
on_undefined:
    add qword [rsp], 2
    mov eax, [rsp + 16]
    iretq
ways.absent:
    mov rdx, ABSENT
    mov [rdx], al
    jmp join
on_absent:
    pop rax
    add qword [rsp], 2
    iretq
ways.user:
    mov [kernel_rsp], rsp
    push SEL_USER_DATA
    push ring3_stack_top
    push RFLAGS_IF | 2
    push SEL_USER_CODE64
    push .at_ring3
    iretq
.at_ring3:
    mov eax, cs
    pushfq
    pop rdx
    syscall
on_syscall:
    mov rsp, [kernel_rsp]
    lea rax, [rax + r11]
    xor rax, rdx
    mov edx, SEL_DATA ; SYSCALL's SS is what STAR says; this one is the same
    jmp join
ways.device:
    mov eax, [LAPIC + LAPIC_SVR]
    mov dword [LAPIC + LAPIC_ESR], 0
    jmp join
ways.vector:
    movsd xmm0, [double]
    addsd xmm0, xmm0
    movq rax, xmm0
    cvtsd2si ecx, xmm0
    add eax, ecx

join:
    and eax, ~0x10 ; AF is undefined behind IMUL
    add r12, rax
    rol r12, 7
    inc qword [rounds]
    cmp qword [rounds], ROUNDS
    jb walk
    cli
    mov dword [LAPIC + LAPIC_LVT_TIMER], 0x10000
    SET_GATE PF, stubs64 + PF * 16
    SET_GATE UD, stubs64 + UD * 16
    PRINT "digest "
    mov rax, r12
    call print_hex
    PRINT `\n`
    EXPECT_NE qword [ticks], 0, "interrupts"
    ret

timer_begin:
    inc qword [ticks]
    mov dword [LAPIC + LAPIC_EOI], 0
    iretq
timer_end:
