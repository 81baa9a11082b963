; The instruction emulator in the modes that a user's program cannot enter: real-address mode,
; virtual-8086 mode, 16- and 32-bit protected mode at ring 0. Each form of the decoder's tables, with
; random addressing, registers and flags, runs on RAM, by the processor itself, and on a register of
; a device; registers, flags, the operand and the stack must come out the same. The instructions are
; made in tests/guests/emulator/main.c, batch by batch; here they are carried out.
%include "tests/guests/lib.inc"
%include "tests/guests/lib/ecam.inc"
%include "tests/guests/lib/c_guest.inc"

extern emulator_main

; struct record of main.c
RECORD_CODE equ 0
RECORD_SEGMENT equ 24
RECORD_OFFSET equ 26
RECORD_FLAGS equ 28
RECORD_GPR equ 32 ; by number, EAX to EDI
RECORD_STACK equ 64
RECORD_OPERAND equ 68
RECORD_MOVED equ 72
RECORD_PRESENT equ 74
RECORD_KEEPS_DS equ 75 ; DS is the runner's own, not the target's
RECORD_WIDE equ 76     ; the operand has 32 bits, else 16
RECORD_SIZE equ 80
RECORDS equ 32

global emulator_records
global emulator_exec
global emulator_after
global emulator_run16
global emulator_run32
global emulator_run_v86
global emulator_is_real
global emulator_fault
global emulator_fault_real
global emulator_own_segment
global emulator_pattern
global emulator_page_table
global ecam_take_scratch
global ecam_give_back
global gdt
global gdt_pointer

; The runner %1, with BX or EBX as %2; %3 is what offsets in its segments count from.
%macro RUNNER 3
emulator_%1:
    mov [runner_stack - %3], esp
    mov dword [current - %3], emulator_records - %3
.next:
    mov ebx, [cs:current - %3]
    cmp byte [cs:%2 + RECORD_PRESENT], 0
    je .end
    cld
    mov esi, ebx
    mov edi, emulator_exec - %3
    mov ecx, 24
    rep movsb
    ; the target into ES, FS, GS and mostly DS; for real-address mode by way of protected mode
    mov dx, [cs:%2 + RECORD_SEGMENT]
    mov cl, [cs:%2 + RECORD_KEEPS_DS]
    cmp byte [cs:emulator_is_real - %3], 0
    je .load
    mov eax, cr0
    or al, 1
    mov cr0, eax
.load:
    mov es, dx
    mov fs, dx
    mov gs, dx
    test cl, cl
    jnz .loaded
    mov ds, dx
.loaded:
    cmp byte [cs:emulator_is_real - %3], 0
    je .operand
    mov eax, cr0
    and al, 0xfe
    mov cr0, eax
.operand:
    movzx esi, word [cs:%2 + RECORD_OFFSET]
    mov eax, [cs:%2 + RECORD_OPERAND]
    cmp byte [cs:%2 + RECORD_WIDE], 0
    je .narrow
    mov [fs:esi], eax
    jmp .stored
.narrow:
    mov [fs:esi], ax
.stored:
    push dword [cs:%2 + RECORD_STACK]
%assign number 0
%rep 8
    push dword [cs:%2 + RECORD_GPR + number * 4]
    %assign number number + 1
%endrep
    push dword [cs:%2 + RECORD_FLAGS]
    popfd
    popad
    jmp emulator_exec
.after: ; the instruction jumps here
    pushfd
    pushad
    cld
    mov ax, [cs:emulator_own_segment - %3]
    mov ds, ax
    mov es, ax
    mov ebx, [current - %3]
    mov eax, esp
    add eax, 36
    sub eax, [runner_stack - %3]
    mov [%2 + RECORD_MOVED], ax
%assign number 7
%rep 8
    pop dword [%2 + RECORD_GPR + number * 4]
    %assign number number - 1
%endrep
    pop dword [%2 + RECORD_FLAGS]
    pop dword [%2 + RECORD_STACK]
    movzx esi, word [%2 + RECORD_OFFSET]
    cmp byte [%2 + RECORD_WIDE], 0
    je .narrow_after
    mov eax, [fs:esi]
    jmp .read
.narrow_after:
    movzx eax, word [fs:esi]
.read:
    mov [%2 + RECORD_OPERAND], eax
    mov esp, [runner_stack - %3]
    add dword [current - %3], RECORD_SIZE
    jmp .next
.end:
%endmacro

section .low
bits 16
RUNNER run16, bx, low_begin
    ret

v86_code:
    call emulator_run16
    hlt ; #GP, to .left

; Real-address mode: MOVSW from the device to the last byte of ES. The emulator finds the limit, and
; the exception pushes no error code.
emulator_fault_real:
    mov word [catch_resume16 - low_begin], .resume - low_begin
    mov dword [caught_vector16 - low_begin], NO_FAULT
    mov esi, LAPIC32 + LAPIC_INITIAL
    mov edi, 0xffff
    mov bp, sp
.fault:
    a32 fs movsw
.resume:
    mov word [catch_resume16 - low_begin], 0
    mov eax, [caught_vector16 - low_begin]
    mov [emulator_fault - low_begin], eax
    mov ax, [caught_ip16 - low_begin]
    sub ax, .fault - low_begin
    mov [emulator_fault + 4 - low_begin], ax
    mov [emulator_fault + 8 - low_begin], esi
    mov [emulator_fault + 12 - low_begin], edi
    sub bp, sp
    mov [emulator_fault + 16 - low_begin], bp
    ret

align 16
emulator_records: times RECORDS * RECORD_SIZE + RECORD_SIZE db 0
emulator_exec: times 48 db 0
emulator_pattern: times 64 db 0xa7
current: dd 0
runner_stack: dd 0
emulator_after: dd emulator_run16.after, emulator_run32.after
emulator_fault: times 5 dd 0
emulator_is_real: dw 0
emulator_own_segment: dw 0

section .bss
alignb 4096
emulator_page_table: resd 1024 ; of the lowest 4 MiB, for virtual-8086 mode
v86_stack0: resb 4096
v86_stack0_top:
v86_esp: resd 1

section .text
bits 32
RUNNER run32, ebx, 0
    ret

; From 32-bit paging into virtual-8086 mode, IOPL 3, and back.
emulator_run_v86:
    mov dword [page_directory32], emulator_page_table + 7
    mov eax, cr3
    mov cr3, eax
    mov [v86_esp], esp
    mov dword [tss32 + 4], v86_stack0_top
    mov eax, SEL_TSS32
    ltr ax
    mov dword [handlers32 + GP * 4], .left
    mov eax, LOW_BASE >> 4
    push eax ; GS
    push eax ; FS
    push eax ; DS
    push eax ; ES
    push eax ; SS
    push low_stack_top - low_begin
    push RFLAGS_VM | 3 << 12 | 2
    push eax
    push v86_code - low_begin
    iret
.left:
    mov dword [handlers32 + GP * 4], 0
    mov eax, SEL_DATA
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov esp, [v86_esp]
    ret

bits 64
main:
    jmp emulator_main
