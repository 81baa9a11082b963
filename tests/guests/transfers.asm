; Far returns, calls and jumps, loads of tables and other instructions that no emulator of device
; accesses is likely to know, where no memory is: stacks, operands and descriptors at an address that
; nobody answers, in registers of the local APIC, and in a device's memory (QEMU's pc-testdev).
%include "tests/guests/lib.inc"

HOLE equ 0x30000000
REGISTER equ LAPIC + LAPIC_INITIAL ; of 32 bits, all of which can be written
MEMORY equ 0xff000000              ; the device's, 64 KiB
FAR_MEMORY equ MEMORY - (1 << 32)  ; the same by a 32-bit displacement
EDGE equ WINDOW + 4096

%macro ON_STACK 2+ ; RSP, an instruction that does not come back elsewhere
    mov [kept_rsp], rsp
    mov rsp, %1
    TRY {%2}
    mov rsp, [kept_rsp]
%endmacro

section .data
align 16
own_gdt:
    times gdt_end - gdt db 0
own_ldt_descriptor: dq 0, 0
own_gdt_end:
own_gdt_pointer:
    dw own_gdt_end - own_gdt - 1
    dq own_gdt
SEL_LDT equ own_ldt_descriptor - own_gdt
own_ldt:
    dq 0x00affb000000ffff, 0x00cff3000000ffff

section .bss
alignb 16
kept_rsp: resq 1
buffer: resq 4
result32: resd 8
alignb 16
state: resb 512

section .text
main:
    call pic_init
    call window_init
    call use_own_gdt
    ; Faults are taken on a stack of their own.
    mov byte [idt64 + DB_VECTOR * 16 + 4], 1
    mov byte [idt64 + GP * 16 + 4], 1
    mov byte [idt64 + SS_VECTOR * 16 + 4], 1
    cmp dword [HOLE], -1
    jne .other_holes
    call hole_returns
    call hole_tables
    call hole_operands
    call hole_descriptors
    jmp .register
.other_holes:
    TEST "hole-iret"
    SKIP "memory that is not there reads otherwise, and no case of this kind is here"
.register:
    mov dword [LAPIC + LAPIC_LVT_TIMER], 1 << 16
    mov dword [REGISTER], 0x12345678
    cmp word [REGISTER + 2], 0x1234
    jne .whole_registers
    call register_operands
    jmp .memory
.whole_registers:
    TEST "register-selectors"
    SKIP "the local APIC's registers are read whole"
.memory:
    mov dword [FAR_MEMORY], 0x5a5a1234
    cmp dword [FAR_MEMORY], 0x5a5a1234
    jne .no_memory
    call memory_returns
    call memory_operands
    call memory_tables
    call memory_code
    call memory_step
    call memory_32
    jmp memory_16
.no_memory:
    TEST "memory-iret"
    SKIP "there is no pc-testdev"
    ret

use_own_gdt:
    mov esi, gdt
    mov edi, own_gdt
    mov ecx, (gdt_end - gdt) / 8
    rep movsq
    mov rax, 0x0000820000000000 + 15
    mov edx, own_ldt
    shl rdx, 16
    or rax, rdx
    mov [own_ldt_descriptor], rax
    lgdt [own_gdt_pointer]
    mov eax, SEL_LDT
    lldt ax
    ret

; ---- Nobody answers: all ones ----

hole_returns:
    TEST "hole-iret"
    xor eax, eax
    lldt ax
    ON_STACK HOLE + 0x100, iretq
    EXPECT_FAULT GP, 0xfffc, "IRETQ: CS"
    ON_STACK HOLE + 0xff8, iretd
    EXPECT_FAULT GP, 0xfffc, "IRETD"
    ON_STACK HOLE + 0x100, iretw
    EXPECT_FAULT GP, 0xfffc, "IRETW"
    TEST "hole-ret-far"
    ON_STACK HOLE + 0x100, {o64 retf}
    EXPECT_FAULT GP, 0xfffc, "RETFQ"
    ON_STACK HOLE + 0x100, retf
    EXPECT_FAULT GP, 0xfffc, "RETF"
    ON_STACK HOLE + 0x100, {retf 16}
    EXPECT_FAULT GP, 0xfffc, "RETF 16"
    TEST "hole-call"
    mov [kept_rsp], rsp
    mov rsp, HOLE + 0x100
    call .there
    jmp $ ; never: there is no way back
.there:
    mov rax, rsp
    pop rbx
    mov rsp, [kept_rsp]
    EXPECT_EQ rax, HOLE + 0xf8, "RSP"
    EXPECT_EQ rbx, -1, "the return address was not kept"
    TEST "hole-popf"
    mov [kept_rsp], rsp
    HANDLE DB_VECTOR, .stepped
    mov rsp, HOLE + 0x100
    popfq
.popped:
    nop
.behind:
    nop
    jmp $ ; never
.stepped: ; RDI: frame
    mov rax, [rdi + FRAME_RIP]
    mov rdx, [rdi + FRAME_RFLAGS]
    mov rsp, [kept_rsp]
    push 2
    popfq
    HANDLE DB_VECTOR, 0
    EXPECT_EQ rax, .behind, "the first step is over the NOP"
    and edx, RFLAGS_TF | RFLAGS_IF | RFLAGS_AC | RFLAGS_STATUS
    EXPECT_EQ rdx, RFLAGS_TF | RFLAGS_IF | RFLAGS_AC | RFLAGS_STATUS, "flags"
    ret

hole_tables:
    TEST "hole-lgdt"
    lgdt [HOLE + 0x123]
    sgdt [buffer]
    lgdt [own_gdt_pointer]
    movzx eax, word [buffer]
    EXPECT_EQ rax, 0xffff, "limit"
    EXPECT_EQ qword [buffer + 2], -1, "base"
    TEST "hole-lidt"
    lidt [HOLE + 0xffa]
    sidt [buffer]
    lidt [idt64_pointer]
    movzx eax, word [buffer]
    EXPECT_EQ rax, 0xffff, "limit"
    EXPECT_EQ qword [buffer + 2], -1, "base"
    TEST "hole-selectors"
    TRY {lldt [HOLE]}
    EXPECT_FAULT GP, 0xfffc, "LLDT"
    TRY {ltr [HOLE]}
    EXPECT_FAULT GP, 0xfffc, "LTR"
    TRY {mov es, [HOLE]}
    EXPECT_FAULT GP, 0xfffc, "MOV to ES"
    TRY {lss esp, [HOLE]}
    EXPECT_FAULT GP, 0xfffc, "LSS"
    TRY {jmp dword far [HOLE]}
    EXPECT_FAULT GP, 0xfffc, "JMP"
    TRY {call dword far [HOLE]}
    EXPECT_FAULT GP, 0xfffc, "CALL"
    mov rbx, 1
    lar ebx, [HOLE]
    EXPECT_FLAGS RFLAGS_ZF, 0, "LAR"
    verr [HOLE]
    EXPECT_FLAGS RFLAGS_ZF, 0, "VERR"
    TEST "hole-lmsw"
    lmsw [HOLE]
    smsw rax
    mov rdx, cr0
    and edx, ~(CR0_EM | CR0_TS)
    mov cr0, rdx
    and eax, CR0_PE | CR0_MP | CR0_EM | CR0_TS
    EXPECT_EQ rax, CR0_PE | CR0_MP | CR0_EM | CR0_TS, "CR0"
    ret

hole_operands:
    TEST "hole-arithmetic"
    mov eax, 5
    imul eax, [HOLE], 7
    movsxd rax, eax
    EXPECT_EQ rax, -7, "IMUL"
    mov eax, 3
    xor edx, edx
    mul dword [HOLE + 8]
    movsxd rax, eax
    EXPECT_EQ rax, -3, "MUL"
    EXPECT_EQ rdx, 2, "and its upper half"
    bsf rax, [HOLE]
    EXPECT_EQ rax, 0, "BSF"
    mov ebx, 0
    shld [HOLE], ebx, 4
    cmp dword [HOLE], -1
    EXPECT_FLAGS RFLAGS_ZF, RFLAGS_ZF, "SHLD has no effect"
    TEST "hole-vector"
    movdqu xmm0, [HOLE + 1]
    movdqu [buffer], xmm0
    EXPECT_EQ qword [buffer], -1, "MOVDQU"
    EXPECT_EQ qword [buffer + 8], -1, "and its upper half"
    pxor xmm1, xmm1
    movups [HOLE + 1], xmm1
    movdqu xmm0, [HOLE + 1]
    movdqu [buffer], xmm0
    EXPECT_EQ qword [buffer], -1, "MOVUPS to there has no effect"
    movdqu xmm0, [HOLE + 0xffa]
    movdqu [buffer + 16], xmm0
    EXPECT_EQ qword [buffer + 24], -1, "over two pages"
    TEST "hole-beside-memory"
    mov ecx, 1
    mov eax, HOLE + 7
    call window_map
    mov rax, 0x1122334455667788
    mov [window_memory + 4096 - 8], rax
    movdqu xmm0, [EDGE - 8]
    movdqu [buffer], xmm0
    EXPECT_EQ qword [buffer], rax, "memory"
    EXPECT_EQ qword [buffer + 8], -1, "beside it"
    movdqu [EDGE - 8], xmm1
    EXPECT_EQ qword [window_memory + 4096 - 8], 0, "stored to memory"
    ret

; All ones is the descriptor of conforming code for ring 3, present and readable, with both L and D.
hole_descriptors:
    TEST "hole-descriptors"
    mov rax, [own_ldt_descriptor]
    mov rdx, 0x300082000000ffff ; base 0x30000000
    mov [own_ldt_descriptor], rdx
    mov ecx, SEL_LDT
    lldt cx
    mov ecx, 0x104
    TRY {mov es, ecx}
    EXPECT_NO_FAULT "readable code"
    mov edx, es
    EXPECT_EQ rdx, 0x104, "ES"
    mov edx, SEL_DATA
    mov es, edx
    TRY {mov ss, ecx}
    EXPECT_FAULT GP, 0x104, "not writable"
    push rcx
    push .never
    TRY {o64 retf}
    add rsp, 16
    EXPECT_FAULT GP, 0x104, "code of another ring, RETF"
    mov edx, SEL_DATA
    push rdx
    push rsp
    push 2
    push rcx
    push .never
    TRY {iretq}
    add rsp, 40
    EXPECT_FAULT GP, 0x104, "IRET"
    mov [own_ldt_descriptor], rax
    mov ecx, SEL_LDT
    lldt cx
.never:
    ret

; ---- A register of a device ----

register_operands:
    TEST "register-selectors"
    mov dword [REGISTER], SEL_LDT
    xor eax, eax
    lldt ax
    lldt [REGISTER]
    sldt eax
    EXPECT_EQ rax, SEL_LDT, "LLDT"
    mov dword [REGISTER], SEL_USER_DATA
    mov fs, [REGISTER]
    mov eax, fs
    EXPECT_EQ rax, SEL_USER_DATA, "MOV to FS"
    verw [REGISTER]
    EXPECT_FLAGS RFLAGS_ZF, RFLAGS_ZF, "VERW"
    TEST "register-far-pointer"
    mov dword [REGISTER], SEL_DATA << 16 | 0x4567
    xor ebx, ebx
    o16 lgs bx, [REGISTER]
    EXPECT_EQ rbx, 0x4567, "LGS: offset"
    mov eax, gs
    EXPECT_EQ rax, SEL_DATA, "selector"
    TEST "register-jump"
    mov [kept_rsp], rsp
    mov dword [REGISTER], SEL_CODE16 << 16 | (jumped16 - low_begin)
    jmp word far [REGISTER]
.back:
    mov rsp, [kept_rsp]
    EXPECT_EQ rax, SEL_CODE16, "in 16-bit code"
    TEST "register-arithmetic"
    mov dword [REGISTER], 1000
    imul eax, [REGISTER], 7
    EXPECT_EQ rax, 7000, "IMUL"
    mov eax, 5000
    xor edx, edx
    div dword [REGISTER]
    EXPECT_EQ rax, 5, "DIV"
    mov dword [REGISTER], 0
    TRY {div dword [REGISTER]}
    EXPECT_FAULT DE, 0, "by zero"
    ret

; ---- A device's memory ----

memory_returns:
    TEST "memory-iret"
    mov [kept_rsp], rsp
    mov rdi, FAR_MEMORY + 0xfe8 ; over two pages
    mov qword [rdi], .returned
    mov qword [rdi + 8], SEL_CODE64
    mov qword [rdi + 16], 2 | RFLAGS_CF
    mov rax, FAR_MEMORY + 0x800
    mov [rdi + 24], rax
    mov qword [rdi + 32], SEL_DATA
    mov rsp, rdi
    iretq
    jmp $ ; never
.returned:
    mov rdx, rsp
    mov rsp, [kept_rsp]
    EXPECT_FLAGS RFLAGS_CF, RFLAGS_CF, "flags"
    EXPECT_EQ rdx, rax, "RSP"
    TEST "memory-ret-far"
    mov rdi, FAR_MEMORY + 0x100
    mov qword [rdi], .came
    mov qword [rdi + 8], SEL_CODE64
    mov rsp, rdi
    o64 retf
    jmp $ ; never
.came:
    mov rdx, rsp
    mov rsp, [kept_rsp]
    EXPECT_EQ rdx, FAR_MEMORY + 0x110, "RSP"
    TEST "memory-stack"
    mov rsp, FAR_MEMORY + 0x1008
    call .nested
    pushfq
    pop rbx
    mov rdx, rsp
    mov rsp, [kept_rsp]
    EXPECT_EQ rdx, FAR_MEMORY + 0x1008, "RSP"
    EXPECT_EQ rax, 0x77, "calls and returns"
    test ebx, RFLAGS_TF
    EXPECT_FLAGS RFLAGS_ZF, RFLAGS_ZF, "PUSHF and POP"
    TEST "memory-interrupt"
    HANDLE 0x90, .interrupted
    mov rsp, FAR_MEMORY + 0x2000
    int 0x90
    mov rsp, [kept_rsp]
    EXPECT_EQ rsi, FAR_MEMORY + 0x2000, "RSP in the frame"
    ret
.nested:
    enter 32, 0
    mov qword [rbp - 8], 0x77
    call .inner
    leave
    ret
.inner:
    mov rax, [rbp - 8]
    ret 0
.interrupted: ; RDI: frame, there too
    mov rax, [rdi + FRAME_RSP]
    mov [rdi + 4 * 8], rax ; RSI's
    ret

memory_operands:
    TEST "memory-jump"
    mov edx, SEL_CODE64
    mov dword [FAR_MEMORY], .jumped
    mov [FAR_MEMORY + 4], edx
    jmp dword far [FAR_MEMORY]
    jmp $ ; never
.jumped:
    TEST "memory-call"
    mov dword [FAR_MEMORY], called32
    mov dword [FAR_MEMORY + 4], SEL_CODE32
    call dword far [FAR_MEMORY]
    EXPECT_EQ rax, SEL_CODE32, "32-bit code was called, and came back"
    TEST "memory-vector"
    mov rdi, FAR_MEMORY + 0x3ff8
    mov rax, 0x0102030405060708
    movq xmm0, rax
    pshufd xmm0, xmm0, 0x44
    movdqu [rdi], xmm0
    EXPECT_EQ qword [rdi], rax, "MOVDQU stores"
    EXPECT_EQ qword [rdi + 8], rax, "in both pages"
    pxor xmm1, xmm1
    movups xmm1, [rdi]
    pcmpeqd xmm1, xmm0
    pmovmskb edx, xmm1
    EXPECT_EQ rdx, 0xffff, "and MOVUPS loads it"
    TEST "memory-fxsave"
    fxsave [FAR_MEMORY + 0x4000]
    pxor xmm0, xmm0
    fxrstor [FAR_MEMORY + 0x4000]
    movq rdx, xmm0
    EXPECT_EQ rdx, rax, "XMM0"
    TEST "memory-cmpxchg16b"
    mov rdi, FAR_MEMORY + 0x5000
    xor eax, eax
    xor edx, edx
    mov [rdi], rax
    mov [rdi + 8], rdx
    mov ebx, 7
    mov ecx, 9
    lock cmpxchg16b [rdi]
    EXPECT_EQ qword [rdi + 8], 9, "stored"
    ret

memory_tables:
    TEST "memory-tables"
    mov esi, own_gdt
    mov rdi, FAR_MEMORY + 0x6000
    mov ecx, (own_gdt_end - own_gdt) / 8
    rep movsq
    mov rdi, FAR_MEMORY + 0x7000
    mov word [rdi + 6], own_gdt_end - own_gdt - 1
    mov rax, FAR_MEMORY + 0x6000
    mov [rdi + 8], rax
    lgdt [rdi + 6]
    mov edx, SEL_SMALL
    mov es, edx
    push SEL_CODE64
    push .reloaded
    o64 retf
.reloaded:
    sgdt [rdi + 0x16]
    EXPECT_EQ qword [rdi + 0x18], rax, "SGDT"
    lidt [rdi + 0x16]
    sidt [rdi + 0x26]
    lidt [idt64_pointer]
    EXPECT_EQ qword [rdi + 0x28], rax, "LIDT and SIDT"
    lgdt [own_gdt_pointer]
    mov edx, SEL_DATA
    mov es, edx
    mov ax, [rdi - 0x1000 + SEL_SMALL + 5]
    and eax, 1
    EXPECT_EQ rax, 1, "accessed flag"
    ret

; Code in the device's memory, without and with what an emulator knows.
memory_code:
    TEST "memory-code"
    mov esi, .code
    mov rdi, FAR_MEMORY + 0x8000
    mov ecx, .code_end - .code
    rep movsb
    mov rax, FAR_MEMORY + 0x8000
    mov ecx, 5
    call rax
    EXPECT_EQ rdx, 15, "a loop, a call and a return"
    ret
.code:
    xor edx, edx
.next:
    call .add
    dec ecx
    jnz .next
    ret
.add:
    lea rdx, [rdx + rcx]
    ret
.code_end:

memory_step:
    TEST "memory-step"
    HANDLE DB_VECTOR, .stepped
    xor r8d, r8d
    mov [kept_rsp], rsp
    mov rdi, FAR_MEMORY + 0x100
    mov qword [rdi], .target
    mov qword [rdi + 8], SEL_CODE64
    mov qword [rdi + 16], 2
    mov [rdi + 24], rsp
    mov qword [rdi + 32], SEL_DATA
    push RFLAGS_TF | 2
    popfq
    mov rsp, rdi
    iretq
.target:
    nop
    mov rsp, [kept_rsp]
    HANDLE DB_VECTOR, 0
    EXPECT_EQ r8, 2, "two steps: MOV, IRET"
    EXPECT_EQ r9, .target, "the last one behind IRET"
    ret
.stepped: ; RDI: frame
    mov rax, [rdi + FRAME_RIP]
    mov [rdi + 8 * 8], rax ; R9's
    inc qword [rdi + 7 * 8] ; R8's
    mov eax, 0xffff0ff0
    mov dr6, rax
    ret

; ---- Other modes ----

memory_32:
    TEST "memory-32"
    mov dword [result32], 0
    CALL_MODE MODE_FLAT32, transfers32
    call .check
    TEST "memory-paging-32"
    CALL_MODE MODE_PAGED32, transfers32
    call .check
    TEST "memory-pae"
    CALL_MODE MODE_PAE, transfers32
    call .check
    TEST "memory-compatibility"
    CALL_MODE MODE_COMPAT, transfers32
.check:
    mov eax, [result32]
    EXPECT_EQ rax, 0x1f, "IRET, RETF, CALL, 16-bit code and back"
    mov dword [result32], 0
    ret

memory_16:
    TEST "memory-real"
    mov dword [low_result], 0
    CALL_MODE MODE_REAL, real_transfers
    mov eax, [low_result]
    EXPECT_EQ rax, 0x8086, "JMP and CALL"
    ret

bits 32
called32:
    mov eax, cs
    retf

transfers32:
    mov ebp, esp
    mov edi, MEMORY + 0xffc
    mov dword [edi], .returned
    mov dword [edi + 4], SEL_CODE32
    mov dword [edi + 8], 2
    mov [edi + 12], ebp ; for IRET in IA-32e mode, whose compatibility mode does not pop them
    mov esp, edi
    iret
.returned:
    mov esp, ebp
    or dword [result32], 1
    mov dword [edi], .far
    mov esp, edi
    retf
.far:
    mov esp, ebp
    or dword [result32], 2
    mov dword [edi], .called
    call dword far [edi]
    or dword [result32], 8
    mov dword [edi], sixteen32 - low_begin + 0
    mov dword [edi + 4], SEL_CODE16
    call dword far [edi]
    or dword [result32], 16
    ret
.called:
    or dword [result32], 4
    retf

section .low
bits 16
sixteen32:
    o32 retf

jumped16: ; from 64-bit code
    mov ax, cs
    movzx eax, ax
    jmp dword SEL_CODE64:register_operands.back

real_transfers:
    mov edi, MEMORY + 0x20
    mov word [fs:edi], .jumped - low_begin
    mov word [fs:edi + 2], LOW_BASE >> 4
    jmp far [fs:edi]
.jumped:
    mov word [fs:edi], .called - low_begin
    call far [fs:edi]
    mov word [low_result - low_begin], 0x8086
    ret
.called:
    retf
