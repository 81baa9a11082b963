; Where offsets of 16 and 32 bits wrap: string instructions on addresses without memory, which a monitor
; carries out, beside those on memory, which it does not.
%include "tests/guests/lib.inc"

HOLE16 equ 0xa000      ; a segment of 64 KiB without memory
HOLE equ 0x30000000
MARK equ 0x7e          ; in memory that a wrapped offset leads to

section .bss
alignb 16
result: resd 16

section .text
main:
    TEST "real"
    CALL_MODE MODE_REAL, code16
    call .check16
    TEST "real-limit"
    SKIP_ON_TCG .protected16, "TCG checks no segment limits"
    mov eax, [low_result + 28]
    EXPECT_EQ rax, GP, "LODSW at the last byte of the segment"
    mov eax, [low_result + 32]
    EXPECT_EQ rax, 0xffff, "SI stays"
.protected16:
    TEST "address-size-16"
    CALL_MODE MODE_FLAT32, code32
    mov eax, [result]
    EXPECT_EQ rax, 0x12340001, "ESI after REP MOVSB: its upper half stays"
    mov eax, [result + 4]
    EXPECT_EQ rax, 0x5678fffe, "EDI after REP STOSB downwards"
    mov eax, [result + 8]
    EXPECT_EQ rax, 0x1abc0000, "ECX counts in its lower half"
    TEST "address-size-32"
    push qword [0]
    mov qword [0], 0
    mov rdi, -1 ; its upper half does not count
    mov rcx, 0xffffffff00000002
    mov al, MARK
    cld
    a32 rep stosb
    EXPECT_EQ rdi, 1, "RDI"
    EXPECT_EQ rcx, 0, "RCX"
    movzx eax, byte [0]
    pop qword [0]
    EXPECT_EQ rax, MARK, "the byte behind the wrap"
    mov rsi, 0x1234567830000003
    mov edi, result
    mov ecx, 4
    std
    a32 rep movsb
    cld
    EXPECT_EQ rsi, HOLE - 1, "RSI downwards"
    TEST "64-bit-edge"
    SKIP_ON_TCG .out, "holes read otherwise"
    mov rsi, HOLE
    mov rdi, 0x00007ffffffffffe
    mov ecx, 4
    TRY {rep movsb}
    EXPECT_FAULT PF, 2, "the last bytes of the lower half are not mapped"
    EXPECT_EQ rsi, HOLE, "nothing was done"
.out:
    ret

.check16:
    mov eax, [low_result]
    EXPECT_EQ rax, 0x12340001, "ESI after REP MOVSB: its upper half stays"
    mov eax, [low_result + 4]
    EXPECT_EQ rax, 0x5678fffe, "EDI after REP STOSB downwards"
    mov eax, [low_result + 8]
    EXPECT_EQ rax, 0x1abc0000, "ECX counts in its lower half"
    mov eax, [low_result + 12]
    EXPECT_EQ rax, 0x0003, "DI behind the last byte, STOSB, and on"
    mov eax, [low_result + 16]
    EXPECT_EQ rax, 0x0002, "SI after REPE CMPSB over the wrap"
    mov eax, [low_result + 20]
    EXPECT_EQ rax, MARK, "an address wraps: [BX + SI]"
    mov eax, [low_result + 24]
    EXPECT_EQ rax, 1, "PUSH of device memory: SP"
    ret

bits 32
code32:
    cld
    mov esi, 0x1234ffff
    mov edi, 0x56781000
    mov ecx, 0x1abc0002
    a16 rep movsb ; FFFFH and 0, within the flat segment: memory
    mov [result], esi
    mov [result + 8], ecx
    mov edi, 0x56780001
    mov ecx, 3
    push dword [0]
    push dword [0xfffc]
    mov al, MARK
    std
    a16 rep stosb
    cld
    mov [result + 4], edi
    pop dword [0xfffc]
    pop dword [0]
    ret

section .low
bits 16
code16:
    push ds
    push es
    cld
    ; from FFFFH to 0 of the segment without memory
    mov ax, HOLE16
    mov ds, ax
    mov esi, 0x1234ffff
    mov edi, 0x56780000 + (.room - low_begin)
    mov ecx, 0x1abc0002
    rep movsb
    mov [es:low_result - low_begin], esi
    mov [es:low_result + 8 - low_begin], ecx
    ; and down, from 1 to FFFEH
    mov es, ax
    mov edi, 0x56780001
    mov cx, 3
    std
    rep stosb
    cld
    mov [ss:low_result + 4 - low_begin], edi
    mov di, 0xfffd
    mov cx, 3
    ; the last word but one byte, and that
    stosw
    stosb
    inc di
    inc di
    inc di
    movzx edi, di
    mov [ss:low_result + 12 - low_begin], edi
    mov si, 0xfffe
    mov di, 0xfffe
    mov cx, 4
    repe cmpsb
    movzx esi, si
    mov [ss:low_result + 16 - low_begin], esi
    ; an effective address of 16 bits wraps, in memory
    mov ax, LOW_BASE >> 4
    mov ds, ax
    mov bx, 0xffff
    mov si, .mark - low_begin + 1
    movzx eax, byte [bx + si]
    mov [ss:low_result + 20 - low_begin], eax
    ; a value from no memory is pushed
    mov ax, HOLE16
    mov fs, ax
    mov bp, sp
    push word [fs:0xfffe]
    mov dx, sp
    mov sp, bp
    sub bp, dx
    shr bp, 1
    movzx ebp, bp
    mov [ss:low_result + 24 - low_begin], ebp
    mov si, 0xffff
    mov dword [ss:caught_vector16 - low_begin], NO_FAULT
    mov word [ss:catch_resume16 - low_begin], .after - low_begin
    es lodsw
.after:
    mov word [ss:catch_resume16 - low_begin], 0
    movzx esi, si
    mov [ss:low_result + 32 - low_begin], esi
    pop es
    pop ds
    mov eax, [caught_vector16 - low_begin]
    mov [low_result + 28 - low_begin], eax
    mov ax, SEL_DATA
    ret
.room: times 8 db 0
.mark: db MARK
