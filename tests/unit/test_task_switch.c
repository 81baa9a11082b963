/*
 * Task switches that do not go well, and what no guest of tests/guests tries: each descriptor and
 * selector that a task cannot have, page faults, PDPTEs, virtual-8086 tasks, NMIs. Driven through
 * vmx_exit, so that the VMCS that comes out can be judged; the good ways are the guest `exits`'s.
 */
#include "kernel/vm/task_switch.h"
#include "tests/check.h"
#include "tests/fake/log.h"
#include "tests/fake/vmx_guest.h"

#define VMCS fake_vmcs.field
#define VCPU fake_guest.vcpu
#define MEMORY fake_guest.memory

#define GDT 0x1000u /* as fake_guest_start has it, limit FFH */
#define OLD_TSS 0x3000u
#define NEW_TSS 0x3100u
#define PAE_POINTERS 0x3400u
#define NEW_STACK 0x5000u
#define NEW_EIP 0x6000u
#define TABLES 0x10000u /* from here on fake_guest_start has paging structures */

#define SEL_CODE 0x08
#define SEL_DATA 0x10
#define SEL_OLD 0x18
#define SEL_NEW 0x20
#define SEL_ABSENT_CODE 0x28
#define SEL_ABSENT_DATA 0x30
#define SEL_USER_DATA (0x38 | 3)
#define SEL_LDT 0x40
#define SEL_READ_ONLY 0x48
#define SEL_OUTSIDE 0x108

/* Offsets in a 32-bit TSS. */
#define TSS_LINK 0x00
#define TSS_CR3 0x1c
#define TSS_EIP 0x20
#define TSS_EFLAGS 0x24
#define TSS_ESP 0x38
#define TSS_ES 0x48
#define TSS_CS 0x4c
#define TSS_SS 0x50
#define TSS_DS 0x54
#define TSS_GS 0x5c
#define TSS_LDT 0x60
#define TSS_TRAP 0x64

static void put(uint32_t address, uint32_t value)
{
    memcpy(MEMORY + address, &value, 4);
}

static uint32_t get(uint32_t address)
{
    uint32_t value;
    memcpy(&value, MEMORY + address, 4);
    return value;
}

static void put_descriptor(uint16_t selector, uint32_t base, uint32_t limit, uint32_t access)
{
    uint64_t value = (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 |
                     (uint64_t)(access & 0xff) << 40 | (uint64_t)(limit >> 16 & 0xf) << 48 |
                     (uint64_t)(access & 0xf000) << 40 | (uint64_t)(base >> 24) << 56;
    memcpy(MEMORY + GDT + (selector & 0xf8), &value, 8);
}

static void start(enum fake_mode mode)
{
    fake_guest_start(mode);
    fake_log_clear();
    memset(MEMORY + GDT, 0, 0x100);
    memset(MEMORY + OLD_TSS, 0, 0x300);
    put_descriptor(SEL_CODE, 0, 0xfffff, 0xc09b);
    put_descriptor(SEL_DATA, 0, 0xfffff, 0xc093);
    put_descriptor(SEL_OLD, OLD_TSS, 0x67, 0x8b);
    put_descriptor(SEL_NEW, NEW_TSS, 0x67, 0x89);
    put_descriptor(SEL_ABSENT_CODE, 0, 0xfffff, 0xc01b);
    put_descriptor(SEL_ABSENT_DATA, 0, 0xfffff, 0xc013);
    put_descriptor(SEL_USER_DATA, 0, 0xfffff, 0xc0f3);
    put_descriptor(SEL_LDT, 0x2000, 0xff, 0x82);
    put_descriptor(SEL_READ_ONLY, 0, 0xfffff, 0xc091);
    VMCS[VMCS_GUEST_TR_BASE] = OLD_TSS;
    VMCS[VMCS_GUEST_GDTR_LIMIT] = 0xff;
    put(NEW_TSS + TSS_CR3, (uint32_t)VMCS[VMCS_GUEST_CR3]);
    put(NEW_TSS + TSS_EIP, NEW_EIP);
    put(NEW_TSS + TSS_ESP, NEW_STACK);
    for (uint32_t offset = TSS_ES; offset <= TSS_GS; offset += 4)
        put(NEW_TSS + offset, offset == TSS_CS ? SEL_CODE : SEL_DATA);
}

static void check_enterable(void)
{
    enum vmcs_field field = VMCS_GUEST_RIP;
    const char *rule = "";
    if (fake_guest_broken_rules(&field, &rule) == 0)
        return;
    printf("# %s = 0x%" PRIx64 ": %s\n", vmcs_field_name(field), VMCS[field], rule);
    CHECK(!"can be entered");
}

static void switch_to(uint16_t selector, enum task_switch_source source)
{
    VMCS[VMCS_EXIT_QUALIFICATION] = (uint64_t)source << 30 | selector;
    VMCS[VMCS_EXIT_REASON] = EXIT_REASON_TASK_SWITCH;
    CHECK(vmx_exit(&VCPU));
    CHECK_EQ(fake_guest.vm.outcome, VM_RUNNING);
    check_enterable();
}

static void check_raised(unsigned vector, uint32_t code)
{
    CHECK_EQ(VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION],
             EVENT_INFORMATION_VALID | EVENT_INFORMATION_ERROR_CODE |
                 EVENT_HARDWARE_EXCEPTION << 8 | vector);
    CHECK_EQ(VMCS[VMCS_VM_ENTRY_EXCEPTION_ERROR_CODE], code);
}

/* The fault is the old task's: it stands where it stood, and no byte of memory is another. */
static void check_old_fault(uint16_t selector, enum task_switch_source source, unsigned vector,
                            uint32_t code)
{
    static uint8_t before[TABLES]; /* of the paging structures accessed flags may be set */
    memcpy(before, MEMORY, sizeof(before));
    switch_to(selector, source);
    check_raised(vector, code);
    CHECK_EQ(memcmp(before, MEMORY, sizeof(before)), 0);
    CHECK_EQ(VMCS[VMCS_GUEST_RIP], FAKE_GUEST_RIP);
    CHECK_EQ(VMCS[VMCS_GUEST_TR_SELECTOR], SEL_OLD);
    CHECK_EQ(VMCS[VMCS_GUEST_CR0] & CR0_TS, 0);
}

static void tss_is_looked_at_again(void)
{
    static const struct {
        uint16_t selector;
        uint32_t access, limit;
        enum task_switch_source source;
        unsigned vector;
    } rows[] = {
        {SEL_NEW, 0x09, 0x67, TASK_SWITCH_JMP, VECTOR_NP},
        {SEL_NEW, 0x89, 0x66, TASK_SWITCH_CALL, VECTOR_TS},
        {SEL_NEW, 0x81, 0x2a, TASK_SWITCH_CALL, VECTOR_TS},
        {SEL_NEW, 0x8b, 0x67, TASK_SWITCH_JMP, VECTOR_GP},
        {SEL_NEW, 0x89, 0x67, TASK_SWITCH_IRET, VECTOR_TS},
        {SEL_NEW, 0x9b, 0x67, TASK_SWITCH_CALL, VECTOR_GP},
        {SEL_NEW | 4, 0x89, 0x67, TASK_SWITCH_CALL, VECTOR_TS},
        {SEL_OUTSIDE, 0x89, 0x67, TASK_SWITCH_CALL, VECTOR_TS},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        start(FAKE_PROTECTED_32);
        put_descriptor(SEL_NEW, NEW_TSS, rows[i].limit, rows[i].access);
        check_old_fault(rows[i].selector, rows[i].source, rows[i].vector, rows[i].selector);
    }
}

static void old_tss_must_hold_the_registers(void)
{
    start(FAKE_PROTECTED_32);
    VMCS[VMCS_GUEST_TR_LIMIT] = 0x5e;
    check_old_fault(SEL_NEW, TASK_SWITCH_JMP, VECTOR_TS, SEL_OLD);
}

/* The modes with paging map the lowest 2 MiB at least, and not 40000000H. */
static void page_faults_change_nothing(void)
{
    static const enum fake_mode modes[] = {FAKE_PAGING_32, FAKE_PAE};
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        start(modes[i]);
        put_descriptor(SEL_NEW, 0x40000000, 0x67, 0x89);
        check_old_fault(SEL_NEW, TASK_SWITCH_CALL, VECTOR_PF, 0);
        CHECK_EQ(fake_hw.cr2, 0x40000020);
        start(modes[i]);
        VMCS[VMCS_GUEST_TR_BASE] = 0x40000000;
        check_old_fault(SEL_NEW, TASK_SWITCH_CALL, VECTOR_PF, PF_WRITE);
        CHECK_EQ(fake_hw.cr2, 0x40000020);
    }
}

/* SDM: Exception Conditions Checked During a Task Switch. */
static void selectors_fault_in_the_new_task(void)
{
    static const struct {
        uint32_t slot;
        uint16_t selector;
        unsigned vector;
    } rows[] = {
        {TSS_LDT, SEL_DATA, VECTOR_TS},
        {TSS_LDT, SEL_OUTSIDE, VECTOR_TS},
        {TSS_LDT, SEL_LDT | 4, VECTOR_TS},
        {TSS_CS, 0, VECTOR_TS},
        {TSS_CS, SEL_DATA, VECTOR_TS},
        {TSS_CS, SEL_ABSENT_CODE, VECTOR_NP},
        {TSS_CS, SEL_CODE | 3, VECTOR_TS},
        {TSS_CS, SEL_OUTSIDE, VECTOR_TS},
        {TSS_SS, 0, VECTOR_TS},
        {TSS_SS, SEL_ABSENT_DATA, VECTOR_SS},
        {TSS_SS, SEL_USER_DATA, VECTOR_TS},
        {TSS_SS, SEL_READ_ONLY, VECTOR_TS},
        {TSS_SS, SEL_CODE, VECTOR_TS},
        {TSS_DS, SEL_OUTSIDE, VECTOR_TS},
        {TSS_ES, SEL_ABSENT_DATA, VECTOR_NP},
        {TSS_GS, SEL_LDT, VECTOR_TS},
        {TSS_DS, SEL_DATA | 3, VECTOR_TS},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        start(FAKE_PROTECTED_32);
        put(NEW_TSS + rows[i].slot, rows[i].selector);
        switch_to(SEL_NEW, TASK_SWITCH_CALL);
        check_raised(rows[i].vector, rows[i].selector & 0xfffc);
        CHECK_EQ(VMCS[VMCS_GUEST_RIP], NEW_EIP);
        CHECK_EQ(VMCS[VMCS_GUEST_TR_SELECTOR], SEL_NEW);
        CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS], RFLAGS_NT | RFLAGS_RF | 2);
        CHECK_EQ(get(NEW_TSS + TSS_LINK) & 0xffff, SEL_OLD);
        CHECK_EQ(get(OLD_TSS + TSS_EIP), FAKE_GUEST_RIP + 2);
    }
}

static void ldt_is_loaded_first(void)
{
    uint64_t descriptor = 0x00cf9b000000ffff;
    start(FAKE_PROTECTED_32);
    put(NEW_TSS + TSS_LDT, SEL_LDT);
    put(NEW_TSS + TSS_CS, 8 | 4);
    memcpy(MEMORY + 0x2008, &descriptor, 8);
    switch_to(SEL_NEW, TASK_SWITCH_JMP);
    CHECK_EQ(VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION], 0);
    CHECK_EQ(VMCS[VMCS_GUEST_CS_SELECTOR], 8 | 4);
    CHECK_EQ(VMCS[VMCS_GUEST_LDTR_BASE], 0x2000);
    CHECK(!(VMCS[VMCS_GUEST_LDTR_ACCESS_RIGHTS] & SEGMENT_UNUSABLE));
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS], 2);
}

static void task_may_be_of_virtual_8086_mode(void)
{
    start(FAKE_PROTECTED_32);
    put(NEW_TSS + TSS_EFLAGS, 0x23002);
    put(NEW_TSS + TSS_DS, 0x1234);
    switch_to(SEL_NEW, TASK_SWITCH_JMP);
    CHECK_EQ(VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION], 0);
    CHECK_EQ(VMCS[VMCS_GUEST_DS_BASE], 0x12340);
    CHECK_EQ(VMCS[VMCS_GUEST_CS_ACCESS_RIGHTS], 0xf3);
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS], 0x23002);
}

static uint8_t type_of(uint16_t selector)
{
    return MEMORY[GDT + selector + 5] & 0xf;
}

/* SDM: Effect of a Task Switch on Busy Flag, NT Flag, Previous Task Link Field, and TS Flag. */
static void flags_and_link_follow_the_source(void)
{
    static const struct {
        enum task_switch_source source;
        uint8_t before, old_after;
        bool is_nested;
    } rows[] = {
        {TASK_SWITCH_JMP, 9, 9, false},
        {TASK_SWITCH_CALL, 9, 11, true},
        {TASK_SWITCH_GATE, 9, 11, true},
        {TASK_SWITCH_IRET, 11, 9, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        start(FAKE_PROTECTED_32);
        put_descriptor(SEL_NEW, NEW_TSS, 0x67, 0x80 | rows[i].before);
        put(NEW_TSS + TSS_LINK, 0xeeee);
        VMCS[VMCS_GUEST_RFLAGS] |= rows[i].source == TASK_SWITCH_IRET ? RFLAGS_NT : 0;
        if (rows[i].source == TASK_SWITCH_GATE)
            VMCS[VMCS_IDT_VECTORING_INFORMATION] = EVENT_INFORMATION_VALID | 0x40;
        switch_to(SEL_NEW, rows[i].source);
        CHECK_EQ(type_of(SEL_NEW), 11);
        CHECK_EQ(type_of(SEL_OLD), rows[i].old_after);
        CHECK_EQ(get(NEW_TSS + TSS_LINK), rows[i].is_nested ? SEL_OLD : 0xeeee);
        CHECK_EQ(get(OLD_TSS + TSS_EFLAGS), 2);
        CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS], rows[i].is_nested ? RFLAGS_NT | 2 : 2);
        CHECK_EQ(VMCS[VMCS_GUEST_CR0] & CR0_TS, CR0_TS);
        CHECK_EQ(VMCS[VMCS_GUEST_TR_ACCESS_RIGHTS], 0x8b);
    }
}

/* Reserved bits of EFLAGS are not taken from memory. */
static void flags_have_no_reserved_bits(void)
{
    start(FAKE_PROTECTED_32);
    put(NEW_TSS + TSS_EFLAGS, ~(uint32_t)RFLAGS_VM);
    switch_to(SEL_NEW, TASK_SWITCH_JMP);
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS], 0x3d7fd7);
}

static void pae_loads_its_pointers(void)
{
    uint64_t pointer = 0x12001, reserved = 0x12003;
    start(FAKE_PAE);
    memcpy(MEMORY + PAE_POINTERS, &pointer, 8);
    memset(MEMORY + PAE_POINTERS + 8, 0, 24);
    put(NEW_TSS + TSS_CR3, PAE_POINTERS);
    switch_to(SEL_NEW, TASK_SWITCH_JMP);
    CHECK_EQ(VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION], 0);
    CHECK_EQ(VMCS[VMCS_GUEST_CR3], PAE_POINTERS);
    CHECK_EQ(VMCS[VMCS_GUEST_PDPTE0], pointer);
    CHECK_EQ(fake_vmcs.invvpids > 0, true);
    start(FAKE_PAE);
    memcpy(MEMORY + PAE_POINTERS, &reserved, 8);
    put(NEW_TSS + TSS_CR3, PAE_POINTERS);
    switch_to(SEL_NEW, TASK_SWITCH_JMP);
    check_raised(VECTOR_GP, 0);
    CHECK_EQ(VMCS[VMCS_GUEST_RIP], NEW_EIP);
}

static void deliver_through_gate(unsigned type, unsigned vector, uint64_t flags)
{
    VMCS[VMCS_IDT_VECTORING_INFORMATION] = EVENT_INFORMATION_VALID | flags | type << 8 | vector;
    VMCS[VMCS_IDT_VECTORING_ERROR_CODE] = 0x1234;
    switch_to(SEL_NEW, TASK_SWITCH_GATE);
}

/* An interrupt's return address is where it came, an INT n's behind it; faults of the delivery of
 * an external event say so, and a fault in an exception's is a double fault. */
static void events_come_through_gates(void)
{
    start(FAKE_PROTECTED_32);
    deliver_through_gate(EVENT_EXTERNAL_INTERRUPT, 0x40, 0);
    CHECK_EQ(get(OLD_TSS + TSS_EIP), FAKE_GUEST_RIP);
    CHECK_EQ(get(OLD_TSS + TSS_EFLAGS), 2);
    CHECK_EQ(VMCS[VMCS_GUEST_RSP], NEW_STACK);
    CHECK_EQ(VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION], 0);
    start(FAKE_PROTECTED_32);
    deliver_through_gate(EVENT_SOFTWARE_INTERRUPT, 0x40, 0);
    CHECK_EQ(get(OLD_TSS + TSS_EIP), FAKE_GUEST_RIP + 2);
    start(FAKE_PROTECTED_32);
    deliver_through_gate(EVENT_HARDWARE_EXCEPTION, VECTOR_GP, EVENT_INFORMATION_ERROR_CODE);
    CHECK_EQ(get(OLD_TSS + TSS_EFLAGS), RFLAGS_RF | 2);
    CHECK_EQ(VMCS[VMCS_GUEST_RSP], NEW_STACK - 4);
    CHECK_EQ(get(NEW_STACK - 4), 0x1234);
    start(FAKE_PROTECTED_32);
    put(NEW_TSS + TSS_DS, SEL_OUTSIDE);
    deliver_through_gate(EVENT_EXTERNAL_INTERRUPT, 0x40, 0);
    check_raised(VECTOR_TS, SEL_OUTSIDE | 1);
    start(FAKE_PROTECTED_32);
    put_descriptor(SEL_NEW, NEW_TSS, 0x67, 0x09);
    deliver_through_gate(EVENT_HARDWARE_EXCEPTION, VECTOR_GP, EVENT_INFORMATION_ERROR_CODE);
    check_raised(VECTOR_DF, 0);
}

static void error_code_needs_room(void)
{
    start(FAKE_PROTECTED_32);
    put_descriptor(SEL_USER_DATA & ~3, 0, 0xfff, 0x93);
    put(NEW_TSS + TSS_SS, SEL_USER_DATA & ~3);
    deliver_through_gate(EVENT_HARDWARE_EXCEPTION, VECTOR_GP, EVENT_INFORMATION_ERROR_CODE);
    check_raised(VECTOR_SS, 1);
    CHECK_EQ(VMCS[VMCS_GUEST_RIP], NEW_EIP);
}

static void nmis_are_blocked_until_iret(void)
{
    start(FAKE_PROTECTED_32);
    deliver_through_gate(EVENT_NMI, VECTOR_NMI, 0);
    CHECK_EQ(VMCS[VMCS_GUEST_INTERRUPTIBILITY_STATE], BLOCKING_BY_NMI);
    start(FAKE_PROTECTED_32);
    put_descriptor(SEL_NEW, NEW_TSS, 0x67, 0x8b);
    VMCS[VMCS_GUEST_INTERRUPTIBILITY_STATE] = BLOCKING_BY_NMI;
    switch_to(SEL_NEW, TASK_SWITCH_IRET);
    CHECK_EQ(VMCS[VMCS_GUEST_INTERRUPTIBILITY_STATE], 0);
}

/* SDM: Debug Exceptions: local breakpoints end with the task; T traps before its first
 * instruction. */
static void debug_registers_follow_the_task(void)
{
    start(FAKE_PROTECTED_32);
    state_write_dr7(&VCPU, 0x7ff);
    put(NEW_TSS + TSS_TRAP, 1);
    VMCS[VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS] = PENDING_DEBUG_ENABLED | 1;
    VMCS[VMCS_GUEST_INTERRUPTIBILITY_STATE] = BLOCKING_BY_MOV_SS;
    switch_to(SEL_NEW, TASK_SWITCH_JMP);
    CHECK_EQ(VMCS[VMCS_GUEST_DR7], 0x6aa);
    CHECK_EQ(fake_hw.dr[6], 0xffff8ff0);
    CHECK_EQ(VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION],
             EVENT_INFORMATION_VALID | EVENT_HARDWARE_EXCEPTION << 8 | VECTOR_DB);
    CHECK_EQ(VMCS[VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS], 0);
    CHECK_EQ(VMCS[VMCS_GUEST_INTERRUPTIBILITY_STATE], 0);
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS], 2);
}

TEST_MAIN({"tss_is_looked_at_again", tss_is_looked_at_again},
          {"old_tss_must_hold_the_registers", old_tss_must_hold_the_registers},
          {"page_faults_change_nothing", page_faults_change_nothing},
          {"selectors_fault_in_the_new_task", selectors_fault_in_the_new_task},
          {"ldt_is_loaded_first", ldt_is_loaded_first},
          {"task_may_be_of_virtual_8086_mode", task_may_be_of_virtual_8086_mode},
          {"flags_and_link_follow_the_source", flags_and_link_follow_the_source},
          {"flags_have_no_reserved_bits", flags_have_no_reserved_bits},
          {"pae_loads_its_pointers", pae_loads_its_pointers},
          {"events_come_through_gates", events_come_through_gates},
          {"error_code_needs_room", error_code_needs_room},
          {"nmis_are_blocked_until_iret", nmis_are_blocked_until_iret},
          {"debug_registers_follow_the_task", debug_registers_follow_the_task})
