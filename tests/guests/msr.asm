; Model-specific registers: those that hold what is written, those that refuse, and those that are
; not there.
%include "tests/guests/lib.inc"

section .data
align 8
; MSRs that hold any value of a kind: number, kind.
holding:
    dd 0xc0000100, 'addr' ; IA32_FS_BASE
    dd 0xc0000101, 'addr' ; IA32_GS_BASE
    dd 0xc0000102, 'addr' ; IA32_KERNEL_GS_BASE
    dd 0xc0000082, 'addr' ; IA32_LSTAR
    dd 0xc0000083, 'addr' ; IA32_CSTAR
    dd 0xc0000081, 'any'  ; IA32_STAR
    dd 0xc0000084, 'low'  ; IA32_FMASK
    dd 0x174, 'sel'       ; IA32_SYSENTER_CS
    dd 0x175, 'addr'      ; IA32_SYSENTER_ESP
    dd 0x176, 'addr'      ; IA32_SYSENTER_EIP
    dd 0x277, 'pat'       ; IA32_PAT
holding_end:

; MSRs that no processor has.
absent:
    dd 0x00000f00, 0x00001fff, 0x00002000, 0x3fffffff, 0x40000400, 0x4b564dff, 0x80000000
    dd 0xbfffffff, 0xc0001fff, 0xc0002000, 0xcfffffff, 0xffffffff
absent_end:

; Values of memory types that IA32_PAT refuses.
bad_pat: db 2, 3, 8, 0x80, 0xff

section .bss
alignb 8
before: resq 1

section .text

; ECX: MSR -> RAX, whole.
%macro READ_MSR 0
    rdmsr
    shl rdx, 32
    or rax, rdx
%endmacro
; ECX: MSR, RAX: value.
%macro WRITE_MSR 0
    mov rdx, rax
    shr rdx, 32
    wrmsr
%endmacro
%macro TRY_WRITE_MSR 0
    mov rdx, rax
    shr rdx, 32
    mov eax, eax
    TRY wrmsr
%endmacro

main:
    call test_holding
    call test_absent
    call test_efer
    call test_pat
    call test_apic_base
    call test_tsc
    call test_mtrr
    call test_misc
    call test_ring3_and_modes
    ret

; Writes RBX to MSR ECX and expects to read it; restores it.
hold:
    READ_MSR
    mov [before], rax
    mov rax, rbx
    TRY_WRITE_MSR
    EXPECT_NO_FAULT "WRMSR of a good value"
    READ_MSR
    EXPECT_EQ rax, rbx, "what RDMSR gives"
    mov rax, [before]
    WRITE_MSR
    ret

test_holding:
    TEST "holding"
    mov esi, holding
.next:
    mov ecx, [rsi]
    mov eax, [rsi + 4]
    cmp eax, 'addr'
    je .address
    cmp eax, 'pat'
    je .pat
    mov ebx, 0x1230
    cmp eax, 'sel'
    je .hold_last
    mov rbx, 0x12345678
    call hold
    cmp dword [rsi + 4], 'low'
    je .done
    mov rbx, 0xfedcba9876543210
    call hold
    jmp .done
.pat:
    mov rbx, 0x0004050601000706
    call hold
    jmp .done
.address:
    mov rbx, 0x00007fffffffffff
    call hold
    mov rbx, 0xffff800000000000
    call hold
    mov rbx, 0x12345678
.hold_last:
    call hold
.done:
    add esi, 8
    cmp esi, holding_end
    jb .next

    TEST "non-canonical"
    SKIP_ON_TCG .out, "TCG takes non-canonical bases"
    mov esi, holding
.check:
    cmp dword [rsi + 4], 'addr'
    jne .skip
    mov ecx, [rsi]
    mov rax, 0x0000800000000000
    TRY_WRITE_MSR
    EXPECT_FAULT GP, 0, "the first non-canonical address"
    mov rax, 0xffff7fffffffffff
    TRY_WRITE_MSR
    EXPECT_FAULT GP, 0, "the last"
.skip:
    add esi, 8
    cmp esi, holding_end
    jb .check
.out:
    ret

test_absent:
    TEST "absent"
    SKIP_ON_TCG .out, "TCG reads unknown MSRs as zero"
    mov esi, absent
.next:
    mov ecx, [rsi]
    mov rax, 0x1111111122222222
    mov rdx, rax
    TRY rdmsr
    EXPECT_FAULT GP, 0, "RDMSR"
    mov rbx, 0x1111111122222222
    EXPECT_EQ rax, rbx, "RAX untouched"
    EXPECT_EQ rdx, rbx, "RDX untouched"
    xor eax, eax
    xor edx, edx
    TRY wrmsr
    EXPECT_FAULT GP, 0, "WRMSR of 0"
    add esi, 4
    cmp esi, absent_end
    jb .next
    TEST "rcx-upper-half"
    mov rcx, 0x1234567800000277
    TRY rdmsr
    EXPECT_NO_FAULT "RDMSR takes ECX"
.out:
    ret

test_efer:
    TEST "efer"
    mov ecx, IA32_EFER
    READ_MSR
    mov rbx, rax
    and eax, EFER_LME | EFER_LMA
    EXPECT_EQ rax, EFER_LME | EFER_LMA, "LME and LMA in 64-bit mode"
    mov rax, rbx
    or eax, EFER_SCE | EFER_NXE
    WRITE_MSR
    READ_MSR
    and eax, EFER_SCE | EFER_NXE
    EXPECT_EQ rax, EFER_SCE | EFER_NXE, "SCE and NXE"
    mov rax, rbx
    WRITE_MSR
    TEST "efer-nx"
    call window_init
    mov rax, rbx
    or eax, EFER_NXE
    WRITE_MSR
    mov byte [WINDOW], 0xc3
    bts qword [window_table], 63
    mov rax, cr3
    mov cr3, rax
    mov edi, WINDOW
    mov rbp, rsp
    TRY {call rdi}
    mov rsp, rbp ; the fault comes after the return address is pushed
    EXPECT_EQ qword [caught_vector], PF, "fetch from an NX page"
    EXPECT_EQ qword [caught_error], 0x11, "its error code"
    btr qword [window_table], 63
    mov rax, cr3
    mov cr3, rax
    mov ecx, IA32_EFER
    mov rax, rbx
    WRITE_MSR
    TEST "efer-refused"
    SKIP_ON_TCG .out, "TCG ignores reserved bits of EFER"
    mov rax, rbx
    btr rax, 8
    TRY_WRITE_MSR
    EXPECT_FAULT GP, 0, "LME cleared under paging"
    mov rax, rbx
    bts rax, 1
    TRY_WRITE_MSR
    EXPECT_FAULT GP, 0, "bit 1"
    mov rax, rbx
    bts rax, 9
    TRY_WRITE_MSR
    EXPECT_FAULT GP, 0, "bit 9"
    mov rax, rbx
    bts rax, 32
    TRY_WRITE_MSR
    EXPECT_FAULT GP, 0, "bit 32"
    mov rax, rbx
    bts rax, 63
    TRY_WRITE_MSR
    EXPECT_FAULT GP, 0, "bit 63"
    TEST "efer-lma-ignored"
    mov rax, rbx
    btr rax, 10
    TRY_WRITE_MSR
    EXPECT_NO_FAULT "LMA written as 0"
    READ_MSR
    EXPECT_EQ rax, rbx, "LMA stays"
.out:
    ret

test_pat:
    TEST "pat-default"
    mov ecx, 0x277
    READ_MSR
    mov rbx, 0x0007040600070406
    EXPECT_EQ rax, rbx, "IA32_PAT after reset"
    TEST "pat-refused"
    SKIP_ON_TCG .out, "TCG takes any PAT"
    mov esi, bad_pat
.next:
    movzx eax, byte [rsi]
    shl rax, 40
    TRY_WRITE_MSR
    EXPECT_FAULT GP, 0, "a type that does not exist"
    READ_MSR
    EXPECT_EQ rax, rbx, "IA32_PAT stays"
    inc esi
    cmp esi, bad_pat + 5
    jb .next
.out:
    ret

test_apic_base:
    TEST "apic-base"
    mov ecx, IA32_APIC_BASE
    READ_MSR
    mov rbx, rax
    mov edx, 0xfee00900
    EXPECT_EQ rax, rdx, "base, enabled, bootstrap processor"
    SKIP_ON_TCG .out, "TCG ignores reserved bits here and has no x2APIC"
    mov eax, ebx
    or eax, 1
    TRY_WRITE_MSR
    EXPECT_FAULT GP, 0, "bit 0"
    mov rax, rbx
    bts rax, 52
    TRY_WRITE_MSR
    EXPECT_FAULT GP, 0, "bit 52"
    mov eax, ebx
    and eax, ~(1 << 11)
    or eax, 1 << 10
    TRY_WRITE_MSR
    EXPECT_FAULT GP, 0, "EXTD without EN"
    mov eax, 1
    cpuid
    bt ecx, 21
    jc .x2apic
    mov ecx, IA32_APIC_BASE
    mov rax, rbx
    or eax, 1 << 10
    TRY_WRITE_MSR
    EXPECT_FAULT GP, 0, "EXTD where there is no x2APIC"
    ret
.x2apic:
    TEST "x2apic"
    mov ecx, IA32_APIC_BASE
    mov rax, rbx
    or eax, 1 << 10
    TRY_WRITE_MSR
    EXPECT_NO_FAULT "EXTD"
    READ_MSR
    mov rdx, rbx
    or edx, 1 << 10
    EXPECT_EQ rax, rdx, "what RDMSR gives"
    mov ecx, 0x802 ; ID
    TRY rdmsr
    EXPECT_NO_FAULT "the ID"
    mov r8, rax
    TRY wrmsr
    EXPECT_FAULT GP, 0, "the ID is read-only"
    mov ecx, 0x80d ; LDR: derived from the ID
    rdmsr
    mov r9, rax
    mov rcx, r8
    and ecx, 15
    mov edx, 1
    shl edx, cl
    mov rax, r8
    shr eax, 4
    shl eax, 16
    or edx, eax
    EXPECT_EQ r9, rdx, "the LDR"
    mov ecx, 0x808 ; TPR
    mov eax, 0x40
    xor edx, edx
    wrmsr
    xor eax, eax
    rdmsr
    EXPECT_EQ rax, 0x40, "TPR"
    mov rax, cr8
    EXPECT_EQ rax, 4, "CR8 follows"
    xor eax, eax
    wrmsr
    mov eax, 0x100
    TRY wrmsr
    EXPECT_FAULT GP, 0, "a reserved bit of the TPR"
    mov ecx, 0x80e ; DFR: gone
    TRY rdmsr
    EXPECT_FAULT GP, 0, "no DFR"
    mov ecx, 0x831 ; ICR is one register
    TRY rdmsr
    EXPECT_FAULT GP, 0, "no upper half of the ICR"
    mov ecx, 0x80b ; EOI
    TRY rdmsr
    EXPECT_FAULT GP, 0, "EOI is write-only"
    mov eax, 1
    xor edx, edx
    TRY wrmsr
    EXPECT_FAULT GP, 0, "EOI takes 0 only"
    mov ecx, 0x8ff
    TRY rdmsr
    EXPECT_FAULT GP, 0, "MSR 0x8ff"
    mov edi, LAPIC32
    mov eax, [rdi + LAPIC_VERSION]
    mov ecx, 0xffffffff
    EXPECT_EQ rax, rcx, "no registers in memory"
    mov ecx, IA32_APIC_BASE
    mov rax, rbx
    TRY_WRITE_MSR
    EXPECT_FAULT GP, 0, "from x2APIC straight to xAPIC"
    mov rax, rbx
    and eax, ~(1 << 11)
    WRITE_MSR
    mov rax, rbx
    WRITE_MSR
    READ_MSR
    EXPECT_EQ rax, rbx, "through disabled to xAPIC"
    mov ecx, 0x802
    TRY rdmsr
    EXPECT_FAULT GP, 0, "no x2APIC MSRs in xAPIC mode"
.out:
    ret

test_tsc:
    TEST "tsc-write"
    SKIP_ON_TCG .out, "TCG ignores writes of the TSC"
    mov ecx, IA32_TSC
    mov rax, 0x0000100000000000
    WRITE_MSR
    call read_tsc
    mov rbx, 0x0000100000000000
    mov rcx, 0x0000100100000000
    EXPECT_BETWEEN rax, rbx, rcx, "RDTSC after WRMSR"
    mov ecx, IA32_TSC
    READ_MSR
    EXPECT_BETWEEN rax, rbx, qword [.limit], "RDMSR after WRMSR"
    xor eax, eax
    mov ecx, IA32_TSC
    WRITE_MSR
    TEST "tsc-adjust"
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ebx, 1
    jnc .no_adjust
    mov ecx, 0x3b
    xor eax, eax
    WRITE_MSR
    call read_tsc
    mov rbx, rax
    mov rax, 0x10000000000
    WRITE_MSR
    READ_MSR
    mov rdx, 0x10000000000
    EXPECT_EQ rax, rdx, "what RDMSR gives"
    call read_tsc
    sub rax, rbx
    mov rdx, 0x10000000000
    mov rcx, 0x10100000000
    EXPECT_BETWEEN rax, rdx, rcx, "the TSC moves by it"
    mov ecx, 0x3b
    xor eax, eax
    WRITE_MSR
    ; a write of the TSC shows in IA32_TSC_ADJUST
    call read_tsc
    mov rbx, 0x20000000000
    add rax, rbx
    mov ecx, IA32_TSC
    WRITE_MSR
    mov ecx, 0x3b
    READ_MSR
    mov rdx, 0x1ff00000000
    mov rbx, 0x20100000000
    EXPECT_BETWEEN rax, rdx, rbx, "a write of the TSC moves IA32_TSC_ADJUST"
    xor eax, eax
    WRITE_MSR
    TEST "tsc-cr4-tsd"
    mov rax, cr4
    or eax, CR4_TSD
    mov cr4, rax
    TRY rdtsc
    EXPECT_NO_FAULT "ring 0"
    CALL_RING3 .rdtsc3, 0
    EXPECT_EQ qword [before], GP, "ring 3"
    mov rax, cr4
    and eax, ~CR4_TSD
    mov cr4, rax
.out:
    ret
.no_adjust:
    SKIP "no IA32_TSC_ADJUST"
    ret
.rdtsc3:
    TRY rdtsc
    mov rax, [caught_vector]
    mov [before], rax
    ret
align 8
.limit: dq 0x0000100100000000

test_mtrr:
    TEST "mtrr"
    mov eax, 1
    cpuid
    bt edx, 12
    jnc .none
    mov ecx, 0xfe ; IA32_MTRRCAP
    READ_MSR
    mov rbx, rax
    TRY_WRITE_MSR
    mov rdx, [caught_vector]
    cmp byte [on_tcg], 0
    jne .writable
    EXPECT_FAULT GP, 0, "IA32_MTRRCAP is read-only"
.writable:
    mov ecx, 0x2ff ; IA32_MTRR_DEF_TYPE
    READ_MSR
    mov [before], rax
    movzx eax, bl
    test eax, eax
    jz .fixed
    mov ecx, 0x200
    READ_MSR
    push rax
    mov eax, 0xc0000000
    WRITE_MSR
    READ_MSR
    mov edx, 0xc0000000
    EXPECT_EQ rax, rdx, "IA32_MTRR_PHYSBASE0"
    cmp byte [on_tcg], 0
    jne .restore
    mov eax, 0xc0000002
    TRY_WRITE_MSR
    EXPECT_FAULT GP, 0, "a type that does not exist"
    mov eax, 0xc0000100
    TRY_WRITE_MSR
    EXPECT_FAULT GP, 0, "a reserved bit"
.restore:
    pop rax
    WRITE_MSR
.fixed:
    bt ebx, 8
    jnc .out
    mov ecx, 0x250
    READ_MSR
    push rax
    mov rax, 0x0606060606060606
    WRITE_MSR
    READ_MSR
    mov rdx, 0x0606060606060606
    EXPECT_EQ rax, rdx, "IA32_MTRR_FIX64K_00000"
    pop rax
    WRITE_MSR
.out:
    ret
.none:
    SKIP "not offered"
    ret

test_misc:
    TEST "misc-enable"
    mov ecx, 0x1a0
    TRY rdmsr
    EXPECT_NO_FAULT "RDMSR of IA32_MISC_ENABLE"
    TRY wrmsr
    EXPECT_NO_FAULT "WRMSR of what was read"
    TEST "feature-control"
    SKIP_ON_TCG .out, "TCG reads it as zero"
    mov eax, 1
    cpuid
    bt ecx, 5
    jc .vmx
    mov ecx, 0x480 ; IA32_VMX_BASIC
    TRY rdmsr
    EXPECT_FAULT GP, 0, "no IA32_VMX_BASIC without VMX"
    ret
.vmx:
    SKIP "VMX is offered"
.out:
    ret

section .low
bits 16
msr16:
    mov ecx, IA32_EFER
    rdmsr
    mov [low_result - low_begin], eax
    mov ecx, 0x277
    rdmsr
    mov [low_result + 4 - low_begin], eax
    mov ecx, 0x40000400
    TRY16 rdmsr
    mov eax, [caught_vector16 - low_begin]
    mov [low_result + 8 - low_begin], eax
    ret

section .text
bits 64
test_ring3_and_modes:
    TEST "msr-ring3"
    CALL_RING3 .ring3, 0
    EXPECT_EQ qword [low_result], GP, "RDMSR"
    EXPECT_EQ qword [low_result + 8], GP, "WRMSR"
    TEST "msr-real-mode"
    CALL_MODE MODE_REAL, msr16
    mov eax, [low_result]
    and eax, EFER_LME | EFER_LMA
    EXPECT_EQ rax, 0, "EFER outside of long mode"
    mov eax, [low_result + 4]
    EXPECT_EQ rax, 0x00070406, "IA32_PAT"
    SKIP_ON_TCG .out, "TCG reads unknown MSRs as zero"
    mov eax, [low_result + 8]
    EXPECT_EQ rax, GP, "an absent MSR"
.out:
    ret
.ring3:
    mov ecx, 0x277
    TRY rdmsr
    mov rax, [caught_vector]
    mov [low_result], rax
    TRY wrmsr
    mov rax, [caught_vector]
    mov [low_result + 8], rax
    ret
