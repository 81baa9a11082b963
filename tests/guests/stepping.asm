; Debug exceptions: a single step behind each instruction, also those that a monitor emulates, in the
; shadows of STI and MOV SS, and breakpoints on ports and data.
%include "tests/guests/lib.inc"

section .bss
alignb 16
scratch: resq 4
steps: resq 1
step_rip: resq 16

section .text
main:
    call lapic_init
    jmp test_single_step

step_handler:
    mov rax, [steps]
    cmp rax, 16
    jae .full
    mov rcx, [rdi + FRAME_RIP]
    mov [step_rip + rax * 8], rcx
.full:
    inc qword [steps]
    mov rcx, dr6
    or [scratch], rcx
    mov eax, 0xffff0ff0
    mov dr6, rax
    ret

%macro STEPPING 0
    mov qword [steps], 0
    mov qword [scratch], 0
    push RFLAGS_TF | 2
    popfq
%endmacro
%macro END_STEPPING 0
    push 2
    popfq
%endmacro

test_single_step:
    HANDLE DB_VECTOR, step_handler
    mov esi, bytes_for_step
    mov edi, scratch + 8
    cld
    TEST "single-step"
    mov dx, 0x3ff
    STEPPING
    nop
.s1: cpuid
.s2: mov dx, 0x3ff
.s3: in al, dx
.s4: out 0x80, al
.s5: mov eax, [LAPIC + LAPIC_VERSION]
.s6: mov dword [LAPIC + LAPIC_INITIAL], 0
.s7: mov ecx, IA32_APIC_BASE
.s8: rdmsr
.s9: mov rax, cr0
.s10: mov cr0, rax
.s11: wbinvd
.s12:
    END_STEPPING
    ; two more: PUSH and POPF of END_STEPPING
    EXPECT_EQ qword [steps], 14, "traps"
    EXPECT_EQ qword [step_rip], .s1, "behind NOP"
    EXPECT_EQ qword [step_rip + 8], .s2, "behind CPUID"
    EXPECT_EQ qword [step_rip + 3 * 8], .s4, "behind IN"
    EXPECT_EQ qword [step_rip + 4 * 8], .s5, "behind OUT"
    EXPECT_EQ qword [step_rip + 5 * 8], .s6, "behind a memory-mapped read"
    EXPECT_EQ qword [step_rip + 6 * 8], .s7, "behind a memory-mapped write"
    EXPECT_EQ qword [step_rip + 8 * 8], .s9, "behind RDMSR"
    EXPECT_EQ qword [step_rip + 10 * 8], .s11, "behind MOV to CR0"
    EXPECT_EQ qword [step_rip + 11 * 8], .s12, "behind WBINVD"
    mov rax, [scratch]
    and eax, 0x400f
    EXPECT_EQ rax, 0x4000, "DR6.BS alone"
    TEST "single-step-rep"
    ; each iteration traps
    mov ecx, 3
    mov dx, 0x3ff
    STEPPING
    rep outsb
.r1:
    END_STEPPING
    EXPECT_EQ qword [steps], 5, "three iterations, and two more"
    EXPECT_EQ qword [step_rip + 2 * 8], .r1, "the last behind REP OUTSB"
    TEST "single-step-mov-ss"
    mov eax, SEL_DATA
    STEPPING
    mov ss, eax
    nop
.m1:
    END_STEPPING
    EXPECT_EQ qword [step_rip], .m1, "none right behind MOV SS"
    TEST "single-step-sti"
    ; STI's shadow holds interrupts off, not traps
    STEPPING
    sti
.i1: cpuid
.i2: cli
.i3:
    END_STEPPING
    EXPECT_EQ qword [step_rip], .i1, "right behind STI"
    EXPECT_EQ qword [step_rip + 8], .i2, "behind CPUID"
    EXPECT_EQ qword [step_rip + 2 * 8], .i3, "behind CLI"
    TEST "int1-behind-mov-ss"
    mov eax, SEL_DATA
    STEPPING
    mov ss, eax
    db 0xf1
.n1: nop
.n2:
    END_STEPPING
    EXPECT_EQ qword [step_rip], .n1, "behind INT1"
    EXPECT_EQ qword [step_rip + 8], .n2, "behind NOP"
    TEST "breakpoint-io"
    mov rax, cr4
    or eax, CR4_DE
    mov cr4, rax
    mov eax, 0x3ff
    mov dr0, rax
    mov eax, 0x00020402 ; DR0: I/O, one byte, global
    mov dr7, rax
    mov qword [steps], 0
    mov qword [scratch], 0
    mov dx, 0x3ff
    in al, dx
.b1:
    nop
    mov eax, 0x400
    mov dr7, rax
    mov rax, cr4
    and eax, ~CR4_DE
    mov cr4, rax
    SKIP_ON_TCG .exec, "TCG's I/O breakpoints differ"
    EXPECT_EQ qword [steps], 1, "an I/O breakpoint on an emulated port"
    EXPECT_EQ qword [step_rip], .b1, "behind IN"
.exec:
    TEST "breakpoint-data"
    mov eax, scratch + 16
    mov dr1, rax
    mov eax, 0x00d00408 ; DR1: writes of 4 bytes, global
    mov dr7, rax
    mov qword [steps], 0
    mov qword [scratch], 0
    mov dword [scratch + 16], 5
.d1:
    nop
    mov eax, 0x400
    mov dr7, rax
    EXPECT_EQ qword [steps], 1, "a data breakpoint"
    EXPECT_EQ qword [step_rip], .d1, "behind the write"
    mov rax, [scratch]
    and eax, 15
    EXPECT_EQ rax, 2, "DR6.B1"
    HANDLE DB_VECTOR, 0
    ret

section .data
bytes_for_step: db 1, 2, 3, 4
