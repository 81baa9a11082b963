; Task gates whose task cannot be had: the TSS descriptor where there is no memory, or where a device
; answers. (Task switches that succeed: the guest exits.)
%include "tests/guests/lib.inc"

HOLE equ 0x30000000
GDT_SIZE equ 0x80
SEL_OUTSIDE equ 0x80 ; the first selector on the page behind the table
SOFT equ 0x60

section .data
align 8
own_gdt_pointer:
    dw 0xfff
    dq WINDOW + 4096 - GDT_SIZE

section .bss
alignb 16
result: resq 4

section .text
%macro SAME 1
    mov eax, [result]
    EXPECT_EQ rax, GP, {"#UD through it: #GP, ", %1}
    mov eax, [result + 4]
    EXPECT_EQ rax, SEL_OUTSIDE + 1, "its error code: the selector, EXT"
    mov eax, [result + 8]
    EXPECT_EQ rax, GP, {"INT n through it: #GP, ", %1}
    mov eax, [result + 12]
    EXPECT_EQ rax, SEL_OUTSIDE, "its error code: the selector"
    mov eax, [result + 16]
    EXPECT_EQ rax, 0, "the task is the old one"
%endmacro

main:
    call window_init
    mov esi, gdt
    mov edi, window_memory + 4096 - GDT_SIZE
    mov ecx, gdt_end - gdt
    cld
    rep movsb
    TEST "task-gate-hole"
    mov ecx, 1
    mov eax, HOLE + 7
    call window_map
    call with_own_gdt
    SAME "in the hole"
    ; Accesses of 8 bytes to the local APIC are undefined, and end Bochs: without a monitor, VGA's memory.
    TEST "task-gate-device"
    mov eax, 1
    cpuid
    mov eax, LAPIC32 + 7
    bt ecx, 31
    jc .monitored
    mov eax, 0xa0007
.monitored:
    mov ecx, 1
    call window_map
    call with_own_gdt
    SAME "in a device"
    ret

with_own_gdt:
    lgdt [own_gdt_pointer]
    CALL_MODE MODE_PAE, gates32
    lgdt [gdt_pointer]
    ret

bits 32
gates32:
    and byte [WINDOW + 4096 - GDT_SIZE + SEL_TSS32 + 5], ~2 ; not busy
    mov eax, SEL_TSS32
    ltr ax
    mov ebx, UD
    call .task_gate
    mov ebx, SOFT
    call .task_gate
    TRY ud2
    mov eax, [caught_vector]
    mov [result], eax
    mov eax, [caught_error]
    mov [result + 4], eax
    TRY {int SOFT}
    mov eax, [caught_vector]
    mov [result + 8], eax
    mov eax, [caught_error]
    mov [result + 12], eax
    str eax
    xor eax, SEL_TSS32
    mov [result + 16], eax
    ret
.task_gate:
    mov dword [idt32 + ebx * 8], SEL_OUTSIDE << 16
    mov dword [idt32 + ebx * 8 + 4], 0xe500
    ret
