; For a debugger with many points, and large ones: functions to break at, data over a page's end, a MiB, a
; device; and a timer that fires again before its handler could be stepped through.
%include "tests/guests/lib.inc"

FUNCTIONS equ 1200
FAR_AWAY equ 0x1000000 ; a MiB of memory that nothing else uses
VECTOR_FAST equ 0x51
PERIOD equ 40000

section .data
align 4096
    times 4096 - 150 db 0
global big
big: times 4096 + 150 db 0
global loops, ticks
loops: dq 0
ticks: dq 0

section .text
global functions, ready, first_byte, by_sse, last_byte, far_last, device_written, fast_never, fast_done

align 4096
functions:
%rep FUNCTIONS
    align 16
    ret
%endrep

main:
    TEST "many"
    mov rax, cr4
    or eax, 0x600 ; OSFXSR, OSXMMEXCPT
    mov cr4, rax
ready:
    nop
    mov eax, functions + 16 * 17
    call rax
    mov eax, functions + 16 * 599
    call rax
    mov eax, functions + 16 * 1199
    call rax
    mov byte [big - 1], 1
    mov byte [big], 1
first_byte:
    nop
    pcmpeqd xmm1, xmm1
    movups [big - 16], xmm1
    movups [big - 8], xmm1
by_sse:
    fninit
    fld1
    fstp tword [big + 300]
    mov byte [big + 299], 2
last_byte:
    mov byte [FAR_AWAY - 1], 3
    mov byte [FAR_AWAY + 0x100000], 3
    mov byte [FAR_AWAY + 0xfffff], 3
far_last:
    call lapic_init
    mov dword [LAPIC + LAPIC_DIVIDE], 0xb
    mov dword [LAPIC + LAPIC_TPR], 0
device_written:
    HANDLE VECTOR_FAST, fast_handler
    mov dword [LAPIC + LAPIC_LVT_TIMER], 0x20000 | VECTOR_FAST
    mov dword [LAPIC + LAPIC_INITIAL], PERIOD
    sti
    call fast_loop
    cli
    mov dword [LAPIC + LAPIC_INITIAL], 0
fast_done:
    EXPECT_NE qword [loops], 0, "rounds"
    ret

align 4096
fast_loop:
    inc qword [loops]
    cmp qword [loops], 300
    jb fast_loop
    cmp qword [ticks], 3
    jb fast_loop
    ret
fast_handler:
    mov ecx, 10
.wait:
    dec ecx
    nop
    jnz .wait
    inc qword [ticks]
    mov dword [LAPIC + LAPIC_EOI], 0
    ret
fast_never:
    ud2
align 4096
