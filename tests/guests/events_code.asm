; Code where there is no memory, which reads as all ones: FF FF is undefined. (Bochs itself cannot run
; there.)
%include "tests/guests/lib.inc"
%include "tests/guests/lib/trace.inc"
%include "tests/guests/lib/fire.inc"

HOLE equ 0x30000000
CODE_PAGE equ 4
EDGE equ WINDOW + (CODE_PAGE + 1) * 4096

section .text
main:
    call pic_init
    call lapic_init
    mov dword [LAPIC + LAPIC_ICR_HIGH], 0
    call window_init
    HANDLE UD, catch_traced
    mov [fire_rsp], rsp
    TEST "code-in-hole"
    TRACE_BEGIN
    mov qword [catch_to], .jumped
    mov eax, HOLE + 0x123
    jmp rax
.jumped:
    EXPECT_EVENTS 1, "one fault"
    EXPECT_EVENT 0, UD, HOLE + 0x123, "#UD there"
    EXPECT_EVENT_FLAG 0, RFLAGS_RF, 1, "RF: a fault"
    TEST "code-into-hole"
    ; MOV EAX, imm32 whose immediate is not there
    mov ecx, CODE_PAGE + 1
    mov eax, HOLE + 7
    call window_map
    mov word [window_memory + (CODE_PAGE + 1) * 4096 - 2], 0xc0c7
    TRACE_BEGIN
    mov qword [catch_to], .crossed
    xor ebx, ebx
    mov eax, EDGE - 2
    jmp rax
.crossed:
    EXPECT_EVENT 0, UD, EDGE + 4, "#UD behind it"
    TEST "code-at-hole"
    ; a NOP, then nothing
    mov byte [window_memory + (CODE_PAGE + 1) * 4096 - 1], 0x90
    TRACE_BEGIN
    mov qword [catch_to], .fell
    mov eax, EDGE - 1
    jmp rax
.fell:
    EXPECT_EVENT 0, UD, EDGE, "#UD behind it"
    TEST "code-step-into-hole"
    ; with a single step: #DB behind NOP, #UD then
    TRACED DB_VECTOR
    TRACE_BEGIN
    mov qword [catch_to], .stepped
    mov eax, EDGE - 1
    push RFLAGS_TF | 2
    popfq
    jmp rax
.stepped:
    EXPECT_EVENT 0, DB_VECTOR, EDGE - 1, "behind JMP"
    EXPECT_EVENT 1, DB_VECTOR, EDGE, "behind NOP"
    EXPECT_EVENT 2, UD, EDGE, "#UD"
    EXPECT_EVENT_FLAG 2, RFLAGS_TF, 1, "TF in its frame"
    TEST "code-ring3"
    TRACE_BEGIN
    mov qword [catch_to], .from_ring3
    push SEL_USER_DATA
    push ring3_stack_top
    push 2
    push SEL_USER_CODE64
    push HOLE
    iretq
.from_ring3:
    EXPECT_EVENT 0, UD, HOLE, "#UD at ring 3"
    call after_event
    call handlers
    TEST "code-32"
    CALL_MODE MODE_PAE, code32
    mov eax, [got_rsp]
    EXPECT_EQ rax, UD, "#UD"
    mov eax, [got_rsp + 4]
    EXPECT_EQ rax, HOLE, "there"
    TEST "code-real"
    CALL_MODE MODE_REAL, code16
    mov eax, [low_result]
    shr eax, 16
    EXPECT_EQ rax, 0xb000, "#UD there: CS"
    ret

; Handlers in the hole: each event gets there, and #UD is what comes.
%macro HANDLER_CASE 4
    %if %2 != UD
    TEST {"handler-in-hole-", %str(%1)}
    mov r15d, %2
    mov eax, HOLE + 0x800
    xor ebx, ebx
    mov ecx, SEL_CODE64
    call set_gate
    FIRE %1
    RESTORE_GATE %2
    EXPECT_EVENT 0, UD, HOLE + 0x800, "#UD at the handler"
    %endif
%endmacro
handlers:
    mov rax, cr0
    or eax, CR0_AM
    mov cr0, rax
    HANDLE DB_VECTOR, 0
    EACH HANDLER_CASE
    ret

bits 32
code32:
    mov dword [handlers32 + UD * 4], .handler
    mov [got_rflags], esp
    mov eax, HOLE
    jmp eax
.handler: ; EDI: frame
    movzx eax, byte [edi + FRAME32_VECTOR]
    mov [got_rsp], eax
    mov eax, [edi + FRAME32_EIP]
    mov [got_rsp + 4], eax
    mov dword [handlers32 + UD * 4], 0
    mov esp, [got_rflags]
    ret

section .low
bits 16
code16: ; the VGA's window: no memory behind it
    mov word [idt_real + UD * 4 - low_begin], .handler - low_begin
    jmp 0xb000:0
.handler:
    mov bp, sp
    mov ax, [bp]
    mov bx, [bp + 2]
    add sp, 6
    mov [cs:low_result - low_begin], ax
    mov [cs:low_result + 2 - low_begin], bx
    mov word [cs:idt_real + UD * 4 - low_begin], stubs16 - low_begin + UD * 8
    mov ax, cs
    mov ds, ax
    ret
