; What an exiting instruction does, in every mode: the tables are in tests/guests/exits. Here is what
; puts the processor into a mode with every register given, and takes down all of them at the next
; event: one runner for IA-32e mode, one for protected mode outside it and one for real mode.
%include "tests/guests/lib.inc"
%include "tests/guests/lib/c_guest.inc"

extern exits_main
extern exits_capture64

; struct exits_run of exits/exits.h
struc run
.gpr: resq 16
.rflags: resq 1
.cs: resq 1
.rip: resq 1
.ss: resq 1
.ds: resq 1
.no_idt: resq 1
.out_gpr: resq 16
.out_rflags: resq 1
.out_cs: resq 1
.out_rip: resq 1
.out_ss: resq 1
.out_vector: resq 1
.out_error: resq 1
.out_dr6: resq 1
.out_tss_type: resq 1
.out_cr0: resq 1
endstruc

; Numbers of registers, as in the run.
%define RAX_ 0
%define RCX_ 1
%define RDX_ 2
%define RBX_ 3
%define RSP_ 4
%define RBP_ 5
%define RSI_ 6
%define RDI_ 7

VECTORS16 equ 0x60 ; those that real mode's table has

global exits_run
global exits_gdt
global exits_tss32
global exits_run_ia32e
global exits_run_protected
global exits_run_real
global exits_back64
global exits_rsp64
global exits_load_tables
global handlers64
global lapic_init
global pic_init
global test_end
global serial_drain
global gdt
global idt32
global pdpt_pae
global page_directory32

EXTRA_DESCRIPTORS equ 8

section .bss
alignb 16
exits_run: resb run_size
exits_rsp64: resq 1
esp32: resd 1
alignb 16
exits_gdt: resb 0x70 + EXTRA_DESCRIPTORS * 8
exits_tss32: resb 104 + IO_BITMAP_PORTS / 8 + 1

section .data
gdt_pointer_exits:
    dw 0x70 + EXTRA_DESCRIPTORS * 8 - 1
    dq exits_gdt
no_idt_pointer: dw 0
    dq 0

section .text
bits 64
main:
    jmp exits_main

; The library's descriptors, those of exits/run.c behind them, and TR for this mode.
exits_load_tables:
    lgdt [gdt_pointer_exits]
    and byte [exits_gdt + SEL_TSS64 + 5], ~2
    mov eax, SEL_TSS64
    ltr ax
    ret

exits_run_ia32e:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [exits_rsp64], rsp
    push qword [exits_run + run.ss]
    push qword [exits_run + run.gpr + RSP_ * 8]
    push qword [exits_run + run.rflags]
    push qword [exits_run + run.cs]
    push qword [exits_run + run.rip]
    mov ax, [exits_run + run.ds]
    mov ds, ax
    mov es, ax
    cmp qword [exits_run + run.no_idt], 0
    je .load
    lidt [no_idt_pointer]
.load:
    mov rax, [exits_run + run.gpr + RAX_ * 8]
    mov rcx, [exits_run + run.gpr + RCX_ * 8]
    mov rdx, [exits_run + run.gpr + RDX_ * 8]
    mov rbx, [exits_run + run.gpr + RBX_ * 8]
    mov rbp, [exits_run + run.gpr + RBP_ * 8]
    mov rsi, [exits_run + run.gpr + RSI_ * 8]
    mov rdi, [exits_run + run.gpr + RDI_ * 8]
%assign i 8
%rep 8
    mov r %+ i, [exits_run + run.gpr + i * 8]
%assign i i + 1
%endrep
    iretq
; exits_capture64, in C, makes the event's handler return here, with RSP = exits_rsp64.
exits_back64:
    mov eax, SEL_DATA
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

bits 32
exits_run_protected:
    mov [esp32], esp
    mov eax, .capture
    call .set_handlers
    and byte [exits_gdt + SEL_TSS32 + 5], ~2
    mov eax, SEL_TSS32
    ltr ax
    test byte [exits_run + run.rflags + 2], RFLAGS_VM >> 16
    jnz .virtual_8086
    test byte [exits_run + run.cs], 3
    jz .ring0
    push dword [exits_run + run.ss]
    push dword [exits_run + run.gpr + RSP_ * 8]
    jmp .frame
.virtual_8086:
    push dword [exits_run + run.ds] ; GS
    push dword [exits_run + run.ds]
    push dword [exits_run + run.ds] ; DS
    push dword [exits_run + run.ds]
    push dword [exits_run + run.ss]
    push dword [exits_run + run.gpr + RSP_ * 8]
    jmp .frame
.ring0:
    mov esp, [exits_run + run.gpr + RSP_ * 8]
.frame:
    push dword [exits_run + run.rflags]
    push dword [exits_run + run.cs]
    push dword [exits_run + run.rip]
    cmp dword [exits_run + run.no_idt], 0
    je .load
    lidt [no_idt_pointer]
.load:
    test byte [exits_run + run.rflags + 2], RFLAGS_VM >> 16
    jnz .general
    mov ax, [exits_run + run.ds]
    mov es, ax
    mov ds, ax
.general:
    mov eax, [cs:exits_run + run.gpr + RAX_ * 8]
    mov ecx, [cs:exits_run + run.gpr + RCX_ * 8]
    mov edx, [cs:exits_run + run.gpr + RDX_ * 8]
    mov ebx, [cs:exits_run + run.gpr + RBX_ * 8]
    mov ebp, [cs:exits_run + run.gpr + RBP_ * 8]
    mov esi, [cs:exits_run + run.gpr + RSI_ * 8]
    mov edi, [cs:exits_run + run.gpr + RDI_ * 8]
    iret

.capture: ; EDI: frame
%macro TAKE32 2 ; register's number, offset in the frame
    mov eax, [edi + %2]
    mov [exits_run + run.out_gpr + (%1) * 8], eax
%endmacro
    TAKE32 RDI_, 0
    TAKE32 RSI_, 4
    TAKE32 RBP_, 8
    TAKE32 RBX_, 16
    TAKE32 RDX_, 20
    TAKE32 RCX_, 24
    TAKE32 RAX_, 28
    movzx eax, byte [edi + FRAME32_VECTOR]
    mov [exits_run + run.out_vector], eax
    mov eax, [edi + FRAME32_ERROR]
    mov [exits_run + run.out_error], eax
    mov eax, [edi + FRAME32_EIP]
    mov [exits_run + run.out_rip], eax
    movzx eax, word [edi + FRAME32_CS]
    mov [exits_run + run.out_cs], eax
    mov edx, [edi + FRAME32_EFLAGS]
    mov [exits_run + run.out_rflags], edx
    lea ecx, [edi + FRAME32_EFLAGS + 4]
    mov ebx, ss
    test edx, RFLAGS_VM
    jnz .outer
    test al, 3
    jz .inner
.outer:
    movzx ebx, word [ecx + 4]
    mov ecx, [ecx]
.inner:
    mov [exits_run + run.out_gpr + RSP_ * 8], ecx
    mov [exits_run + run.out_ss], ebx
    mov eax, dr6
    mov [exits_run + run.out_dr6], eax
    mov eax, cr0
    mov [exits_run + run.out_cr0], eax
    ; IRET, which ends the blocking of NMIs
    mov dword [edi + FRAME32_EIP], .back
    mov dword [edi + FRAME32_CS], SEL_CODE32
    mov dword [edi + FRAME32_EFLAGS], 2
    ; DS and ES, which the handler pops, may be what the task could not have
    mov dword [edi - 4], SEL_DATA
    mov dword [edi - 8], SEL_DATA
    ret
.back:
    mov eax, SEL_DATA
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    mov esp, [esp32]
    ; After a task switch TR holds another TSS, which IA-32e mode may not have.
    movzx eax, byte [exits_gdt + SEL_TSS32 + 5]
    mov [exits_run + run.out_tss_type], eax
    and byte [exits_gdt + SEL_TSS32 + 5], ~2
    mov eax, SEL_TSS32
    ltr ax
    xor eax, eax
.set_handlers: ; EAX: of every vector
    mov edi, handlers32
    mov ecx, 256
    cld
    rep stosd
    ret

section .low
bits 16
; FS stays flat throughout.
exits_run_real:
    mov [.sp - low_begin], sp
    o32 lidt [.table_pointer - low_begin]
    mov ax, [fs:dword exits_run + run.ds]
    mov ds, ax
    mov es, ax
    mov ss, [fs:dword exits_run + run.ss]
    mov esp, [fs:dword exits_run + run.gpr + RSP_ * 8]
    push dword [fs:dword exits_run + run.rflags]
    push dword [fs:dword exits_run + run.cs]
    push dword [fs:dword exits_run + run.rip]
    cmp dword [fs:dword exits_run + run.no_idt], 0
    je .load
    o32 lidt [fs:dword no_idt_pointer]
.load:
    mov eax, [fs:dword exits_run + run.gpr + RAX_ * 8]
    mov ecx, [fs:dword exits_run + run.gpr + RCX_ * 8]
    mov edx, [fs:dword exits_run + run.gpr + RDX_ * 8]
    mov ebx, [fs:dword exits_run + run.gpr + RBX_ * 8]
    mov ebp, [fs:dword exits_run + run.gpr + RBP_ * 8]
    mov esi, [fs:dword exits_run + run.gpr + RSI_ * 8]
    mov edi, [fs:dword exits_run + run.gpr + RDI_ * 8]
    o32 iret

.capture: ; SP: vector, IP, CS, FLAGS
    mov [fs:dword exits_run + run.out_gpr + RAX_ * 8], eax
    mov [fs:dword exits_run + run.out_gpr + RCX_ * 8], ecx
    mov [fs:dword exits_run + run.out_gpr + RDX_ * 8], edx
    mov [fs:dword exits_run + run.out_gpr + RBX_ * 8], ebx
    mov [fs:dword exits_run + run.out_gpr + RBP_ * 8], ebp
    mov [fs:dword exits_run + run.out_gpr + RSI_ * 8], esi
    mov [fs:dword exits_run + run.out_gpr + RDI_ * 8], edi
    pop ax
    movzx eax, ax
    mov [fs:dword exits_run + run.out_vector], eax
    pop ax
    movzx eax, ax
    mov [fs:dword exits_run + run.out_rip], eax
    pop ax
    movzx eax, ax
    mov [fs:dword exits_run + run.out_cs], eax
    pop ax
    movzx eax, ax
    mov [fs:dword exits_run + run.out_rflags], eax
    mov [fs:dword exits_run + run.out_gpr + RSP_ * 8], esp
    mov eax, ss
    movzx eax, ax
    mov [fs:dword exits_run + run.out_ss], eax
    mov eax, dr6
    mov [fs:dword exits_run + run.out_dr6], eax
    mov dword [fs:dword exits_run + run.out_error], 0
    mov ax, LOW_BASE >> 4
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, [.sp - low_begin]
    ; IRET, which ends the blocking of NMIs
    pushf
    push cs
    push .back - low_begin
    iret
.back:
    ret

.sp: dw 0
align 4
.table_pointer:
    dw VECTORS16 * 4 - 1
    dd LOW_BASE + (.table - low_begin)
align 8
.stubs:
%assign vector 0
%rep VECTORS16
    push strict word vector
    jmp strict near .capture
    align 8
    %assign vector vector + 1
%endrep
.table:
%assign vector 0
%rep VECTORS16
    dw .stubs - low_begin + vector * 8, LOW_BASE >> 4
    %assign vector vector + 1
%endrep
