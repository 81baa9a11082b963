; The boot sector of a disk, and the sector behind it: what a PC's BIOS has started by its protocol
; reports through BIOS calls what it finds, and ends by the debug exit.
bits 16
org 0x7c00

DEBUG_EXIT equ 0xf4
SECOND equ 0x7e00
BUFFER equ 0x8000
SMAP equ 0x534d4150
E820_RAM equ 1
BIOS_SEGMENT equ 0xe000

; Says "ok NAME" if ZF is set, else counts a failure.
%macro REPORT 1
    call report
    db %1, 13, 10, 0
%endmacro

start:
    cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, start
    sti
    mov [drive], dl
    cmp dl, 0x80
    REPORT "boots-from-the-first-disk"
    mov si, packet
    mov ah, 0x42 ; extended read
    mov dl, [drive]
    int 0x13
    cmp dword [signature], 'TRAP'
    REPORT "disk-read"
    jmp second

; Behind the call: the name. Keeps no register.
report:
    pop si
    setnz al
    add [failures], al
    mov bx, failed
    test al, al
    jnz .verdict
    mov bx, passed
.verdict:
    xchg bx, si
    call print
    mov si, bx
    call print
    jmp si

; The string at SI; SI ends behind it.
print:
    lodsb
    test al, al
    jz .end
    mov ah, 0x0e ; teletype
    push bx
    mov bx, 7
    int 0x10
    pop bx
    jmp print
.end:
    ret

drive: db 0
failures: db 0
passed: db "ok ", 0
failed: db "not ok ", 0
align 4
packet:
    db 16, 0
    dw 1          ; sector
    dw SECOND, 0  ; to
    dq 1          ; from

times 510 - ($ - $$) db 0
dw 0xaa55

signature: db "TRAP"

second:
    xor ebx, ebx
    mov di, BUFFER
    mov ecx, 20
    mov edx, SMAP
    mov eax, 0xe820
    int 0x15
    cmp eax, SMAP
    jne .map
    cmp dword [BUFFER], 0
    jne .map
    cmp dword [BUFFER + 16], E820_RAM
.map:
    REPORT "memory-map"
    mov ax, 0xe801 ; KiB from 1 MiB to 16 MiB, then units of 64 KiB
    int 0x15
    cmp ax, 15 << 10
    REPORT "memory-size"
    mov ax, BIOS_SEGMENT
    mov es, ax
.scan:
    cmp dword [es:0], 'RSD '
    je .found
    inc ax
    mov es, ax
    jnz .scan
    or al, 1 ; not there
.found:
    push 0
    pop es
    REPORT "acpi-found-by-scanning"
    cmp byte [failures], 0
    REPORT "all"
    movzx eax, byte [failures]
    mov dx, DEBUG_EXIT
    out dx, eax
.halt:
    hlt
    jmp .halt

times (1 << 20) - ($ - $$) db 0
