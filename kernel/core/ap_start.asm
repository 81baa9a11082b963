; The other processors' way from the start-up IPI to long mode: copied to a page below 1 MiB and
; started at its first byte in real mode. The page is identity mapped, executable and read-only;
; what it needs stands at its end, written through another mapping before the IPI.

%define EFER 0xc0000080

section .rodata

global ap_trampoline:data
global ap_trampoline_end:data
global ap_trampoline_long_mode:data
global ap_trampoline_parameters:data

bits 16
ap_trampoline:
        cli
        cld
        mov     ax, cs
        mov     ds, ax
        movzx   ebx, ax
        shl     ebx, 4                  ; the page's address
        xor     ax, ax                  ; take the parameters, or, if someone did already, give up
        xchg    ax, [parameters - ap_trampoline + 54]
        test    ax, ax
        jz      give_up
        mov     eax, [parameters - ap_trampoline]           ; CR4: PAE and more
        mov     cr4, eax
        mov     eax, [parameters - ap_trampoline + 8]       ; CR3
        mov     cr3, eax
        mov     ecx, EFER
        rdmsr
        or      eax, [parameters - ap_trampoline + 16]      ; LME, NXE
        wrmsr
        mov     eax, [parameters - ap_trampoline + 24]      ; CR0: PG and PE at once
        o32 lgdt [parameters - ap_trampoline + 56]
        mov     cr0, eax
        ; still a 16-bit compatibility segment: a far jump through memory to 64-bit code
        jmp     far dword [parameters - ap_trampoline + 48]
give_up:
        hlt
        jmp     give_up

bits 64
ap_trampoline_long_mode:
        mov     ebx, ebx                ; the upper half is undefined after the change of modes
        xor     eax, eax
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        mov     rsp, [rbx + parameters - ap_trampoline + 32]
        mov     rax, [rbx + parameters - ap_trampoline + 40]
        mov     rdi, [rbx + parameters - ap_trampoline + 88]
        xor     ebp, ebp
        push    rbp
        jmp     rax

; struct trampoline_parameters of smp.c
align 8
ap_trampoline_parameters:
parameters:
        dq      0                       ; 0: CR4
        dq      0                       ; 8: CR3
        dq      0                       ; 16: EFER bits
        dq      0                       ; 24: CR0
        dq      0                       ; 32: RSP
        dq      0                       ; 40: where to go on
        dq      0                       ; 48: far pointer to 64-bit code; 54: go
        dq      0                       ; 56: GDTR: limit 16, base 32
        dq      0                       ; 64: GDT: null
        dq      0x00209b0000000000      ; 72: 64-bit code, accessed
        dq      0                       ; 80: spare
        dq      0                       ; 88: argument
ap_trampoline_end:

section .note.GNU-stack noalloc noexec nowrite progbits
