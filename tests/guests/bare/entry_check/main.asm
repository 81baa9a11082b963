; VM entries on the bare machine, against vmx/entry_check.c: see main.c. Here is the way into a guest
; and back.
%include "tests/guests/lib.inc"
%include "tests/guests/lib/c_guest.inc"

extern entry_check_main
global start_info
global enter_guest
global host_entry
global host_stack_top
global host_cr0
global host_cr3
global host_cr4

section .bss
alignb 16
host_cr0: resq 1
host_cr3: resq 1
host_cr4: resq 1
entry_rsp: resq 1
    resb 4096
host_stack_top:

section .text
bits 64
main:
    jmp entry_check_main

; launch -> 0: a VM exit; 1: VMfailInvalid; 2: VMfailValid. Interrupts are off.
enter_guest:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [entry_rsp], rsp
    test edi, edi
    jz .resume
    vmlaunch
    jmp .failed
.resume:
    vmresume
.failed:
    mov eax, 1
    jc .return
    mov eax, 2
.return:
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

; The host's state may be anything that the processor accepts, and so may this code's address beyond
; its low 32 bits: until CR4 is its own, no call, no return and no relative data.
host_entry:
    endbr64
    mov rax, cr4
    mov rcx, [abs host_cr4]
    cmp rax, rcx
    je .cr0
    mov cr4, rcx
.cr0:
    mov rax, cr0
    mov rcx, [abs host_cr0]
    cmp rax, rcx
    je .cr3
    mov cr0, rcx
.cr3:
    mov rax, cr3
    mov rcx, [abs host_cr3]
    cmp rax, rcx
    je .home
    mov cr3, rcx
.home:
    mov eax, .here
    jmp rax
.here:
    mov rsp, [entry_rsp]
    lgdt [gdt_pointer]
    lidt [idt64_pointer]
    xor eax, eax
    jmp enter_guest.return
