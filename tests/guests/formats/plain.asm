; A kernel without a protocol, in three modes: BITS is 16, 32 or 64. With ELF, an ELF file; else a
; flat binary for ORIGIN. It says on COM1 in which mode it is and what holds there.
%ifndef ORIGIN
    %define ORIGIN 0x7c00
%endif
bits BITS
%ifdef ELF
section .text
global start
%else
org ORIGIN
%endif

start:
%if BITS == 16
    mov bp, sp
    pushf
    pop ax
    test ah, 2
    mov si, interrupts_on
    jnz failed
    mov ax, ss
    mov si, bad_stack
    cmp ax, 0x100 ; not in page 0
    jb failed
    push dword 0x12345678
    pop ecx
    cmp ecx, 0x12345678
    jne failed
    xor ax, ax
    mov ds, ax
    mov eax, cr0
    test al, 1
    mov si, bad_mode
    jnz failed
%else
    %if BITS == 64
        mov rax, cr0
    %else
        mov eax, cr0
    %endif
    test al, 1
    mov esi, bad_mode
    jz failed
    shr eax, 31
    cmp eax, BITS / 64
    jne failed
    %if BITS == 64
        pushfq
        pop rax
        mov ecx, 0xc0000080
        push rax
        rdmsr
        test ah, 4 ; LMA
        pop rax
        mov esi, bad_mode
        jz failed
        cmp rdi, rbx
        mov esi, bad_information
        jne failed
    %else
        pushfd
        pop eax
    %endif
    mov esi, interrupts_on
    test ah, 2
    jnz failed
    mov esi, bad_stack
    cmp esp, 0x1000
    jb failed
%endif
    ; EBX is where the start information lies.
    mov esi, bad_information
%if BITS == 16
    cmp ebx, 0x1000
    jb failed
    mov eax, ebx
    shr eax, 4
    mov fs, ax
    and bx, 15
    cmp dword [fs:bx], 0x336ec578
%else
    cmp dword [ebx], 0x336ec578
%endif
    jne failed
    mov esi, all_is_well
    call print
    xor eax, eax
    jmp finish
failed:
    mov edi, esi
    mov esi, not_well
    call print
    mov esi, edi
    call print
    mov al, 1
finish:
    push ax
    mov esi, done
    call print
    mov dx, 0x3fd
.drain:
    in al, dx
    and al, 0x60
    cmp al, 0x60
    jne .drain
    pop ax
    out 0xf4, al
    cli
    hlt

print: ; ESI
    mov ah, [esi]
    test ah, ah
    jz .end
    mov dx, 0x3fd
.wait:
    in al, dx
    test al, 0x20
    jz .wait
    mov dx, 0x3f8
    mov al, ah
    out dx, al
    inc esi
    jmp print
.end:
    ret

%defstr MODE BITS
all_is_well: db "ok plain-", MODE, 13, 10, 0
not_well: db "not ok plain-", MODE, ": ", 0
interrupts_on: db "interrupts are on", 13, 10, 0
bad_stack: db "no stack", 13, 10, 0
bad_mode: db "the wrong mode", 13, 10, 0
bad_information: db "no start information", 13, 10, 0
done: db "done", 13, 10, 0
