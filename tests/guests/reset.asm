; Every way to reset: 0xcf9, the keyboard controller, port 0x92 and a triple fault. The CMOS keeps a
; count across resets, as it does on a PC; each boot takes the next way, the last one reports.
%include "tests/guests/lib.inc"

COUNT equ 0x34 ; CMOS registers that no firmware sums up
MARK equ 0x35
MARK_VALUE equ 0x5e

section .data
empty_idt: dw 0
    dq 0
align 8
ways: dq by_cf9, by_keyboard, by_port92, by_triple_fault
ways_end:

section .text
main:
    mov al, MARK
    call cmos_read
    cmp al, MARK_VALUE
    mov ebx, 0
    jne .first
    mov al, COUNT
    call cmos_read
    movzx ebx, al
.first:
    PRINT "boot "
    mov eax, ebx
    call print_decimal
    call print_newline
    call serial_drain
    cmp ebx, (ways_end - ways) / 8
    jae .last
    lea eax, [rbx + 1]
    mov ah, al
    mov al, COUNT
    call cmos_write
    mov ax, MARK_VALUE << 8 | MARK
    call cmos_write
    call [ways + rbx * 8]
    mov ecx, 100000000 ; a reset may take a moment
.wait:
    pause
    loop .wait
    TEST "reset"
    FAIL "this way does not reset the machine"
    jmp .forget
.last:
    TEST "reset-count"
    EXPECT_EQ rbx, (ways_end - ways) / 8, "boots"
    TEST "reset-state"
    mov rax, cr0
    and eax, CR0_PG | CR0_PE
    mov ecx, CR0_PG | CR0_PE
    EXPECT_EQ rax, rcx, "the entry brought us here again"
    cmp qword [stale], 0
    je .clean
    FAIL "the image was not loaded afresh"
.clean:
.forget:
    mov ax, MARK
    call cmos_write
    ret

by_cf9:
    mov qword [stale], 1
    mov dx, 0xcf9
    mov al, 2
    out dx, al
    mov al, 6
    out dx, al
    ret
by_keyboard:
    mov qword [stale], 1
.wait:
    in al, 0x64
    test al, 2
    jnz .wait
    mov al, 0xfe
    out 0x64, al
    ret
by_port92:
    mov qword [stale], 1
    in al, 0x92
    and al, 0xfe
    out 0x92, al
    or al, 1
    out 0x92, al
    ret
by_triple_fault:
    mov qword [stale], 1
    lidt [empty_idt]
    ud2

section .data
align 8
stale: dq 0 ; part of the image: a fresh copy is zero
