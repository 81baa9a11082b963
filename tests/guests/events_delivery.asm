; The delivery of every kind of event in 64-bit mode, with each thing that it needs at an address
; where there is no memory (reads as all ones, keeps nothing), or where a device answers, or behind a
; page table that is not there.
%include "tests/guests/lib.inc"
%include "tests/guests/lib/trace.inc"
%include "tests/guests/lib/fire.inc"

HOLE equ 0x30000000
HOLE_TOP equ HOLE + 0x1000
DEVICE_STACK equ 0x900 ; on the device's page: no registers of the local APIC below it
SEL_OUTSIDE equ 0x80    ; the first selector on the page behind the table
SEL_LOCAL equ 0x0c
GDT_SIZE equ 0x80

; The window's pages: IDT 0 and 1, GDT 2 and 3, stack 4 and 5, 6 behind a page table of its own.
IDT_PAGE equ 0
GDT_PAGE equ 2
STACK_PAGE equ 4
TABLE equ 0x40200000    ; a linear page whose page table lies in the hole

section .data
align 16
own_gdt_pointer:
    dw 0xfff
    dq WINDOW + (GDT_PAGE + 1) * 4096 - GDT_SIZE
own_idt_pointer:
    dw 0xfff
own_idt_base: dq 0

section .bss
alignb 16
device: resq 1 ; a page where one answers

section .text
main:
    call pic_init
    call lapic_init
    mov dword [LAPIC + LAPIC_ICR_HIGH], 0
    call window_init
    mov rax, cr0
    or eax, CR0_AM
    mov cr0, rax
    ; Accesses of 8 bytes to the local APIC are undefined, and end Bochs: without a monitor, VGA's memory.
    mov eax, LAPIC32
    mov [device], rax
    mov eax, 1
    cpuid
    bt ecx, 31
    jc .monitored
    mov qword [device], 0xa0000
.monitored:
    ; TABLE's page table lies in the hole
    mov qword [page_directories + 4096 + 8], HOLE + 7
    mov rax, cr3
    mov cr3, rax
    call test_plain_accesses
    call test_stack
    call test_idt
    call test_gdt
    call test_ldt
    call test_tss
    call test_page_tables
    call test_nmi_blocking
    call test_double_faults
    ret

; ---- Ordinary accesses through a page table that is not there ----

test_plain_accesses:
    TEST "page-table-in-hole"
    TRY {mov eax, [TABLE + 0x123]}
    EXPECT_FAULT PF, 9, "a read: reserved bits"
    EXPECT_EQ qword [caught_cr2], TABLE + 0x123, "CR2"
    TRY {mov byte [TABLE + 0x124], 1}
    EXPECT_FAULT PF, 11, "a write"
    mov ecx, IA32_EFER
    rdmsr
    or eax, EFER_NXE
    wrmsr
    mov rax, TABLE
    mov qword [catch_to], .back
    mov [fire_rsp], rsp
    HANDLE PF, catch_traced
    TRACE_BEGIN
    jmp rax
.back:
    EXPECT_EVENT 0, PF, TABLE, "a fetch"
    EXPECT_EQ NOTED(0, ERROR), 25, "its error code"
    mov ecx, IA32_EFER
    rdmsr
    and eax, ~EFER_NXE
    wrmsr
    HANDLE PF, 0
    ret

; ---- The stack ----

; Where the frame's top is, and what handler must see as RSP.
%macro STACK_CASE 4
    %if %3 == -1
    %assign FRAME_BYTES 40
    %else
    %assign FRAME_BYTES 48
    %endif
    TEST {"stack-hole-", %str(%1)}
    CATCH_BY %2, 3
    mov qword [tss64 + 52], HOLE_TOP
    FIRE %1
    EXPECT_EQ qword [got_rsp], HOLE_TOP - FRAME_BYTES, "RSP in the handler"
    mov rax, [got_rflags]
    and eax, RFLAGS_TF | RFLAGS_IF | RFLAGS_RF
    EXPECT_EQ rax, 0, "RFLAGS in the handler"
    EXPECT_EVENTS 0, "nothing else"
    TEST {"stack-device-", %str(%1)}
    mov rax, [device]
    add rax, DEVICE_STACK
    mov [tss64 + 52], rax
    FIRE %1
    mov rax, [device]
    add rax, DEVICE_STACK - FRAME_BYTES
    EXPECT_EQ qword [got_rsp], rax, "RSP in the handler"
    ; The upper half of the frame in memory, the lower in the hole
    TEST {"stack-upper-", %str(%1)}
    mov ecx, STACK_PAGE
    mov eax, HOLE + 7
    call window_map
    mov qword [tss64 + 52], WINDOW + (STACK_PAGE + 1) * 4096 + 16
    mov qword [window_memory + (STACK_PAGE + 1) * 4096], 0
    mov qword [window_memory + (STACK_PAGE + 1) * 4096 + 8], 0
    FIRE %1
    mov ecx, STACK_PAGE
    mov eax, 7
    call window_protect
    EXPECT_EQ qword [got_rsp], WINDOW + (STACK_PAGE + 1) * 4096 + 16 - FRAME_BYTES, "RSP in the handler"
    mov rax, [fired_ss]
    EXPECT_EQ qword [window_memory + (STACK_PAGE + 1) * 4096 + 8], rax, "SS"
    mov rax, [fire_rsp]
    EXPECT_EQ qword [window_memory + (STACK_PAGE + 1) * 4096], rax, "RSP"
    ; The lower half in memory, the upper in the hole
    TEST {"stack-lower-", %str(%1)}
    mov ecx, STACK_PAGE + 1
    mov eax, HOLE + 7
    call window_map
    FIRE %1
    mov ecx, STACK_PAGE + 1
    mov eax, 7
    call window_protect
    EXPECT_EQ qword [got_rsp], WINDOW + (STACK_PAGE + 1) * 4096 + 16 - FRAME_BYTES, "RSP in the handler"
    mov rax, [window_memory + (STACK_PAGE + 1) * 4096 - 8]
    and eax, RFLAGS_TF | RFLAGS_IF | RFLAGS_RF
    EXPECT_EQ rax, qword [want_rflags], "RFLAGS"
    mov eax, SEL_CODE64
    cmp qword [fired_ss], SEL_DATA
    mov ecx, SEL_USER_CODE64
    cmovne eax, ecx
    EXPECT_EQ qword [window_memory + (STACK_PAGE + 1) * 4096 - 16], rax, "CS"
    mov rax, [want_rip]
    EXPECT_EQ qword [window_memory + (STACK_PAGE + 1) * 4096 - 24], rax, "RIP"
    %if %3 != -1
    EXPECT_EQ qword [window_memory + (STACK_PAGE + 1) * 4096 - 32], %3, "the error code"
    %endif
    RESTORE_GATE %2
%endmacro

test_stack:
    EACH STACK_CASE
    ; without IST: RSP0, from ring 3
    TEST "stack-hole-rsp0"
    CATCH_BY UD, 0
    mov qword [tss64 + 4], HOLE_TOP + 8
    FIRE ring3_ud
    EXPECT_EQ qword [got_rsp], HOLE_TOP - 40, "RSP in the handler, aligned first"
    mov qword [tss64 + 4], interrupt_stack_top
    RESTORE_GATE UD
    ret

; ---- The IDT ----

; EDI: how many gates lie on the first of the two pages, ESI: which page is the hole's (RAX: the
; page that stands for it).
own_idt:
    push rax
    push rsi
    mov eax, edi
    shl eax, 4
    mov edx, 4096
    sub edx, eax
    lea edi, [rdx + window_memory + IDT_PAGE * 4096]
    lea eax, [rdx + WINDOW + IDT_PAGE * 4096]
    mov [own_idt_base], rax
    mov esi, idt64
    mov ecx, 4096
    cld
    rep movsb
    pop rsi
    pop rax
    lea ecx, [rsi + IDT_PAGE]
    call window_map
    lidt [own_idt_pointer]
    ret

restore_idt:
    lidt [idt64_pointer]
    mov ecx, IDT_PAGE
    mov eax, 7
    call window_protect
    mov ecx, IDT_PAGE + 1
    jmp window_protect

; Gates below 8 and from 32 on: #GP by the gate, #DF for #DE's. The others: #GP's own gate is not there
; either, #DF.
%macro IDT_CASE_AT 6 ; name, vector, error, EXT, the page that stands for it, name of the case
    TEST {%6, %str(%1)}
    HANDLE GP, catch_traced
    HANDLE DF_VECTOR, catch_traced
    mov rax, %5
    or eax, 7
    %if %2 < 8
    mov edi, 8
    mov esi, 0
    %elif %2 < 32
    mov edi, 9
    mov esi, 1
    %else
    mov edi, 32
    mov esi, 1
    %endif
    call own_idt
    FIRE %1
    call restore_idt
    EXPECT_EVENTS 1, "one event arrives"
    %if %2 != DE && (%2 < 8 || %2 >= 32)
    EXPECT_EQ NOTED(0, VECTOR), GP, "#GP"
    EXPECT_EQ NOTED(0, ERROR), (%2) * 8 + 2 + %4, "its error code: the gate, EXT"
    %else
    EXPECT_EQ NOTED(0, VECTOR), DF_VECTOR, "#DF"
    EXPECT_EQ NOTED(0, ERROR), 0, "its error code"
    %endif
    mov rax, [want_fault_rip]
    EXPECT_EQ NOTED(0, RIP), rax, "RIP"
    EXPECT_EVENT_FLAG 0, RFLAGS_RF, 1, "RF: a fault"
    HANDLE GP, 0
    HANDLE DF_VECTOR, 0
%endmacro
%macro IDT_CASE 4
    IDT_CASE_AT %1, %2, %3, %4, HOLE, "idt-hole-"
%endmacro
%macro IDT_DEVICE_CASE 4
    IDT_CASE_AT %1, %2, %3, %4, [device], "idt-device-"
%endmacro

test_idt:
    EACH IDT_CASE
    EACH IDT_DEVICE_CASE
    ret

; ---- The handler's descriptor in the GDT or LDT ----

%macro OUTSIDE_CASE 6 ; name, vector, error, EXT, selector, name of the case
    TEST {%6, %str(%1)}
    HANDLE GP, catch_traced
    HANDLE DF_VECTOR, catch_traced
    mov r15d, %2
    mov rax, catch
    mov ebx, 0
    mov ecx, %5
    call set_gate
    FIRE %1
    RESTORE_GATE %2
    EXPECT_EVENTS 1, "one event arrives"
    %if %2 == DE || %2 == GP || %2 == NP || %2 == PF
    EXPECT_EQ NOTED(0, VECTOR), DF_VECTOR, "#DF"
    EXPECT_EQ NOTED(0, ERROR), 0, "its error code"
    %else
    EXPECT_EQ NOTED(0, VECTOR), GP, "#GP"
    EXPECT_EQ NOTED(0, ERROR), %5 + %4, "its error code: the selector, EXT"
    %endif
    HANDLE GP, 0
    HANDLE DF_VECTOR, 0
%endmacro
%macro GDT_CASE 4
    OUTSIDE_CASE %1, %2, %3, %4, SEL_OUTSIDE, "gdt-hole-"
%endmacro
%macro GDT_DEVICE_CASE 4
    OUTSIDE_CASE %1, %2, %3, %4, SEL_OUTSIDE, "gdt-device-"
%endmacro
%macro LDT_CASE 4
    OUTSIDE_CASE %1, %2, %3, %4, SEL_LOCAL, "ldt-hole-"
%endmacro

; The GDT at a page's end; RAX: the page behind it.
own_gdt:
    mov ecx, GDT_PAGE + 1
    call window_map
    mov esi, gdt
    mov edi, window_memory + (GDT_PAGE + 1) * 4096 - GDT_SIZE
    mov ecx, gdt_end - gdt
    cld
    rep movsb
    lgdt [own_gdt_pointer]
    ret

test_gdt:
    mov eax, HOLE + 7
    call own_gdt
    EACH GDT_CASE
    mov rax, [device]
    or eax, 7
    call own_gdt
    EACH GDT_DEVICE_CASE
    lgdt [gdt_pointer]
    mov ecx, GDT_PAGE + 1
    mov eax, 7
    jmp window_protect

test_ldt:
    ; an LDT descriptor in the own GDT, at SEL_SMALL and SEL_ABSENT's place
    mov eax, HOLE + 7
    call own_gdt
    mov rax, 0x3000820000000fff ; base 0x30000000
    mov [window_memory + (GDT_PAGE + 1) * 4096 - GDT_SIZE + SEL_SMALL], rax
    mov qword [window_memory + (GDT_PAGE + 1) * 4096 - GDT_SIZE + SEL_ABSENT], 0
    mov eax, SEL_SMALL
    lldt ax
    mov rax, 0x00cf13000000ffff ; SEL_ABSENT again
    mov [window_memory + (GDT_PAGE + 1) * 4096 - GDT_SIZE + SEL_ABSENT], rax
    EACH LDT_CASE
    xor eax, eax
    lldt ax
    lgdt [gdt_pointer]
    mov ecx, GDT_PAGE + 1
    mov eax, 7
    jmp window_protect

; ---- The TSS ----

; TR with its base at RAX.
load_tr:
    mov ecx, 0x67
    mov [gdt_tss64], cx
    mov [gdt_tss64 + 2], ax
    shr rax, 16
    mov [gdt_tss64 + 4], al
    mov byte [gdt_tss64 + 5], 0x89
    mov byte [gdt_tss64 + 6], 0
    mov [gdt_tss64 + 7], ah
    mov eax, SEL_TSS64
    ltr ax
    ret

; All ones as stack pointer: the very top, where the fourth GiB's end is mapped, which keeps nothing.
%macro TSS_CASE 4
    %if %3 == -1
    %assign FRAME_BYTES 40
    %else
    %assign FRAME_BYTES 48
    %endif
    TEST {"tss-hole-", %str(%1)}
    CATCH_BY %2, 3
    mov rax, HOLE
    call load_tr
    FIRE %1
    mov rax, tss64
    call load_tr
    EXPECT_EQ qword [got_rsp], -16 - FRAME_BYTES, "RSP in the handler"
    RESTORE_GATE %2
%endmacro

test_tss:
    EACH TSS_CASE
    TEST "tss-hole-rsp0"
    CATCH_BY UD, 0
    mov rax, HOLE
    call load_tr
    FIRE ring3_ud
    EXPECT_EQ qword [got_rsp], -16 - 40, "RSP in the handler"
    mov rax, tss64
    call load_tr
    RESTORE_GATE UD
    ret

; ---- Behind a page table in the hole: #PF for reserved bits ----

%macro TABLE_CASE 4
    TEST {"page-table-stack-", %str(%1)}
    HANDLE PF, catch_traced
    HANDLE DF_VECTOR, catch_traced
    mov r15d, %2
    mov rax, catch
    mov ebx, 3
    mov ecx, SEL_CODE64
    call set_gate
    mov qword [tss64 + 52], TABLE + 0x1000
    FIRE %1
    RESTORE_GATE %2
    EXPECT_EVENTS 1, "one event arrives"
    EXPECT_EQ NOTED(0, VECTOR), PF, "#PF"
    EXPECT_EQ NOTED(0, ERROR), 11, "its error code: a supervisor's write, reserved bits"
    EXPECT_EQ NOTED(0, CR2), TABLE + 0xff8, "CR2"
    HANDLE PF, 0
    HANDLE DF_VECTOR, 0
%endmacro
; The TSS itself: from ring 3, #PF would need it again, and so would #DF.
%macro TABLE_TSS_CASE 4
    TEST {"page-table-tss-", %str(%1)}
    HANDLE PF, catch_traced
    mov r15d, %2
    mov rax, catch
    mov ebx, 3
    mov ecx, SEL_CODE64
    call set_gate
    mov rax, TABLE
    call load_tr
    FIRE %1
    mov rax, tss64
    call load_tr
    RESTORE_GATE %2
    EXPECT_EVENTS 1, "one event arrives"
    EXPECT_EQ NOTED(0, VECTOR), PF, "#PF"
    EXPECT_EQ NOTED(0, ERROR), 9, "its error code: a supervisor's read, reserved bits"
    EXPECT_EQ NOTED(0, CR2), TABLE + 52, "CR2"
    HANDLE PF, 0
%endmacro
%macro TABLE_CASE_BUT_PF 4
    %if %2 != PF
    TABLE_CASE %1, %2, %3, %4
    %endif
%endmacro
%macro TABLE_TSS_CASE_RING0 4
    %ifnidn %1, ring3_ud
    %ifnidn %1, ring3_int
    %ifnidn %1, ring3_ac
    %if %2 != PF
    TABLE_TSS_CASE %1, %2, %3, %4
    %endif
    %endif
    %endif
    %endif
%endmacro

test_page_tables:
    TEST "page-table-stack-pf"
    HANDLE DF_VECTOR, catch_traced
    mov r15d, PF
    mov rax, catch
    mov ebx, 3
    mov ecx, SEL_CODE64
    call set_gate
    mov qword [tss64 + 52], TABLE + 0x1000
    FIRE pf
    RESTORE_GATE PF
    EXPECT_EVENTS 1, "one event arrives"
    EXPECT_EQ NOTED(0, VECTOR), DF_VECTOR, "#PF, then #PF: #DF"
    EXPECT_EQ NOTED(0, ERROR), 0, "its error code"
    EXPECT_EQ NOTED(0, CR2), TABLE + 0xff8, "CR2"
    HANDLE DF_VECTOR, 0
    EACH TABLE_CASE_BUT_PF
    EACH TABLE_TSS_CASE_RING0
    ret

; ---- NMIs stay blocked when the delivery of one fails ----

test_nmi_blocking:
    TEST "nmi-blocked-by-failed-delivery"
    HANDLE GP, .protection
    TRACED NMI_VECTOR
    mov eax, HOLE + 7
    mov edi, 8
    mov esi, 0
    call own_idt
    mov [fire_rsp], rsp
    mov qword [catch_to], .caught
    TRACE_BEGIN
    SEND_NMI
    jmp $
.protection:
    call catch_traced
    lidt [idt64_pointer]
    SEND_NMI
    nop
    nop
    mov rax, [trace_count]
    mov [got_rsp], rax ; 1: the second NMI waits for the IRET
    ret
.caught:
    call restore_idt
    HANDLE GP, 0
    EXPECT_EQ qword [got_rsp], 1, "the next NMI waits"
    EXPECT_EVENTS 2, "and comes"
    EXPECT_EVENT 1, NMI_VECTOR, .caught, "behind IRET"
    TEST "nmi-blocked-in-hole-handler"
    ; NMI on a stack in the hole: delivered, and blocked until an IRET.
    TRACED NMI_VECTOR
    CATCH_BY NMI_VECTOR, 3
    mov qword [tss64 + 52], HOLE_TOP
    mov [fire_rsp], rsp
    mov qword [catch_to], .inside
    TRACE_BEGIN
    SEND_NMI
    jmp $
.inside:
    RESTORE_GATE NMI_VECTOR
    SEND_NMI
    nop
    nop
    EXPECT_EVENTS 0, "the next one waits"
    mov rax, rsp
    push SEL_DATA
    push rax
    push 2
    push SEL_CODE64
    push .unblocked
    iretq
.unblocked:
    nop
    EXPECT_EVENTS 1, "and comes"
    EXPECT_EVENT 0, NMI_VECTOR, .unblocked, "behind IRET"
    HANDLE NMI_VECTOR, 0
    ret

; ---- Double faults ----

%macro DOUBLE_CASE 4 ; name, event, then: the stage that fails
    TEST %1
    HANDLE DF_VECTOR, catch_traced
    %3
    FIRE %2
    %4
    EXPECT_EVENTS 1, "one event arrives"
    EXPECT_EQ NOTED(0, VECTOR), DF_VECTOR, "#DF"
    EXPECT_EQ NOTED(0, ERROR), 0, "its error code"
    HANDLE DF_VECTOR, 0
%endmacro
%macro HIDE_GATES 0 ; all from 9 on
    mov eax, HOLE + 7
    mov edi, 9
    mov esi, 1
    call own_idt
%endmacro
%macro SHOW_GATES 0
    call restore_idt
%endmacro

test_double_faults:
    DOUBLE_CASE "double-pf-gp", pf, {HIDE_GATES}, {SHOW_GATES}
    DOUBLE_CASE "double-gp-gp", gp, {HIDE_GATES}, {SHOW_GATES}
    DOUBLE_CASE "double-np-gp", np, {HIDE_GATES}, {SHOW_GATES}
    TEST "double-on-hole-stack"
    ; #DF itself on a stack that is not there
    CATCH_BY DF_VECTOR, 3
    mov qword [tss64 + 52], HOLE_TOP
    HIDE_GATES
    FIRE gp
    SHOW_GATES
    RESTORE_GATE DF_VECTOR
    EXPECT_EQ qword [got_rsp], HOLE_TOP - 48, "delivered with an error code"
    ret
