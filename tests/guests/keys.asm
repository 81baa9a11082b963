; Protection keys for user-mode pages, where CPUID offers them; and that nothing of them is there where
; it does not.
%include "tests/guests/lib.inc"

CR4_PKE equ 1 << 22
PF_P equ 1
PF_W equ 2
PF_U equ 4
PF_PK equ 32
AD1 equ 1 << 2 ; of key 1 in PKRU
WD1 equ 1 << 3
KEY1 equ 1 << 59
PAGE equ WINDOW ; a user page with key 1
CODE equ WINDOW + 4096 ; the same with code
PRIVATE equ WINDOW + 2 * 4096 ; a supervisor's page with key 1
PORT equ 0x40 ; of the PIT: read by INS

section .data
align 64
area: times 4096 db 0

section .text
main:
    xor ecx, ecx
    mov eax, 7
    cpuid
    test ecx, 1 << 3
    jnz offered
    TEST "keys-hidden"
    and ecx, 1 << 4
    EXPECT_EQ rcx, 0, "OSPKE"
    mov rax, cr4
    or eax, CR4_PKE
    TRY {mov cr4, rax}
    EXPECT_FAULT GP, 0, "CR4.PKE"
    xor ecx, ecx
    TRY rdpkru
    EXPECT_FAULT UD, 0, "RDPKRU"
    xor eax, eax
    xor edx, edx
    TRY wrpkru
    EXPECT_FAULT UD, 0, "WRPKRU"
    mov eax, 0xd
    mov ecx, 9
    cpuid
    EXPECT_EQ rax, 0, "size of the state"
    TEST "keys-register"
    SKIP "there are no protection keys"
    ret

offered:
    call window_init
    mov rax, window_memory + 7
    mov rdx, KEY1
    or rax, rdx
    xor ecx, ecx
    call window_map
    add rax, 4096
    mov ecx, 1
    call window_map
    add rax, 4096 - 4
    mov ecx, 2
    call window_map
    mov byte [CODE], 0xc3 ; RET
    TEST "keys-register"
    xor ecx, ecx
    TRY rdpkru
    EXPECT_FAULT UD, 0, "RDPKRU without CR4.PKE"
    mov rax, cr4
    or eax, CR4_PKE
    mov cr4, rax
    xor ecx, ecx
    mov eax, 7
    cpuid
    and ecx, 1 << 4
    EXPECT_EQ rcx, 1 << 4, "OSPKE"
    mov eax, AD1
    call set_pkru
    xor ecx, ecx
    mov rdx, -1
    rdpkru
    EXPECT_EQ rax, AD1, "PKRU"
    EXPECT_EQ rdx, 0, "EDX"
    mov ecx, 1
    TRY rdpkru
    EXPECT_FAULT GP, 0, "RDPKRU with ECX"
    TRY wrpkru
    EXPECT_FAULT GP, 0, "WRPKRU with ECX"
    xor ecx, ecx
    mov edx, 1
    TRY wrpkru
    EXPECT_FAULT GP, 0, "WRPKRU with EDX"
    TEST "keys-supervisor"
    mov eax, AD1
    call set_pkru
    TRY {mov bl, [PAGE]}
    EXPECT_FAULT PF, PF_P | PF_PK, "a read at ring 0"
    TRY {mov [PAGE], bl}
    EXPECT_FAULT PF, PF_P | PF_PK | PF_W, "a write"
    TRY {mov [PRIVATE], bl}
    EXPECT_NO_FAULT "a page of the supervisor's has no key"
    TEST "keys-user"
    CALL_RING3 user_access, 0
    EXPECT_EQ qword [area], PF, "a read at ring 3"
    EXPECT_EQ qword [area + 8], PF_P | PF_PK | PF_U, "its error code"
    TEST "keys-fetch"
    mov r12, rsp
    mov eax, CODE
    TRY {call rax}
    mov rsp, r12
    EXPECT_NO_FAULT "fetches have no keys"
    TEST "keys-write"
    mov eax, WD1
    call set_pkru
    TRY {mov bl, [PAGE]}
    EXPECT_NO_FAULT "a read"
    TRY {mov [PAGE], bl}
    ; with CR0.WP clear, as it is here, a supervisor may
    EXPECT_NO_FAULT "a write with CR0.WP 0"
    mov rax, cr0
    or eax, CR0_WP
    mov cr0, rax
    TRY {mov [PAGE], bl}
    EXPECT_FAULT PF, PF_P | PF_PK | PF_W, "with CR0.WP 1"
    TEST "keys-emulated-write"
    mov edi, PAGE
    mov edx, PORT
    TRY insb
    EXPECT_FAULT PF, PF_P | PF_PK | PF_W, "INS"
    mov edi, PAGE
    mov esi, LAPIC32 + LAPIC_VERSION
    TRY movsd
    EXPECT_FAULT PF, PF_P | PF_PK | PF_W, "MOVS from a device"
    TEST "keys-emulated-read"
    mov eax, AD1
    call set_pkru
    mov esi, PAGE
    mov edi, LAPIC32 + LAPIC_INITIAL
    TRY movsd
    EXPECT_FAULT PF, PF_P | PF_PK, "MOVS to a device"
    TEST "keys-unlocked"
    xor eax, eax
    call set_pkru
    TRY {mov [PAGE], bl}
    EXPECT_NO_FAULT "no key is locked"
    TEST "keys-state"
    mov rax, cr4
    or eax, CR4_OSXSAVE
    mov cr4, rax
    xor ecx, ecx
    xgetbv
    or eax, 1 << 9
    TRY xsetbv
    EXPECT_NO_FAULT "XCR0"
    mov eax, 0x55555550
    call set_pkru
    mov eax, 1 << 9
    xor edx, edx
    xsave [area]
    xor eax, eax
    call set_pkru
    mov eax, 1 << 9
    xor edx, edx
    xrstor [area]
    xor ecx, ecx
    rdpkru
    EXPECT_EQ rax, 0x55555550, "PKRU after XSAVE and XRSTOR"
    xor eax, eax
    call set_pkru
    mov rax, cr4
    and eax, ~CR4_PKE
    mov cr4, rax
    mov eax, 7
    xor ecx, ecx
    cpuid
    and ecx, 1 << 4
    EXPECT_EQ rcx, 0, "OSPKE at last"
    ret

set_pkru: ; EAX
    xor ecx, ecx
    xor edx, edx
    wrpkru
    ret

user_access:
    TRY {mov bl, [PAGE]}
    mov rax, [caught_vector]
    mov [area], rax
    mov rax, [caught_error]
    mov [area + 8], rax
    ret
