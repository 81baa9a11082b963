; Every form of access to memory-mapped registers: the same instruction runs on RAM, by the
; processor itself, and on a register that keeps what is written; results, registers and flags
; must be the same.
;
; 32-bit scratch register: the local APIC's initial count (its timer masked). 8 and 16 bits: half a
; BAR in the memory-mapped configuration space.
%include "tests/guests/lib.inc"
%include "tests/guests/lib/ecam.inc"

NOBODY equ 0xfec80000 ; between the I/O APIC and the local APIC
SCRATCH32 equ LAPIC32 + LAPIC_INITIAL

ALL equ RFLAGS_STATUS
LOGIC equ RFLAGS_STATUS & ~RFLAGS_AF
CARRY equ RFLAGS_CF

section .bss
alignb 16
ram: resq 4
scratch16: resq 1
case_code: resq 1
case_value: resq 1
case_mask: resq 1
case_size: resq 1
; what a run leaves: rax rbx rcx rdx rsi rdi rflags, memory
ran_on_ram: resq 8
ran_on_mmio: resq 8

section .data
align 8
what_table: dq .rax, .rbx, .rcx, .rdx, .rsi, .rdi, .flags, .memory
.rax: db "RAX", 0
.rbx: db "RBX", 0
.rcx: db "RCX", 0
.rdx: db "RDX", 0
.rsi: db "RSI", 0
.rdi: db "RDI", 0
.flags: db "RFLAGS", 0
.memory: db "memory", 0

section .text

; FORM "name", size, value, flags, instruction on [rdi]: one case.
%macro FORM 5+
    FORM_CODE %1, %2, %3, %4
    %5
    FORM_END
%endmacro

; The same for several instructions, up to FORM_END.
%macro FORM_CODE 4
    TEST %1
    %push form
    mov qword [case_code], %$code
    mov qword [case_size], %2
    mov eax, %3
    mov [case_value], rax
    mov qword [case_mask], %4
    call compare_case
    jmp %$over
%$code:
%endmacro
%macro FORM_END 0
    ret
%$over:
    %pop
%endmacro

compare_case:
    mov rdi, ram
    mov rbx, ran_on_ram
    call run_case
    mov rdi, SCRATCH32
    cmp qword [case_size], 4
    je .mmio
    mov rdi, [scratch16]
.mmio:
    mov rbx, ran_on_mmio
    call run_case
    xor ecx, ecx
.next:
    push qword [ran_on_mmio + rcx * 8]
    push qword [ran_on_ram + rcx * 8]
    push qword [what_table + rcx * 8]
    call expect_equal
    inc ecx
    cmp ecx, 8
    jb .next
    ret

; RDI: the operand, RBX: where the outcome goes.
run_case:
    push rbx
    push rdi
    mov eax, [case_value]
    cmp qword [case_size], 2
    ja .store32
    mov [rdi], ax
    jmp .stored
.store32:
    mov [rdi], eax
.stored:
    push RFLAGS_CF | RFLAGS_ZF | 2
    popfq
    mov rax, 0x1122334455667788
    mov rbx, 0x99aabbcc0000f00d
    mov rcx, 0xffffffff00000003
    mov rdx, 0x0123456789abcdef
    mov rsi, 0x5555555512345678
    call [case_code]
    pushfq
    xchg rbx, [rsp + 16] ; the record; the stack gets RBX
    mov [rbx], rax
    mov rax, [rsp + 16]
    mov [rbx + 8], rax
    mov [rbx + 16], rcx
    mov [rbx + 24], rdx
    mov [rbx + 32], rsi
    pop rax
    and rax, [case_mask]
    mov [rbx + 48], rax
    pop rsi ; the operand
    sub rdi, rsi
    mov [rbx + 40], rdi
    cmp qword [case_size], 2
    ja .load32
    movzx eax, word [rsi]
    cmp qword [case_size], 1
    jne .loaded
    movzx eax, al
    jmp .loaded
.load32:
    mov eax, [rsi]
.loaded:
    mov [rbx + 56], rax
    add rsp, 8
    ret

main:
    call window_init
    call lapic_init
    call registers
    call forms32
    call forms64
    call test_strings
    call test_unclaimed
    call test_walk
    call test_code
    call test_modes
    call ecam_take_scratch
    mov [scratch16], rax
    test rax, rax
    jz .no_ecam
    call forms16
    call forms8
    call test_push_pop16
    call test_strings_narrow
    call test_wide
    jmp ecam_give_back
.no_ecam:
    TEST "narrow-forms"
    SKIP "no memory-mapped configuration space with a BAR"
    ret

; The registers themselves.
registers:
    TEST "lapic-version"
    mov eax, [LAPIC + LAPIC_VERSION]
    movzx ecx, al
    EXPECT_BETWEEN rcx, 0x10, 0x1f, "version"
    shr eax, 16
    movzx eax, al
    EXPECT_BETWEEN rax, 3, 6, "last LVT entry"
    TEST "lapic-registers"
    mov dword [LAPIC + LAPIC_TPR], 0x50
    mov eax, [LAPIC + LAPIC_TPR]
    EXPECT_EQ rax, 0x50, "TPR"
    mov eax, [LAPIC + LAPIC_PPR]
    EXPECT_EQ rax, 0x50, "PPR follows"
    mov dword [LAPIC + LAPIC_TPR], 0
    mov dword [LAPIC + LAPIC_LDR], 0x5a000000
    mov eax, [LAPIC + LAPIC_LDR]
    EXPECT_EQ rax, 0x5a000000, "LDR"
    mov dword [LAPIC + LAPIC_ICR_HIGH], 0x7f000000
    mov eax, [LAPIC + LAPIC_ICR_HIGH]
    EXPECT_EQ rax, 0x7f000000, "ICR, upper half"
    mov dword [LAPIC + LAPIC_ICR_HIGH], 0
    TEST "ioapic-registers"
    mov ecx, 1
    call ioapic_read
    movzx edx, al
    EXPECT_BETWEEN rdx, 0x11, 0x20, "version"
    shr eax, 16
    movzx eax, al
    EXPECT_EQ rax, 23, "24 inputs"
    mov ecx, 0x10 + 2 * 20
    mov eax, 0x100a5
    or eax, 1 << 15
    or eax, 1 << 13
    call ioapic_write
    call ioapic_read
    EXPECT_EQ rax, 0x1a0a5, "redirection entry, lower half"
    inc ecx
    mov eax, 0x3f000000
    call ioapic_write
    call ioapic_read
    EXPECT_EQ rax, 0x3f000000, "redirection entry, upper half"
    dec ecx
    mov eax, 0x10000
    call ioapic_write
    mov eax, [IOAPIC]
    movzx eax, al
    EXPECT_EQ rax, 0x10 + 2 * 20, "the index reads back"
    ret

forms32:
    FORM "mov-load-32", 4, 0x89abcdef, ALL, {mov eax, [rdi]}
    FORM_CODE "mov-load-32-r15", 4, 0x89abcdef, ALL
    push r15
    mov r15d, [rdi]
    mov rbx, r15
    pop r15
    FORM_END
    FORM "mov-store-32", 4, 0x89abcdef, ALL, {mov [rdi], ebx}
    FORM "mov-store-imm-32", 4, 0x89abcdef, ALL, {mov dword [rdi], 0x7f123456}
    FORM_CODE "mov-sib", 4, 0x89abcdef, ALL
    lea r11, [rdi - 4 * 3]
    mov ecx, 3
    mov [r11 + rcx * 4], edx
    mov eax, [r11 + rcx * 4 + 0]
    FORM_END
    FORM_CODE "mov-disp8", 4, 0x89abcdef, ALL
    lea r11, [rdi + 0x40]
    mov eax, [r11 - 0x40]
    FORM_END
    FORM_CODE "mov-disp32", 4, 0x89abcdef, ALL
    lea rbx, [rdi + 0x12345]
    mov eax, [rbx - 0x12345]
    sub rbx, rdi
    FORM_END
    FORM "mov-address-32", 4, 0x89abcdef, ALL, {mov edx, [edi]}
    FORM "movsxd", 4, 0x89abcdef, ALL, {movsxd rax, dword [rdi]}
    FORM "add-load-32", 4, 0x89abcdef, ALL, {add eax, [rdi]}
    FORM "add-store-32", 4, 0xffffffff, ALL, {add [rdi], ecx}
    FORM "add-imm8-32", 4, 0x7fffffff, ALL, {add dword [rdi], byte 1}
    FORM "add-imm8-negative", 4, 0x00000000, ALL, {add dword [rdi], byte -1}
    FORM "add-imm32", 4, 0x89abcdef, ALL, {add dword [rdi], 0x81234567}
    FORM "adc-store-32", 4, 0xfffffffc, ALL, {adc [rdi], ecx}
    FORM "adc-load-32", 4, 0x76543210, ALL, {adc edx, [rdi]}
    FORM "sub-store-32", 4, 0x00000002, ALL, {sub [rdi], ecx}
    FORM "sub-load-32", 4, 0x89abcdef, ALL, {sub edx, [rdi]}
    FORM "sbb-store-32", 4, 0x00000003, ALL, {sbb [rdi], ecx}
    FORM "sbb-imm-32", 4, 0x80000000, ALL, {sbb dword [rdi], byte 0}
    FORM "and-store-32", 4, 0x89abcdef, LOGIC, {and [rdi], edx}
    FORM "and-imm-32", 4, 0x89abcdef, LOGIC, {and dword [rdi], 0xf0f0f0f0}
    FORM "or-store-32", 4, 0x00000000, LOGIC, {or [rdi], eax}
    FORM "or-load-32", 4, 0x0f0f0f0f, LOGIC, {or eax, [rdi]}
    FORM "xor-store-32", 4, 0x55667788, LOGIC, {xor [rdi], eax}
    FORM "cmp-store-32", 4, 0x55667788, ALL, {cmp [rdi], eax}
    FORM "cmp-load-32", 4, 0x89abcdef, ALL, {cmp eax, [rdi]}
    FORM "cmp-imm-32", 4, 0x80000000, ALL, {cmp dword [rdi], 1}
    FORM "test-32", 4, 0x80000001, LOGIC, {test [rdi], eax}
    FORM "test-imm-32", 4, 0x80000001, LOGIC, {test dword [rdi], 0x80000000}
    FORM "inc-32", 4, 0x7fffffff, ALL, {inc dword [rdi]}
    FORM "dec-32", 4, 0x00000000, ALL, {dec dword [rdi]}
    FORM "not-32", 4, 0x89abcdef, ALL, {not dword [rdi]}
    FORM "neg-32", 4, 0x80000000, ALL, {neg dword [rdi]}
    FORM "xchg-32", 4, 0x89abcdef, ALL, {xchg [rdi], eax}
    FORM "cmpxchg-32-equal", 4, 0x55667788, ALL, {cmpxchg [rdi], ebx}
    FORM "cmpxchg-32-different", 4, 0x89abcdef, ALL, {cmpxchg [rdi], ebx}
    FORM "lock-cmpxchg-32", 4, 0x55667788, ALL, {lock cmpxchg [rdi], ecx}
    FORM "xadd-32", 4, 0xfffffff0, ALL, {xadd [rdi], eax}
    FORM "lock-xadd-32", 4, 0xfffffff0, ALL, {lock xadd [rdi], ebx}
    FORM "lock-add-32", 4, 0xfffffff0, ALL, {lock add dword [rdi], 0x10}
    FORM "lock-or-32", 4, 0xf0, LOGIC, {lock or [rdi], ecx}
    FORM "bt-32", 4, 0x00000008, CARRY, {bt [rdi], ecx}
    FORM "bt-imm-32", 4, 0x00000008, CARRY, {bt dword [rdi], 35}
    FORM "bts-32", 4, 0x00000000, CARRY, {bts [rdi], ecx}
    FORM "bts-imm-32", 4, 0x80000000, CARRY, {lock bts dword [rdi], 31}
    FORM "btr-32", 4, 0xffffffff, CARRY, {btr [rdi], ecx}
    FORM "btc-32", 4, 0x89abcdef, CARRY, {btc [rdi], ecx}
    FORM "btc-imm-32", 4, 0x89abcdef, CARRY, {btc dword [rdi], 4}
    FORM_CODE "bts-bit-offset", 4, 0x00000000, CARRY
    lea r11, [rdi - 16]
    mov ecx, 16 * 8 + 5
    bts [r11], ecx
    FORM_END
    FORM_CODE "btr-negative-offset", 4, 0xffffffff, CARRY
    lea r11, [rdi + 32]
    mov rdx, -32 * 8 + 7
    movsxd rdx, edx
    btr [r11], edx
    FORM_END
    FORM_CODE "stosd", 4, 0x89abcdef, ALL
    mov eax, 0x13572468
    stosd
    FORM_END
    FORM_CODE "movsd-to-register", 4, 0x89abcdef, ALL
    mov esi, .pattern
    movsd
    sub esi, .pattern
    FORM_END
    FORM_CODE "rip-relative-segment", 4, 0x89abcdef, ALL
    mov ecx, 0xc0000101
    push rax
    push rdx
    lea rax, [rdi - 0x100]
    mov rdx, rax
    shr rdx, 32
    wrmsr
    mov ebx, [gs:abs 0x100]
    xor eax, eax
    xor edx, edx
    wrmsr
    pop rdx
    pop rax
    FORM_END
    ret
align 4
.pattern: dd 0x0badcafe

; 64-bit operands on the registers of COMPARE: loads of ECAM come in test_wide; here only the forms
; that widen.
forms64:
    TEST "mov-moffs"
    ; A0 to A3 with a 64-bit address
    mov dword [SCRATCH32 - (1 << 32)], 0x600d600d
    db 0xa1
    dq SCRATCH32
    EXPECT_EQ rax, 0x600d600d, "MOV EAX, moffs64"
    mov eax, 0x0ddba11
    db 0xa3
    dq SCRATCH32
    mov ecx, [SCRATCH32 - (1 << 32)]
    EXPECT_EQ rcx, 0x0ddba11, "MOV moffs64, EAX"
    ret

forms16:
    FORM "mov-load-16", 2, 0xbeef, ALL, {mov ax, [rdi]}
    FORM "mov-store-16", 2, 0xbeef, ALL, {mov [rdi], dx}
    FORM "mov-store-imm-16", 2, 0xbeef, ALL, {mov word [rdi], 0x4321}
    FORM "movzx-32-16", 2, 0xbeef, ALL, {movzx eax, word [rdi]}
    FORM "movzx-64-16", 2, 0xbeef, ALL, {movzx rax, word [rdi]}
    FORM "movsx-32-16", 2, 0xbeef, ALL, {movsx eax, word [rdi]}
    FORM "movsx-64-16", 2, 0xbeef, ALL, {movsx rax, word [rdi]}
    FORM "add-16", 2, 0xffff, ALL, {add [rdi], cx}
    FORM "add-imm-16", 2, 0x7fff, ALL, {add word [rdi], 0x1234}
    FORM "sub-load-16", 2, 0xbeef, ALL, {sub ax, [rdi]}
    FORM "and-16", 2, 0xbeef, LOGIC, {and [rdi], dx}
    FORM "or-imm8-16", 2, 0x0000, LOGIC, {or word [rdi], byte -2}
    FORM "xor-16", 2, 0xbeef, LOGIC, {xor [rdi], ax}
    FORM "cmp-16", 2, 0x7788, ALL, {cmp [rdi], ax}
    FORM "test-16", 2, 0x8000, LOGIC, {test word [rdi], 0x8000}
    FORM "inc-16", 2, 0xffff, ALL, {inc word [rdi]}
    FORM "neg-16", 2, 0x8000, ALL, {neg word [rdi]}
    FORM "xchg-16", 2, 0xbeef, ALL, {xchg ax, [rdi]}
    FORM "cmpxchg-16", 2, 0x7788, ALL, {cmpxchg [rdi], bx}
    FORM "cmpxchg-16-different", 2, 0x7789, ALL, {cmpxchg [rdi], bx}
    FORM "xadd-16", 2, 0xfff0, ALL, {xadd [rdi], ax}
    FORM "bts-16", 2, 0x0000, CARRY, {bts [rdi], cx}
    FORM "btr-imm-16", 2, 0xffff, CARRY, {btr word [rdi], 9}
    FORM "stosw", 2, 0xbeef, ALL, {stosw}
    FORM_CODE "stosw-down", 2, 0xbeef, ALL
    std
    stosw
    cld
    FORM_END
    ret

forms8:
    FORM "mov-load-8", 1, 0xc5, ALL, {mov al, [rdi]}
    FORM "mov-load-8-high", 1, 0xc5, ALL, {mov ah, [rdi]}
    FORM "mov-load-8-rex", 1, 0xc5, ALL, {mov sil, [rdi]}
    FORM "mov-store-8-high", 1, 0xc5, ALL, {mov [rdi], bh}
    FORM "mov-store-8-rex", 1, 0xc5, ALL, {mov [rdi], sil}
    FORM "mov-store-imm-8", 1, 0xc5, ALL, {mov byte [rdi], 0x7e}
    FORM "movzx-16-8", 1, 0xc5, ALL, {movzx ax, byte [rdi]}
    FORM "movzx-32-8", 1, 0xc5, ALL, {movzx eax, byte [rdi]}
    FORM "movsx-16-8", 1, 0xc5, ALL, {movsx ax, byte [rdi]}
    FORM "movsx-32-8", 1, 0xc5, ALL, {movsx eax, byte [rdi]}
    FORM "movsx-64-8", 1, 0xc5, ALL, {movsx rax, byte [rdi]}
    FORM "add-8", 1, 0xff, ALL, {add [rdi], cl}
    FORM "add-load-8-high", 1, 0xc5, ALL, {add dh, [rdi]}
    FORM "adc-imm-8", 1, 0x7f, ALL, {adc byte [rdi], 0}
    FORM "sub-8", 1, 0x00, ALL, {sub [rdi], cl}
    FORM "and-8", 1, 0xc5, LOGIC, {and byte [rdi], 0x0f}
    FORM "or-8", 1, 0xc5, LOGIC, {or [rdi], bh}
    FORM "xor-8", 1, 0xc5, LOGIC, {xor al, [rdi]}
    FORM "cmp-8", 1, 0x88, ALL, {cmp [rdi], al}
    FORM "test-8", 1, 0x80, LOGIC, {test byte [rdi], 0x80}
    FORM "dec-8", 1, 0x80, ALL, {dec byte [rdi]}
    FORM "not-8", 1, 0x80, ALL, {not byte [rdi]}
    FORM "xchg-8", 1, 0xc5, ALL, {xchg [rdi], ah}
    FORM "cmpxchg-8", 1, 0x88, ALL, {cmpxchg [rdi], dl}
    FORM "xadd-8", 1, 0xf0, ALL, {xadd [rdi], bh}
    FORM "stosb", 1, 0xc5, ALL, {stosb}
    ret

test_push_pop16:
    TEST "push-pop-16"
    mov rdi, [scratch16]
    mov word [rdi], 0x1a2b
    mov rbx, rsp
    push word [rdi]
    mov rcx, rsp
    movzx eax, word [rsp]
    mov rsp, rbx
    sub rbx, rcx
    EXPECT_EQ rax, 0x1a2b, "PUSH m16"
    EXPECT_EQ rbx, 2, "RSP after PUSH"
    push word 0x3c4d
    pop word [rdi]
    movzx eax, word [rdi]
    EXPECT_EQ rax, 0x3c4d, "POP m16"
    ret

test_strings_narrow:
    TEST "rep-movsb-from-registers"
    mov rsi, [ecam_base]
    mov rdi, WINDOW + 4096 - 7
    mov ecx, 16
    cld
    rep movsb
    EXPECT_EQ rcx, 0, "RCX"
    mov rbx, [ecam_base]
    xor ecx, ecx
.next:
    mov eax, [rbx + rcx]
    mov edx, [WINDOW + 4096 - 7 + rcx]
    EXPECT_EQ rdx, rax, "a doubleword of the copy"
    add ecx, 4
    cmp ecx, 16
    jb .next
    TEST "rep-movsb-to-registers"
    mov word [ram], 0x9f8e
    mov rsi, ram
    mov rdi, [scratch16]
    mov ecx, 2
    rep movsb
    mov rdi, [scratch16]
    movzx eax, word [rdi]
    EXPECT_EQ rax, 0x9f8e, "both bytes"
    TEST "rep-stosb"
    mov al, 0x37
    mov ecx, 2
    rep stosb
    sub rdi, 2
    movzx eax, word [rdi]
    EXPECT_EQ rax, 0x3737, "both bytes"
    ret

test_wide:
    mov rbx, [ecam_base]
    TEST "mov-load-64"
    mov r8d, [rbx]
    mov ecx, [rbx + 4]
    shl rcx, 32
    or r8, rcx
    mov rax, [rbx]
    EXPECT_EQ rax, r8, "two doublewords"
    mov r9, [rbx]
    EXPECT_EQ r9, r8, "R9"
    xor eax, eax
    cmp r8, [rbx]
    EXPECT_FLAGS RFLAGS_ZF, RFLAGS_ZF, "CMP r64, m64"
    TEST "push-64"
    push qword [rbx]
    pop rax
    EXPECT_EQ rax, r8, "PUSH m64"
    TEST "movsq"
    mov rsi, rbx
    mov rdi, ram
    mov ecx, 2
    rep movsq
    EXPECT_EQ qword [ram], r8, "first"
    mov r9d, [rbx + 8]
    mov eax, [rbx + 12]
    shl rax, 32
    or r9, rax
    EXPECT_EQ qword [ram + 8], r9, "second"
    TEST "pop-64-mov-store-64"
    ; a BAR and what follows it, as two doubleword stores would leave them
    mov rdi, [ecam_bar]
    test edi, 4
    jnz .unaligned
    mov r10d, [rdi + 4]
    mov dword [rdi], 0xfedc0000
    mov [rdi + 4], r10d
    mov r8, [rdi]
    mov dword [rdi], 0
    mov rax, r10
    shl rax, 32
    mov ecx, 0xfedc0000
    or rax, rcx
    mov [rdi], rax
    EXPECT_EQ qword [rdi], r8, "MOV m64, r64"
    mov dword [rdi], 0
    push rax
    pop qword [rdi]
    EXPECT_EQ qword [rdi], r8, "POP m64"
    ret
.unaligned:
    SKIP "the BAR's address is not a multiple of 8"
    ret

test_strings:
    TEST "rep-stosd-one-register"
    mov edi, SCRATCH32
    mov esi, edi
    mov ecx, 1
    mov eax, 0x2468ace0
    rep stosd
    sub rdi, rsi
    EXPECT_EQ rdi, 4, "RDI"
    mov eax, [SCRATCH32 - (1 << 32)]
    EXPECT_EQ rax, 0x2468ace0, "the register"
    TEST "movsd-between-registers"
    mov dword [SCRATCH32 - (1 << 32)], 0x1b000000
    mov esi, SCRATCH32
    mov edi, LAPIC32 + LAPIC_ICR_HIGH
    movsd
    mov eax, [LAPIC + LAPIC_ICR_HIGH]
    EXPECT_EQ rax, 0x1b000000, "ICR, upper half"
    mov dword [LAPIC + LAPIC_ICR_HIGH], 0
    TEST "movsd-down"
    mov dword [ram + 8], 0x66778899
    std
    mov rsi, ram + 8
    mov edi, SCRATCH32
    movsd
    cld
    EXPECT_EQ rsi, ram + 4, "RSI"
    mov eax, [SCRATCH32 - (1 << 32)]
    EXPECT_EQ rax, 0x66778899, "the register"
    ret

test_unclaimed:
    TEST "unclaimed-memory"
    SKIP_ON_TCG .write, "QEMU reads unclaimed memory as zero"
    mov edi, NOBODY
    xor eax, eax
    mov al, [rdi]
    EXPECT_EQ rax, 0xff, "byte"
    xor eax, eax
    mov ax, [rdi]
    EXPECT_EQ rax, 0xffff, "word"
    mov eax, [rdi]
    mov ecx, 0xffffffff
    EXPECT_EQ rax, rcx, "doubleword"
    mov rax, [rdi]
    EXPECT_EQ rax, -1, "quadword"
    mov eax, [rdi + 4094]
    EXPECT_EQ rax, rcx, "across pages"
.write:
    TEST "unclaimed-memory-write"
    mov edi, NOBODY
    mov [rdi], al
    mov [rdi], rax
    mov [rdi + 4094], eax
    add dword [rdi], 1
    ret

; The guest's own page tables under the access.
test_walk:
    TEST "accessed-dirty"
    mov eax, LAPIC32 + 0x13 ; present, writable, not cacheable
    mov ecx, 1
    call window_map
    mov eax, [WINDOW + 4096 + LAPIC_VERSION]
    mov rax, [window_table + 8]
    and eax, 0x60
    EXPECT_EQ rax, 0x20, "a read sets A"
    mov dword [WINDOW + 4096 + LAPIC_INITIAL], 5
    mov rax, [window_table + 8]
    and eax, 0x60
    EXPECT_EQ rax, 0x60, "a write sets D"
    mov ecx, 2
    mov eax, 7
    call window_protect
    mov esi, LAPIC32 + LAPIC_VERSION
    mov edi, WINDOW + 2 * 4096
    movsd
    mov rax, [window_table + 16]
    and eax, 0x60
    EXPECT_EQ rax, 0x60, "MOVSD from a register to RAM sets D of the RAM"

    TEST "mmio-page-faults"
    xor eax, eax
    mov ecx, 2
    call window_protect
    mov esi, WINDOW + 2 * 4096
    mov edi, SCRATCH32
    TRY movsd
    EXPECT_FAULT PF, 0, "MOVSD from an absent page to a register"
    EXPECT_EQ qword [caught_cr2], WINDOW + 2 * 4096, "CR2"
    EXPECT_EQ rsi, WINDOW + 2 * 4096, "RSI untouched"
    mov edi, WINDOW + 2 * 4096
    mov esi, LAPIC32 + LAPIC_VERSION
    TRY movsd
    EXPECT_FAULT PF, 2, "MOVSD from a register to an absent page"
    mov eax, 5
    call window_protect
    mov rax, cr0
    or eax, CR0_WP
    mov cr0, rax
    TRY movsd
    EXPECT_FAULT PF, 3, "to a read-only page"
    mov eax, LAPIC32 + 0x11 ; read-only
    mov ecx, 1
    call window_map
    TRY {mov dword [WINDOW + 4096 + LAPIC_INITIAL], 1}
    EXPECT_FAULT PF, 3, "write to a read-only register page"
    TRY {or dword [WINDOW + 4096 + LAPIC_INITIAL], 1}
    EXPECT_FAULT PF, 3, "read-modify-write of it"
    mov rax, cr0
    and eax, ~CR0_WP
    mov cr0, rax
    mov rsi, 0x0000800000000000
    mov edi, SCRATCH32
    TRY movsd
    EXPECT_FAULT GP, 0, "MOVSD from a non-canonical address"
    mov rdi, rsi
    mov esi, SCRATCH32
    TRY movsd
    EXPECT_FAULT GP, 0, "MOVSD to a non-canonical address"
    mov ecx, 1
    mov eax, 7
    call window_protect
    inc ecx
    call window_protect
    TEST "mmio-ring3"
    mov eax, LAPIC32 + 0x17
    mov ecx, 1
    call window_map
    CALL_RING3 .user_read, 0
    mov ecx, [LAPIC + LAPIC_VERSION]
    EXPECT_EQ qword [ram], rcx, "ring 3 reads what its tables allow"
    mov eax, LAPIC32 + 0x13
    mov ecx, 1
    call window_map
    CALL_RING3 .user_read_denied, 0
    EXPECT_EQ qword [ram], PF, "#PF on a supervisor page"
    EXPECT_EQ qword [caught_error], 5, "its error code"
    mov ecx, 1
    mov eax, 7
    jmp window_protect
.user_read:
    mov eax, [WINDOW + 4096 + LAPIC_VERSION]
    mov [ram], rax
    ret
.user_read_denied:
    TRY {mov eax, [WINDOW + 4096 + LAPIC_VERSION]}
    mov rax, [caught_vector]
    mov [ram], rax
    ret

; Where the instruction lies.
test_code:
    TEST "code-across-pages"
    ; mov eax, [rdi + disp32]; ret, from the last byte of a page on
    mov ecx, 2
    mov eax, window_memory + 6 * 4096 + 7
    call window_map
    mov byte [window_memory + 4096 + 4095], 0x8b
    mov byte [window_memory + 6 * 4096], 0x87
    mov dword [window_memory + 6 * 4096 + 1], LAPIC_VERSION
    mov byte [window_memory + 6 * 4096 + 5], 0xc3
    mov edi, LAPIC32
    mov eax, WINDOW + 4096 + 4095
    call rax
    mov ecx, [LAPIC + LAPIC_VERSION]
    EXPECT_EQ rax, rcx, "an instruction across two pages far apart"
    mov ecx, 2
    mov eax, 7
    call window_protect
    TEST "code-long-prefixes"
    mov dword [SCRATCH32 - (1 << 32)], 0x11112222
    mov edi, SCRATCH32
    db 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e ; 13 bytes
    mov eax, [rdi] ; 2 bytes: 15 altogether
    EXPECT_EQ rax, 0x11112222, "15 bytes"
    mov rax, rdi
    TRY {db 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x8b, 0x07}
    EXPECT_FAULT GP, 0, "16 bytes are too many"
    TEST "code-lock-mov"
    SKIP_ON_TCG .out, "TCG ignores LOCK here"
    mov edi, SCRATCH32
    TRY {db 0xf0, 0x8b, 0x07}
    EXPECT_FAULT UD, 0, "LOCK MOV"
.out:
    ret

; ---- Other modes ----

section .low
bits 16
mmio16:
    mov dword [fs:dword SCRATCH32], 0x31415926
    mov eax, [fs:dword SCRATCH32]
    mov [low_result - low_begin], eax
    mov edi, SCRATCH32
    add dword [fs:edi], byte 1
    mov ax, [fs:edi]
    movzx eax, ax
    mov [low_result + 4 - low_begin], eax
    mov ecx, [fs:edi]
    mov [low_result + 8 - low_begin], ecx
    ret

section .text
bits 32
mmio32:
    mov dword [SCRATCH32], 0x31415926
    mov eax, [SCRATCH32]
    mov [low_result], eax
    mov edi, SCRATCH32
    add dword [edi], byte 1
    mov ecx, [edi]
    mov [low_result + 8], ecx
    push dword [edi]
    pop eax
    mov [low_result + 12], eax
    push dword 0x5ca1ab1e
    pop dword [edi]
    mov ecx, [SCRATCH32]
    mov [low_result + 16], ecx
    xor ecx, ecx
    xchg cl, ch
    mov esi, 0x10
    mov edx, [edi + esi * 4 - 0x40]
    mov [low_result + 20], edx
    ret

bits 64
test_modes:
    mov dword [SCRATCH32 - (1 << 32)], 0
    TEST "mmio-real-mode"
    CALL_MODE MODE_REAL, mmio16
    call .check16
    TEST "mmio-protected-16"
    mov dword [low_result], 0
    CALL_MODE MODE_PM16, mmio16
    call .check16
    TEST "mmio-protected-32"
    CALL_MODE MODE_FLAT32, mmio32
    call .check32
    TEST "mmio-paging-32"
    CALL_MODE MODE_PAGED32, mmio32
    call .check32
    TEST "mmio-pae"
    CALL_MODE MODE_PAE, mmio32
    call .check32
    TEST "mmio-compatibility"
    CALL_MODE MODE_COMPAT, mmio32
    jmp .check32
.check16:
    mov eax, [low_result]
    EXPECT_EQ rax, 0x31415926, "store and load"
    mov eax, [low_result + 8]
    EXPECT_EQ rax, 0x31415927, "ADD m32, imm8"
    ret
.check32:
    mov eax, [low_result]
    EXPECT_EQ rax, 0x31415926, "store and load"
    mov eax, [low_result + 8]
    EXPECT_EQ rax, 0x31415927, "ADD m32, imm8"
    mov eax, [low_result + 12]
    EXPECT_EQ rax, 0x31415927, "PUSH m32"
    mov eax, [low_result + 16]
    EXPECT_EQ rax, 0x5ca1ab1e, "POP m32"
    mov eax, [low_result + 20]
    EXPECT_EQ rax, 0x5ca1ab1e, "base, index and displacement"
    mov dword [low_result], 0
    mov dword [low_result + 8], 0
    mov dword [low_result + 12], 0
    ret
