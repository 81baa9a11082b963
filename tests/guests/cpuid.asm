; What CPUID says against what the processor then does.
%include "tests/guests/lib.inc"

; FPU, TSC, MSR, PAE, CX8, APIC, PGE, FXSR, SSE, SSE2: what every 64-bit kernel takes for granted.
LEAF1_EDX equ 1 << 0 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 9 | 1 << 13 | 7 << 24

section .data
align 8
vendor: times 12 db 0
    dd 0

section .text

; The case holds only where bit %2 of register %1 (saved) is clear: the instruction is not offered.
%macro EXPECT_UD_UNLESS 4+ ; [features], bit, "what", instruction
    bt dword [%1], %2
    jc %%offered
    TRY %4
    EXPECT_FAULT UD, 0, %3
%%offered:
%endmacro

section .bss
leaf1_ecx: resd 1
leaf1_edx: resd 1
leaf7_ebx: resd 1
leaf7_ecx: resd 1
leaf7_edx: resd 1
leaf81_ecx: resd 1
leaf81_edx: resd 1
max_leaf: resd 1
max_extended: resd 1

section .text
main:
    call time_init
    TEST "leaf-0"
    xor eax, eax
    xor ecx, ecx
    cpuid
    mov [max_leaf], eax
    mov [vendor], ebx
    mov [vendor + 4], edx
    mov [vendor + 8], ecx
    EXPECT_BETWEEN rax, 1, 0x40, "the last standard leaf"
    movzx eax, bl
    EXPECT_BETWEEN rax, 'A', 'z', "a vendor's name"
    mov rax, 0xdeadbeef00000000
    mov rbx, rax
    mov rcx, rax
    mov rdx, rax
    cpuid
    shr rax, 32
    shr rbx, 32
    shr rcx, 32
    shr rdx, 32
    or rax, rbx
    or rax, rcx
    or rax, rdx
    EXPECT_EQ rax, 0, "the upper halves are zero"

    TEST "leaf-1"
    mov eax, 1
    cpuid
    mov [leaf1_ecx], ecx
    mov [leaf1_edx], edx
    shr ebx, 24
    mov eax, [LAPIC + LAPIC_ID]
    shr eax, 24
    EXPECT_EQ rbx, rax, "initial APIC ID"
    mov eax, [leaf1_edx]
    and eax, LEAF1_EDX
    EXPECT_EQ rax, LEAF1_EDX, "FPU, TSC, MSR, PAE, CX8, APIC, PGE, FXSR, SSE, SSE2"
    mov eax, 7
    xor ecx, ecx
    cmp [max_leaf], eax
    jb .no_leaf7
    cpuid
    mov [leaf7_ebx], ebx
    mov [leaf7_ecx], ecx
    mov [leaf7_edx], edx
.no_leaf7:
    mov eax, 0x80000000
    cpuid
    mov [max_extended], eax
    TEST "leaf-80000001"
    mov ecx, 0x80000008
    EXPECT_BETWEEN rax, rcx, qword [.extended_limit], "the last extended leaf"
    mov eax, 0x80000001
    cpuid
    mov [leaf81_ecx], ecx
    mov [leaf81_edx], edx
    mov eax, edx
    and eax, 1 << 20 | 1 << 29
    EXPECT_EQ rax, 1 << 20 | 1 << 29, "NX and long mode"
    mov eax, 0x80000008
    cpuid
    movzx ecx, al
    EXPECT_BETWEEN rcx, 32, 52, "physical address bits"
    movzx ecx, ah
    EXPECT_BETWEEN rcx, 48, 57, "linear address bits"
    jmp hypervisor
align 8
.extended_limit: dq 0x80000100

hypervisor:
    TEST "hypervisor"
    bt dword [leaf1_ecx], 31
    jnc .none
    mov eax, 0x40000000
    cpuid
    mov ecx, 0x40000000
    EXPECT_BETWEEN rax, rcx, qword [.limit], "the last hypervisor leaf"
    EXPECT_NE rbx, 0, "a signature"
    jmp osxsave
.none:
    SKIP "no hypervisor"
    jmp osxsave
align 8
.limit: dq 0x400000ff

; CPUID reflects CR4.OSXSAVE.
osxsave:
    TEST "osxsave"
    bt dword [leaf1_ecx], 26
    jnc .none
    mov rax, cr4
    and eax, ~CR4_OSXSAVE
    mov cr4, rax
    mov eax, 1
    cpuid
    shr ecx, 27
    and ecx, 1
    EXPECT_EQ rcx, 0, "clear while CR4.OSXSAVE is clear"
    xor ecx, ecx
    TRY xgetbv
    EXPECT_FAULT UD, 0, "XGETBV"
    mov rax, cr4
    or eax, CR4_OSXSAVE
    mov cr4, rax
    mov eax, 1
    cpuid
    shr ecx, 27
    and ecx, 1
    EXPECT_EQ rcx, 1, "set with it"
    call xsave_leaf
    mov rax, cr4
    and eax, ~CR4_OSXSAVE
    mov cr4, rax
    jmp masked
.none:
    SKIP "no XSAVE"
    jmp masked

; Leaf 0xd: its size of the enabled state follows XCR0.
xsave_leaf:
    TEST "leaf-d"
    mov eax, 0xd
    xor ecx, ecx
    cpuid
    mov r8d, eax  ; valid bits of XCR0
    mov r9d, ecx  ; size for all of them
    mov r10, rdx
    EXPECT_EQ r10, 0, "no state components past 31"
    mov eax, r8d
    and eax, 3
    EXPECT_EQ rax, 3, "x87 and SSE"
    xor ecx, ecx
    xor edx, edx
    mov eax, 1
    xsetbv
    mov eax, 0xd
    xor ecx, ecx
    cpuid
    EXPECT_EQ rbx, 576, "size with x87 alone"
    test r8d, 4
    jz .no_avx
    xor ecx, ecx
    xor edx, edx
    mov eax, 7
    xsetbv
    mov eax, 0xd
    xor ecx, ecx
    cpuid
    mov r11, rbx
    mov eax, 0xd
    mov ecx, 2
    cpuid
    add eax, ebx
    EXPECT_EQ r11, rax, "size with AVX: the component's offset and size"
.no_avx:
    xor ecx, ecx
    xor edx, edx
    mov eax, r8d
    xsetbv
    mov eax, 0xd
    xor ecx, ecx
    cpuid
    EXPECT_EQ rbx, r9, "size with everything that is offered"
    xor ecx, ecx
    xor edx, edx
    mov eax, 3
    xsetbv
    xgetbv
    EXPECT_EQ rax, 3, "XGETBV"
    ret

masked:
    TEST "vmx-not-offered"
    bt dword [leaf1_ecx], 5
    jc .vmx
    SKIP_ON_TCG .svm, "TCG decodes them otherwise"
    mov rax, cr4
    or eax, CR4_VMXE
    TRY {mov cr4, rax}
    EXPECT_FAULT GP, 0, "CR4.VMXE"
    TRY {vmxon [rsp]}
    EXPECT_FAULT UD, 0, "VMXON"
    TRY {vmlaunch}
    EXPECT_FAULT UD, 0, "VMLAUNCH"
    TRY {vmresume}
    EXPECT_FAULT UD, 0, "VMRESUME"
    TRY {vmxoff}
    EXPECT_FAULT UD, 0, "VMXOFF"
    TRY {vmread rax, rbx}
    EXPECT_FAULT UD, 0, "VMREAD"
    TRY {vmwrite rax, rbx}
    EXPECT_FAULT UD, 0, "VMWRITE"
    TRY {vmclear [rsp]}
    EXPECT_FAULT UD, 0, "VMCLEAR"
    TRY {vmptrld [rsp]}
    EXPECT_FAULT UD, 0, "VMPTRLD"
    TRY {vmptrst [rsp]}
    EXPECT_FAULT UD, 0, "VMPTRST"
    TRY {invept rax, [rsp]}
    EXPECT_FAULT UD, 0, "INVEPT"
    TRY {invvpid rax, [rsp]}
    EXPECT_FAULT UD, 0, "INVVPID"
    TRY {vmfunc}
    EXPECT_FAULT UD, 0, "VMFUNC"
    jmp .svm
.vmx:
    SKIP "VMX is offered"
.svm:
    TEST "svm-not-offered"
    bt dword [leaf81_ecx], 2
    jc .has_svm
    TRY {vmrun}
    EXPECT_FAULT UD, 0, "VMRUN"
    TRY {vmload}
    EXPECT_FAULT UD, 0, "VMLOAD"
    TRY {clgi}
    EXPECT_FAULT UD, 0, "CLGI"
    jmp .others
.has_svm:
    SKIP "SVM is offered"
.others:
    TEST "features-not-offered"
    xor eax, eax
    xor ecx, ecx
    xor edx, edx
    EXPECT_UD_UNLESS leaf1_ecx, 3, "MONITOR", {monitor}
    EXPECT_UD_UNLESS leaf1_ecx, 3, "MWAIT", {mwait}
    EXPECT_UD_UNLESS leaf7_ebx, 2, "ENCLS", {db 0x0f, 0x01, 0xcf}
    EXPECT_UD_UNLESS leaf7_ebx, 10, "INVPCID", {invpcid rax, [rsp]}
    EXPECT_UD_UNLESS leaf1_ecx, 30, "RDRAND", {rdrand eax}
    EXPECT_UD_UNLESS leaf1_ecx, 6, "GETSEC", {getsec}
    EXPECT_UD_UNLESS leaf7_ecx, 3, "RDPKRU", {rdpkru}
    EXPECT_UD_UNLESS leaf81_edx, 27, "RDTSCP", {rdtscp}
    TEST "more-features-not-offered"
    SKIP_ON_TCG .rdtscp, "TCG decodes them otherwise"
    EXPECT_UD_UNLESS leaf7_ecx, 5, "TPAUSE", {db 0x66, 0x0f, 0xae, 0xf0}
    EXPECT_UD_UNLESS leaf7_ebx, 18, "RDSEED", {rdseed eax}
    EXPECT_UD_UNLESS leaf7_ebx, 11, "XBEGIN", {db 0xc7, 0xf8, 0, 0, 0, 0}
.rdtscp:
    TEST "rdtscp"
    bt dword [leaf81_edx], 27
    jnc .no_rdtscp
    mov ecx, 0xc0000103 ; IA32_TSC_AUX
    mov eax, 0x1234
    xor edx, edx
    wrmsr
    rdtscp
    EXPECT_EQ rcx, 0x1234, "IA32_TSC_AUX"
    jmp .tsc
.no_rdtscp:
    SKIP "not offered"
.tsc:
    TEST "leaf-15"
    cmp dword [max_leaf], 0x15
    jb .no_leaf15
    mov eax, 0x15
    xor ecx, ecx
    cpuid
    test eax, eax
    jz .no_leaf15
    test ecx, ecx
    jz .no_leaf15
    mov r8d, eax
    mov eax, ecx
    mov edx, ebx
    mul rdx
    div r8
    mov r9, rax ; TSC frequency by CPUID
    mov rax, [tsc_per_second]
    mov rcx, rax
    shr rcx, 6
    mov rdx, rax
    sub rax, rcx
    add rdx, rcx
    EXPECT_BETWEEN r9, rax, rdx, "the TSC against the PIT, within a 64th"
    jmp .pm
.no_leaf15:
    SKIP "not offered"
.pm:
    TEST "tsc-against-pm-timer"
    call acpi_pm_timer_port
    test edx, edx
    jz .no_pm
    in eax, dx
    mov r8d, eax
    call read_tsc
    mov r9, rax
    mov eax, 20000
    call delay
    in eax, dx
    sub eax, r8d
    and eax, 0xffffff
    mov r8d, eax
    call read_tsc
    sub rax, r9
    mov ecx, 3579545
    mul rcx
    mov rcx, r8
    test rcx, rcx
    jz .stands
    div rcx
.stands:
    mov r9, rax
    mov rax, [tsc_per_second]
    mov rcx, rax
    shr rcx, 5
    mov rdx, rax
    sub rax, rcx
    add rdx, rcx
    EXPECT_BETWEEN r9, rax, rdx, "the TSC by the PM timer, within a 32nd of that by the PIT"
    jmp .ring3
.no_pm:
    SKIP "no PM timer"
.ring3:
    TEST "cpuid-modes"
    CALL_RING3 .cpuid3, 0
    mov rax, [vendor]
    EXPECT_EQ qword [low_result], rax, "ring 3"
    CALL_MODE MODE_REAL, cpuid16
    mov rax, [vendor]
    EXPECT_EQ qword [low_result], rax, "real mode"
    ret
.cpuid3:
    xor eax, eax
    cpuid
    mov [low_result], ebx
    mov [low_result + 4], edx
    ret

section .low
bits 16
cpuid16:
    xor eax, eax
    mov [low_result - low_begin], eax
    cpuid
    mov [low_result - low_begin], ebx
    mov [low_result + 4 - low_begin], edx
    ret
