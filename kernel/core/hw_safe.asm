; The instructions of hw.h that may fault without harm: the exception handler looks the faulting
; RIP up in hw_fixups and goes on at the address beside it.

default rel
bits 64

%define STATUS_OK 0
%define ERR_FAULT -8

section .text

; enum status hw_rdmsr_safe(uint32_t msr, uint64_t *value)
global hw_rdmsr_safe:function
hw_rdmsr_safe:
        mov     ecx, edi
rdmsr_may_fault:
        rdmsr
        shl     rdx, 32
        or      rax, rdx
        mov     [rsi], rax
        xor     eax, eax
        ret
rdmsr_faulted:
        mov     qword [rsi], 0
        mov     eax, ERR_FAULT
        ret

; enum status hw_wrmsr_safe(uint32_t msr, uint64_t value)
global hw_wrmsr_safe:function
hw_wrmsr_safe:
        mov     ecx, edi
        mov     eax, esi
        mov     rdx, rsi
        shr     rdx, 32
wrmsr_may_fault:
        wrmsr
        xor     eax, eax
        ret

; enum status hw_xsetbv_safe(uint32_t index, uint64_t value)
global hw_xsetbv_safe:function
hw_xsetbv_safe:
        mov     ecx, edi
        mov     eax, esi
        mov     rdx, rsi
        shr     rdx, 32
xsetbv_may_fault:
        xsetbv
        xor     eax, eax
        ret

; enum status hw_xrstor_safe(const void *area, uint64_t mask)
global hw_xrstor_safe:function
hw_xrstor_safe:
        mov     eax, esi
        mov     rdx, rsi
        shr     rdx, 32
xrstor_may_fault:
        xrstor64 [rdi]
        xor     eax, eax
        ret

faulted:
        mov     eax, ERR_FAULT
        ret

section .rodata

; struct cpu_fixup hw_fixups[]: the instruction that may fault, and where to go on
global hw_fixups:data
align 8
hw_fixups:
        dq      rdmsr_may_fault, rdmsr_faulted
        dq      wrmsr_may_fault, faulted
        dq      xsetbv_may_fault, faulted
        dq      xrstor_may_fault, faulted
        dq      0, 0

section .note.GNU-stack noalloc noexec nowrite progbits
