/* The delivery of events in software: frames, registers, and every check of the SDM's pseudo-code.
 */
#include "kernel/vm/deliver.h"

#include <string.h>

#include "tests/check.h"

#define RAM_SIZE 0x100000ull
#define GDT 0x1000
#define IDT 0x2000
#define TSS 0x3000
#define TABLES 0x4000 /* PML4, PDPT, page directory */
#define STACK 0x9000  /* of the interrupted code */
#define INNER 0xa000  /* of the TSS */
#define IST 0xb000
#define HANDLER 0x12345
#define RIP 0x8000
#define HOLE 0x40000000ull

#define SEL_CODE 0x08
#define SEL_STACK 0x10
#define SEL_USER_CODE 0x1b
#define SEL_USER_STACK 0x23
#define SEL_CONFORMING 0x28
#define SEL_CODE64 0x30
#define SEL_FREE 0x38

#define CODE32 0xcf9b000000ffffull
#define DATA32 0xcf93000000ffffull
#define CODE64 0xaf9b000000ffffull
#define USER 0x600000000000ull /* DPL 3 */
#define ACCESSED 0x10000000000ull
#define PRESENT 0x800000000000ull

static _Alignas(4096) uint8_t ram[RAM_SIZE];
static struct guest_mem mem;
static struct bus bus;
static struct guest_access access;
static struct deliver_state state;
static struct exception exception;
static struct event event;

static void put(uint64_t at, unsigned size, uint64_t value)
{
    memcpy(ram + at, &value, size);
}

static uint64_t get(uint64_t at, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, ram + at, size);
    return value;
}

static void put_gate(unsigned vector, unsigned size, uint16_t selector, unsigned access_byte)
{
    put(IDT + vector * size, 8,
        (HANDLER & 0xffff) | (uint64_t)selector << 16 | (uint64_t)access_byte << 40 |
            (uint64_t)(HANDLER >> 16) << 48);
}

static void use(enum segment_register number, uint16_t selector, uint32_t rights)
{
    state.segment[number] =
        (struct segment){.selector = selector, .limit = 0xffffffff, .access = rights};
}

static void use_code(uint16_t selector, unsigned cpl, bool wide)
{
    use(SEG_CS, selector, (wide ? 0xa09b : 0xc09b) | cpl << 5);
    use(SEG_SS, selector + 8, 0xc093 | cpl << 5);
    state.cpl = (uint8_t)cpl;
}

static void begin(void)
{
    memset(ram, 0, sizeof(ram));
    memset(&mem, 0, sizeof(mem));
    memset(&bus, 0, sizeof(bus));
    CHECK_EQ(guest_mem_add(&mem, GPA(0), RAM_SIZE, ram), STATUS_OK);
    guest_access_init(&access, &mem, &bus);
    access.paging.maxphyaddr = 40;
    put(GDT + SEL_CODE, 8, CODE32 & ~ACCESSED);
    put(GDT + SEL_STACK, 8, DATA32 & ~ACCESSED);
    put(GDT + (SEL_USER_CODE & ~3), 8, CODE32 | USER);
    put(GDT + (SEL_USER_STACK & ~3), 8, DATA32 | USER);
    put(GDT + SEL_CONFORMING, 8, CODE32 | 4ull << 40);
    put(GDT + SEL_CODE64, 8, CODE64);
    state = (struct deliver_state){.rip = RIP,
                                   .rsp = STACK,
                                   .rflags = RFLAGS_FIXED | RFLAGS_IF | RFLAGS_TF | RFLAGS_NT,
                                   .cr0 = CR0_PE,
                                   .gdtr = {GDT, 0x3f},
                                   .idtr = {IDT, 0xfff}};
    use_code(SEL_CODE, 0, false);
    state.segment[SEG_TR] =
        (struct segment){.selector = 0x50, .base = TSS, .limit = 0x67, .access = 0x8b};
    state.segment[SEG_LDTR] = (struct segment){.access = (uint32_t)SEGMENT_UNUSABLE};
    put(TSS + 4, 4, INNER);
    put(TSS + 8, 4, SEL_STACK);
    event = (struct event){.valid = true, .type = EVENT_HARDWARE_EXCEPTION, .vector = VECTOR_GP};
    event.has_error_code = true;
    event.error_code = 0x1234;
    put_gate(VECTOR_GP, 8, SEL_CODE, 0x8e);
}

static void begin_user(void)
{
    begin();
    use_code(SEL_USER_CODE, 3, false);
}

static void begin_long(void)
{
    begin();
    put(TABLES, 8, (TABLES + 0x1000) | 7);
    put(TABLES + 0x1000, 8, (TABLES + 0x2000) | 7);
    put(TABLES + 0x2000, 8, 0x87);
    put(TABLES + 0x2008, 8, HOLE | 0x87); /* linear 2 MiB on: nobody */
    state.cr0 |= CR0_PG | CR0_WP;
    access.paging.cr3 = TABLES;
    access.paging.cr4 = CR4_PAE;
    access.paging.efer = EFER_LMA | EFER_LME | EFER_NXE;
    put_gate(VECTOR_GP, 16, SEL_CODE64, 0x8e);
    use_code(SEL_CODE64, 0, true);
    put(TSS + 4, 8, INNER);
    put(TSS + 36, 8, IST + 7);
}

static void begin_real(void)
{
    begin();
    state.cr0 = 0;
    state.idtr = (struct deliver_table){0, 0x3ff};
    state.rflags |= RFLAGS_AC | RFLAGS_RF;
    use(SEG_CS, 0x800, 0x9b);
    use(SEG_SS, 0x100, 0x93);
    state.segment[SEG_CS].base = 0x8000;
    state.segment[SEG_SS].base = 0x1000;
    state.segment[SEG_CS].limit = state.segment[SEG_SS].limit = 0xffff;
    put(VECTOR_GP * 4, 4, 0x45678123);
}

static void begin_v86(void)
{
    begin();
    state.rflags |= RFLAGS_VM | 3 << 12;
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        use((enum segment_register)i, (uint16_t)(0x100 * i + 0x100), 0xf3);
        state.segment[i].base = state.segment[i].selector * 16u;
        state.segment[i].limit = 0xffff;
    }
    state.cpl = 3;
    state.rip = 0x777;
    state.rsp = 0x800;
}

static enum deliver_result deliver(void)
{
    exception = (struct exception){0};
    return deliver_event(&access, &state, &event, &exception);
}

static void check_frame(uint64_t at, unsigned size, const uint64_t *values, unsigned count)
{
    CHECK_EQ(state.rsp, at);
    for (unsigned i = 0; i < count; i++)
        CHECK_EQ(get(at + i * size, size), values[i]);
}

#define FLAGS_PUSHED (RFLAGS_FIXED | RFLAGS_IF | RFLAGS_TF | RFLAGS_NT | RFLAGS_RF)

static void same_level(void)
{
    const uint64_t frame[] = {0x1234, RIP, SEL_CODE, FLAGS_PUSHED};
    begin();
    CHECK_EQ(deliver(), DELIVER_DONE);
    check_frame(STACK - 16, 4, frame, 4);
    CHECK_EQ(state.rip, HANDLER);
    CHECK_EQ(state.rflags, RFLAGS_FIXED);
    CHECK_EQ(state.segment[SEG_CS].selector, SEL_CODE);
    CHECK_EQ(state.segment[SEG_CS].access, 0xc09b);
    CHECK_EQ(state.segment[SEG_CS].limit, 0xffffffff);
    CHECK_EQ(get(GDT + SEL_CODE, 8), CODE32); /* accessed */
    /* A trap gate leaves IF. */
    begin();
    put_gate(VECTOR_GP, 8, SEL_CODE, 0x8f);
    CHECK_EQ(deliver(), DELIVER_DONE);
    CHECK_EQ(state.rflags, RFLAGS_FIXED | RFLAGS_IF);
}

static void gate_of_16_bits(void)
{
    const uint64_t frame[] = {0x1234, RIP, SEL_CODE, FLAGS_PUSHED & 0xffff};
    begin();
    put_gate(VECTOR_GP, 8, SEL_CODE, 0x86);
    CHECK_EQ(deliver(), DELIVER_DONE);
    check_frame(STACK - 8, 2, frame, 4);
    CHECK_EQ(state.rip, HANDLER & 0xffff);
}

static void inner_level(void)
{
    const uint64_t frame[] = {0x1234, RIP, SEL_USER_CODE, FLAGS_PUSHED, STACK, SEL_USER_STACK};
    begin_user();
    CHECK_EQ(deliver(), DELIVER_DONE);
    check_frame(INNER - 24, 4, frame, 6);
    CHECK_EQ(state.cpl, 0);
    CHECK_EQ(state.segment[SEG_SS].selector, SEL_STACK);
    CHECK_EQ(state.segment[SEG_SS].access, 0xc093);
    CHECK_EQ(get(GDT + SEL_STACK, 8), DATA32);
    /* From a TSS of 16 bits */
    begin_user();
    state.segment[SEG_TR].access = 0x83;
    put(TSS + 2, 2, INNER);
    put(TSS + 4, 2, SEL_STACK);
    CHECK_EQ(deliver(), DELIVER_DONE);
    CHECK_EQ(state.rsp, INNER - 24);
    /* A conforming handler stays at the level and on the stack. */
    begin_user();
    put_gate(VECTOR_GP, 8, SEL_CONFORMING, 0x8e);
    CHECK_EQ(deliver(), DELIVER_DONE);
    CHECK_EQ(state.cpl, 3);
    CHECK_EQ(state.rsp, STACK - 16);
    CHECK_EQ(state.segment[SEG_CS].selector, SEL_CONFORMING | 3);
    /* A stack of 16 bits keeps the upper half of ESP. */
    begin_user();
    state.rsp = 0x90009000;
    put(GDT + SEL_STACK, 8, DATA32 & ~(1ull << 54));
    CHECK_EQ(deliver(), DELIVER_DONE);
    CHECK_EQ(state.rsp, 0x9000a000 - 24);
}

static void long_mode(void)
{
    const uint64_t frame[] = {0x1234, RIP, SEL_CODE64, FLAGS_PUSHED, STACK + 9, SEL_CODE64 + 8};
    begin_long();
    state.rsp = STACK + 9;
    CHECK_EQ(deliver(), DELIVER_DONE);
    check_frame(STACK - 48, 8, frame, 6);
    CHECK_EQ(state.segment[SEG_SS].selector, SEL_CODE64 + 8);
    begin_long();
    put_gate(VECTOR_GP, 16, SEL_CODE64, 0x8e);
    put(IDT + VECTOR_GP * 16 + 4, 1, 1); /* IST1 */
    CHECK_EQ(deliver(), DELIVER_DONE);
    CHECK_EQ(state.rsp, IST - 48);
    begin_long();
    use_code(SEL_USER_CODE, 3, false);
    CHECK_EQ(deliver(), DELIVER_DONE);
    CHECK_EQ(state.rsp, INNER - 48);
    CHECK_EQ(state.segment[SEG_SS].selector, 0);
    CHECK_EQ(state.segment[SEG_SS].access, SEGMENT_UNUSABLE);
    CHECK_EQ(state.cpl, 0);
    CHECK_EQ(state.segment[SEG_CS].access, 0xa09b);
    /* The frame goes nowhere. */
    begin_long();
    state.rsp = 0x201000;
    CHECK_EQ(deliver(), DELIVER_DONE);
    CHECK_EQ(state.rsp, 0x201000 - 48);
}

static void real_mode(void)
{
    const uint64_t frame[] = {RIP, 0x800, (FLAGS_PUSHED | RFLAGS_AC) & 0xffff};
    begin_real();
    CHECK_EQ(deliver(), DELIVER_DONE);
    CHECK_EQ(state.rsp, STACK - 6);
    state.rsp += 0x1000;
    check_frame(STACK + 0x1000 - 6, 2, frame, 3);
    CHECK_EQ(state.rip, 0x8123);
    CHECK_EQ(state.segment[SEG_CS].selector, 0x4567);
    CHECK_EQ(state.segment[SEG_CS].base, 0x45670);
    CHECK_EQ(state.rflags, RFLAGS_FIXED | RFLAGS_NT);
    /* The stack wraps between words and not in one. */
    begin_real();
    state.rsp = 4;
    CHECK_EQ(deliver(), DELIVER_DONE);
    CHECK_EQ(state.rsp, 0xfffe);
    begin_real();
    state.rsp = 3;
    CHECK_EQ(deliver(), DELIVER_FAULT);
    CHECK_EQ(exception.vector, VECTOR_SS);
    CHECK(!exception.has_error_code);
    begin_real();
    state.idtr.limit = VECTOR_GP * 4 + 2;
    CHECK_EQ(deliver(), DELIVER_FAULT);
    CHECK_EQ(exception.vector, VECTOR_GP);
    CHECK(!exception.has_error_code);
}

static void virtual_8086_mode(void)
{
    const uint64_t flags = FLAGS_PUSHED | RFLAGS_VM | 3 << 12;
    const uint64_t frame[] = {0x1234, 0x777, 0x200, flags, 0x800,
                              0x300,  0x100, 0x400, 0x500, 0x600};
    begin_v86();
    CHECK_EQ(deliver(), DELIVER_DONE);
    check_frame(INNER - 40, 4, frame, 10);
    CHECK_EQ(state.cpl, 0);
    CHECK_EQ(state.rflags, RFLAGS_FIXED | 3 << 12);
    for (unsigned i = SEG_DS; i <= SEG_GS; i++) {
        CHECK_EQ(state.segment[i].selector, 0);
        CHECK_EQ(state.segment[i].access, SEGMENT_UNUSABLE);
    }
    /* A handler above ring 0 */
    begin_v86();
    put_gate(VECTOR_GP, 8, SEL_CONFORMING, 0x8e);
    CHECK_EQ(deliver(), DELIVER_FAULT);
    CHECK_EQ(exception.vector, VECTOR_GP);
    CHECK_EQ(exception.error_code, SEL_CONFORMING | 1);
}

static void software_interrupt(unsigned vector, unsigned dpl)
{
    event = (struct event){.valid = true,
                           .type = EVENT_SOFTWARE_INTERRUPT,
                           .vector = (uint8_t)vector,
                           .instruction_length = 2};
    put_gate(vector, 8, SEL_CODE, 0x8e | dpl << 5);
}

/* SDM: Table "Software Interrupt Handling Methods While in Virtual-8086 Mode". */
static void redirected_interrupts_by_map(void)
{
    const uint64_t map = 0x68 + 32;
    for (unsigned iopl = 0; iopl <= 3; iopl += 3)
        for (unsigned bit = 0; bit < 2; bit++) {
            begin_v86();
            software_interrupt(0x21, 3);
            access.paging.cr4 = CR4_VME;
            state.rflags = RFLAGS_FIXED | RFLAGS_VM | iopl << 12 | BIT(19);
            state.segment[SEG_TR].limit = 0x200;
            put(TSS + 0x66, 2, map);
            put(TSS + map - 32 + 0x21 / 8, 1, bit << 1);
            put(0x21 * 4, 4, 0x45678123);
            if (bit == 1 && iopl < 3) {
                CHECK_EQ(deliver(), DELIVER_FAULT);
                CHECK_EQ(exception.vector, VECTOR_GP);
                CHECK_EQ(exception.error_code, 0);
                continue;
            }
            CHECK_EQ(deliver(), DELIVER_DONE);
            CHECK_EQ(state.cpl, bit == 1 ? 0 : 3);
            CHECK_EQ(state.rip, bit == 1 ? HANDLER : 0x8123);
            if (bit == 1)
                continue;
            CHECK_EQ(state.rsp, 0x800 - 6);
            CHECK_EQ(get(0x3000 + 0x800 - 6, 2), 0x779);
            CHECK_EQ(get(0x3000 + 0x800 - 2, 2),
                     RFLAGS_FIXED | 3 << 12 | (iopl < 3 ? RFLAGS_IF : 0));
            CHECK_EQ(state.rflags & BIT(19), iopl < 3 ? 0 : BIT(19));
        }
}

static void redirection_needs_a_map(void)
{
    for (unsigned limit = 0x66; limit < 0x69; limit++) {
        begin_v86();
        software_interrupt(0x21, 3);
        access.paging.cr4 = CR4_VME;
        state.segment[SEG_TR].limit = limit;
        put(TSS + 0x66, 2, 0x84); /* the bit of 21H is in byte 68H */
        CHECK_EQ(deliver(), limit < 0x68 ? DELIVER_FAULT : DELIVER_DONE);
        CHECK_EQ(exception.vector, limit < 0x68 ? VECTOR_GP : 0);
    }
    begin_v86();
    software_interrupt(0x21, 3);
    access.paging.cr4 = CR4_VME;
    state.segment[SEG_TR].access = 0x83; /* of 16 bits: it has no map */
    state.segment[SEG_TR].limit = 0x200;
    put(TSS + 0x66, 2, 0x84);
    CHECK_EQ(deliver(), DELIVER_FAULT);
}

static void software_events(void)
{
    begin();
    software_interrupt(0x80, 0);
    CHECK_EQ(deliver(), DELIVER_DONE);
    CHECK_EQ(get(STACK - 12, 4), RIP + 2);
    CHECK_EQ(get(STACK - 4, 4) & RFLAGS_RF, 0);
    begin_user();
    software_interrupt(0x80, 0);
    CHECK_EQ(deliver(), DELIVER_FAULT);
    CHECK_EQ(exception.vector, VECTOR_GP);
    CHECK_EQ(exception.error_code, 0x80 * 8 + 2);
    event.type = EVENT_PRIVILEGED_SOFTWARE_EXCEPTION;
    CHECK_EQ(deliver(), DELIVER_DONE);
    begin_user();
    software_interrupt(VECTOR_BP, 2);
    event.type = EVENT_SOFTWARE_EXCEPTION;
    CHECK_EQ(deliver(), DELIVER_FAULT);
    CHECK_EQ(exception.error_code, VECTOR_BP * 8 + 2);
    /* In virtual-8086 mode INT3 does not ask for IOPL 3. */
    begin_v86();
    state.rflags &= ~(uint64_t)(3 << 12);
    software_interrupt(VECTOR_BP, 3);
    CHECK_EQ(deliver(), DELIVER_FAULT);
    CHECK_EQ(exception.error_code, 0);
    event.type = EVENT_SOFTWARE_EXCEPTION;
    CHECK_EQ(deliver(), DELIVER_DONE);
}

/* ---- Every check: what is wrong, what comes of it ---- */

static void limit_of_idt(void)
{
    state.idtr.limit = VECTOR_GP * 8 + 6;
}
static void gate_type(void)
{
    put_gate(VECTOR_GP, 8, SEL_CODE, 0x8c);
}
static void gate_is_segment(void)
{
    put_gate(VECTOR_GP, 8, SEL_CODE, 0x9e);
}
static void gate_absent(void)
{
    put_gate(VECTOR_GP, 8, SEL_CODE, 0x0e);
}
static void code_null(void)
{
    put_gate(VECTOR_GP, 8, 3, 0x8e);
    put(GDT, 8, CODE32);
}
static void code_outside(void)
{
    put_gate(VECTOR_GP, 8, 0x41, 0x8e);
    put(GDT + 0x40, 8, CODE32);
}
static void code_in_no_ldt(void)
{
    put_gate(VECTOR_GP, 8, 0x0c, 0x8e);
    state.segment[SEG_LDTR].limit = 0xffff;
    put(8, 8, CODE32);
}
static void code_is_data(void)
{
    put_gate(VECTOR_GP, 8, SEL_STACK, 0x8e);
}
static void code_is_outer(void)
{
    put_gate(VECTOR_GP, 8, SEL_USER_CODE, 0x8e);
}
static void code_absent(void)
{
    put(GDT + SEL_CODE, 8, CODE32 & ~PRESENT);
}
static void code_limit(void)
{
    put(GDT + SEL_CODE, 8, 0x419b000000ffffull); /* 1FFFFH, in bytes */
    put(IDT + VECTOR_GP * 8 + 6, 2, 2);
}
static void stack_limit(void)
{
    state.segment[SEG_SS].limit = STACK - 10;
}
static void tss_limit(void)
{
    state.segment[SEG_TR].limit = 8;
}
static void stack_null(void)
{
    put(TSS + 8, 4, 0);
    put(GDT, 8, DATA32);
}
static void stack_outside(void)
{
    put(TSS + 8, 4, 0x40);
    put(GDT + 0x40, 8, DATA32);
}
static void stack_rpl(void)
{
    put(TSS + 8, 4, SEL_STACK | 1);
}
static void stack_dpl(void)
{
    put(GDT + SEL_STACK, 8, DATA32 | USER);
}
static void stack_read_only(void)
{
    put(GDT + SEL_STACK, 8, DATA32 & ~(2ull << 40));
}
static void stack_is_code(void)
{
    put(TSS + 8, 4, SEL_CODE);
}
static void stack_absent(void)
{
    put(GDT + SEL_STACK, 8, DATA32 & ~PRESENT);
}
static void inner_stack_limit(void)
{
    put(TSS + 4, 4, 0x12);
}
static void code_not_long(void)
{
    put_gate(VECTOR_GP, 16, SEL_CODE, 0x8e);
}
static void gate_of_16(void)
{
    put_gate(VECTOR_GP, 16, SEL_CODE64, 0x86);
}
static void handler_not_canonical(void)
{
    put(IDT + VECTOR_GP * 16 + 8, 8, 0x8000);
}
static void stack_not_canonical(void)
{
    state.rsp = BIT(47) + 0x20;
}
static void table_not_canonical(void)
{
    state.idtr.base = 0x7ffffffffff0;
}
static void stack_not_mapped(void)
{
    state.rsp = 0x600000;
}
static void misaligned(void)
{
    put_gate(VECTOR_GP, 8, SEL_CONFORMING, 0x8e);
    state.rsp = STACK + 2;
    state.cr0 |= CR0_AM;
    state.rflags |= RFLAGS_AC;
}

static void every_check(void)
{
    static const struct {
        void (*start)(void);
        void (*spoil)(void);
        unsigned vector;
        uint32_t code;
    } cases[] = {
        {begin, limit_of_idt, VECTOR_GP, VECTOR_GP * 8 + 3},
        {begin, gate_type, VECTOR_GP, VECTOR_GP * 8 + 3},
        {begin, gate_is_segment, VECTOR_GP, VECTOR_GP * 8 + 3},
        {begin, gate_absent, VECTOR_NP, VECTOR_GP * 8 + 3},
        {begin, code_null, VECTOR_GP, 1},
        {begin, code_outside, VECTOR_GP, 0x41},
        {begin, code_in_no_ldt, VECTOR_GP, 0x0d},
        {begin, code_is_data, VECTOR_GP, SEL_STACK + 1},
        {begin, code_is_outer, VECTOR_GP, (SEL_USER_CODE & ~3u) + 1},
        {begin, code_absent, VECTOR_NP, SEL_CODE + 1},
        {begin, code_limit, VECTOR_GP, 1},
        {begin, stack_limit, VECTOR_SS, 1},
        {begin_user, tss_limit, VECTOR_TS, 0x51},
        {begin_user, stack_null, VECTOR_TS, 1},
        {begin_user, stack_outside, VECTOR_TS, 0x41},
        {begin_user, stack_rpl, VECTOR_TS, SEL_STACK + 1},
        {begin_user, stack_dpl, VECTOR_TS, SEL_STACK + 1},
        {begin_user, stack_read_only, VECTOR_TS, SEL_STACK + 1},
        {begin_user, stack_is_code, VECTOR_TS, SEL_CODE + 1},
        {begin_user, stack_absent, VECTOR_SS, SEL_STACK + 1},
        {begin_user, inner_stack_limit, VECTOR_SS, SEL_STACK + 1},
        {begin_user, misaligned, VECTOR_AC, 0},
        {begin_long, code_not_long, VECTOR_GP, SEL_CODE + 1},
        {begin_long, gate_of_16, VECTOR_GP, VECTOR_GP * 8 + 3},
        {begin_long, handler_not_canonical, VECTOR_GP, 1},
        {begin_long, stack_not_canonical, VECTOR_SS, 1},
        {begin_long, table_not_canonical, VECTOR_GP, 1},
        {begin_long, stack_not_mapped, VECTOR_PF, PF_WRITE},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        static uint8_t copy[RAM_SIZE];
        cases[i].start();
        cases[i].spoil();
        struct deliver_state before = state;
        memcpy(copy, ram + STACK - 0x100, 0x3000);
        CHECK_EQ(deliver(), DELIVER_FAULT);
        CHECK_EQ(exception.vector, cases[i].vector);
        CHECK_EQ(exception.error_code, cases[i].code);
        CHECK(exception.has_error_code);
        CHECK(memcmp(&before, &state, sizeof(state)) == 0);
        CHECK(memcmp(copy, ram + STACK - 0x100, 0x3000) == 0);
    }
    begin();
    put_gate(VECTOR_GP, 8, 0x50, 0x85);
    CHECK_EQ(deliver(), DELIVER_TASK_GATE);
    CHECK_EQ(exception.error_code, 0x50);
}

/* Nothing of the frame is written unless all of it can be. */
static void frames_are_written_whole(void)
{
    begin_long();
    put(TABLES + 0x2008, 8, 0x400087);
    state.rsp = 0x200010; /* two values above the border, the others on a page that is read-only */
    put(TABLES + 0x2000, 8, 0x85);
    put(TABLES + 0x2008, 8, 0x87); /* 2 MiB on: the same memory again */
    CHECK_EQ(deliver(), DELIVER_FAULT);
    CHECK_EQ(exception.vector, VECTOR_PF);
    CHECK_EQ(exception.error_code, PF_PRESENT | PF_WRITE);
    CHECK_EQ(exception.cr2, 0x1ffff8);
    CHECK_EQ(get(8, 8), 0);
    CHECK_EQ(get(0, 8), 0);
}

/* SMAP and user pages: the tables are read as a supervisor does, the pushes are the handler's. */
static void rights(void)
{
    begin_long();
    access.paging.cr4 |= CR4_SMAP;
    CHECK_EQ(deliver(), DELIVER_FAULT);
    CHECK_EQ(exception.vector, VECTOR_PF);
    CHECK_EQ(exception.error_code, PF_PRESENT);
    CHECK_EQ(exception.cr2, IDT + VECTOR_GP * 16);
    begin_long();
    put(TABLES + 0x2000, 8, 0x83); /* a supervisor's page */
    use_code(SEL_USER_CODE, 3, false);
    CHECK_EQ(deliver(), DELIVER_DONE);
}

TEST_MAIN({"same_level", same_level}, {"gate_of_16_bits", gate_of_16_bits},
          {"inner_level", inner_level}, {"long_mode", long_mode}, {"real_mode", real_mode},
          {"virtual_8086_mode", virtual_8086_mode},
          {"redirected_interrupts_by_map", redirected_interrupts_by_map},
          {"redirection_needs_a_map", redirection_needs_a_map},
          {"software_events", software_events}, {"every_check", every_check},
          {"frames_are_written_whole", frames_are_written_whole}, {"rights", rights})
