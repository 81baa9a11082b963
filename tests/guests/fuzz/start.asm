; The start of a guest in C, and what C cannot say: it calls guest_main, and runs pieces of code in
; any mode and privilege, to come back from whatever becomes of them (struct context in guest.h).
; Where the library's own end goes, by which nothing ends: a fuzzer may stray there.
%define DEBUG_EXIT 0xe5e4
OWN_DEBUG_EXIT equ 0xe5f4
%include "tests/guests/lib.inc"

extern guest_main
global main
global handlers64, idt64, tss64, start_info, idt_real_at, ist_nmi_top, ist_df_top, gdt_tss64
global run_context, run_return, run_legacy, legacy_vector, debug_exit, idt_empty

; struct context
CONTEXT_RIP equ 16 * 8
CONTEXT_CS equ 17 * 8
CONTEXT_RFLAGS equ 18 * 8
CONTEXT_RSP equ 19 * 8
CONTEXT_SS equ 20 * 8
CONTEXT_DS equ 21 * 8
CONTEXT_ES equ 22 * 8
CONTEXT_FS equ 23 * 8
CONTEXT_GS equ 24 * 8

section .data
align 8
idt_real_at: dq LOW_BASE + (idt_real - low_begin)
idt_empty: dw 0
    dq 0

section .bss
alignb 16
run_rsp: resq 1
legacy_context: resq 1
legacy_vector: resq 1
resb 4096
ist_nmi_top:
resb 4096
ist_df_top:
legacy_stack_bottom: resb 4096
legacy_stack_top:

section .text
bits 64
main:
    and rsp, -16
    call guest_main
    jmp guest_done

debug_exit: ; EDI: code
    call serial_drain
    mov eax, edi
    mov dx, OWN_DEBUG_EXIT
    out dx, al
.halt:
    cli
    hlt
    jmp .halt

%macro PUSH_KEPT 0
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
%endmacro
%macro POP_KEPT 0
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
%endmacro

; Ends the blocking of NMIs that one leaves behind whose handler did not return.
unblock_nmi:
    mov rax, rsp
    push SEL_DATA
    push rax
    push 2
    push SEL_CODE64
    push .here
    iretq
.here:
    ret

; void run_context(const struct context *): enters it under the 64-bit tables, that is in 64-bit or
; compatibility mode; returns when somebody calls run_return.
run_context:
    PUSH_KEPT
    mov [run_rsp], rsp
    mov ax, [rdi + CONTEXT_DS]
    mov ds, ax
    mov ax, [rdi + CONTEXT_ES]
    mov es, ax
    mov ax, [rdi + CONTEXT_FS]
    mov fs, ax
    mov ax, [rdi + CONTEXT_GS]
    mov gs, ax
    push qword [rdi + CONTEXT_SS]
    push qword [rdi + CONTEXT_RSP]
    push qword [rdi + CONTEXT_RFLAGS]
    push qword [rdi + CONTEXT_CS]
    push qword [rdi + CONTEXT_RIP]
    mov rax, [rdi]
    mov rcx, [rdi + 8]
    mov rdx, [rdi + 16]
    mov rbx, [rdi + 24]
    mov rbp, [rdi + 40]
    mov rsi, [rdi + 48]
    mov r8, [rdi + 64]
    mov r9, [rdi + 72]
    mov r10, [rdi + 80]
    mov r11, [rdi + 88]
    mov r12, [rdi + 96]
    mov r13, [rdi + 104]
    mov r14, [rdi + 112]
    mov r15, [rdi + 120]
    mov rdi, [rdi + 56]
    iretq

; From any handler, at ring 0 in 64-bit mode: run_context returns.
run_return:
    cld
    mov rsp, [run_rsp]
    mov eax, SEL_DATA
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov fs, eax
    mov gs, eax
    call unblock_nmi
    POP_KEPT
    ret

; A TSS is busy while it is loaded, and must not be when it is.
%macro LOAD_TR 2 ; descriptor, selector
    mov byte [%1 + 5], 0x89
    mov ax, %2
    ltr ax
%endmacro

; void run_legacy(const struct context *, uint32_t mode): as run_context, in a MODE_... of
; modes.inc other than MODE_COMPAT; returns after the first event, whose vector is legacy_vector.
run_legacy:
    PUSH_KEPT
    mov [legacy_context], rdi
    mov qword [legacy_vector], -1
    cmp esi, MODE_REAL
    je .real
    mov edi, legacy_enter
    jmp .call
.real:
    mov edi, LOW_BASE + (real_enter - low_begin)
.call:
    call call_mode
    LOAD_TR gdt_tss64, SEL_TSS64
    call unblock_nmi
    POP_KEPT
    ret

bits 32
legacy_enter:
    mov edi, handlers32
    mov eax, legacy_end
    mov ecx, 256
    rep stosd
    LOAD_TR gdt_tss32, SEL_TSS32
    mov dword [tss32 + 4], legacy_stack_top
    mov ebp, [legacy_context]
    test dword [ebp + CONTEXT_RFLAGS], RFLAGS_VM
    jnz .v86
    test dword [ebp + CONTEXT_CS], 3
    jz .same_ring
    mov ecx, [ebp + CONTEXT_SS]
    push ecx
    push dword [ebp + CONTEXT_RSP]
    jmp .segments
.same_ring:
    mov ss, [ebp + CONTEXT_SS]
    mov esp, [ebp + CONTEXT_RSP]
.segments:
    push dword [ebp + CONTEXT_RFLAGS]
    push dword [ebp + CONTEXT_CS]
    push dword [ebp + CONTEXT_RIP]
    mov ax, [ebp + CONTEXT_ES]
    mov es, ax
    mov ax, [ebp + CONTEXT_FS]
    mov fs, ax
    mov ax, [ebp + CONTEXT_GS]
    mov gs, ax
    mov ax, [ebp + CONTEXT_DS]
    push eax
    jmp .registers
.v86:
    push dword [ebp + CONTEXT_GS]
    push dword [ebp + CONTEXT_FS]
    push dword [ebp + CONTEXT_DS]
    push dword [ebp + CONTEXT_ES]
    push dword [ebp + CONTEXT_SS]
    push dword [ebp + CONTEXT_RSP]
    push dword [ebp + CONTEXT_RFLAGS]
    push dword [ebp + CONTEXT_CS]
    push dword [ebp + CONTEXT_RIP]
    mov ax, SEL_DATA
    push eax
.registers:
    mov eax, [ebp]
    mov ecx, [ebp + 8]
    mov edx, [ebp + 16]
    mov ebx, [ebp + 24]
    mov esi, [ebp + 48]
    mov edi, [ebp + 56]
    mov ebp, [ebp + 40]
    pop ds
    iretd

legacy_end: ; EDI: frame of common32
    movzx eax, byte [edi + FRAME32_VECTOR]
    mov [legacy_vector], eax
    jmp back_to_long_mode ; needs nothing of the stack, which may be overwritten

; ---- Real mode: every vector ends it, which one is not told ----

section .low
bits 16
real_enter:
    mov ebx, [fs:dword legacy_context]
    mov eax, [fs:ebx + CONTEXT_RFLAGS]
    push ax
    push word [fs:ebx + CONTEXT_CS]
    push word [fs:ebx + CONTEXT_RIP]
    push word [fs:ebx + CONTEXT_DS]
    mov ax, [fs:ebx + CONTEXT_ES]
    mov es, ax
    mov ax, [fs:ebx + CONTEXT_GS]
    mov gs, ax
    mov eax, [fs:ebx]
    mov ecx, [fs:ebx + 8]
    mov edx, [fs:ebx + 16]
    mov ebp, [fs:ebx + 40]
    mov esi, [fs:ebx + 48]
    mov edi, [fs:ebx + 56]
    mov ebx, [fs:ebx + 24]
    pop ds
    iret
align 4
global real_end_ip
real_end_ip equ $ - low_begin
real_end:
    cli
    cld
    mov ax, LOW_BASE >> 4
    mov ds, ax
    mov ss, ax
    mov esp, low_stack_top - low_begin
    jmp real_leave
