; For a debugger: a device with a register that a read changes, virtio's ISR status, which has something
; to say each time that the guest waits for `goal`. The guest knows afterwards whether somebody read it.
; Virtual I/O Device (VIRTIO) 1.2: ISR Status Capability.
%include "tests/guests/lib.inc"
%include "tests/bench/virtio_blk.inc"

CAP_ISR equ 3

section .data
align 8
global isr, goal
isr: dq 0
goal: dq 0

section .text
global first, second
main:
    TEST "device"
    call virtio_blk_init
    EXPECT_EQ rax, 1, "a disk"
    call find_isr
    EXPECT_NE qword [isr], 0, "its ISR status"
    TEST "read-unless-forced"
    call request
first:
    cmp qword [goal], 1
    jb first
    mov rsi, [isr]
    movzx eax, byte [rsi]
    EXPECT_EQ rax, 1, "ISR status after a debugger's reads"
    TEST "read-forced"
    call request
second:
    cmp qword [goal], 2
    jb second
    mov rsi, [isr]
    movzx eax, byte [rsi]
    EXPECT_EQ rax, 0, "ISR status after a read that was forced"
    ret

request:
    call virtio_blk_prepare
    mov rdi, [virtio_notify]
    mov word [rdi], 0
.wait:
    call virtio_blk_check
    test eax, eax
    jz .wait
    ret

; Where the ISR status is; MSI-X off, with which there is none.
find_isr:
    mov ecx, 0x34
    call pci_read
    movzx ebx, al
.capability:
    and ebx, 0xfc
    jz .out
    mov ecx, ebx
    call pci_read
    mov edx, eax
    cmp dl, 0x11
    jne .vendor
    btr eax, 31
    call pci_write
.vendor:
    cmp dl, 9
    jne .next
    shr eax, 24
    cmp eax, CAP_ISR
    jne .next
    lea ecx, [rbx + 4]
    call pci_read
    call pci_bar
    mov r9, rax
    lea ecx, [rbx + 8]
    call pci_read
    add r9, rax
    mov [isr], r9
.next:
    movzx ebx, dh
    jmp .capability
.out:
    ret
