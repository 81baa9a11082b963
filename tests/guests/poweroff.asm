; Power-off through ACPI: the RSDP from the loader, the FADT's PM1a control port, \_S5 in the DSDT.
%include "tests/guests/lib.inc"

SCI_EN equ 1
SLP_EN equ 1 << 13

section .text
main:
    TEST "acpi-checksums"
    mov eax, 'FACP'
    call acpi_find
    EXPECT_NE rax, 0, "the FADT"
    mov rbx, rax
    mov rsi, rax
    call checksum
    EXPECT_EQ rax, 0, "the FADT's sum"
    mov eax, [rbx + 40]
    mov rsi, [rbx + 140]
    test rsi, rsi
    cmovz rsi, rax ; the 32-bit pointer where there is no X_DSDT
    cmp dword [rbx + 4], 148
    cmovb rsi, rax
    mov r12, rsi
    call checksum
    EXPECT_EQ rax, 0, "the DSDT's sum"
    mov eax, 'APIC'
    call acpi_find
    EXPECT_NE rax, 0, "the MADT"
    mov rsi, rax
    call checksum
    EXPECT_EQ rax, 0, "the MADT's sum"
    TEST "acpi-enable"
    mov edx, [rbx + 64] ; PM1a_CNT_BLK
    EXPECT_NE rdx, 0, "PM1a_CNT_BLK"
    in ax, dx
    test al, SCI_EN
    jnz .enabled
    push rdx
    mov edx, [rbx + 48] ; SMI_CMD
    mov al, [rbx + 52]  ; ACPI_ENABLE
    out dx, al
    pop rdx
    mov ecx, 1000000
.wait:
    in ax, dx
    test al, SCI_EN
    jnz .enabled
    loop .wait
.enabled:
    and eax, SCI_EN
    EXPECT_EQ rax, SCI_EN, "SCI_EN"
    TEST "s5"
    call find_s5
    EXPECT_NE rax, -1, "the package in the DSDT"
    cmp rax, -1
    je .none
    push rax
    call test_end
    PRINT `done\npower-off\n`
    call serial_drain
    pop rax
    cmp qword [failed_count], 0
    jne .none
    shl eax, 10
    or eax, SLP_EN
    mov edx, [rbx + 64]
    mov ecx, eax
    in ax, dx
    and eax, SCI_EN
    or eax, ecx
    out dx, ax
    mov ecx, 100000000
.off:
    pause
    loop .off
    TEST "power-off"
    FAIL "the machine still runs"
.none:
    ret

; Sum of the bytes of the table at RSI -> RAX.
checksum:
    push rcx
    push rdx
    mov ecx, [rsi + 4]
    xor edx, edx
    xor eax, eax
.next:
    add al, [rsi + rdx]
    inc edx
    cmp edx, ecx
    jb .next
    pop rdx
    pop rcx
    ret

; SLP_TYPa of \_S5 in the DSDT at R12 -> RAX, or -1: Name (_S5, Package (n) {SLP_TYPa, ...}).
find_s5:
    mov ecx, [r12 + 4]
    lea rdx, [r12 + rcx - 8]
    lea rsi, [r12 + 36]
.next:
    cmp rsi, rdx
    jae .none
    cmp dword [rsi], '_S5_'
    je .found
    inc rsi
    jmp .next
.found:
    add rsi, 4
    cmp byte [rsi], 0x12 ; PackageOp
    jne .none
    inc rsi
    movzx eax, byte [rsi] ; PkgLength: bits 7:6 say how many bytes follow
    shr eax, 6
    lea rsi, [rsi + rax + 2] ; behind NumElements
    movzx eax, byte [rsi]
    cmp al, 0x0a ; BytePrefix; else ZeroOp, OneOp or the value
    jne .plain
    movzx eax, byte [rsi + 1]
    ret
.plain:
    cmp al, 1
    ja .none
    ret
.none:
    mov rax, -1
    ret
