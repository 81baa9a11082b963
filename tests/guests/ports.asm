; IN, OUT, INS and OUTS in every size, direction and address size.
;
; Ports whose contents are known: the scratch register of COM1 (a byte that keeps what is written),
; COM1 in loopback (what goes out comes in, in order), PCI's address port 0xcf8 (a doubleword that
; reads back) and data port 0xcfc, the CMOS index pair.
%include "tests/guests/lib.inc"

SCRATCH equ COM1 + 7
PCI_ADDRESS equ 0xcf8
PCI_DATA equ 0xcfc
HOST_BRIDGE equ 1 << 31
NOBODY equ 0x5e0 ; no device of a PC answers here

section .data
align 16
bytes_out: db 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88
dwords_out: dd HOST_BRIDGE | 0x0800, HOST_BRIDGE | 0x1000, HOST_BRIDGE | 0x1800, HOST_BRIDGE | 0x2000

section .bss
alignb 16
buffer: resb 64

section .text

%macro CLEAR_BUFFER 0
    mov rax, 0xaaaaaaaaaaaaaaaa
    mov [buffer], rax
    mov [buffer + 8], rax
    mov [buffer + 16], rax
    mov [buffer + 24], rax
%endmacro

loopback_on:
    mov dx, COM1 + 2
    mov al, 7 ; FIFOs on and empty
    out dx, al
    mov dx, COM1 + 4
    mov al, 0x13
    out dx, al
    ret
loopback_off:
    mov dx, COM1 + 4
    mov al, 3
    out dx, al
    mov dx, COM1 + 2
    mov al, 7
    out dx, al
    ret
; Waits until COM1 has received something, or a while.
loopback_wait:
    mov ecx, 1000000
    mov dx, COM1 + 5
.wait:
    in al, dx
    test al, 1
    loopz .wait
    ret

main:
    call window_init
    TEST "port-byte"
    mov dx, SCRATCH
    mov rax, 0x123456789abcde5a
    out dx, al
    mov rbx, 0x1122334455667788
    mov rax, rbx
    in al, dx
    mov rcx, 0x112233445566775a
    EXPECT_EQ rax, rcx, "IN AL keeps the rest of RAX"
    mov al, 0xa5
    out dx, al
    stc
    in al, dx
    EXPECT_FLAGS RFLAGS_CF, RFLAGS_CF, "IN keeps the flags"
    EXPECT_EQ rax, qword [.a5], "IN AL"
    jmp .port_word
    align 8
.a5: dq 0x11223344556677a5
.port_word:
    TEST "port-word"
    mov dx, PCI_ADDRESS
    mov eax, HOST_BRIDGE
    out dx, eax
    mov dx, PCI_DATA
    mov rax, rbx
    in ax, dx
    mov r8, rax
    mov rcx, 0xffff
    mov r9, rbx
    mov rdx, ~0xffff
    mov r10, rax
    and r10, rdx
    and r9, rdx
    EXPECT_EQ r10, r9, "IN AX keeps the rest of RAX"
    mov dx, PCI_DATA
    in eax, dx
    mov r9, rax
    and r8, rcx
    and r9, rcx
    EXPECT_EQ r8, r9, "low word of a doubleword"
    EXPECT_NE r8, 0xffff, "the host bridge answers"

    TEST "port-dword"
    mov dx, PCI_ADDRESS
    mov eax, HOST_BRIDGE | 0x1234 & 0xfffc
    out dx, eax
    mov rax, -1
    in eax, dx
    mov ecx, HOST_BRIDGE | 0x1234 & 0xfffc
    EXPECT_EQ rax, rcx, "IN EAX clears the upper half"

    TEST "port-dword-parts"
    mov eax, HOST_BRIDGE
    out dx, eax
    mov dx, PCI_DATA
    in eax, dx
    mov r8d, eax
    xor r9d, r9d
    mov dx, PCI_DATA + 3
.byte:
    shl r9d, 8
    in al, dx
    movzx eax, al
    or r9d, eax
    dec dx
    cmp dx, PCI_DATA
    jae .byte
    EXPECT_EQ r9, r8, "four bytes make the doubleword"

    TEST "port-immediate"
    mov al, 0x0f ; a CMOS register: the shutdown status, free for use
    out 0x70, al
    mov al, 0x5c
    out 0x71, al
    mov al, 0x0f
    out 0x70, al
    mov eax, 0x100
    in al, 0x71
    EXPECT_EQ rax, 0x15c, "IN AL, imm8"
    mov al, 0x0f
    out 0x70, al
    mov al, 0
    out 0x71, al

    TEST "unclaimed"
    mov dx, NOBODY
    xor eax, eax
    in al, dx
    EXPECT_EQ rax, 0xff, "byte"
    xor eax, eax
    in ax, dx
    EXPECT_EQ rax, 0xffff, "word"
    xor eax, eax
    in eax, dx
    mov ecx, 0xffffffff
    EXPECT_EQ rax, rcx, "doubleword"
    out dx, al
    out dx, ax
    out dx, eax
    mov dx, 0xffff
    xor eax, eax
    in al, dx
    EXPECT_EQ rax, 0xff, "port 0xffff"

    TEST "outs-ins-byte"
    call loopback_on
    mov dx, COM1
    mov rsi, bytes_out
    mov ecx, 8
    cld
    rep outsb
    mov r8, rcx
    mov r9, rsi
    call loopback_wait
    CLEAR_BUFFER
    mov dx, COM1
    mov rdi, buffer
    mov ecx, 8
    rep insb
    mov r10, rdi
    call loopback_off
    EXPECT_EQ r8, 0, "RCX after REP OUTSB"
    EXPECT_EQ r9, bytes_out + 8, "RSI after REP OUTSB"
    EXPECT_EQ rcx, 0, "RCX after REP INSB"
    EXPECT_EQ r10, buffer + 8, "RDI after REP INSB"
    EXPECT_EQ qword [buffer], qword [bytes_out], "the bytes"
    mov rax, 0xaaaaaaaaaaaaaaaa
    EXPECT_EQ qword [buffer + 8], rax, "nothing behind them"

    TEST "outs-ins-byte-down"
    call loopback_on
    mov dx, COM1
    mov rsi, bytes_out + 7
    mov ecx, 8
    std
    rep outsb
    cld
    mov r9, rsi
    call loopback_wait
    CLEAR_BUFFER
    mov dx, COM1
    mov rdi, buffer + 7
    mov ecx, 8
    std
    rep insb
    cld
    mov r10, rdi
    call loopback_off
    EXPECT_EQ r9, bytes_out - 1, "RSI after REP OUTSB"
    EXPECT_EQ r10, buffer - 1, "RDI after REP INSB"
    EXPECT_EQ qword [buffer], qword [bytes_out], "the bytes, twice reversed"

    TEST "outs-single"
    mov dx, SCRATCH
    mov rsi, bytes_out + 2
    mov rcx, 5
    outsb
    EXPECT_EQ rsi, bytes_out + 3, "RSI"
    EXPECT_EQ rcx, 5, "RCX"
    in al, dx
    movzx eax, al
    EXPECT_EQ rax, 0x33, "the byte"

    TEST "outs-segment"
    ; FS with a base: LODS and OUTS take the prefix, INS does not.
    mov ecx, 0xc0000100 ; IA32_FS_BASE
    mov eax, bytes_out
    xor edx, edx
    wrmsr
    mov dx, SCRATCH
    mov esi, 4
    fs outsb
    in al, dx
    movzx r8d, al
    mov ecx, 0xc0000100
    xor eax, eax
    xor edx, edx
    wrmsr
    EXPECT_EQ r8, 0x55, "FS OUTSB"

    TEST "rep-zero"
    mov dx, SCRATCH
    mov al, 0x77
    out dx, al
    mov rsi, bytes_out
    mov rdi, buffer
    xor ecx, ecx
    rep outsb
    rep insb
    in al, dx
    movzx eax, al
    EXPECT_EQ rax, 0x77, "REP OUTSB of none writes nothing"
    EXPECT_EQ rsi, bytes_out, "RSI"
    EXPECT_EQ rdi, buffer, "RDI"
    TRY {rep insb}
    EXPECT_NO_FAULT "none reads nothing"

    TEST "outs-dword"
    mov dx, PCI_ADDRESS
    mov rsi, dwords_out
    mov ecx, 3
    rep outsd
    in eax, dx
    mov r8d, [dwords_out + 8]
    EXPECT_EQ rax, r8, "the last of three"
    EXPECT_EQ rsi, dwords_out + 12, "RSI"
    std
    mov rsi, dwords_out + 12
    mov ecx, 4
    rep outsd
    cld
    in eax, dx
    mov r8d, [dwords_out]
    EXPECT_EQ rax, r8, "the last of four, downwards"
    EXPECT_EQ rsi, dwords_out - 4, "RSI downwards"

    TEST "ins-dword"
    mov eax, HOST_BRIDGE
    out dx, eax
    mov dx, PCI_DATA
    in eax, dx
    mov r8d, eax
    mov r9, r8
    shl r9, 32
    or r9, r8
    CLEAR_BUFFER
    mov rdi, buffer
    mov ecx, 4
    rep insd
    EXPECT_EQ qword [buffer], r9, "first two"
    EXPECT_EQ qword [buffer + 8], r9, "last two"
    mov rax, 0xaaaaaaaaaaaaaaaa
    EXPECT_EQ qword [buffer + 16], rax, "nothing behind them"

    TEST "ins-word"
    CLEAR_BUFFER
    mov rdi, buffer + 2
    mov ecx, 2
    std
    rep insw
    cld
    mov rax, 0xffffffff
    mov rcx, [buffer]
    and rcx, rax
    movzx r9d, r8w
    mov r10d, r9d
    shl r10d, 16
    or r9d, r10d
    EXPECT_EQ rcx, r9, "two words, downwards"
    EXPECT_EQ rdi, buffer - 2, "RDI"

    TEST "outs-word"
    mov word [buffer], 0x1234
    mov dx, SCRATCH - 1 ; 0x3fe: modem status, 0x3ff: scratch
    mov rsi, buffer
    outsw
    mov dx, SCRATCH
    in al, dx
    movzx eax, al
    EXPECT_EQ rax, 0x12, "the high byte goes to the next port"

    TEST "address-size-32"
    mov dx, SCRATCH
    mov rsi, 0xffffffff00000000 + bytes_out + 1
    mov rcx, 0xffffffff00000001
    a32 rep outsb
    in al, dx
    movzx eax, al
    EXPECT_EQ rax, 0x22, "ESI is the address"
    EXPECT_EQ rsi, bytes_out + 2, "ESI written clears the upper half"
    EXPECT_EQ rcx, 0, "ECX written clears the upper half"
    CLEAR_BUFFER
    mov rdi, 0xffffffff00000000 + buffer
    mov rcx, 0xffffffff00000002
    a32 rep insb
    EXPECT_EQ rdi, buffer + 2, "EDI"
    movzx eax, word [buffer]
    EXPECT_EQ rax, 0x2222, "what INSB read"

    call test_page_crossing
    call test_faults
    call test_16bit
    call test_32bit
    call test_ring3
    call test_limits
    ret

test_page_crossing:
    TEST "ins-page-crossing"
    mov dx, PCI_DATA
    in eax, dx
    mov r8d, eax
    mov rdi, WINDOW + 4096 - 6
    mov dword [rdi + 4], 0
    mov ecx, 3
    rep insd
    mov eax, [WINDOW + 4096 - 6]
    EXPECT_EQ rax, r8, "before the edge"
    mov eax, [WINDOW + 4096 - 2]
    EXPECT_EQ rax, r8, "across the edge"
    mov eax, [WINDOW + 4096 + 2]
    EXPECT_EQ rax, r8, "behind the edge"

    TEST "outs-page-crossing"
    mov eax, HOST_BRIDGE | 0x5678 & 0xfffc
    mov [WINDOW + 2 * 4096 - 3], eax
    mov rsi, WINDOW + 2 * 4096 - 3
    mov dx, PCI_ADDRESS
    outsd
    mov r8d, eax
    in eax, dx
    EXPECT_EQ rax, r8, "a doubleword across the edge"
    ; The pages need not be neighbours in memory.
    mov ecx, 2
    mov eax, window_memory + 5 * 4096 + 7
    call window_map
    mov dword [window_memory + 4096 + 4094], 0x80003344 & 0xffff
    mov word [window_memory + 5 * 4096], 0x8000
    mov rsi, WINDOW + 2 * 4096 - 2
    outsd
    in eax, dx
    mov ecx, 0x80003344
    EXPECT_EQ rax, rcx, "across two pages far apart"
    mov ecx, 2
    mov eax, 7
    call window_protect
    mov eax, HOST_BRIDGE
    out dx, eax
    ret

test_faults:
    TEST "outs-not-present"
    mov ecx, 3
    xor eax, eax
    call window_protect
    mov dx, SCRATCH
    mov al, 0x66
    out dx, al
    mov rsi, WINDOW + 3 * 4096
    mov ecx, 4
    TRY {rep outsb}
    EXPECT_FAULT PF, 0, "read of an absent page"
    EXPECT_EQ qword [caught_cr2], WINDOW + 3 * 4096, "CR2"
    EXPECT_EQ rcx, 4, "RCX untouched"
    EXPECT_EQ rsi, WINDOW + 3 * 4096, "RSI untouched"
    in al, dx
    movzx eax, al
    EXPECT_EQ rax, 0x66, "nothing was written"

    TEST "outs-not-present-midway"
    mov dword [WINDOW + 3 * 4096 - 4], 0x44332211
    mov rsi, WINDOW + 3 * 4096 - 3
    mov ecx, 6
    TRY {rep outsb}
    EXPECT_FAULT PF, 0, "the page behind is absent"
    EXPECT_EQ qword [caught_cr2], WINDOW + 3 * 4096, "CR2"
    EXPECT_EQ rcx, 3, "RCX: what is left"
    EXPECT_EQ rsi, WINDOW + 3 * 4096, "RSI: where it stopped"
    in al, dx
    movzx eax, al
    EXPECT_EQ rax, 0x44, "the last byte of the page before"

    TEST "ins-read-only"
    mov rax, cr0
    or eax, CR0_WP
    mov cr0, rax
    mov ecx, 3
    mov eax, 5 ; present, user, read-only
    call window_protect
    mov dx, SCRATCH
    mov rdi, WINDOW + 3 * 4096 - 1
    mov ecx, 2
    TRY {rep insb}
    EXPECT_FAULT PF, 3, "write to a read-only page"
    EXPECT_EQ qword [caught_cr2], WINDOW + 3 * 4096, "CR2"
    EXPECT_EQ rcx, 1, "RCX: what is left"
    mov rax, cr0
    and eax, ~CR0_WP
    mov cr0, rax
    mov ecx, 1
    mov rdi, WINDOW + 3 * 4096
    TRY {rep insb}
    EXPECT_NO_FAULT "with CR0.WP clear it is allowed"
    mov ecx, 3
    mov eax, 7
    call window_protect

    TEST "ins-non-canonical"
    mov rdi, 0x0000800000000000
    mov ecx, 1
    TRY insb
    EXPECT_FAULT GP, 0, "INSB"
    mov rsi, 0x0000800000000000
    TRY outsb
    EXPECT_FAULT GP, 0, "OUTSB"
    ret

; ---- 16-bit: REP INSB and OUTSB with 16-bit and 32-bit addresses, in real mode and PM16 ----

section .low
bits 16
strings16:
    mov dx, SCRATCH
    mov al, 0x42
    out dx, al
    mov dword [.buffer - low_begin], 0
    mov di, .buffer - low_begin
    mov ecx, 0x10003 ; CX counts: 3
    rep insb
    mov eax, [.buffer - low_begin]
    mov [low_result - low_begin], eax
    mov [low_result + 4 - low_begin], ecx
    movzx eax, di
    sub ax, .buffer - low_begin
    mov [low_result + 8 - low_begin], eax
    mov byte [.buffer - low_begin], 0x21
    mov esi, .buffer - low_begin
    mov ecx, 1
    a32 rep outsb
    in al, dx
    movzx eax, al
    mov [low_result + 12 - low_begin], eax
    ; DI wraps at 64 KiB, in ES = FS = flat memory's first 64 KiB only in real mode: use the segment
    ; itself, whose last bytes are free RAM.
    mov di, 0xffff
    mov cx, 2
    mov al, [0]
    push ax
    rep insb
    movzx eax, di
    mov [low_result + 16 - low_begin], eax
    movzx eax, byte [0]
    mov [low_result + 20 - low_begin], eax
    pop ax
    mov [0], al
    ; SS segment override, 16-bit address
    mov byte [.buffer - low_begin], 0x6b
    mov si, .buffer - low_begin
    ss outsb
    in al, dx
    movzx eax, al
    mov [low_result + 24 - low_begin], eax
    mov eax, 0x80000054
    mov dx, PCI_ADDRESS
    out dx, eax
    xor eax, eax
    in eax, dx
    mov [low_result + 28 - low_begin], eax
    ret
.buffer: dd 0, 0

section .text
bits 64
%macro CHECK_STRINGS16 0
    mov eax, [low_result]
    EXPECT_EQ rax, 0x424242, "REP INSB by CX and DI"
    mov eax, [low_result + 4]
    EXPECT_EQ rax, 0x10000, "CX counts down, ECX keeps its upper half"
    mov eax, [low_result + 8]
    EXPECT_EQ rax, 3, "DI"
    mov eax, [low_result + 12]
    EXPECT_EQ rax, 0x21, "OUTSB by ESI"
    mov eax, [low_result + 16]
    EXPECT_EQ rax, 1, "DI wraps"
    mov eax, [low_result + 20]
    EXPECT_EQ rax, 0x21, "the byte behind the wrap"
    mov eax, [low_result + 24]
    EXPECT_EQ rax, 0x6b, "SS OUTSB"
    mov eax, [low_result + 28]
    mov ecx, 0x80000054
    EXPECT_EQ rax, rcx, "IN EAX with an operand-size prefix"
%endmacro

test_16bit:
    TEST "real-mode"
    CALL_MODE MODE_REAL, strings16
    CHECK_STRINGS16
    TEST "protected-16"
    CALL_MODE MODE_PM16, strings16
    CHECK_STRINGS16
    ret

bits 32
strings32:
    mov dx, SCRATCH
    mov al, 0x3e
    out dx, al
    mov dword [buffer], 0
    mov edi, buffer
    mov ecx, 2
    rep insb
    mov eax, [buffer]
    mov [low_result], eax
    mov esi, bytes_out + 6
    outsb
    in al, dx
    movzx eax, al
    mov [low_result + 4], eax
    sub edi, buffer
    mov [low_result + 8], edi
    ; 16-bit addresses reach the first 64 KiB only, through a segment with a base.
    mov eax, SEL_SMALL
    mov es, eax
    mov edi, 0x70000000 + low_result + 12 - low_begin
    a16 insb
    mov [low_result + 16], edi
    mov eax, SEL_DATA
    mov es, eax
    ret

limits32:
    mov eax, SEL_SMALL
    mov es, eax
    mov fs, eax
    mov dx, NOBODY
    mov edi, 0x1000
    TRY insb
    mov eax, [caught_vector]
    mov [low_result], eax
    mov esi, 0xfff
    TRY {fs outsw}
    mov eax, [caught_vector]
    mov [low_result + 4], eax
    mov eax, SEL_DATA
    mov es, eax
    mov fs, eax
    ret

bits 64
test_32bit:
    TEST "protected-32"
    CALL_MODE MODE_FLAT32, strings32
    call .check
    TEST "pae"
    CALL_MODE MODE_PAE, strings32
    call .check
    TEST "paging-32"
    CALL_MODE MODE_PAGED32, strings32
    call .check
    TEST "compatibility"
    CALL_MODE MODE_COMPAT, strings32
.check:
    mov eax, [low_result]
    EXPECT_EQ rax, 0x3e3e, "REP INSB"
    mov eax, [low_result + 4]
    EXPECT_EQ rax, 0x77, "OUTSB"
    mov eax, [low_result + 8]
    EXPECT_EQ rax, 2, "EDI"
    movzx eax, byte [low_result + 12]
    EXPECT_EQ rax, 0x77, "INSB with a 16-bit address"
    mov eax, [low_result + 16]
    EXPECT_EQ rax, 0x70000000 + low_result - low_begin + 13, "EDI keeps its upper half"
    ret

test_limits:
    TEST "segment-limits"
    SKIP_ON_TCG .out, "TCG checks no segment limits"
    CALL_MODE MODE_FLAT32, limits32
    movsxd rax, [low_result]
    EXPECT_EQ rax, GP, "INSB beyond the limit"
    movsxd rax, [low_result + 4]
    EXPECT_EQ rax, GP, "OUTSW across the limit"
.out:
    ret

; ---- Ring 3 ----

ring3_denied:
    mov dx, SCRATCH
    TRY {in al, dx}
    mov rax, [caught_vector]
    mov [low_result], rax
    mov rdi, buffer
    mov ecx, 1
    TRY {rep insb}
    mov rax, [caught_vector]
    mov [low_result + 8], rax
    TRY {out 0x80, al}
    mov rax, [caught_vector]
    mov [low_result + 16], rax
    TRY cli
    mov rax, [caught_vector]
    mov [low_result + 24], rax
    ret
ring3_allowed:
    mov dx, SCRATCH
    mov al, 0x19
    out dx, al
    mov al, 0
    in al, dx
    movzx eax, al
    mov [low_result], rax
    mov dword [buffer], 0
    mov rdi, buffer
    insb
    mov eax, [buffer]
    mov [low_result + 8], rax
    ret

test_ring3:
    TEST "ring3-denied"
    CALL_RING3 ring3_denied, 0
    EXPECT_EQ qword [low_result], GP, "IN"
    EXPECT_EQ qword [low_result + 8], GP, "REP INSB"
    EXPECT_EQ qword [low_result + 16], GP, "OUT"
    EXPECT_EQ qword [low_result + 24], GP, "CLI"
    TEST "ring3-io-bitmap"
    mov byte [io_bitmap + SCRATCH / 8], 0x7f
    CALL_RING3 ring3_allowed, 0
    mov byte [io_bitmap + SCRATCH / 8], 0xff
    EXPECT_EQ qword [low_result], 0x19, "IN"
    EXPECT_EQ qword [low_result + 8], 0x19, "INSB"
    TEST "ring3-iopl"
    CALL_RING3 ring3_allowed, 3 << 12
    EXPECT_EQ qword [low_result], 0x19, "IN"
    EXPECT_EQ qword [low_result + 8], 0x19, "INSB"
    ret
