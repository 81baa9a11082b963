; For a debugger that catches what the guest does; each label is behind the instruction that is caught. Ends
; by a triple fault at `culprit`.
%include "tests/guests/lib.inc"

section .data
align 16
no_idt: dw 0
    dq 0

section .text
global paged, msr_written, msr_read, direct_written, port_written, port_read, leaf_read, cr0_written
global cr4_written, cr3_written, undefined, faulting, culprit
main:
    TEST "catches"
    mov ecx, 0xc0000082 ; LSTAR
    mov edx, 0x12345678
    mov eax, 0x00100000
    xor edx, edx
    wrmsr
msr_written:
    rdmsr
msr_read:
    EXPECT_EQ rax, 0x100000, "what was read back"
    mov ecx, 0x176 ; SYSENTER_EIP
    mov eax, 0x4321
    wrmsr
direct_written:
    rdmsr
    EXPECT_EQ rax, 0x4321, "SYSENTER_EIP"
    mov al, 0x5a
    out 0x80, al
port_written:
    in al, 0x81
port_read:
    mov eax, 7
    xor ecx, ecx
    cpuid
leaf_read:
    mov rax, cr0
    xor eax, CR0_WP | CR0_TS
    mov cr0, rax
cr0_written:
    clts
    mov rax, cr4
    xor eax, CR4_PGE
    mov cr4, rax
cr4_written:
    mov rax, cr3
    mov cr3, rax
cr3_written:
    TRY {ud2}
    EXPECT_FAULT UD, 0, "the guest's own handler"
    mov rbx, 0x8000000000 ; nothing is mapped there
    TRY {mov al, [rbx]}
    EXPECT_FAULT PF, 0, "the guest's own handler"
    TRY {int3}
    lidt [no_idt]
culprit:
    ud2
    ret
