; The way into a guest and out of it.
;
; HOST_RSP points at the vCPU's address, which vmx_guest_loop has pushed; everything that the guest
; had in its registers goes straight into struct vcpu, whose first member is gpr[16]. RSP's slot is
; skipped: the VMCS holds the guest's RSP.
bits 64
default rel

VMCS_HOST_RSP   equ 0x6c14

GPR_RAX equ 0 * 8
GPR_RCX equ 1 * 8
GPR_RDX equ 2 * 8
GPR_RBX equ 3 * 8
GPR_RSP equ 4 * 8
GPR_RBP equ 5 * 8
GPR_RSI equ 6 * 8
GPR_RDI equ 7 * 8
GPR_R8  equ 8 * 8

section .text
%ifdef DEBUG_CHECKS
extern host_check_begin
extern host_check_exit
extern host_check_end
%define VMX_EXIT host_check_exit
%else
extern vmx_exit
extern vmx_exit_accounted
%define VMX_EXIT vmx_exit
%endif

; rdi = vCPU; afterwards every register but RSP is the guest's
%macro LOAD_GUEST 0
        mov     rax, [rdi + GPR_RAX]
        mov     rcx, [rdi + GPR_RCX]
        mov     rdx, [rdi + GPR_RDX]
        mov     rbx, [rdi + GPR_RBX]
        mov     rbp, [rdi + GPR_RBP]
        mov     rsi, [rdi + GPR_RSI]
%assign i 0
%rep 8
%assign n 8 + i
        mov     r %+ n, [rdi + GPR_R8 + i * 8]
%assign i i + 1
%endrep
        mov     rdi, [rdi + GPR_RDI]
%endmacro

; rbp = frame, rsp = &vCPU, which HOST_RSP becomes
%macro SAVE_HOST 0
        push    rbp
        mov     rbp, rsp
        push    rbx
        push    r12
        push    r13
        push    r14
        push    r15
        push    rdi
        mov     eax, VMCS_HOST_RSP
        vmwrite rax, rsp
%endmacro

; rdi = vCPU, which has every register but RSP
%macro SAVE_GUEST 0
        push    rdi
        mov     rdi, [rsp + 8]
        mov     [rdi + GPR_RAX], rax
        mov     [rdi + GPR_RCX], rcx
        mov     [rdi + GPR_RDX], rdx
        mov     [rdi + GPR_RBX], rbx
        mov     [rdi + GPR_RBP], rbp
        mov     [rdi + GPR_RSI], rsi
%assign i 0
%rep 8
%assign n 8 + i
        mov     [rdi + GPR_R8 + i * 8], r %+ n
%assign i i + 1
%endrep
        pop     qword [rdi + GPR_RDI]
%endmacro

; int vmx_guest_loop(struct vcpu *vcpu, bool launched): runs the guest, calling vmx_exit at every
; VM exit, until that returns false. Returns 0 then, or 1 when an entry failed with VMfail; the
; VM-instruction error is in the VMCS.
global vmx_guest_loop
vmx_guest_loop:
        SAVE_HOST
%ifdef DEBUG_CHECKS
        push    rsi
        call    host_check_begin
        pop     rsi
        mov     rdi, [rsp]
%endif
enter:
        test    esi, esi
        jnz     resume
        LOAD_GUEST
        vmlaunch
        jmp     failed

; The host's state has been loaded from the VMCS: RSP = HOST_RSP, interrupts off.
global vmx_exit_stub
vmx_exit_stub:
%ifdef DEBUG_CHECKS
global vmx_exit_accounted_stub
vmx_exit_accounted_stub:                ; the checks look themselves whether it is on
%endif
        SAVE_GUEST
%ifdef DEBUG_CHECKS
        pushfq                          ; no instruction so far has changed RFLAGS
        pop     qword [rdi + GPR_RSP]
%endif
        lea     rbp, [rsp + 48]         ; vmx_guest_loop's frame, so that backtraces go on
        call    VMX_EXIT
        mov     rdi, [rsp]
        test    al, al
        jz      leave_guest
resume:
        LOAD_GUEST
        vmresume
failed:
        mov     eax, 1
        jmp     return
leave_guest:
%ifdef DEBUG_CHECKS
        call    host_check_end
%else
        jmp     left

; The same with accounting on.
global vmx_exit_accounted_stub
vmx_exit_accounted_stub:
        SAVE_GUEST
        lea     rbp, [rsp + 48]
        call    vmx_exit_accounted
        mov     rdi, [rsp]
        test    al, al
        jnz     resume
%endif
left:
        xor     eax, eax
return:
        pop     rdi
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        pop     rbp
        ret

; int vmx_guest_once(struct vcpu *vcpu, bool launched): runs the guest, with HOST_RIP = vmx_once_stub, until its next
; VM exit. Returns 0 then, or 1 when the entry failed with VMfail. HOST_RSP is no longer the caller's.
global vmx_guest_once
vmx_guest_once:
        SAVE_HOST
        jmp     enter

global vmx_once_stub
vmx_once_stub:
        SAVE_GUEST
        jmp     left

section .note.GNU-stack noalloc noexec nowrite progbits
