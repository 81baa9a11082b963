; The way into a guest and out of it.
;
; HOST_RSP points at the vCPU's address, which vmx_guest_loop has pushed; everything that the guest
; had in its registers goes straight into struct vcpu, whose first member is gpr[16]. RSP's slot is
; skipped: the VMCS holds the guest's RSP.
bits 64
default rel

%include "vmx/entry.inc"

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
        jnz     vmx_resume
        LOAD_GUEST
        vmlaunch
        jmp     failed

; The host's state has been loaded from the VMCS: RSP = HOST_RSP, interrupts off.
global vmx_exit_stub
vmx_exit_stub:
%ifdef DEBUG_CHECKS
global vmx_exit_accounted_stub
global vmx_exit_debug_stub
vmx_exit_accounted_stub:                ; the checks look themselves whether it is on,
vmx_exit_debug_stub:                    ; and whether a debugger wants to see it
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
global vmx_resume
vmx_resume:
        LOAD_GUEST
        vmresume
failed:
        mov     eax, 1
        jmp     return
leave_guest:
%ifdef DEBUG_CHECKS
        call    host_check_end
%else
        jmp     vmx_left

; The same with accounting on.
global vmx_exit_accounted_stub
vmx_exit_accounted_stub:
        SAVE_GUEST
        lea     rbp, [rsp + 48]
        call    vmx_exit_accounted
        mov     rdi, [rsp]
        test    al, al
        jnz     vmx_resume
%endif
global vmx_left
vmx_left:
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
        jmp     vmx_left

section .note.GNU-stack noalloc noexec nowrite progbits
