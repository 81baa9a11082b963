; QEMU's small devices, on one machine that has them all: the debug console, pc-testdev, pvpanic; and
; the ACPI tables where a program looks that was told nothing.
%include "tests/guests/lib.inc"

DEBUG_CONSOLE equ 0xe9
ECHO equ 0xe0
FLUSH equ 0xe4
ECHO_BYTES equ 0xe8
LINES equ 0x2000
TESTDEV_MEMORY equ 0xff000000
TESTDEV_SIZE equ 0x10000
PVPANIC equ 0x505
PIC_COMMAND equ 0x20
READ_IRR equ 0x0a
ELCR equ 0x4d0
BIOS equ 0xe0000
BIOS_END equ 0x100000

section .rodata
greeting: db "printed by the debug console", 10
greeting_end:
signature: db "RSD PTR "

section .text
bits 64

main:
    TEST "debug-console"
    xor eax, eax
    mov dx, DEBUG_CONSOLE
    in al, dx
    EXPECT_EQ rax, 0xe9, "what it reads as"
    call serial_drain
    lea rsi, [greeting]
    mov ecx, greeting_end - greeting
    rep outsb

    TEST "testdev-echo"
    mov dx, ECHO
    mov eax, 0x12345678
    out dx, eax
    xor eax, eax
    in eax, dx
    EXPECT_EQ rax, 0x12345678, "doubleword"
    xor eax, eax
    inc edx
    in al, dx
    EXPECT_EQ rax, 0x56, "byte"
    inc edx
    mov eax, 0xabcd
    out dx, ax
    mov dx, ECHO
    in eax, dx
    mov ecx, 0xabcd5678
    EXPECT_EQ rax, rcx, "after a word in its upper half"

    TEST "testdev-echo-beside-the-console"
    mov dx, ECHO_BYTES + 2
    xor eax, eax
    in ax, dx
    EXPECT_EQ rax, 0xabcd, "the register once more"

    TEST "testdev-lines"
    mov al, 1 << 5 ; level-triggered: the request goes with the line
    mov dx, ELCR
    out dx, al
    mov al, READ_IRR
    out PIC_COMMAND, al
    mov dx, LINES + 5
    mov al, 1
    out dx, al
    call read_line
    EXPECT_EQ rax, 1 << 5, "IRQ 5 asserted"
    xor eax, eax
    out dx, al
    call read_line
    EXPECT_EQ rax, 0, "IRQ 5 not asserted"

    TEST "testdev-memory"
    mov rbx, TESTDEV_MEMORY
    mov rax, 0x1122334455667788
    mov [rbx], rax
    mov rcx, [rbx]
    EXPECT_EQ rcx, rax, "quadword"
    movzx ecx, word [rbx + 3]
    EXPECT_EQ rcx, 0x4455, "word inside"
    mov byte [rbx + TESTDEV_SIZE - 1], 0x5a
    movzx ecx, byte [rbx + TESTDEV_SIZE - 1]
    EXPECT_EQ rcx, 0x5a, "the last byte"

    TEST "testdev-flush"
    mov rbx, [flush_page]
    mov dx, FLUSH
    lea rax, [flush_page]
    out dx, eax
    EXPECT_EQ rbx, qword [flush_page], "the page keeps what it holds"

    TEST "pvpanic-offers"
    xor eax, eax
    mov dx, PVPANIC
    in al, dx
    EXPECT_EQ rax, 3, "the events"

    TEST "acpi-found-by-scanning"
    mov edi, BIOS
    mov rax, [signature]
.next:
    cmp [rdi], rax
    je .found
    add edi, 16
    cmp edi, BIOS_END
    jb .next
    FAIL "no RSDP between 0xe0000 and 1 MiB"
    jmp .out
.found:
    EXPECT_EQ rdi, qword [rsdp_address], "the address, as the loader says it"
    xor eax, eax
    mov ecx, 20
.sum:
    add al, [rdi]
    inc rdi
    loop .sum
    EXPECT_EQ rax, 0, "the checksum"

    TEST "acpi-by-the-rsdt" ; as a kernel does that knows ACPI 1.0
    mov rdi, [rsdp_address]
    mov edi, [rdi + 16]
    mov eax, [rdi]
    EXPECT_EQ rax, 'RSDT', "its signature"
    mov esi, edi
    mov ecx, [rdi + 4]
    EXPECT_EQ rcx, 36 + 3 * 4, "its length"
    xor eax, eax
.sum_root:
    add al, [rsi]
    inc rsi
    loop .sum_root
    EXPECT_EQ rax, 0, "its checksum"
    mov esi, [rdi + 36]
    mov eax, [rsi]
    EXPECT_EQ rax, 'FACP', "the first table"
.out:
    DONE

; -> RAX = the PIC's request of IRQ 5
read_line:
    xor eax, eax
    in al, PIC_COMMAND
    and eax, 1 << 5
    ret

section .data
flush_page: dq 0x0123456789abcdef
