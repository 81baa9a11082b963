; Ways into a triple fault, one after the other: each resets the machine, a byte of CMOS memory counts
; them. One after which the guest goes on is noted there, too, and ended by a reset. What is reported at
; the end is that every one was its own end. (For a configuration with on-reset = reset.)
%include "tests/guests/lib.inc"
%include "tests/guests/lib/trace.inc"
%include "tests/guests/lib/ways.inc"

HOLE equ 0x30000000
RESET_CONTROL equ 0xcf9
COUNTER equ 0x40  ; of CMOS memory
SURVIVED equ 0x41 ; two bytes there, a bit for each way

section .data
align 16
ways:
    WAY no_idt
    WAY no_idt_by_interrupt
    WAY no_idt_by_nmi
    WAY no_idt_by_single_step
    WAY no_idt_by_monitors_fault
    WAY idt_in_hole
    WAY idt_in_device
    WAY idt_not_canonical
    WAY gdt_in_hole
    WAY stack_not_canonical
    WAY stack_not_mapped
    WAY tables_in_hole
    WAY double_fault_gate_absent
    WAY no_idt_32
    WAY idt_in_hole_32
    WAY no_idt_16
ways_end:
WAYS equ (ways_end - ways) / 16

idt_at_hole: dw 0xfff
    dq HOLE
idt_at_device: dw 0xfff
    dq LAPIC32
idt_at_edge: dw 0xfff
    dq 0x7fffffffffff
gdt_at_hole: dw 0xfff
    dq HOLE

section .text
main:
    call lapic_init
    mov dword [LAPIC + LAPIC_ICR_HIGH], 0
    mov al, COUNTER
    call cmos_read
    movzx ebx, al
    cmp ebx, WAYS
    jae .report
    lea eax, [rbx + 1]
    mov ah, al
    mov al, COUNTER
    call cmos_write
    shl ebx, 4
    mov rsi, [ways + rbx + 8]
    call print
    call print_newline
    call serial_drain
    mov [failed_way], rbx
    jmp [ways + rbx]
.report:
    mov ah, 0
    mov al, COUNTER
    call cmos_write
    call read_survived
    mov r12d, eax
    xor eax, eax
    call write_survived
    xor ebx, ebx
.next:
    mov eax, ebx
    shl eax, 4
    push qword [ways + rax + 8]
    call test_begin
    bt r12d, ebx
    jnc .ended
    FAIL "it went on"
.ended:
    inc ebx
    cmp ebx, WAYS
    jb .next
    DONE

; The event did not end the guest.
survived:
    mov eax, SEL_DATA
    mov ss, eax
    mov rsp, stack_top
    call read_survived
    mov ecx, [failed_way]
    shr ecx, 4
    bts eax, ecx
    call write_survived
    mov dx, RESET_CONTROL
    mov al, 6
    out dx, al
.wait:
    pause
    jmp .wait

read_survived: ; -> EAX
    mov al, SURVIVED + 1
    call cmos_read
    movzx ecx, al
    push rcx
    mov al, SURVIVED
    call cmos_read
    movzx eax, al
    pop rcx
    shl ecx, 8
    or eax, ecx
    ret

write_survived: ; EAX
    push rax
    mov ah, al
    mov al, SURVIVED
    call cmos_write
    pop rax
    mov al, SURVIVED + 1
    jmp cmos_write

section .bss
failed_way: resq 1

section .text
no_idt:
    lidt [empty_idt]
    ud2
    jmp survived
no_idt_by_interrupt:
    SEND_SELF VECTOR_LOW
    lidt [empty_idt]
    sti
    nop
    nop
    jmp survived
no_idt_by_nmi:
    lidt [empty_idt]
    SEND_NMI
    nop
    jmp survived
no_idt_by_single_step:
    lidt [empty_idt]
    push RFLAGS_TF | 2
    popfq
    xor eax, eax
    cpuid
    jmp survived
no_idt_by_monitors_fault:
    lidt [empty_idt]
    mov ecx, 0x12345
    rdmsr
    jmp survived
idt_in_hole:
    lidt [idt_at_hole]
    int3
    jmp survived
idt_in_device:
    lidt [idt_at_device]
    int3
    jmp survived
idt_not_canonical:
    lidt [idt_at_edge]
    ud2
    jmp survived
gdt_in_hole:
    lgdt [gdt_at_hole]
    ud2
    jmp survived
stack_not_canonical:
    mov byte [idt64 + DF_VECTOR * 16 + 4], 0
    mov rsp, 1 << 47
    sub rsp, 0x20
    add rsp, 0x100
    ud2
    jmp survived
stack_not_mapped:
    mov byte [idt64 + DF_VECTOR * 16 + 4], 0
    mov rsp, 0x700000000000
    ud2
    jmp survived
tables_in_hole:
    mov eax, HOLE
    mov cr3, rax
    jmp survived
double_fault_gate_absent:
    mov byte [idt64 + DF_VECTOR * 16 + 5], 0x6e
    mov byte [idt64 + GP * 16 + 5], 0x6e
    mov rax, 1 << 47
    mov rax, [rax]
    jmp survived

no_idt_32:
    CALL_MODE MODE_FLAT32, .code
    jmp survived
bits 32
.code:
    lidt [empty_idt]
    ud2
    ret
bits 64
idt_in_hole_32:
    CALL_MODE MODE_PAE, .code
    jmp survived
bits 32
.code:
    lidt [idt_at_hole]
    ud2
    ret
bits 64
no_idt_16:
    CALL_MODE MODE_REAL, no_idt_real
    jmp survived

section .low
bits 16
no_idt_real:
    lidt [.empty - low_begin]
    ud2
    ret
.empty: dw 0
    dd 0
