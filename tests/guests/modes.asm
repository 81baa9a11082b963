; The processor's modes and the ways between them.
%include "tests/guests/lib.inc"

section .bss
alignb 16
result: resq 8
v86_stack0: resb 4096
v86_stack0_top:
v86_esp: resd 1

section .text
main:
    TEST "real"
    CALL_MODE MODE_REAL, real16
    mov eax, [low_result]
    EXPECT_EQ rax, LOW_BASE >> 4, "CS"
    mov eax, [low_result + 4]
    and eax, CR0_PE | CR0_PG
    EXPECT_EQ rax, 0, "CR0"
    mov eax, [low_result + 8]
    EXPECT_EQ rax, 0x5a5aa5a5, "memory above 1 MiB through FS, 4 GiB wide"
    mov eax, [low_result + 12]
    EXPECT_EQ rax, 0x33, "INT through the real-mode vectors"
    mov eax, [low_result + 16]
    EXPECT_EQ rax, DE, "#DE through them"
    mov eax, [low_result + 20]
    EXPECT_EQ rax, UD, "#UD"
    mov eax, [low_result + 24]
    EXPECT_EQ rax, 0x2bcd, "far call and return"
    mov eax, [low_result + 28]
    EXPECT_EQ rax, 0x7eedbeef, "PUSHAD, POPAD, ENTER, LEAVE"
    TEST "real-segment-limit"
    SKIP_ON_TCG .protected16, "TCG checks no segment limits"
    mov eax, [low_result + 32]
    EXPECT_EQ rax, GP, "beyond 64 KiB: #GP"

.protected16:
    TEST "protected-16"
    CALL_MODE MODE_PM16, protected16
    mov eax, [low_result]
    EXPECT_EQ rax, SEL_CODE16, "CS"
    mov eax, [low_result + 4]
    and eax, CR0_PE | CR0_PG
    EXPECT_EQ rax, CR0_PE, "CR0"
    mov eax, [low_result + 8]
    EXPECT_EQ rax, 0x12345678, "PUSH and POP of 32 bits"
    TEST "protected-32"
    call .clear
    CALL_MODE MODE_FLAT32, protected32
    mov ebx, CR0_PE
    mov ecx, CR4_PAE
    mov edx, 0
    call .check32
    TEST "paging-32"
    call .clear
    CALL_MODE MODE_PAGED32, protected32
    mov ebx, CR0_PE | CR0_PG
    mov ecx, CR4_PSE
    mov edx, 0
    call .check32
    TEST "pae"
    call .clear
    CALL_MODE MODE_PAE, protected32
    mov ebx, CR0_PE | CR0_PG
    mov ecx, CR4_PAE
    mov edx, 0
    call .check32
    TEST "compatibility"
    call .clear
    CALL_MODE MODE_COMPAT, protected32
    mov ebx, CR0_PE | CR0_PG
    mov ecx, CR4_PAE
    mov edx, EFER_LMA | EFER_LME
    call .check32
    TEST "page-faults-32"
    CALL_MODE MODE_PAGED32, page_fault32
    mov eax, [result]
    EXPECT_EQ rax, PF, "#PF"
    mov eax, [result + 4]
    EXPECT_EQ rax, 2, "its error code"
    mov eax, [result + 8]
    EXPECT_EQ rax, 0x30000123, "CR2"
    TEST "long"
    mov rax, 0x123456789abcdef0
    mov r8, rax
    mov rcx, r8
    EXPECT_EQ rax, rcx, "64-bit registers"
    mov ax, cs
    movzx eax, ax
    EXPECT_EQ rax, SEL_CODE64, "CS"
    TEST "long-segment-bases"
    mov ecx, 0xc0000101
    mov eax, result
    xor edx, edx
    wrmsr
    mov qword [result], 0x777
    mov rax, [gs:0]
    EXPECT_EQ rax, 0x777, "GS base"
    mov ecx, 0xc0000102
    mov eax, result + 8
    wrmsr
    mov qword [result + 8], 0x888
    swapgs
    mov rax, [gs:0]
    EXPECT_EQ rax, 0x888, "SWAPGS"
    TEST "syscall"
    call .syscall
    EXPECT_EQ qword [result], 3, "from ring 3"
    EXPECT_EQ qword [result + 8], 0, "at ring 0"
    EXPECT_EQ qword [result + 16], 3, "back by SYSRET"
    TEST "virtual-8086"
    CALL_MODE MODE_FLAT32, v86
    mov eax, [low_result]
    EXPECT_EQ rax, 0x8086, "16-bit code ran"
    mov eax, [result]
    EXPECT_EQ rax, GP, "HLT comes out as #GP"
    mov eax, [result + 4]
    and eax, RFLAGS_VM
    EXPECT_EQ rax, RFLAGS_VM, "EFLAGS.VM in the frame"
    mov eax, [low_result + 4]
    EXPECT_EQ rax, 0x1234, "CPUID is no obstacle"
    TEST "many-switches"
    mov r12d, 200
    mov qword [result], 0
.switch:
    CALL_MODE MODE_REAL, count16
    CALL_MODE MODE_PAE, count32
    CALL_MODE MODE_PAGED32, count32
    dec r12d
    jnz .switch
    mov eax, [low_result]
    EXPECT_EQ rax, 200, "real mode"
    EXPECT_EQ qword [result], 400, "PAE and 32-bit paging"
    ret

.clear:
    mov edi, result
    mov ecx, 8
    xor eax, eax
    rep stosq
    ret

.check32:
    mov eax, [result]
    and eax, CR0_PE | CR0_PG
    EXPECT_EQ rax, rbx, "CR0"
    mov eax, [result + 4]
    and eax, CR4_PSE | CR4_PAE
    EXPECT_EQ rax, rcx, "CR4"
    mov eax, [result + 8]
    and eax, EFER_LMA | EFER_LME
    EXPECT_EQ rax, rdx, "EFER"
    mov eax, [result + 12]
    EXPECT_EQ rax, SEL_CODE32, "CS"
    movsxd rax, [result + 16]
    EXPECT_EQ rax, UD, "#UD"
    movsxd rax, [result + 20]
    EXPECT_EQ rax, GP, "#GP"
    mov eax, [result + 24]
    EXPECT_EQ rax, 0x13579bdf, "PUSH and POP"
    ret

; SYSCALL from ring 3 and SYSRET to it.
.syscall:
    mov ecx, IA32_EFER
    rdmsr
    or eax, EFER_SCE
    wrmsr
    mov ecx, 0xc0000081
    xor eax, eax
    ; SYSRET takes SS = this + 8 and CS = this + 16: 0x38 and 0x40
    mov edx, (0x30 | 3) << 16 | SEL_CODE64
    wrmsr
    mov ecx, 0xc0000082
    mov eax, .entry
    xor edx, edx
    wrmsr
    mov ecx, 0xc0000084
    xor eax, eax
    wrmsr
    CALL_RING3 .ring3, 0
    ret
.ring3:
    mov eax, cs
    and eax, 3
    mov [result], rax
    syscall
    mov eax, cs
    and eax, 3
    mov [result + 16], rax
    ret
.entry:
    mov eax, cs
    and eax, 3
    mov [result + 8], rax
    o64 sysret

bits 32
protected32:
    mov eax, cr0
    mov [result], eax
    mov eax, cr4
    mov [result + 4], eax
    mov ecx, IA32_EFER
    rdmsr
    mov [result + 8], eax
    mov eax, cs
    mov [result + 12], eax
    TRY ud2
    mov eax, [caught_vector]
    mov [result + 16], eax
    mov eax, 0x1238
    TRY {mov es, eax}
    mov eax, [caught_vector]
    mov [result + 20], eax
    push dword 0x13579bdf
    pop dword [result + 24]
    ret

page_fault32:
    mov dword [page_directory32 + (0x30000000 >> 22) * 4], 0
    mov eax, cr3
    mov cr3, eax
    TRY {mov byte [0x30000123], 1}
    mov eax, [caught_vector]
    mov [result], eax
    mov eax, [caught_error]
    mov [result + 4], eax
    mov eax, [caught_cr2]
    mov [result + 8], eax
    ret

count32:
    inc dword [result]
    ret

; Virtual-8086 mode: 16-bit code at LOW_BASE, left by an HLT, which is #GP there.
v86:
    mov [v86_esp], esp
    mov dword [tss32 + 4], v86_stack0_top
    and byte [gdt_tss32 + 5], ~2 ; not busy
    mov eax, SEL_TSS32
    ltr ax
    mov dword [handlers32 + GP * 4], .left
    mov eax, LOW_BASE >> 4
    push eax ; GS
    push eax ; FS
    push eax ; DS
    push eax ; ES
    push eax ; SS
    push low_stack_top - low_begin
    push RFLAGS_VM | 3 << 12 | 2
    push eax
    push v86_code - low_begin
    iret
.left: ; EDI: frame
    mov eax, [edi + FRAME32_VECTOR]
    mov [result], eax
    mov eax, [edi + FRAME32_EFLAGS]
    mov [result + 4], eax
    mov dword [handlers32 + GP * 4], 0
    mov eax, SEL_DATA
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov esp, [v86_esp]
    ret

section .low
bits 16
real16:
    mov ax, cs
    movzx eax, ax
    mov [low_result - low_begin], eax
    mov eax, cr0
    mov [low_result + 4 - low_begin], eax
    mov dword [fs:dword 0x600000], 0x5a5aa5a5
    mov eax, [fs:dword 0x600000]
    mov [low_result + 8 - low_begin], eax
    int 0x33
    mov eax, [caught_vector16 - low_begin]
    mov [low_result + 12 - low_begin], eax
    xor dx, dx
    xor ax, ax
    xor bx, bx
    TRY16 div bx
    mov eax, [caught_vector16 - low_begin]
    mov [low_result + 16 - low_begin], eax
    TRY16 ud2
    mov eax, [caught_vector16 - low_begin]
    mov [low_result + 20 - low_begin], eax
    mov dword [low_result + 24 - low_begin], 0
    call (LOW_BASE >> 4):.far - low_begin
    mov eax, 0x7eedbeef
    pushad
    xor eax, eax
    enter 16, 0
    leave
    popad
    mov [low_result + 28 - low_begin], eax
    mov esi, 0x10000
    TRY16 {mov al, [esi]}
    mov eax, [caught_vector16 - low_begin]
    mov [low_result + 32 - low_begin], eax
    ret
.far:
    mov word [low_result + 24 - low_begin], 0x2bcd
    retf

protected16:
    mov ax, cs
    movzx eax, ax
    mov [low_result - low_begin], eax
    mov eax, cr0
    mov [low_result + 4 - low_begin], eax
    push dword 0x12345678
    pop dword [low_result + 8 - low_begin]
    mov dword [low_result + 12 - low_begin], 0
    ret

count16:
    cmp dword [.seen - low_begin], 0
    jne .count
    mov dword [.seen - low_begin], 1
    mov dword [low_result - low_begin], 0
.count:
    inc dword [low_result - low_begin]
    ret
.seen: dd 0

v86_code:
    mov dword [low_result - low_begin], 0x8086
    xor eax, eax
    cpuid
    mov dword [low_result + 4 - low_begin], 0x1234
    hlt
    jmp $
