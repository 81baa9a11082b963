; The clocks: PIT modes and read-back, the ACPI PM timer, the RTC's periodic interrupt and time.
%include "tests/guests/lib.inc"

VECTOR_RTC equ 0x78

section .data
align 8
rtc_ticks: dq 0

section .text
main:
    call time_init
    call pic_init
    call lapic_init
    call test_pit
    call test_channel2
    call test_pm_timer
    call test_rtc_interrupt
    call test_rtc_time
    ret

test_pit:
    TEST "pit-counts-down"
    mov al, 2
    mov cx, 0xffff
    call pit_start
    mov eax, 1000
    call delay
    call pit_read
    mov ebx, eax
    mov eax, 2000
    call delay
    call pit_read
    mov ecx, ebx
    sub ecx, eax
    and ecx, 0xffff
    EXPECT_BETWEEN rcx, 1800, 12000, "2 ms are 2386 ticks, or some more"
    TEST "pit-square-wave"
    mov al, 3
    mov cx, 0xfffe
    call pit_start
    mov eax, 1000
    call delay
    call pit_read
    test eax, 1
    setnz al
    movzx eax, al
    EXPECT_EQ rax, 0, "mode 3 counts by two"
    TEST "pit-read-back"
    mov al, 0xe2 ; read back: the status of channel 0
    out PIT + 3, al
    in al, PIT
    and eax, 0x3f
    EXPECT_EQ rax, 0x36, "both bytes, mode 3, binary"
    TEST "pit-null-count"
    SKIP_ON_TCG .latch, "QEMU keeps no null count flag"
    mov al, 0x34
    out PIT + 3, al
    mov al, 0xe2
    out PIT + 3, al
    in al, PIT
    and eax, 0x7f
    EXPECT_EQ rax, 0x74, "mode 2, no count yet"
    mov al, 0
    out PIT, al
    out PIT, al
    mov eax, 100
    call delay
    mov al, 0xc2 ; status and count
    out PIT + 3, al
    in al, PIT
    and eax, 0x7f
    EXPECT_EQ rax, 0x34, "the count is loaded"
    in al, PIT
    movzx ebx, al
    in al, PIT
    mov bh, al
    EXPECT_NE rbx, 0, "the latched count"
.latch:
    TEST "pit-latch-holds"
    mov al, 2
    xor ecx, ecx
    call pit_start
    mov eax, 100
    call delay
    mov al, 0
    out PIT + 3, al ; latch
    in al, PIT
    movzx ebx, al
    mov eax, 3000
    call delay
    in al, PIT
    mov bh, al
    call pit_read
    sub ebx, eax
    and ebx, 0xffff
    EXPECT_BETWEEN rbx, 3000, 20000, "what was latched is 3 ms old"
    TEST "pit-low-byte"
    mov al, 0x14 ; low byte only, mode 2
    out PIT + 3, al
    mov al, 200
    out PIT, al
    mov eax, 1000
    call delay
    mov ecx, 100
.read:
    in al, PIT
    movzx eax, al
    EXPECT_BETWEEN rax, 1, 200, "the count of a low byte"
    loop .read
    ret

test_channel2:
    TEST "pit-channel-2"
    SKIP_ON_TCG .intervals, "QEMU's channel 2 runs without its gate"
    in al, 0x61
    and al, 0xfc
    out 0x61, al
    mov al, 0xb0
    out PIT + 3, al
    mov al, 0
    out PIT + 2, al
    mov al, 8 ; 2048 ticks
    out PIT + 2, al
    in al, 0x61
    shr al, 5
    and eax, 1
    EXPECT_EQ rax, 0, "output low while the gate is off"
    mov eax, 5000
    call delay
    in al, 0x61
    shr al, 5
    and eax, 1
    EXPECT_EQ rax, 0, "the count waits for the gate"
    in al, 0x61
    or al, 1
    out 0x61, al
    mov eax, 5000
    call delay
    in al, 0x61
    shr al, 5
    and eax, 1
    EXPECT_EQ rax, 1, "output high at the end"
.intervals:
    TEST "pit-intervals"
    mov ecx, 10000
    call time_pit_interval
    mov rbx, rax
    mov ecx, 40000
    call time_pit_interval
    xor edx, edx
    mov rcx, rbx
    imul rax, 16
    div rcx
    EXPECT_BETWEEN rax, 56, 72, "four times the count takes four times as long"
    ret

test_pm_timer:
    TEST "pm-timer"
    call acpi_pm_timer_port
    test edx, edx
    jz .none
    in eax, dx
    mov ebx, eax
    mov eax, 10000
    call delay
    in eax, dx
    sub eax, ebx
    and eax, 0xffffff
    EXPECT_BETWEEN rax, 33000, 180000, "10 ms are 35795 ticks, or some more"
    mov ecx, 1000
    in eax, dx
    mov ebx, eax
.monotone:
    in eax, dx
    mov esi, eax
    sub eax, ebx
    and eax, 0xffffff
    EXPECT_BETWEEN rax, 0, 0x7fffff, "never backwards"
    mov ebx, esi
    loop .monotone
    ret
.none:
    SKIP "no PM timer"
    ret

on_rtc:
    call count_event_lapic
    mov al, 0x0c ; reading register C lets the next one come
    out 0x70, al
    in al, 0x71
    ret

test_rtc_interrupt:
    TEST "rtc-periodic"
    HANDLE VECTOR_RTC, on_rtc
    call forget_events
    mov ecx, 8
    mov eax, VECTOR_RTC
    call ioapic_route
    mov ax, 0x2600 | 0x0a ; 1024 Hz
    call cmos_write
    mov ax, 0x4200 | 0x0b ; periodic interrupt, 24 hours
    call cmos_write
    mov al, 0x0c
    call cmos_read
    mov edi, event_count + VECTOR_RTC * 8
    mov esi, 16
    mov eax, 500000
    call read_tsc
    mov rbx, rax
    mov eax, 500000
    call wait_for_count
    call read_tsc
    sub rax, rbx
    EXPECT_BETWEEN qword [event_count + VECTOR_RTC * 8], 16, 18, "ticks"
    ; 16 ticks of 977 us: between 10 and 100 ms
    mov rbx, rax
    mov eax, 10000
    call time_ticks
    mov rcx, rax
    mov eax, 100000
    call time_ticks
    EXPECT_BETWEEN rbx, rcx, rax, "their rate"
    mov ax, 0x0200 | 0x0b
    call cmos_write
    mov al, 0x0c
    call cmos_read
    mov ecx, 8
    mov eax, 0x10000
    call ioapic_route
    ret

; The time as seconds of the day, in BCD or binary -> RAX.
rtc_seconds:
    push rbx
    push rcx
.again:
    mov al, 0x0a
    call cmos_read
    test al, 0x80 ; update in progress
    jnz .again
    mov al, 4
    call .field
    imul ebx, eax, 3600
    mov al, 2
    call .field
    imul eax, 60
    add ebx, eax
    mov al, 0
    call .field
    add ebx, eax
    mov eax, ebx
    pop rcx
    pop rbx
    ret
.field:
    call cmos_read
    movzx ecx, al
    mov al, 0x0b
    call cmos_read
    test al, 4
    mov eax, ecx
    jnz .binary
    shr eax, 4
    imul eax, 10
    and ecx, 15
    add eax, ecx
.binary:
    ret

test_rtc_time:
    TEST "rtc-date"
    mov al, 8
    call cmos_read
    movzx eax, al
    EXPECT_BETWEEN rax, 1, 0x12, "month, in BCD"
    mov al, 7
    call cmos_read
    movzx eax, al
    EXPECT_BETWEEN rax, 1, 0x31, "day of the month, in BCD"
    TEST "rtc-moves"
    call rtc_seconds
    mov ebx, eax
    mov ecx, 16
.wait: ; at most 1.6 s
    mov eax, 100000
    call delay
    call rtc_seconds
    cmp eax, ebx
    jne .moved
    loop .wait
.moved:
    sub eax, ebx
    EXPECT_BETWEEN rax, 1, 2, "seconds pass"
    ; and the next one takes a second by the TSC
    call rtc_seconds
    mov ebx, eax
    call read_tsc
    mov rsi, rax
.next:
    call rtc_seconds
    cmp eax, ebx
    je .next
    call read_tsc
    sub rax, rsi
    mov rcx, [tsc_per_second]
    mov rdx, rcx
    shr rdx, 3
    add rcx, rdx
    EXPECT_BETWEEN rax, 1, rcx, "one second at most"
    ret
