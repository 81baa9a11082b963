; Does what its command line says: every character goes out on the serial line, but ~ and a letter:
;   ~n a newline, ~s a blank, ~w a tenth of a second, ~d and a digit the debug exit, ~t a triple fault,
;   ~q power-off by the string Shutdown, ~p a report by pvpanic. At the end: with interrupts off, for
;   ever, executing (~h) or halted.
%include "tests/guests/lib.inc"

START_INFO_CMDLINE equ 24 ; hvm_start_info.cmdline_paddr
SHUTDOWN equ 0x8900
PVPANIC equ 0x505
PANICKED equ 1

section .rodata
shutdown: db "Shutdown"
shutdown_end:
align 8
orders: dq 'n', newline, 's', blank, 'w', wait_a_bit, 'd', exit, 't', triple, 'q', off, 'p', panic, 'h', hang, 0

section .data
empty_idt: dw 0
    dq 0

section .text
bits 64
main:
    mov rbx, [start_info]
    mov rsi, [rbx + START_INFO_CMDLINE]
next:
    lodsb
    test al, al
    jz halt
    cmp al, '~'
    je order
    call print_char
    jmp next

order:
    lodsb
    movzx eax, al
    lea rbx, [orders]
.look:
    cmp qword [rbx], 0
    je halt
    cmp [rbx], rax
    je .found
    add rbx, 16
    jmp .look
.found:
    jmp [rbx + 8]

newline:
    mov al, 10
    call print_char
    jmp next

blank:
    mov al, ' '
    call print_char
    jmp next

wait_a_bit:
    push rsi
    call time_init
    mov rax, [tsc_per_second]
    xor edx, edx
    mov ecx, 10
    div rcx
    mov rcx, rax
    call read_tsc
    add rcx, rax
.again:
    call read_tsc
    cmp rax, rcx
    jb .again
    pop rsi
    jmp next

exit:
    call serial_drain
    lodsb
    movzx eax, al
    sub eax, '0'
    mov dx, DEBUG_EXIT
    out dx, eax
    jmp halt

triple:
    call serial_drain
    lidt [empty_idt]
    ud2

off:
    call serial_drain
    lea rsi, [shutdown]
    mov ecx, shutdown_end - shutdown
    mov dx, SHUTDOWN
    rep outsb
    jmp halt

panic:
    call serial_drain
    mov dx, PVPANIC
    mov al, PANICKED
    out dx, al
    jmp next

hang:
    cli
    jmp $

halt:
    cli
    hlt
    jmp halt
