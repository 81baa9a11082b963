; One kernel for every 32-bit protocol: headers of Multiboot 1 and 2, a PVH note, and an entry point
; of its own. Each entry keeps what it was handed and calls protocol_main (C). With ADDRESSES, the
; Multiboot headers say by address fields what is loaded; with PVH_ALONE, there are none.
MAGIC_1 equ 0x1badb002
MAGIC_2 equ 0xe85250d6
%ifdef ADDRESSES
FLAGS_1 equ 0x10003
%else
FLAGS_1 equ 3
%endif

extern protocol_main
extern image_begin, image_end, bss_end

section .headers
%ifndef PVH_ALONE
align 8
multiboot:
    dd MAGIC_1, FLAGS_1, -(MAGIC_1 + FLAGS_1)
%ifdef ADDRESSES
    dd multiboot, image_begin, image_end, bss_end, start
%endif
align 8
multiboot2:
    dd MAGIC_2, 0, multiboot2_end - multiboot2, -(MAGIC_2 + multiboot2_end - multiboot2)
    dw 1, 0 ; information request
    dd 24, 4, 6, 15, 3
    dw 4, 1 ; a console would be welcome
    dd 12, 3, 0
    dw 5, 1 ; a framebuffer, too
    dd 20, 1024, 768, 32, 0
    dw 6, 0 ; modules in whole pages
    dd 8
%ifdef ADDRESSES
    dw 2, 0
    dd 24, multiboot2, image_begin, image_end, bss_end
%endif
    dw 3, 0
    dd 12, start, 0
    dw 0, 0
    dd 8
multiboot2_end:
%endif

section .note.pvh note align=4
    dd 4, 4, 18
    db "Xen", 0
    dd start_pvh

section .bss
align 16
stack: resb 8192
stack_top:
global handed
handed: resd 4 ; struct handed of protocols.c

section .text
global start
start:
    mov [handed], eax
    jmp entered
start_pvh:
    mov dword [handed], 0x336ec578 ; what its EAX does not say
entered:
    mov [handed + 4], ebx
    mov esp, stack_top
    pushfd
    pop dword [handed + 8]
    mov eax, cr0
    mov [handed + 12], eax
    push dword 0
    popfd
    cld
    push handed
    call protocol_main
    cli
    hlt
