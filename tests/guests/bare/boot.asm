; A boot sector that starts a test guest on the bare machine (a BIOS, no monitor), to show that its
; cases hold there: loads SECTORS sectors behind itself to 1 MiB and enters ENTRY as a PVH loader
; does, with COMMAND_LINE. Built by bare.py, with LBA 1 on as the guest's flat image.
bits 16
org 0x7c00
    cli
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7c00
    in al, 0x92
    or al, 2
    and al, 0xfe
    out 0x92, al
    mov [drive], dl
    lgdt [gdt_pointer]
    mov dword [destination], 0x100000
    mov cx, (SECTORS + 63) / 64
next:
    push cx
    mov si, packet
    mov ah, 0x42
    mov dl, [drive]
    int 0x13
    jc failed
    cli
    mov eax, cr0
    or al, 1
    mov cr0, eax
    mov bx, 0x10
    mov es, bx
    mov ds, bx
    and al, 0xfe
    mov cr0, eax
    mov edi, [dword destination]
    mov esi, 0x10000
    mov ecx, 64 * 512 / 4
    a32 rep movsd
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov [destination], edi
    add dword [lba], 64
    pop cx
    loop next
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp 8:protected
failed:
    hlt
    jmp failed
bits 32
protected:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov edi, 0x9000
    mov ebx, edi
    xor eax, eax
    mov ecx, 16
    rep stosd
    mov esi, 0xe0000
.search:
    cmp dword [esi], 'RSD '
    jne .other
    cmp dword [esi + 4], 'PTR '
    je .found
.other:
    add esi, 16
    cmp esi, 0x100000
    jb .search
    xor esi, esi
.found:
    mov [ebx + 32], esi
    mov dword [ebx + 24], command_line
    mov eax, ENTRY
    jmp eax
align 8
gdt:
    dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
    dw 23
    dd gdt
packet:
    db 16, 0
    dw 64, 0, 0x1000
lba: dq 1
destination: dd 0
drive: db 0
command_line: db COMMAND_LINE, 0
    times 510 - ($ - $$) db 0
    dw 0xaa55
