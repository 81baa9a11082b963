; Accesses that are expected to fault: each returns 0 where the access came to its end, and 1 from
; where hooks.c lets a page fault go on.
bits 64
default rel

section .text

global probe_begin, probe_end, probe_faulted
global probe_read:function, probe_write:function, probe_call:function

probe_begin:
probe_read:
        mov     al, [rdi]
        xor     eax, eax
        ret

; Writes what is there.
probe_write:
        lock or byte [rdi], 0
        xor     eax, eax
        ret

probe_call:
        call    rdi
        xor     eax, eax
        ret
probe_end:

probe_faulted:
        mov     eax, 1
        ret

section .note.GNU-stack noalloc noexec nowrite progbits
