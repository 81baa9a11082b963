; The delivery of every kind of event outside 64-bit mode, on stacks that are not there, wholly or in
; part: gates of 32 and 16 bits at the same level, from ring 3 and from virtual-8086 mode, and
; real-address mode.
%include "tests/guests/lib.inc"
%include "tests/guests/lib/trace.inc"

HOLE equ 0x30000000
BAD_MSR equ 0x12345
RFLAGS_NT equ 1 << 14
NOT_MAPPED equ 0x38000000
STACK_PAGE equ 4
EDGE equ WINDOW + (STACK_PAGE + 1) * 4096 ; between the two pages of the stack
EDGE_MEMORY equ window_memory + (STACK_PAGE + 1) * 4096

section .data
align 16
bounds: dd 0, 10
idt_split_pointer: dw 8 * 256 - 1
    dd 0

section .bss
alignb 16
want_eip: resd 1
want_cs: resd 1
want_eflags: resd 1
catch_to32: resd 1
got_esp: resd 1
got_eflags: resd 1
fire_esp: resd 1
use_gate: resd 1    ; the gate's type, with P and DPL
stack_at: resd 1    ; ESP, or ESP0

section .text
main:
    call pic_init
    call lapic_init
    mov dword [LAPIC + LAPIC_ICR_HIGH], 0
    call window_init
    mov rax, cr0
    or eax, CR0_AM
    mov cr0, rax
    mov qword [page_directories + (NOT_MAPPED >> 21) * 8], 0
    mov dword [use_gate], 0xee00
    CALL_MODE MODE_PAE, same_level
    mov dword [use_gate], 0xe600
    CALL_MODE MODE_PAE, same_level_16
    mov dword [use_gate], 0xef00
    CALL_MODE MODE_PAE, inner_level
    CALL_MODE MODE_PAE, from_v86
    CALL_MODE MODE_PAE, idt_absent
    call report
    CALL_MODE MODE_REAL, real_mode
    call report_real
    ret

; ---- What 32-bit code finds: a list of (name, what, got, want), reported in 64-bit mode ----

section .bss
alignb 16
found_count: resd 1
alignb 16
found: resd 4 * 2048

section .text
bits 64
report:
    mov qword [test_name], 0
    mov ebx, found
    xor r12d, r12d ; name of the case
    mov r13d, [found_count]
    test r13d, r13d
    jz .out
.next:
    mov eax, [rbx]
    cmp eax, r12d
    je .same
    mov r12d, eax
    push rax
    call test_begin
.same:
    mov eax, [rbx + 8]
    push rax
    mov eax, [rbx + 12]
    push rax
    mov eax, [rbx + 4]
    push rax
    call expect_equal
    add ebx, 16
    dec r13d
    jnz .next
.out:
    mov dword [found_count], 0
    ret

bits 32
; FOUND got, want, "what": registers, memory or immediates; keeps registers.
%macro FOUND 3
    [section .rodata]
    %%what: db %3, 0
    __?SECT?__
    push %2
    push %1
    push %%what
    call note
%endmacro
%macro CASE32 1+
    [section .rodata]
    %%name: db %1, 0
    __?SECT?__
    mov dword [case_name], %%name
    mov dword [test_name], %%name ; for an event that nobody expected
%endmacro
section .bss
case_name: resd 1
section .text
note: ; [esp + 4]: what, got, want
    push eax
    push edx
    mov edx, [found_count]
    shl edx, 4
    mov eax, [case_name]
    mov [found + edx], eax
    mov eax, [esp + 12]
    mov [found + edx + 4], eax
    mov eax, [esp + 16]
    mov [found + edx + 8], eax
    mov eax, [esp + 20]
    mov [found + edx + 12], eax
    inc dword [found_count]
    pop edx
    pop eax
    ret 12

; ---- The events ----

catch32: ; at ring 0, on no stack
    mov [ss:got_esp], esp
    mov esp, [ss:fire_esp]
    push SEL_DATA
    pop ss
    mov esp, [ss:fire_esp]
    pushfd
    pop dword [ss:got_eflags]
    mov eax, SEL_DATA
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov dword [LAPIC32 + LAPIC_EOI], 0
    ; an NMI is over
    pushfd
    push SEL_CODE32
    push .over
    iretd
.over:
    jmp [catch_to32]

; Gate EBX to catch32, of the type in use_gate; below 64 KiB for those of 16 bits: through low code.
gate32:
    push eax
    mov eax, catch32
    mov word [idt32 + ebx * 8 + 2], SEL_CODE32
    cmp byte [use_gate + 1], 0xe6
    jne .wide
    mov eax, catch_from_16 - low_begin
    mov word [idt32 + ebx * 8 + 2], SEL_CODE16
.wide:
    mov [idt32 + ebx * 8], ax
    shr eax, 16
    mov [idt32 + ebx * 8 + 6], ax
    mov eax, [use_gate]
    mov [idt32 + ebx * 8 + 4], ax
    pop eax
    ret

; Each: WAY name, vector, error code or -1, RF, TF and IF in the frame; instruction
%macro EACH 1
    %1 "de", DE, -1, RFLAGS_RF, {div ecx}, 0
    %1 "ud", UD, -1, RFLAGS_RF, {ud2}, 0
    %1 "np", NP, SEL_ABSENT, RFLAGS_RF, {mov es, edx}, 0
    %1 "gp", GP, 0x1238, RFLAGS_RF, {mov es, ebp}, 0
    %1 "pf", PF, 0, RFLAGS_RF, {mov eax, [esi]}, 0
    %1 "bound", BR, -1, RFLAGS_RF, {bound edi, [bounds]}, 0
    %1 "into", OF_VECTOR, -1, 0, {into}, 1
    %1 "int3", BP_VECTOR, -1, 0, {int3}, 1
    %1 "int1", DB_VECTOR, -1, 0, {db 0xf1}, 1
    %1 "int1-prefixed", DB_VECTOR, -1, 0, {db 0x2e, 0x66, 0xf1}, 1
    %1 "int", SOFT, -1, 0, {int SOFT}, 1
    %1 "int-prefixed", SOFT, -1, 0, {db 0x66, 0x67, 0x36, 0xcd, SOFT}, 1
    %1 "into-prefixed", OF_VECTOR, -1, 0, {db 0x66, 0x66, 0xce}, 1
%endmacro
; And at ring 0 only
%macro EACH_RING0 1
    EACH %1
    %1 "rdmsr", GP, 0, RFLAGS_RF, {rdmsr}, 0
    %1 "interrupt", VECTOR_LOW, -1, RFLAGS_IF, {nop}, 1
    %1 "nmi", NMI_VECTOR, -1, 0, {mov [LAPIC32 + LAPIC_ICR], eax}, 1
%endmacro

; The registers of the events. OF is set by the last of it.
%macro OPERANDS32 1
    mov edx, SEL_ABSENT
    mov ebp, 0x1238
    mov esi, NOT_MAPPED
    mov edi, 100
    xor ecx, ecx
    %ifidn %1, "rdmsr"
    mov ecx, BAD_MSR
    %endif
    mov eax, 0x7fffffff
    inc eax
    %ifidn %1, "nmi"
    mov eax, ICR_NMI
    %endif
%endmacro

; FIRE32 name, instruction, trap: on a stack at [stack_at], which it must not touch before.
%macro FIRE32 3
    mov dword [catch_to32], %%caught
    mov [fire_esp], esp
    mov dword [want_cs], SEL_CODE32
    %if %3
    mov dword [want_eip], %%behind
    %else
    mov dword [want_eip], %%at
    %endif
    %ifidn %1, "interrupt"
    mov dword [LAPIC32 + LAPIC_ICR], ICR_SELF | VECTOR_LOW
    %endif
    OPERANDS32 %1
    mov esp, [stack_at]
    %ifidn %1, "interrupt"
    sti
    %endif
%%at:
    %2
%%behind:
    nop
    jmp $
%%caught:
%endmacro

; Maps page %1 of the two to the hole, or to its memory again.
%macro HIDE 1
    mov dword [window_table + (STACK_PAGE + %1) * 8], HOLE + 7
    invlpg [EDGE - 4096 + %1 * 4096]
%endmacro
%macro SHOW 1
    mov dword [window_table + (STACK_PAGE + %1) * 8], window_memory + (STACK_PAGE + %1) * 4096 + 7
    invlpg [EDGE - 4096 + %1 * 4096]
%endmacro

; ---- At the same level: EFLAGS, CS | EIP, error code ----

%macro SAME_CASE 6
    %if %3 == -1
    %assign FRAME_BYTES 12
    %else
    %assign FRAME_BYTES 16
    %endif
    mov ebx, %2
    call gate32
    CASE32 {"same-hole-", %1}
    mov dword [stack_at], HOLE + 0x1000
    FIRE32 %1, {%5}, %6
    FOUND dword [got_esp], HOLE + 0x1000 - FRAME_BYTES, "ESP in the handler"
    mov eax, [got_eflags]
    and eax, RFLAGS_TF | RFLAGS_IF | RFLAGS_RF
    FOUND eax, 0, "EFLAGS in the handler"
    CASE32 {"same-upper-", %1}
    HIDE 0
    mov dword [stack_at], EDGE + 8
    FIRE32 %1, {%5}, %6
    SHOW 0
    FOUND dword [got_esp], EDGE + 8 - FRAME_BYTES, "ESP in the handler"
    mov eax, [EDGE_MEMORY + 4]
    and eax, RFLAGS_TF | RFLAGS_IF | RFLAGS_RF
    FOUND eax, %4, "EFLAGS"
    FOUND dword [EDGE_MEMORY], SEL_CODE32, "CS"
    CASE32 {"same-lower-", %1}
    HIDE 1
    FIRE32 %1, {%5}, %6
    SHOW 1
    FOUND dword [got_esp], EDGE + 8 - FRAME_BYTES, "ESP in the handler"
    FOUND dword [EDGE_MEMORY - 4], dword [want_eip], "EIP"
    %if %3 != -1
    FOUND dword [EDGE_MEMORY - 8], %3, "the error code"
    %endif
%endmacro

same_level:
    EACH_RING0 SAME_CASE
    ret

; ---- The same through gates of 16 bits ----

%macro SAME16_CASE 6
    %if %3 == -1
    %assign FRAME_BYTES 6
    %else
    %assign FRAME_BYTES 8
    %endif
    mov ebx, %2
    call gate32
    CASE32 {"gate16-upper-", %1}
    HIDE 0
    mov dword [stack_at], EDGE + 4
    FIRE32 %1, {%5}, %6
    SHOW 0
    FOUND dword [got_esp], EDGE + 4 - FRAME_BYTES, "ESP in the handler"
    movzx eax, word [EDGE_MEMORY + 2]
    and eax, RFLAGS_TF | RFLAGS_IF | RFLAGS_NT
    FOUND eax, %4 & 0xffff, "FLAGS"
    movzx eax, word [EDGE_MEMORY]
    FOUND eax, SEL_CODE32, "CS"
    CASE32 {"gate16-lower-", %1}
    HIDE 1
    FIRE32 %1, {%5}, %6
    SHOW 1
    movzx eax, word [EDGE_MEMORY - 2]
    movzx ecx, word [want_eip]
    FOUND eax, ecx, "IP"
    %if %3 != -1
    movzx eax, word [EDGE_MEMORY - 4]
    FOUND eax, %3, "the error code"
    %endif
%endmacro

same_level_16:
    EACH_RING0 SAME16_CASE
    ret

; ---- From ring 3: SS, ESP | EFLAGS, CS, EIP, error code ----

load_tss32: ; ESP0 is [stack_at]
    mov eax, [stack_at]
    mov [tss32 + 4], eax
    and byte [gdt_tss32 + 5], ~2
    mov eax, SEL_TSS32
    ltr ax
    ret

%macro FIRE32_RING3 3
    mov dword [catch_to32], %%caught
    mov [fire_esp], esp
    call load_tss32
    %if %3
    mov dword [want_eip], %%behind
    %else
    mov dword [want_eip], %%at
    %endif
    push SEL_USER_DATA
    push ring3_stack_top
    push 2
    push SEL_USER_CODE32
    push %%there
    iretd
%%there:
    mov eax, SEL_USER_DATA
    mov ds, eax
    OPERANDS32 %1
%%at:
    %2
%%behind:
    nop
    jmp $
%%caught:
%endmacro

%macro INNER_CASE 6
    %ifnidn %1, "np" ; which is #GP there
    %if %3 == -1
    %assign FRAME_BYTES 20
    %else
    %assign FRAME_BYTES 24
    %endif
    mov ebx, %2
    call gate32
    CASE32 {"inner-hole-", %1}
    mov dword [stack_at], HOLE + 0x1000
    FIRE32_RING3 %1, {%5}, %6
    FOUND dword [got_esp], HOLE + 0x1000 - FRAME_BYTES, "ESP in the handler"
    CASE32 {"inner-upper-", %1}
    HIDE 0
    mov dword [stack_at], EDGE + 8
    FIRE32_RING3 %1, {%5}, %6
    SHOW 0
    FOUND dword [EDGE_MEMORY + 4], SEL_USER_DATA, "SS"
    FOUND dword [EDGE_MEMORY], ring3_stack_top, "ESP"
    CASE32 {"inner-lower-", %1}
    HIDE 1
    FIRE32_RING3 %1, {%5}, %6
    SHOW 1
    FOUND dword [got_esp], EDGE + 8 - FRAME_BYTES, "ESP in the handler"
    mov eax, [EDGE_MEMORY - 4]
    and eax, RFLAGS_TF | RFLAGS_IF | RFLAGS_RF
    FOUND eax, %4, "EFLAGS"
    FOUND dword [EDGE_MEMORY - 8], SEL_USER_CODE32, "CS"
    FOUND dword [EDGE_MEMORY - 12], dword [want_eip], "EIP"
    %ifidn %1, "pf"
    FOUND dword [EDGE_MEMORY - 16], 4, "the error code"
    %elif %3 != -1
    FOUND dword [EDGE_MEMORY - 16], %3, "the error code"
    %endif
    %endif
%endmacro

inner_level:
    EACH INNER_CASE
    ret

; ---- From virtual-8086 mode: GS, FS, DS, ES | SS, ESP, EFLAGS, CS, EIP, error code ----

%macro FIRE_V86 3 ; offset of the code in .low, of the return address, flags
    mov dword [catch_to32], %%caught
    mov [fire_esp], esp
    call load_tss32
    mov dword [want_eip], %2
    push 0x5555 ; GS
    push 0x4444 ; FS
    push LOW_BASE >> 4
    push 0x2222 ; ES
    push LOW_BASE >> 4
    push 0x1000
    push RFLAGS_VM | 2 | (%3)
    push LOW_BASE >> 4
    push %1
    iretd
%%caught:
%endmacro

%macro V86_CASE 5 ; name, vector, error code or -1, label in .low, 1 for a trap
    %if %3 == -1
    %assign FRAME_BYTES 36
    %else
    %assign FRAME_BYTES 40
    %endif
    mov ebx, %2
    call gate32
    CASE32 {"v86-upper-", %1}
    HIDE 0
    mov dword [stack_at], EDGE + 16
    FIRE_V86 %4 - low_begin, %4 %+ .from - low_begin, 3 << 12
    SHOW 0
    FOUND dword [got_esp], EDGE + 16 - FRAME_BYTES, "ESP in the handler"
    FOUND dword [EDGE_MEMORY + 12], 0x5555, "GS"
    FOUND dword [EDGE_MEMORY + 8], 0x4444, "FS"
    FOUND dword [EDGE_MEMORY + 4], LOW_BASE >> 4, "DS"
    FOUND dword [EDGE_MEMORY], 0x2222, "ES"
    CASE32 {"v86-lower-", %1}
    HIDE 1
    FIRE_V86 %4 - low_begin, %4 %+ .from - low_begin, 3 << 12
    SHOW 1
    FOUND dword [got_esp], EDGE + 16 - FRAME_BYTES, "ESP in the handler"
    FOUND dword [EDGE_MEMORY - 4], LOW_BASE >> 4, "SS"
    FOUND dword [EDGE_MEMORY - 8], 0x1000, "ESP"
    mov eax, [EDGE_MEMORY - 12]
    and eax, RFLAGS_VM | RFLAGS_RF | 3 << 12
    %if %5
    FOUND eax, RFLAGS_VM | 3 << 12, "EFLAGS"
    %else
    FOUND eax, RFLAGS_VM | RFLAGS_RF | 3 << 12, "EFLAGS"
    %endif
    FOUND dword [EDGE_MEMORY - 16], LOW_BASE >> 4, "CS"
    FOUND dword [EDGE_MEMORY - 20], dword [want_eip], "EIP"
    %if %3 != -1
    FOUND dword [EDGE_MEMORY - 24], %3, "the error code"
    %endif
%endmacro

from_v86:
    V86_CASE "ud", UD, -1, v86_ud, 0
    V86_CASE "int", SOFT, -1, v86_int, 1
    V86_CASE "int3", BP_VECTOR, -1, v86_int3, 1
    V86_CASE "into", OF_VECTOR, -1, v86_into, 1
    V86_CASE "int1", DB_VECTOR, -1, v86_int1, 1
    V86_CASE "hlt", GP, 0, v86_hlt, 0
    ; INT n with IOPL 0: #GP(0), whose stack is in the hole
    CASE32 "v86-iopl"
    mov ebx, GP
    call gate32
    HIDE 1
    mov dword [stack_at], EDGE + 16
    FIRE_V86 v86_int - low_begin, v86_int - low_begin, 0
    SHOW 1
    FOUND dword [EDGE_MEMORY - 20], dword [want_eip], "EIP: a fault"
    FOUND dword [EDGE_MEMORY - 24], 0, "the error code"
    ret

; ---- The IDT's gates below 8 in the hole ----

%macro IDT32_CASE 6
    %if %2 < 8 && %2 != DE
    CASE32 {"idt32-hole-", %1}
    FIRE32 %1, {%5}, 0
    movzx eax, word [EDGE_MEMORY - 16]
    FOUND eax, %2 * 8 + 2 + EXTERNAL_%6(%2), "#GP, its error code: the gate, EXT"
    FOUND dword [EDGE_MEMORY - 12], dword [want_eip], "EIP: a fault"
    %endif
%endmacro
%define EXTERNAL_0(vector) 1
%define EXTERNAL_1(vector) (vector == DB_VECTOR || vector == NMI_VECTOR)

idt_absent:
    mov ebx, GP
    call gate32
    mov esi, idt32
    mov edi, EDGE_MEMORY - 64
    mov ecx, 2048
    cld
    rep movsb
    HIDE 0
    mov dword [idt_split_pointer + 2], EDGE - 64
    lidt [idt_split_pointer]
    mov dword [stack_at], EDGE_MEMORY ; mapped one to one, too
    EACH IDT32_CASE
    lidt [idt32_pointer]
    SHOW 0
    ret

; ---- Real-address mode, with SS's base in the hole ----

bits 64
report_real:
    mov ebx, real_results
    mov r12d, [real_count]
    mov r13d, real_names
.next:
    mov rax, [r13]
    push rax
    call test_begin
    movzx eax, word [rbx]
    EXPECT_EQ rax, 0x1000 - 6, "SP in the handler"
    movzx eax, word [rbx + 2]
    and eax, RFLAGS_TF | RFLAGS_IF
    EXPECT_EQ rax, 0, "FLAGS in the handler"
    add ebx, 4
    add r13d, 8
    cmp r13d, real_names_end
    jb .next
    EXPECT_EQ r12, (real_names_end - real_names) / 8, "all of them"
    ret

section .rodata
real_de: db "real-de", 0
real_ud: db "real-ud", 0
real_bound: db "real-bound", 0
real_into: db "real-into", 0
real_int3: db "real-int3", 0
real_int1: db "real-int1", 0
real_int: db "real-int", 0
real_nmi: db "real-nmi", 0
real_names: dq real_de, real_ud, real_bound, real_into, real_int3, real_int1, real_int, real_nmi
real_names_end:

section .low
bits 16
catch_from_16: ; CS is SEL_CODE16
    jmp dword SEL_CODE32:catch32

v86_ud:
.from:
    ud2
v86_int:
    int SOFT
.from:
v86_int3:
    int3
.from:
v86_into:
    mov al, 0x7f
    inc al
    into
.from:
v86_int1:
    db 0xf1
.from:
v86_hlt:
.from:
    hlt

align 4
real_count: dd 0
real_results: times 16 dd 0
real_next: dw 0
real_saved_sp: dw 0
real_saved_vectors: dd 0
real_bounds: dw 0, 10
align 8
real_gdt: dq 0
    dq 0x300093000000ffff ; base 0x30000000
    dq 0x0000930200000fff
real_gdt_pointer: dw 23
    dd LOW_BASE + (real_gdt - low_begin)

catch16:
    mov ax, LOW_BASE >> 4
    mov ds, ax
    mov bx, [real_count - low_begin]
    shl bx, 2
    mov [real_results + bx - low_begin], sp
    mov ss, ax
    mov sp, [real_saved_sp - low_begin]
    pushf
    pop ax
    mov [real_results + bx + 2 - low_begin], ax
    inc word [real_count - low_begin]
    pushf
    push cs
    push .over - low_begin
    iret
.over:
    jmp [real_next - low_begin]

; FIRE16 vector, instruction. SS gets its base in protected mode and keeps it.
%macro FIRE16 2
    mov eax, [idt_real + %1 * 4 - low_begin]
    mov [real_saved_vectors - low_begin], eax
    mov word [idt_real + %1 * 4 - low_begin], catch16 - low_begin
    mov word [real_next - low_begin], %%caught - low_begin
    mov [real_saved_sp - low_begin], sp
    o32 lgdt [real_gdt_pointer - low_begin]
    mov eax, cr0
    or al, CR0_PE
    mov cr0, eax
    mov bx, 8
    mov ss, bx
    and al, ~CR0_PE
    mov cr0, eax
    mov sp, 0x1000
    xor cx, cx
    mov dx, 100
    mov al, 0x7f
    inc al
    %2
    jmp $
%%caught:
    mov eax, [real_saved_vectors - low_begin]
    mov [idt_real + %1 * 4 - low_begin], eax
%endmacro

real_mode:
    mov word [real_count - low_begin], 0
    FIRE16 DE, {div cx}
    FIRE16 UD, {ud2}
    FIRE16 BR, {bound dx, [real_bounds - low_begin]}
    FIRE16 OF_VECTOR, {into}
    FIRE16 BP_VECTOR, {int3}
    FIRE16 DB_VECTOR, {db 0xf1}
    FIRE16 0x61, {int 0x61}
    FIRE16 NMI_VECTOR, {mov dword [fs:dword LAPIC32 + LAPIC_ICR], ICR_NMI}
    o32 lgdt [real_gdt_back - low_begin]
    ret
align 4
real_gdt_back: dw gdt_end - gdt - 1
    dd gdt
