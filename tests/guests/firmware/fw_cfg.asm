; A kernel in a bzImage's clothes that runs from its 16-bit entry on, and says what QEMU's firmware
; configuration device says: its items by the data port, its files, and what its DMA does. Nothing is
; judged here: the lines are compared with those that it says under QEMU.
; QEMU: docs/specs/fw_cfg; The Linux/x86 Boot Protocol.
bits 16
org 0

SELECTOR equ 0x510
DATA equ 0x511
DMA equ 0x514
UART equ 0x3f8
LSR equ 5
LSR_THRE equ 1 << 5
DEBUG_EXIT equ 0xf4

DMA_READ equ 1 << 1
DMA_SKIP equ 1 << 2
DMA_SELECT equ 1 << 3
DMA_WRITE equ 1 << 4

SIGNATURE equ 0x00
ID equ 0x01
KERNEL_SIZE equ 0x08
KERNEL_DATA equ 0x11
INITRD_SIZE equ 0x0b
INITRD_DATA equ 0x12
CMDLINE_SIZE equ 0x14
CMDLINE_DATA equ 0x15
SETUP_SIZE equ 0x17
SETUP_DATA equ 0x18
FILE_DIR equ 0x19
FILE_ENTRY equ 64
FILE_NAME equ 8

SETUP_SECTORS equ 6
SYSTEM_BYTES equ 5008
BUFFER equ 0x4000
BUFFER_SIZE equ 0x4000 ; the directory, or a piece of an item

header:
    times 0x1f1 - ($ - $$) db 0
    db SETUP_SECTORS
    times 0x1f4 - ($ - $$) db 0
    dd SYSTEM_BYTES / 16
    times 0x1fe - ($ - $$) db 0
    dw 0xaa55
    db 0xeb, entry - $ - 1
    db "HdrS"
    dw 0x0206          ; protocol
    times 0x211 - ($ - $$) db 0
    db 1               ; the system is loaded high
    times 0x214 - ($ - $$) db 0
    dd 0x100000
    times 0x22c - ($ - $$) db 0
    dd 0x37ffffff      ; the initrd's end at most
    dd 0
    times 0x238 - ($ - $$) db 0
    dd 255             ; the command line's length at most
entry:
    cli
    cld
    push ds
    push main
    retf

; ---- Output ----

%macro SAY 1+
    call say
    db %1, 0
%endmacro

; The text behind the call. Keeps all registers.
say:
    mov [kept], si
    pop si
    call say_text
    push si
    mov si, [kept]
    ret

; The text at SI; SI ends behind it.
say_text:
    push ax
.next:
    lodsb
    test al, al
    jz .end
    call say_byte
    jmp .next
.end:
    pop ax
    ret

say_byte: ; AL
    push dx
    push ax
    mov dx, UART + LSR
.full:
    in al, dx
    test al, LSR_THRE
    jz .full
    mov dx, UART
    pop ax
    out dx, al
    pop dx
    ret

say_line:
    SAY 13, 10
    ret

say_hex: ; EAX, CL digits
    pushad
    mov ch, cl
    neg cl
    add cl, 8
    shl cl, 2
    shl eax, cl
.digit:
    rol eax, 4
    push ax
    and al, 15
    cmp al, 10
    sbb al, 0x69
    das
    or al, 0x20
    call say_byte
    pop ax
    dec ch
    jnz .digit
    popad
    ret

say_number: ; EAX
    push cx
    mov cl, 8
    call say_hex
    pop cx
    ret

; ---- The device ----

select: ; AX = key
    push dx
    mov dx, SELECTOR
    out dx, ax
    pop dx
    ret

read_byte: ; -> AL
    push dx
    mov dx, DATA
    in al, dx
    pop dx
    ret

; CX bytes in their order
say_bytes:
    call read_byte
    push cx
    mov cl, 2
    call say_hex
    pop cx
    SAY " "
    loop say_bytes
    jmp say_line

; AX = key of an item that holds a number of four bytes -> EAX
read_number:
    push cx
    call select
    xor eax, eax
    mov cx, 4
.next:
    call read_byte
    ror eax, 8
    loop .next
    pop cx
    ret

; EBX = the sum, AL = the next byte
add_byte:
    rol ebx, 1
    movzx eax, al
    add ebx, eax
    ret

; AX = the size's key, DX = the data's: the size, the sum of that by the port and by DMA, and what is
; behind the end.
say_data:
    call read_number
    call say_number
    mov ecx, eax
    mov ax, dx
    call select
    xor ebx, ebx
    jecxz .end
.next:
    call read_byte
    call add_byte
    dec ecx
    jnz .next
.end:
    SAY " port "
    mov eax, ebx
    call say_number
    SAY " behind it "
    mov cx, 3
    call say_bytes
    ret

; EAX = control, ECX = length, to the buffer; afterwards EAX = the control's result
dma:
    push edx
    xor edx, edx
    mov dx, ds
    shl edx, 4
    add edx, BUFFER
    call dma_to
    pop edx
    ret

; The same, to EDX.
dma_to:
    push ecx
    push edx
    bswap eax
    bswap ecx
    bswap edx
    mov [access], eax
    mov [access + 4], ecx
    mov [access + 12], edx
    mov dx, DMA
    xor eax, eax
    out dx, eax
    mov eax, ds
    and eax, 0xffff
    shl eax, 4
    add eax, access
    bswap eax
    mov dx, DMA + 4
    out dx, eax
.runs:
    mov eax, [access]
    test eax, ~(1 << 24)
    jnz .runs
    bswap eax
    pop edx
    pop ecx
    ret

; A DMA into a buffer of 0x5a: its result, and how the buffer begins then.
%macro DMA_TRY 3 ; name, control, length
    SAY %1, ": "
    mov eax, %2
    mov ecx, %3
    call dma_try
%endmacro
dma_try:
    call clear
    call dma
    call say_number
    SAY " "
    mov si, BUFFER
    mov cx, 12
.next:
    lodsb
    push cx
    mov cl, 2
    call say_hex
    pop cx
    loop .next
    jmp say_line

clear:
    pushad
    mov di, BUFFER
    mov cx, BUFFER_SIZE
    mov al, 0x5a
    rep stosb
    popad
    ret

; AX = key, ESI = size -> EBX = the sum of that, by DMA in pieces
sum_by_dma:
    call select
    xor ebx, ebx
.piece:
    test esi, esi
    jz .end
    mov ecx, BUFFER_SIZE - FILE_ENTRY
    cmp ecx, esi
    jb .read
    mov ecx, esi
.read:
    sub esi, ecx
    mov eax, DMA_READ
    call dma
    mov di, BUFFER
.next:
    mov al, [di]
    inc di
    call add_byte
    dec ecx
    jnz .next
    jmp .piece
.end:
    ret

; ---- What is said ----

%macro ITEM 3 ; name, key, bytes
    SAY %1, ": "
    mov ax, %2
    call select
    mov cx, %3
    call say_bytes
%endmacro
%macro BY_DMA 3 ; name, size's key, data's key
    SAY %1, " by DMA: "
    mov ax, %2
    call read_number
    mov esi, eax
    mov ax, %3
    call sum_by_dma
    mov eax, ebx
    call say_number
    call say_line
%endmacro
%macro DATA_ITEM 3 ; name, size's key, data's key
    SAY %1, ": "
    mov ax, %2
    mov dx, %3
    call say_data
    BY_DMA %1, %2, %3
%endmacro

main:
    mov ax, ds
    mov es, ax
    SAY "fw-cfg begins", 13, 10
    ITEM "signature", SIGNATURE, 6
    ITEM "id", ID, 6
    ITEM "uuid", 0x02, 17
    ITEM "ram-size", 0x03, 10
    ITEM "nographic", 0x04, 4
    ITEM "nb-cpus", 0x05, 4
    ITEM "machine-id", 0x06, 4
    ITEM "kernel-addr", 0x07, 6
    ITEM "initrd-addr", 0x0a, 6
    ITEM "boot-device", 0x0c, 4
    ITEM "numa", 0x0d, 8
    ITEM "boot-menu", 0x0e, 4
    ITEM "max-cpus", 0x0f, 4
    ITEM "kernel-entry", 0x10, 6
    ITEM "cmdline-addr", 0x13, 6
    ITEM "setup-addr", 0x16, 6
    ITEM "irq0-override", 0x8002, 6
    ITEM "unknown", 0x7fff, 4
    ITEM "signature-with-the-write-channel-bit", 0x4000, 5
    DATA_ITEM "kernel", KERNEL_SIZE, KERNEL_DATA
    DATA_ITEM "initrd", INITRD_SIZE, INITRD_DATA
    DATA_ITEM "cmdline", CMDLINE_SIZE, CMDLINE_DATA
    DATA_ITEM "setup", SETUP_SIZE, SETUP_DATA
    ITEM "setup-loader", SETUP_DATA, 2
    SAY "cmdline-text: "
    mov ax, CMDLINE_DATA
    call select
.text:
    call read_byte
    test al, al
    jz .text_end
    call say_byte
    jmp .text
.text_end:
    call say_line
    call other_sizes
    call dma_interface
    call directory
    SAY "fw-cfg ends", 13, 10
    mov dx, UART + LSR
.drain:
    in al, dx
    test al, 1 << 6
    jz .drain
    xor eax, eax
    mov dx, DEBUG_EXIT
    out dx, eax
.halt:
    hlt
    jmp .halt

; Accesses of sizes that the ports are not made for.
other_sizes:
    SAY "selector-read-as-a-word: "
    mov ax, SIGNATURE
    call select
    xor eax, eax
    mov dx, SELECTOR
    in ax, dx
    call say_number
    SAY " byte "
    in al, dx
    call say_number
    SAY " goes on at "
    mov cx, 2
    call say_bytes
    SAY "selector-written-as-a-byte: "
    mov ax, SIGNATURE
    call select
    mov al, ID
    mov dx, SELECTOR
    out dx, al
    mov cx, 4
    jmp say_bytes

dma_interface:
    SAY "dma-signature: "
    mov dx, DMA
    in eax, dx
    call say_number
    SAY " "
    mov dx, DMA + 4
    in eax, dx
    call say_number
    call say_line
    DMA_TRY "dma-select-and-read", SIGNATURE << 16 | DMA_SELECT | DMA_READ, 4
    DMA_TRY "dma-read-behind-the-end", DMA_READ, 4
    DMA_TRY "dma-read-over-the-end", ID << 16 | DMA_SELECT | DMA_READ, 8
    DMA_TRY "dma-unknown-item", 0x7fff << 16 | DMA_SELECT | DMA_READ, 4
    DMA_TRY "dma-skip", INITRD_DATA << 16 | DMA_SELECT | DMA_SKIP, 1000
    DMA_TRY "dma-read-behind-the-skip", DMA_READ, 8
    SAY "port-behind-the-dma: "
    mov cx, 4
    call say_bytes
    DMA_TRY "dma-behind-the-port", DMA_READ, 4
    DMA_TRY "dma-select-alone", SIGNATURE << 16 | DMA_SELECT, 4
    SAY "port-behind-the-selection: "
    mov cx, 4
    call say_bytes
    DMA_TRY "dma-nothing-to-do", 0, 4
    DMA_TRY "dma-no-bytes", SIGNATURE << 16 | DMA_SELECT | DMA_READ, 0
    DMA_TRY "dma-write", SIGNATURE << 16 | DMA_SELECT | DMA_WRITE, 2
    DMA_TRY "dma-read-and-skip", SIGNATURE << 16 | DMA_SELECT | DMA_READ | DMA_SKIP, 2
    DMA_TRY "dma-read-and-write", SIGNATURE << 16 | DMA_SELECT | DMA_READ | DMA_WRITE, 2
    SAY "dma-to-no-memory: "
    mov eax, SIGNATURE << 16 | DMA_SELECT | DMA_READ
    mov ecx, 4
    mov edx, 0xd0000000
    call dma_to
    call say_number
    jmp say_line

; Each file with its size and the sum of its bytes.
directory:
    mov ax, FILE_DIR
    call select
    mov eax, DMA_READ
    mov ecx, 4
    call dma
    mov eax, [BUFFER]
    bswap eax
    mov [files], eax
    SAY "files: "
    call say_number
    call say_line
.next:
    mov eax, [files]
    test eax, eax
    jz .end
    dec dword [files]
    mov ax, FILE_DIR
    call select
    mov eax, DMA_SKIP
    mov ecx, [entry_at]
    call dma
    mov eax, DMA_READ
    mov ecx, FILE_ENTRY
    call dma
    add dword [entry_at], FILE_ENTRY
    SAY "file "
    mov si, BUFFER + FILE_NAME
    call say_text
    SAY " size "
    mov eax, [BUFFER]
    bswap eax
    call say_number
    mov esi, eax
    SAY " sum "
    mov ax, [BUFFER + 4]
    xchg al, ah
    call sum_by_dma
    mov eax, ebx
    call say_number
    call say_line
    jmp .next
.end:
    ret

align 16
access: times 16 db 0
files: dd 0
entry_at: dd 4
kept: dw 0

times (SETUP_SECTORS + 1) * 512 - ($ - $$) db 0
; The system, which nobody starts.
%assign n 0
%rep SYSTEM_BYTES
    db (n * 7 + 3) & 0xff
%assign n n + 1
%endrep
