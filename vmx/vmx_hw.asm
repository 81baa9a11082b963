; The VMX instructions as C functions; prototypes in vmx/vmx_hw.h and vmx/vmcs.h.
bits 64
default rel
section .text

; al = 1 where the last VMX instruction neither failed invalid (CF) nor valid (ZF)
%macro RETURN_SUCCESS 0
        seta    al
        ret
%endmacro

global vmx_hw_vmxon
vmx_hw_vmxon:
        push    rdi
        vmxon   [rsp]
        lea     rsp, [rsp + 8]          ; keeps the flags
        RETURN_SUCCESS

global vmx_hw_vmxoff
vmx_hw_vmxoff:
        vmxoff
        ret

global vmx_hw_vmclear
vmx_hw_vmclear:
        push    rdi
        vmclear [rsp]
        lea     rsp, [rsp + 8]
        RETURN_SUCCESS

global vmx_hw_vmptrld
vmx_hw_vmptrld:
        push    rdi
        vmptrld [rsp]
        lea     rsp, [rsp + 8]
        RETURN_SUCCESS

global vmx_hw_vmread
vmx_hw_vmread:
        vmread  [rsi], rdi
        RETURN_SUCCESS

global vmx_hw_vmwrite
vmx_hw_vmwrite:
        vmwrite rdi, rsi
        RETURN_SUCCESS

global vmx_hw_invept
vmx_hw_invept:
        push    0
        push    rsi
        invept  rdi, [rsp]
        lea     rsp, [rsp + 16]
        RETURN_SUCCESS

global vmx_hw_invvpid
vmx_hw_invvpid:
        push    0                       ; linear address, unused by the context types
        push    rsi
        invvpid rdi, [rsp]
        lea     rsp, [rsp + 16]
        RETURN_SUCCESS

; uint64_t vmcs_read(enum vmcs_field field): 0 where the field does not exist
global vmcs_read
vmcs_read:
        mov     edi, edi                ; an enum argument has undefined upper bits
        xor     eax, eax
        vmread  rax, rdi
        ret

; void vmcs_write(enum vmcs_field field, uint64_t value)
extern vmcs_write_failed
global vmcs_write
vmcs_write:
        mov     edi, edi
        vmwrite rdi, rsi
        jbe     vmcs_write_failed
        ret

section .note.GNU-stack noalloc noexec nowrite progbits
