; Dies as its command line says, so that the report on it can be held against what is known of the way.
; The calls down to each way keep frame pointers.
%include "tests/guests/lib.inc"
%include "tests/guests/lib/trace.inc"
%include "tests/guests/lib/ways.inc"

START_INFO_CMDLINE equ 24 ; hvm_start_info.cmdline_paddr
HOLE equ 0x700000000000   ; linear, not mapped
EMPTY_TABLES equ 0x3000000
SEL_SHORT_TSS equ SEL_TSS64
PVPANIC_PORT equ 0x505
PVPANIC_PANICKED equ 1
PVPANIC_CRASH_LOADED equ 2

section .data
align 16
ways:
    WAY no_idt
    WAY noisy
    WAY panics
    WAY asks_for_reset
    WAY says
    WAY gate_absent
    WAY gate_type
    WAY code_selector
    WAY bad_stack
    WAY short_tss
    WAY empty_tables
    WAY interrupt
    WAY int_n
    WAY refused
    WAY device_idt
    WAY hangs
    WAY real_mode
    WAY pm16
    WAY flat32
    WAY paged32
    WAY pae
ways_end:

idt_in_device: dw 0xfff
    dq LAPIC32

section .text
main:
    push rbp
    mov rbp, rsp
    PRINT `alive\n`
    call lapic_init
    call serial_drain
    mov rbx, [start_info]
    mov rbx, [rbx + START_INFO_CMDLINE]
    mov edx, ways
.next:
    mov rsi, rbx
    mov rdi, [rdx + 8]
.compare:
    lodsb
    cmp al, [rdi]
    jne .other
    inc rdi
    test al, al
    jnz .compare
    call die
.other:
    add edx, 16
    cmp edx, ways_end
    jb .next
    FAIL "a way that this guest does not know"
    DONE

die:
    push rbp
    mov rbp, rsp
    mov r15, 0x1234567887654321
    call [rdx]
    FAIL "it went on"
    DONE

no_idt:
    push rbp
    mov rbp, rsp
    lidt [empty_idt]
    ud2

; It has said all that a guest may say in the log at once, and more.
noisy:
    push rbp
    mov rbp, rsp
    mov ecx, 150
    mov edx, PVPANIC_PORT
    mov al, PVPANIC_CRASH_LOADED
.again:
    out dx, al
    loop .again
    jmp no_idt

panics:
    push rbp
    mov rbp, rsp
    mov edx, PVPANIC_PORT
    mov al, PVPANIC_PANICKED
    out dx, al
    jmp $

asks_for_reset:
    push rbp
    mov rbp, rsp
    mov al, 0xfe
    out 0x64, al
    jmp $

says:
    push rbp
    mov rbp, rsp
    PRINT `test failed\n`
    jmp $

; A page fault whose gate is not present, and #DF's neither.
gate_absent:
    push rbp
    mov rbp, rsp
    mov byte [idt64 + PF * 16 + 5], 0x0e
    mov byte [idt64 + NP * 16 + 5], 0x0e
    mov byte [idt64 + DF_VECTOR * 16 + 5], 0x0e
    mov rax, HOLE + 0x123
    mov dword [rax], 1

gate_type:
    push rbp
    mov rbp, rsp
    mov byte [idt64 + UD * 16 + 5], 0x8c
    mov byte [idt64 + GP * 16 + 5], 0x8c
    mov byte [idt64 + DF_VECTOR * 16 + 5], 0x8c
    ud2

code_selector:
    push rbp
    mov rbp, rsp
    mov word [idt64 + UD * 16 + 2], SEL_DATA
    mov word [idt64 + GP * 16 + 2], SEL_DATA
    mov word [idt64 + DF_VECTOR * 16 + 2], 0x1230
    ud2

; No IST for #DF, and no stack.
bad_stack:
    mov byte [idt64 + DF_VECTOR * 16 + 4], 0
    mov rsp, HOLE
    ud2

; From ring 3, with a TSS that has no RSP0 and no IST.
short_tss:
    push rbp
    mov rbp, rsp
    mov byte [gdt_tss64 + 5], 0x89
    mov word [gdt_tss64], 3
    mov eax, SEL_SHORT_TSS
    ltr ax
    push SEL_USER_DATA
    push stack_top - 0x1000
    push 2
    push SEL_USER_CODE64
    push .user
    iretq
.user:
    ud2

; Page tables of zeros.
empty_tables:
    push rbp
    mov rbp, rsp
    mov eax, EMPTY_TABLES
    mov cr3, rax
    nop

; Nothing but an interrupt from outside.
interrupt:
    push rbp
    mov rbp, rsp
    lidt [empty_idt]
    SEND_SELF VECTOR_LOW
    sti
    nop
    nop
    jmp $

int_n:
    push rbp
    mov rbp, rsp
    mov byte [idt64 + 0x42 * 16 + 5], 0x0e
    mov byte [idt64 + NP * 16 + 5], 0x0e
    mov byte [idt64 + DF_VECTOR * 16 + 5], 0x0e
    int 0x42

; A vector instruction that stores to a device.
refused:
    push rbp
    mov rbp, rsp
    mov edi, LAPIC32 + 0x380
    movdqu [rdi], xmm0
    ret

; An IDT in a device.
device_idt:
    push rbp
    mov rbp, rsp
    lidt [idt_in_device]
    ud2

hangs:
    push rbp
    mov rbp, rsp
    cli
    jmp $

real_mode:
    CALL_MODE MODE_REAL, .code
    ret
section .low
bits 16
.code:
    lidt [.empty - low_begin]
    ud2
    ret
.empty: dw 0
    dd 0

; A stack segment that is code.
bits 64
section .text
pm16:
    CALL_MODE MODE_PM16, .code
    ret
section .low
bits 16
.code:
    o32 lidt [.empty - low_begin]
    mov ax, SEL_CODE16
    mov ss, ax
    ret
.empty: dw 0
    dd 0

; A segment beyond the GDT.
section .text
bits 64
flat32:
    CALL_MODE MODE_FLAT32, .code
    ret
bits 32
.code:
    lidt [empty_idt]
    push 0x13572468
    mov eax, 0x1230
    mov ds, eax
    ret

; The last large page is not there.
bits 64
paged32:
    CALL_MODE MODE_PAGED32, last_page
    ret
pae:
    CALL_MODE MODE_PAE, last_page
    ret
bits 32
last_page:
    mov dword [page_directories + 3 * 4096 + 511 * 8], 0 ; of PAE paging, and
    mov dword [page_directory32 + 1023 * 4], 0           ; of 32-bit paging
    mov eax, cr3
    mov cr3, eax
    mov dword [pdpt_pae + 2 * 8], 0 ; which the processor does not see
    lidt [empty_idt]
    mov dword [0xffe00123], 1
    ret
