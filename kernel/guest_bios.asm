; What is there of a PC's BIOS: enough for Linux's setup code, iPXE, and for Multiboot kernels that
; go back to real mode. Guests' code, which the loader puts at F000:0000 with the header filled in,
; together with the interrupt vectors and the BIOS data area (kernel/vm/load_bios.c). A kernel that
; starts in real mode is entered through `post`, which sets PICs, PIT and UART up.
;
; INT 10h prints to the first UART; 11h and 12h tell equipment and memory; 13h has no disks; 15h has
; the memory map, moves to and from extended memory, A20 and a wait; 16h reads from the UART; 1Ah has
; the time in ticks and PCI configuration.

%define O(x) ((x) - guest_bios)

COM1 equ 0x3f8
BDA equ 0x40
BDA_EQUIPMENT equ 0x10
BDA_MEMORY equ 0x13
BDA_TICKS equ 0x6c
ENTRY_SIZE equ 20 ; of the memory map

CR0_PE equ 1
FLAGS_CF equ 1
FLAGS_ZF equ 0x40

section .rodata
global guest_bios
global guest_bios_end
bits 16
align 16
guest_bios:
    dw O(post), O(nothing), O(vectors)
kernel_ip: dw 0
kernel_cs: dw 0
kernel_data: dw 0
kernel_sp: dw 0
kernel_ebx: dd 0
map_count: dw 0
extended_kib: dw 0 ; from 1 MiB on, at most 15 MiB
extended_64k: dw 0 ; from 16 MiB on, in pieces of 64 KiB
map: times 12 * ENTRY_SIZE db 0

pending: dw 0 ; a character that was looked at; 0: none

; ---- Start ----

post:
    mov si, O(ports)
.port:
    mov dx, [cs:si]
    test dx, dx
    jz .enter
    mov al, [cs:si + 2]
    out dx, al
    add si, 3
    jmp .port
.enter:
    mov ax, [cs:O(kernel_data)]
    mov ds, ax
    mov es, ax
    mov fs, ax
    mov gs, ax
    mov ss, ax
    movzx esp, word [cs:O(kernel_sp)]
    push word [cs:O(kernel_cs)]
    push word [cs:O(kernel_ip)]
    xor eax, eax
    xor edx, edx
    xor esi, esi
    xor edi, edi
    mov ebx, [cs:O(kernel_ebx)]
    xor ecx, ecx
    retf

vectors: ; number, handler
    dw 0x08, O(timer), 0x09, O(interrupt), 0x0a, O(interrupt), 0x0b, O(interrupt)
    dw 0x0c, O(interrupt), 0x0d, O(interrupt), 0x0e, O(interrupt), 0x0f, O(interrupt)
    dw 0x70, O(interrupt2), 0x71, O(interrupt2), 0x72, O(interrupt2), 0x73, O(interrupt2)
    dw 0x74, O(interrupt2), 0x75, O(interrupt2), 0x76, O(interrupt2), 0x77, O(interrupt2)
    dw 0x10, O(video), 0x11, O(equipment), 0x12, O(memory), 0x13, O(disk), 0x15, O(system)
    dw 0x16, O(keyboard), 0x18, O(no_boot), 0x19, O(no_boot), 0x1a, O(time), 0xffff

%macro PORT 2
    dw %1
    db %2
%endmacro
ports: ; the PICs at vectors 8 and 70h with the timer alone unmasked, 18.2 Hz, 115200n8
    PORT 0x20, 0x11
    PORT 0x21, 0x08
    PORT 0x21, 0x04
    PORT 0x21, 0x01
    PORT 0xa0, 0x11
    PORT 0xa1, 0x70
    PORT 0xa1, 0x02
    PORT 0xa1, 0x01
    PORT 0x21, 0xfa
    PORT 0xa1, 0xff
    PORT 0x43, 0x36
    PORT 0x40, 0
    PORT 0x40, 0
    PORT COM1 + 3, 0x83
    PORT COM1, 1
    PORT COM1 + 1, 0
    PORT COM1 + 3, 3
    PORT COM1 + 2, 7
    PORT COM1 + 4, 3
    dw 0

; ---- Interrupts of devices ----

timer:
    push ds
    push ax
    mov ax, BDA
    mov ds, ax
    inc dword [BDA_TICKS]
    int 0x1c
    mov al, 0x20
    out 0x20, al
    pop ax
    pop ds
    iret

interrupt2:
    push ax
    mov al, 0x20
    out 0xa0, al
    pop ax
interrupt:
    push ax
    mov al, 0x20
    out 0x20, al
    pop ax
nothing:
    iret

; ---- Services: FLAGS of the caller stand at [BP + 6] ----

%macro SERVICE 0
    push bp
    mov bp, sp
    and byte [bp + 6], ~FLAGS_CF
%endmacro

succeed:
    pop bp
    iret
unknown: ; AH = 86h, CF
    mov ah, 0x86
fail:
    or byte [bp + 6], FLAGS_CF
    pop bp
    iret

video:
    cmp ah, 0x0e
    je .print
    cmp ah, 0x03
    je .cursor
    cmp ah, 0x0f
    jne nothing
    mov ax, 80 << 8 | 3
    mov bh, 0
    iret
.cursor:
    xor dx, dx
    mov cx, 0x0607
    iret
.print:
    call print
    iret

print: ; AL
    push dx
    push ax
    mov dx, COM1 + 5
.wait:
    in al, dx
    test al, 0x20
    jz .wait
    mov dx, COM1
    pop ax
    out dx, al
    pop dx
    ret

%macro TELL 1 ; a word of the BIOS data area
    push ds
    mov ax, BDA
    mov ds, ax
    mov ax, [%1]
    pop ds
    iret
%endmacro

equipment:
    TELL BDA_EQUIPMENT
memory:
    TELL BDA_MEMORY

disk: ; there is none
    SERVICE
    mov ah, 1
    jmp fail

system:
    SERVICE
    cmp ax, 0xe820
    je .map
    cmp ax, 0xe801
    je .sizes
    cmp ah, 0x88
    je .extended
    cmp ah, 0x24
    je .a20
    cmp ah, 0x86
    je .wait
    cmp ah, 0x87
    jne unknown
; CX words from the segment of descriptor 2 at ES:SI to that of 3. As every BIOS does it: that table
; becomes the GDT, with a descriptor for the code here.
    push ds
    push es
    pushad
    cli
    mov dword [es:si + 0x20], 0x0000ffff
    mov dword [es:si + 0x24], 0x00009b0f
    mov ax, es
    movzx eax, ax
    shl eax, 4
    movzx esi, si
    add eax, esi
    push eax
    push word 0x2f
    mov bp, sp
    o32 lgdt [bp]
    add sp, 6
    mov eax, cr0
    or al, CR0_PE
    mov cr0, eax
    jmp 0x20:O(.protected)
.protected:
    mov dx, 0x10
    mov ds, dx
    mov dx, 0x18
    mov es, dx
    xor si, si
    xor di, di
    cld
    rep movsw
    and al, ~CR0_PE
    mov cr0, eax
    jmp 0xf000:O(.real)
.real:
    popad
    pop es
    pop ds
    mov ah, 0
    jmp succeed
.map: ; EBX: which, ECX: room at ES:DI
    cmp edx, 0x534d4150 ; "SMAP"
    jne unknown
    cmp ecx, ENTRY_SIZE
    jb unknown
    cmp bx, [cs:O(map_count)]
    jae unknown
    push si
    push di
    push ds
    push cs
    pop ds
    imul si, bx, ENTRY_SIZE
    add si, O(map)
    mov cx, ENTRY_SIZE
    cld
    rep movsb
    pop ds
    pop di
    pop si
    inc ebx
    cmp bx, [cs:O(map_count)]
    jb .more
    xor ebx, ebx
.more:
    mov eax, edx
    mov ecx, ENTRY_SIZE
    jmp succeed
.sizes:
    mov ax, [cs:O(extended_kib)]
    mov bx, [cs:O(extended_64k)]
    mov cx, ax
    mov dx, bx
    jmp succeed
.extended:
    mov ax, [cs:O(extended_kib)]
    jmp succeed
.a20: ; it is always on
    cmp al, 2
    jne .support
    mov al, 1
.support:
    mov ah, 0
    mov bx, 3
    jmp succeed
.wait: ; CX:DX microseconds, in ticks of 54925, one more than asked for
    push ds
    push eax
    push ecx
    push edx
    mov ax, BDA
    mov ds, ax
    shl ecx, 16
    mov cx, dx
    mov eax, ecx
    xor edx, edx
    mov ecx, 54925
    div ecx
    inc eax
    mov ecx, [BDA_TICKS]
.tick:
    sti
    hlt
    cli
    mov edx, [BDA_TICKS]
    sub edx, ecx
    cmp edx, eax
    jb .tick
    pop edx
    pop ecx
    pop eax
    pop ds
    jmp succeed

; The keyboard is the UART: AX is the character, with no scan code.
keyboard:
    SERVICE
    and ah, 0xef ; 10h and 11h are 0 and 1
    cmp ah, 1
    je .look
    ja .other
.read:
    call receive
    jnz .take
    sti
    hlt
    cli
    jmp .read
.take:
    mov word [cs:O(pending)], 0
    jmp succeed
.look:
    or byte [bp + 6], FLAGS_ZF
    call receive
    jz succeed
    and byte [bp + 6], ~FLAGS_ZF
    jmp succeed
.other:
    xor ax, ax ; no key is held
    jmp succeed

receive: ; AX: what there is; ZF: nothing
    mov ax, [cs:O(pending)]
    test ax, ax
    jnz .end
    push dx
    mov dx, COM1 + 5
    in al, dx
    and ax, 1
    jz .none
    mov dx, COM1
    in al, dx
    mov [cs:O(pending)], ax
.none:
    test ax, ax
    pop dx
.end:
    ret

no_boot:
    mov si, O(no_boot_text)
.character:
    mov al, [cs:si]
    inc si
    test al, al
    jz .halt
    call print
    jmp .character
.halt:
    cli
    hlt
    jmp .halt
no_boot_text: db 13, 10, "Traprock's BIOS: there is nothing else to boot", 13, 10, 0

time:
    SERVICE
    cmp ah, 0
    je .ticks
    cmp ah, 0xb1
    jne unknown
    cmp al, 1
    je .present
    cmp al, 8
    jb .unknown_pci
    cmp al, 0x0d
    ja .unknown_pci
    call configuration
    mov ah, 0
    jmp succeed
.unknown_pci:
    mov ah, 0x81
    jmp fail
.ticks:
    push ds
    mov cx, BDA
    mov ds, cx
    mov cx, [BDA_TICKS + 2]
    mov dx, [BDA_TICKS]
    pop ds
    mov al, 0
    jmp succeed
.present: ; PCI 2.1, configuration mechanism 1, one bus
    mov ax, 1
    mov bx, 0x0210
    mov cl, 0
    mov edx, 0x20494350 ; "PCI "
    jmp succeed

; AL: 8 to 0Ah read and 0Bh to 0Dh write a byte, word or doubleword in ECX; BX: bus, device and
; function; DI: register.
configuration:
    push eax
    push edx
    push si
    mov si, ax
    movzx eax, bx
    shl eax, 8
    mov ax, di
    and ax, 0xfc
    mov ah, bl
    or eax, 0x80000000
    mov dx, 0xcf8
    out dx, eax
    mov dx, di
    and dx, 3
    add dx, 0xcfc
    and si, 0xff
    sub si, 8
    shl si, 1
    mov si, [cs:si + O(.ways)]
    mov eax, ecx
    call si
    pop si
    pop edx
    pop eax
    ret
.ways: dw O(.read8), O(.read16), O(.read32), O(.write8), O(.write16), O(.write32)
.read8:
    in al, dx
    mov cl, al
    ret
.read16:
    in ax, dx
    mov cx, ax
    ret
.read32:
    in eax, dx
    mov ecx, eax
    ret
.write8:
    out dx, al
    ret
.write16:
    out dx, ax
    ret
.write32:
    out dx, eax
    ret

reset: ; by the port that the FADT names
    cli
    mov dx, 0xcf9
    mov al, 6
    out dx, al
    hlt
    jmp reset

; What a PC has at F000:FFF0: the loader puts these 16 bytes there, too.
    jmp 0xf000:O(reset)
    db "01/01/99", 0, 0xfc, 0
guest_bios_end:

section .note.GNU-stack noalloc noexec nowrite progbits
