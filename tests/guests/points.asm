; For a debugger whose breakpoints stand at linear addresses: pages that are mapped later, elsewhere, by
; another table, and in one of two address spaces. `stage` tells how far the guest has come.
%include "tests/guests/lib.inc"

HIGH equ 0xffff900000000000  ; of the upper half; nothing is there before main maps it
LATE equ WINDOW + 7 * 4096   ; not mapped at first
DATA equ WINDOW + 6 * 4096   ; the same
USER equ 0x8000000000        ; of each address space by itself

section .data
global stage
stage: dq 0
align 4096
page_first:
    mov eax, 1
    ret
align 4096
page_second:
    mov eax, 2
    ret
align 4096
page_data: times 512 dq 0

section .bss
alignb 4096
high_pdpt: resq 512
high_directory: resq 512
high_table: resq 512
first_pdpt: resq 512
first_directory: resq 512
first_table: resq 512
second_pdpt: resq 512
second_directory: resq 512
second_table: resq 512
other_window_table: resq 512
other_pml4: resq 512

section .text
global ready, spaces, data_read, finished, page_first, page_second

; map PDPT-LABEL, DIRECTORY, TABLE, FLAGS, PAGE: three tables, the first entry of each.
%macro CHAIN 5
    mov qword [%1], %2 + %4
    mov qword [%2], %3 + %4
    mov qword [%3], %5 + %4
%endmacro

; Calls what is at %2 at stage %1, and expects EAX = %3.
%macro STAGE 3
    mov qword [stage], %1
    mov rbx, %2
    call rbx
    EXPECT_EQ rax, %3, "stage %1"
%endmacro

main:
    TEST "points"
    call window_init
    xor eax, eax
    mov ecx, 7
    call window_protect
    mov ecx, 6
    call window_protect
ready:
    nop
    CHAIN high_pdpt, high_directory, high_table, 3, page_first
    mov qword [pml4 + 288 * 8], high_pdpt + 3
    STAGE 1, HIGH, 1
    mov eax, page_first + 7
    mov ecx, 7
    call window_map
    STAGE 2, LATE, 1
    STAGE 3, page_first, 1
    mov eax, page_second + 7
    mov ecx, 7
    call window_map
    STAGE 4, LATE, 2
    xor eax, eax
    mov ecx, 7
    call window_map
    STAGE 5, page_second, 2
    ; one level up, in one go
    mov qword [other_window_table + 7 * 8], page_first + 7
    mov qword [other_window_table + 6 * 8], page_data + 7
    mov qword [page_directories + 4096], other_window_table + 7
    mov rax, cr3
    mov cr3, rax
    STAGE 6, LATE, 1
    mov qword [stage], 7
    mov rbx, DATA
    mov al, [rbx + 0x10]
data_read:
    mov qword [stage], 8
    CHAIN first_pdpt, first_directory, first_table, 7, page_first
    CHAIN second_pdpt, second_directory, second_table, 7, page_second
    mov qword [pml4 + 8], first_pdpt + 7
    mov esi, pml4
    mov edi, other_pml4
    mov ecx, 512
    rep movsq
    mov qword [other_pml4 + 8], second_pdpt + 7
    mov rax, USER
    mov eax, [rax]
spaces:
    mov eax, other_pml4
    mov cr3, rax
    STAGE 9, USER, 2
    STAGE 10, HIGH, 1
    mov eax, pml4
    mov cr3, rax
    STAGE 11, USER, 1
finished:
    ret
