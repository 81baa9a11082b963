; Control registers, debug registers and XCR0: what they refuse and what they change.
%include "tests/guests/lib.inc"

section .bss
alignb 8
result: resq 8

section .text
main:
    call test_cr0
    call test_cr4
    call test_cr3
    call test_cr8
    call test_lmsw
    call test_debug_registers
    call test_xcr0
    call test_privilege
    call test_other_modes
    ret

%macro TRY_CR0 2 ; value in RAX; "what"
    TRY {mov cr0, rax}
    EXPECT_FAULT GP, 0, %2
%endmacro

test_cr0:
    TEST "cr0-refused"
    mov rbx, cr0
    SKIP_ON_TCG .toggles, "TCG takes bad values"
    mov rax, rbx
    btr rax, 0
    TRY {mov cr0, rax}
    EXPECT_FAULT GP, 0, "PG without PE"
    mov rax, rbx
    bts rax, 29
    btr rax, 30
    TRY {mov cr0, rax}
    EXPECT_FAULT GP, 0, "NW without CD"
    mov rax, rbx
    btr rax, 31
    TRY {mov cr0, rax}
    EXPECT_FAULT GP, 0, "paging off in 64-bit code"
    mov rax, rbx
    bts rax, 32
    TRY {mov cr0, rax}
    EXPECT_FAULT GP, 0, "bit 32"
    mov rax, rbx
    bts rax, 63
    TRY {mov cr0, rax}
    EXPECT_FAULT GP, 0, "bit 63"
    mov rax, cr0
    EXPECT_EQ rax, rbx, "CR0 as before"
.toggles:
    TEST "cr0-toggles"
    mov rax, rbx
    xor eax, CR0_WP | CR0_AM | CR0_MP
    mov cr0, rax
    mov rcx, cr0
    EXPECT_EQ rcx, rax, "WP, AM and MP"
    mov rax, rbx
    or eax, CR0_CD
    mov cr0, rax
    mov rcx, cr0
    EXPECT_EQ rcx, rax, "CD"
    or eax, CR0_NW
    mov cr0, rax
    mov rcx, cr0
    EXPECT_EQ rcx, rax, "CD and NW"
    mov cr0, rbx
    mov rcx, cr0
    EXPECT_EQ rcx, rbx, "CR0 as before"
    TEST "cr0-ne"
    SKIP_ON_TCG .ts, "on processors under a monitor too"
    mov rax, rbx
    and eax, ~CR0_NE
    TRY {mov cr0, rax}
    EXPECT_NO_FAULT "NE cleared"
    mov rcx, cr0
    EXPECT_EQ rcx, rax, "NE reads as cleared"
    mov cr0, rbx
.ts:
    TEST "cr0-ts"
    mov rax, rbx
    or eax, CR0_TS
    mov cr0, rax
    TRY fnop
    EXPECT_FAULT NM, 0, "x87"
    TRY {movaps xmm0, xmm0}
    EXPECT_FAULT NM, 0, "SSE"
    clts
    mov rcx, cr0
    EXPECT_EQ rcx, rbx, "CLTS"
    TRY {movaps xmm0, xmm0}
    EXPECT_NO_FAULT "SSE after CLTS"
    TEST "cr0-em"
    mov rax, rbx
    or eax, CR0_EM
    and eax, ~CR0_MP
    mov cr0, rax
    TRY fnop
    EXPECT_FAULT NM, 0, "x87"
    TRY {movaps xmm0, xmm0}
    EXPECT_FAULT UD, 0, "SSE"
    mov cr0, rbx
    TEST "cr0-et"
    mov rax, rbx
    and eax, ~CR0_ET
    mov cr0, rax
    mov rcx, cr0
    EXPECT_EQ rcx, rbx, "ET is always set"
    ret

test_cr4:
    TEST "cr4-toggles"
    mov rbx, cr4
    mov rax, rbx
    or eax, CR4_TSD | CR4_DE | CR4_PSE | CR4_PGE | CR4_OSFXSR | 1 << 10
    mov cr4, rax
    mov rcx, cr4
    EXPECT_EQ rcx, rax, "TSD, DE, PSE, PGE, OSFXSR, OSXMMEXCPT"
    mov cr4, rbx
    mov rcx, cr4
    EXPECT_EQ rcx, rbx, "CR4 as before"
    TEST "cr4-refused"
    SKIP_ON_TCG .smep, "TCG hangs or takes them"
    mov rax, rbx
    btr rax, 5
    TRY {mov cr4, rax}
    EXPECT_FAULT GP, 0, "PAE cleared in long mode"
    mov rax, rbx
    bts rax, 13
    TRY {mov cr4, rax}
    mov eax, 1
    push rbx
    cpuid
    pop rbx
    bt ecx, 5
    jc .vmxe
    EXPECT_FAULT GP, 0, "VMXE where VMX is not offered"
.vmxe:
    mov cr4, rbx
    mov ecx, 24
.bit:
    cmp ecx, 24
    mov rax, rbx
    bts rax, rcx
    TRY {mov cr4, rax}
    mov rdx, cr4
    EXPECT_EQ qword [caught_vector], GP, "a reserved bit"
    EXPECT_EQ rdx, rbx, "CR4 stays"
    inc ecx
    cmp ecx, 25 ; UINTR, bit 25, may be offered
    jne .not_25
    inc ecx
.not_25:
    cmp ecx, 28 ; LAM_SUP
    jne .not_28
    inc ecx
.not_28:
    cmp ecx, 32 ; FRED
    jne .not_32
    inc ecx
.not_32:
    cmp ecx, 64
    jb .bit
.smep:
    TEST "cr4-smep"
    mov eax, 7
    xor ecx, ecx
    push rbx
    cpuid
    mov edx, ebx
    pop rbx
    bt edx, 7
    jnc .no_smep
    mov rax, rbx
    or eax, CR4_SMEP
    call .smep_on
    EXPECT_EQ qword [caught_vector], PF, "a fetch from a user page"
    EXPECT_EQ qword [caught_error], 0x11, "its error code"
    ret
.no_smep:
    SKIP "not offered"
    ret
; All of the guest's pages are user pages: make its code's page a supervisor page first.
.smep_on:
    call window_init
    mov byte [WINDOW], 0xc3
    and qword [page_directories], ~4
    mov rcx, cr3
    mov cr3, rcx
    mov cr4, rax
    mov edi, WINDOW
    mov rbp, rsp
    TRY {call rdi}
    mov rsp, rbp ; the fault comes after the return address is pushed
    mov cr4, rbx
    or qword [page_directories], 4
    mov rcx, cr3
    mov cr3, rcx
    ret

test_cr3:
    TEST "cr3"
    mov rbx, cr3
    SKIP_ON_TCG .flags, "TCG takes addresses past MAXPHYADDR"
    mov rax, rbx
    bts rax, 52
    TRY {mov cr3, rax}
    EXPECT_FAULT GP, 0, "a bit past MAXPHYADDR"
.flags:
    mov rax, rbx
    or eax, 0x18 ; PWT, PCD
    mov cr3, rax
    mov rcx, cr3
    EXPECT_EQ rcx, rax, "PWT and PCD"
    mov cr3, rbx
    TEST "invlpg"
    call window_init
    mov dword [window_memory], 0x11111111
    mov dword [window_memory + 4096], 0x22222222
    mov eax, [WINDOW]
    mov qword [window_table], window_memory + 4096 + 7
    invlpg [WINDOW]
    mov eax, [WINDOW]
    EXPECT_EQ rax, 0x22222222, "after INVLPG"
    mov qword [window_table], window_memory + 7
    mov rax, cr3
    mov cr3, rax
    mov eax, [WINDOW]
    EXPECT_EQ rax, 0x11111111, "after MOV to CR3"
    TEST "global-pages"
    mov rbx, cr4
    mov rax, rbx
    or eax, CR4_PGE
    mov cr4, rax
    or qword [window_table], 0x100
    invlpg [WINDOW]
    mov eax, [WINDOW]
    mov qword [window_table], window_memory + 4096 + 7
    mov cr4, rbx ; flushes global pages too
    mov eax, [WINDOW]
    EXPECT_EQ rax, 0x22222222, "after CR4.PGE cleared"
    mov qword [window_table], window_memory + 7
    invlpg [WINDOW]
    TEST "pcid"
    mov eax, 1
    push rbx
    cpuid
    pop rbx
    bt ecx, 17
    jnc .no_pcid
    mov rax, rbx
    or eax, CR4_PCIDE
    mov cr4, rax
    mov rcx, cr4
    EXPECT_EQ rcx, rax, "CR4.PCIDE"
    mov rdx, cr3
    mov rax, rdx
    or eax, 5
    mov cr3, rax
    mov rcx, cr3
    EXPECT_EQ rcx, rax, "PCID 5"
    mov rsi, rax
    bts rax, 63 ; no flush; reads back as clear
    mov cr3, rax
    mov rcx, cr3
    EXPECT_EQ rcx, rsi, "bit 63 is not kept"
    mov rax, rbx
    or eax, CR4_PCIDE
    mov cr3, rdx
    mov cr4, rbx
    mov rax, rdx
    or eax, 5 << 3
    or eax, 1
    mov cr3, rax
    mov rax, rbx
    or eax, CR4_PCIDE
    TRY {mov cr4, rax}
    EXPECT_FAULT GP, 0, "CR4.PCIDE with a PCID in CR3"
    mov cr3, rdx
    ret
.no_pcid:
    SKIP_ON_TCG .out, "not offered, and TCG checks nothing"
    mov rax, rbx
    or eax, CR4_PCIDE
    TRY {mov cr4, rax}
    EXPECT_FAULT GP, 0, "CR4.PCIDE where it is not offered"
.out:
    ret

test_cr8:
    TEST "cr8"
    call lapic_init
    mov eax, 5
    mov cr8, rax
    mov eax, [LAPIC + LAPIC_TPR]
    EXPECT_EQ rax, 0x50, "the TPR follows"
    mov dword [LAPIC + LAPIC_TPR], 0xa7
    mov rax, cr8
    EXPECT_EQ rax, 0xa, "CR8 follows"
    xor eax, eax
    mov cr8, rax
    SKIP_ON_TCG .out, "TCG takes reserved bits of CR8"
    mov eax, 0x10
    TRY {mov cr8, rax}
    EXPECT_FAULT GP, 0, "bit 4"
    mov rax, 1 << 63
    TRY {mov cr8, rax}
    EXPECT_FAULT GP, 0, "bit 63"
    TEST "crs-that-are-not-there"
    TRY {db 0x0f, 0x20, 0xc8} ; MOV RAX, CR1
    EXPECT_FAULT UD, 0, "CR1"
    TRY {db 0x0f, 0x20, 0xe8}
    EXPECT_FAULT UD, 0, "CR5"
    TRY {db 0x44, 0x0f, 0x22, 0xc8}
    EXPECT_FAULT UD, 0, "CR9"
.out:
    ret

test_lmsw:
    TEST "lmsw-smsw"
    mov rbx, cr0
    mov eax, ebx
    or eax, CR0_TS
    and eax, 0xffff
    lmsw ax
    mov rcx, cr0
    mov rax, rbx
    or eax, CR0_TS
    EXPECT_EQ rcx, rax, "LMSW sets TS"
    smsw rdx
    EXPECT_EQ rdx, rax, "SMSW r64 is CR0"
    clts
    xor eax, eax
    lmsw ax ; clears MP, EM, TS; PE stays
    mov rcx, cr0
    mov rax, rbx
    and eax, ~(CR0_MP | CR0_EM | CR0_TS)
    EXPECT_EQ rcx, rax, "LMSW cannot clear PE"
    mov word [result], CR0_PE | CR0_MP
    lmsw [result]
    mov rcx, cr0
    EXPECT_EQ rcx, rbx, "LMSW m16"
    mov qword [result], -1
    smsw [result]
    mov rcx, [result]
    movzx eax, bx
    mov rdx, 0xffffffffffff0000
    or rax, rdx
    EXPECT_EQ rcx, rax, "SMSW m16 writes two bytes"
    mov cr0, rbx
    ret

test_debug_registers:
    TEST "debug-registers"
    mov rax, 0x123456789abc
    mov dr0, rax
    mov dr1, rax
    mov dr2, rax
    mov dr3, rax
    mov rcx, dr3
    EXPECT_EQ rcx, rax, "DR3 holds an address"
    mov rcx, dr0
    EXPECT_EQ rcx, rax, "DR0 holds an address"
    xor eax, eax
    mov dr0, rax
    mov dr1, rax
    mov dr2, rax
    mov dr3, rax
    mov eax, 0xffff0ff0
    mov dr6, rax
    mov rcx, dr6
    EXPECT_EQ rcx, rax, "DR6 with nothing set"
    mov eax, 0x400
    mov dr7, rax
    mov rcx, dr7
    EXPECT_EQ rcx, 0x400, "DR7 with nothing enabled"
    TEST "debug-registers-refused"
    SKIP_ON_TCG .de, "TCG takes the upper halves"
    mov rax, 1 << 32
    TRY {mov dr6, rax}
    EXPECT_FAULT GP, 0, "DR6, bit 32"
    TRY {mov dr7, rax}
    EXPECT_FAULT GP, 0, "DR7, bit 32"
.de:
    TEST "debug-registers-de"
    mov rbx, cr4
    TRY {mov rax, dr4}
    EXPECT_NO_FAULT "DR4 is DR6 without CR4.DE"
    mov rax, rbx
    or eax, CR4_DE
    mov cr4, rax
    TRY {mov rax, dr4}
    EXPECT_FAULT UD, 0, "DR4 with CR4.DE"
    TRY {mov dr5, rax}
    EXPECT_FAULT UD, 0, "DR5 with CR4.DE"
    mov cr4, rbx
    TEST "general-detect"
    SKIP_ON_TCG .out, "TCG has no general detect"
    mov eax, 0x2400 ; GD
    mov dr7, rax
    TRY {mov rax, dr7}
    EXPECT_FAULT DB_VECTOR, 0, "MOV from DR7 with GD"
    mov rax, dr7
    EXPECT_EQ rax, 0x400, "delivery cleared GD"
    mov rax, [caught_dr6]
    and eax, 1 << 13
    EXPECT_EQ rax, 1 << 13, "DR6.BD"
    mov eax, 0xffff0ff0
    mov dr6, rax
.out:
    ret

test_xcr0:
    TEST "xsetbv"
    mov eax, 1
    cpuid
    bt ecx, 26
    jnc .none
    mov rbx, cr4
    mov rax, rbx
    or eax, CR4_OSXSAVE
    mov cr4, rax
    xor ecx, ecx
    xor edx, edx
    mov eax, 2
    TRY xsetbv
    EXPECT_FAULT GP, 0, "without x87"
    mov eax, 5
    TRY xsetbv
    EXPECT_FAULT GP, 0, "AVX without SSE"
    mov eax, 3
    mov edx, 1 << 31
    TRY xsetbv
    EXPECT_FAULT GP, 0, "bit 63"
    xor edx, edx
    mov ecx, 1
    TRY xsetbv
    EXPECT_FAULT GP, 0, "XCR1"
    mov ecx, 2
    TRY xgetbv
    EXPECT_FAULT GP, 0, "XGETBV of XCR2"
    xor ecx, ecx
    mov eax, 1
    TRY xsetbv
    EXPECT_NO_FAULT "x87 alone"
    mov eax, 3
    TRY xsetbv
    EXPECT_NO_FAULT "x87 and SSE"
    CALL_RING3 .ring3, 0
    EXPECT_EQ qword [result], GP, "at ring 3"
    mov cr4, rbx
    TRY xsetbv
    EXPECT_FAULT UD, 0, "without CR4.OSXSAVE"
    ret
.none:
    SKIP "not offered"
    ret
.ring3:
    mov eax, 3
    xor edx, edx
    xor ecx, ecx
    TRY xsetbv
    mov rax, [caught_vector]
    mov [result], rax
    ret

; Ring 3: every privileged instruction that a monitor may have to see.
%macro RING3_GP 2+
    TEST %1
    CALL_RING3 %%code, 0
    EXPECT_EQ qword [result], GP, "at ring 3"
    jmp %%over
%%code:
    xor eax, eax
    xor ecx, ecx
    xor edx, edx
    TRY %2
    mov rax, [caught_vector]
    mov [result], rax
    ret
%%over:
%endmacro

test_privilege:
    RING3_GP "ring3-mov-to-cr0", {mov cr0, rax}
    RING3_GP "ring3-mov-from-cr0", {mov rax, cr0}
    RING3_GP "ring3-mov-to-cr3", {mov cr3, rax}
    RING3_GP "ring3-mov-to-cr4", {mov cr4, rax}
    RING3_GP "ring3-mov-to-cr8", {mov cr8, rax}
    RING3_GP "ring3-mov-from-cr8", {mov rax, cr8}
    RING3_GP "ring3-clts", {clts}
    RING3_GP "ring3-lmsw", {lmsw ax}
    RING3_GP "ring3-mov-dr", {mov rax, dr7}
    RING3_GP "ring3-hlt", {hlt}
    RING3_GP "ring3-invlpg", {invlpg [rsp]}
    RING3_GP "ring3-invd", {invd}
    RING3_GP "ring3-wbinvd", {wbinvd}
    RING3_GP "ring3-lgdt", {lgdt [gdt_pointer]}
    RING3_GP "ring3-lidt", {lidt [idt64_pointer]}
    RING3_GP "ring3-ltr", {ltr ax}
    ret

; The rules where there is no paging yet, and those of PAE.
section .text
bits 32
flat32:
    mov eax, cr0
    or eax, CR0_PG
    and eax, ~CR0_PE
    TRY {mov cr0, eax}
    mov eax, [caught_vector]
    mov [result], eax
    ; LME without PAE: #GP when paging goes on
    mov eax, cr4
    and eax, ~CR4_PAE
    mov cr4, eax
    mov ecx, IA32_EFER
    rdmsr
    or eax, EFER_LME
    wrmsr
    mov eax, cr0
    or eax, CR0_PG
    TRY {mov cr0, eax}
    mov eax, [caught_vector]
    mov [result + 4], eax
    rdmsr
    and eax, ~EFER_LME
    wrmsr
    mov eax, cr4
    or eax, CR4_PAE
    mov cr4, eax
    mov eax, cr4
    shr eax, 5
    and eax, 1
    mov [result + 8], eax
    ret

pae32:
    ; a PDPTE with a reserved bit: #GP at MOV to CR3
    mov dword [pdpt_pae + 8], page_directories + 4096 + 1 + 0x1e0
    mov eax, cr3
    TRY {mov cr3, eax}
    mov eax, [caught_vector]
    mov [result], eax
    mov dword [pdpt_pae + 8], page_directories + 4096 + 1
    mov eax, cr3
    mov cr3, eax
    ; the PDPTEs are loaded at MOV to CR3: a change in memory alone has no effect
    mov dword [pdpt_pae + 24], 0
    mov eax, [LAPIC32 + LAPIC_VERSION]
    movzx eax, al
    mov [result + 4], eax
    mov dword [pdpt_pae + 24], page_directories + 3 * 4096 + 1
    ; PAE off and on again under paging changes the mode; both tables map one to one
    mov eax, cr4
    or eax, CR4_PSE
    mov cr4, eax
    mov ecx, page_directory32
    mov eax, cr3
    mov [result + 8], eax
    ret

bits 64
test_other_modes:
    TEST "flat-32-rules"
    SKIP_ON_TCG .pae, "TCG goes on without PE or PAE"
    CALL_MODE MODE_FLAT32, flat32
    movsxd rax, [result]
    EXPECT_EQ rax, GP, "PG without PE"
    mov eax, [result + 8]
    EXPECT_EQ rax, 1, "CR4.PAE off and on"
    movsxd rax, [result + 4]
    EXPECT_EQ rax, GP, "long mode without PAE"
.pae:
    TEST "pae-pdptes"
    SKIP_ON_TCG .out, "TCG reads PDPTEs anew at each walk"
    CALL_MODE MODE_PAE, pae32
    movsxd rax, [result]
    EXPECT_EQ rax, GP, "a reserved bit of a PDPTE"
    mov eax, [result + 4]
    EXPECT_BETWEEN rax, 0x10, 0x1f, "the old PDPTE still translates"
.out:
    ret
