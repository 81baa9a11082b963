; Ends as the first letter of its command line says: Shutdown's port, panic, crash kernel, watchdog.
%include "tests/guests/lib.inc"

START_INFO_CMDLINE equ 24 ; hvm_start_info.cmdline_paddr
SHUTDOWN equ 0x8900
PVPANIC equ 0x505
WATCHDOG_START equ 0x443
TEN_SECONDS equ 10

section .rodata
shutdown: db "Shutdown"
shutdown_end:

section .text
bits 64

main:
    PRINT `alive\n`
    call serial_drain
    mov rbx, [start_info]
    mov rsi, [rbx + START_INFO_CMDLINE]
    movzx eax, byte [rsi]
    cmp al, 's'
    je by_shutdown
    cmp al, 'p'
    je by_panic
    cmp al, 'c'
    je by_crash_kernel
    cmp al, 'w'
    je by_watchdog
    FAIL "an end that this guest does not know"
    DONE

by_shutdown:
    lea rsi, [shutdown]
    mov ecx, shutdown_end - shutdown
    mov dx, SHUTDOWN
    rep outsb
    jmp halt

by_panic:
    mov al, 1
    mov dx, PVPANIC
    out dx, al
    jmp halt

; The panicked kernel gives way to another, which ends as it likes.
by_crash_kernel:
    mov al, 2
    mov dx, PVPANIC
    out dx, al
    TEST "crash-kernel"
    DONE

by_watchdog:
    mov al, TEN_SECONDS
    mov dx, WATCHDOG_START
    out dx, al
halt:
    cli
    hlt
    jmp halt
