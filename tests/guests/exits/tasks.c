/*
 * Hardware task switches: JMP, CALL, IRET, an interrupt and a fault through a task gate, to tasks
 * with a TSS of 32 and of 16 bits. The new task begins with INT3, which takes its registers down.
 */
#include "tests/guests/exits/exits.h"

#define SEL_DATA 0x10
#define SEL_CODE32 0x18
#define SEL_TSS32 0x58
#define SEL_TASK32 (0xa0 | 3)
#define SEL_TASK16 (0xa8 | 3)
#define TASK_VECTOR 0x40
#define GATE_TASK 0xe500ull /* present, DPL 3 */
#define TYPE_TSS16 0x61     /* DPL 3 */
#define TYPE_TSS32 0x69
#define TYPE_BUSY 2
#define FLAG_NT BIT(14)
#define FLAG_DF BIT(10)
#define CR0_TS BIT(3)
#define DR6_BT BIT(15)
#define INT3 0xcc
#define SEL_ABSENT 0x68
#define SEL_USER_CODE32 (0x30 | 3)
#define SEL_USER_DATA (0x38 | 3)
#define VECTOR_TS 10
#define VECTOR_NP 11

typedef const struct exits_environment environment;

enum way { BY_JMP, BY_CALL, BY_INT, BY_FAULT, BY_IRET, WAYS };
static const char *const names[WAYS] = {"jmp", "call", "int", "fault", "iret"};

struct PACKED tss32 {
    uint32_t link, stacks[6], cr3, eip, eflags, gpr[8];
    uint32_t segment[6], ldtr;
    uint16_t trap, io_map;
};

struct PACKED tss16 {
    uint16_t link, stacks[6], ip, flags, gpr[8];
    uint16_t segment[4], ldtr;
};

extern uint64_t exits_gdt[], idt32[256], pdpt_pae[4];
extern uint32_t page_directory32[1024];
extern uint8_t exits_tss32[];

static struct tss32 task32 ALIGNED(128);
static struct tss16 task16 ALIGNED(64);
static uint8_t code[16] ALIGNED(16);
static uint8_t stack[256] ALIGNED(16);

static uint64_t tss_descriptor(uintptr_t base, uint64_t limit, uint64_t type)
{
    return limit | (base & 0xffffff) << 16 | (type | 0x80) << 40 | (base >> 24 & 0xff) << 56;
}

static uint32_t cr3_of(environment *env)
{
    return env->mode == MODE_PAE       ? (uint32_t)(uintptr_t)pdpt_pae
           : env->mode == MODE_PAGED32 ? (uint32_t)(uintptr_t)page_directory32
                                       : 0;
}

/* A 16-bit TSS holds the low halves: code and stack of the segment at EXITS_SEGMENT. */
static void make_tasks(environment *env, bool busy, bool traps)
{
    task32 = (struct tss32){.link = 0xeeeeeeee,
                            .cr3 = cr3_of(env),
                            .eip = (uint32_t)(uintptr_t)code,
                            .eflags = 0x8d7 | FLAG_DF,
                            .trap = traps,
                            .io_map = sizeof(task32)};
    task16 = (struct tss16){.link = 0xeeee, .ip = 0xc000, .flags = 0x8d7};
    for (unsigned i = 0; i < 8; i++) {
        task32.gpr[i] = 0x01010101 * (i + 0x21);
        task16.gpr[i] = (uint16_t)(0x101 * (i + 0x31));
    }
    task32.gpr[RSP] = (uint32_t)(uintptr_t)(stack + sizeof(stack));
    task16.gpr[RSP] = 0xb000;
    for (unsigned i = 0; i < 6; i++)
        task32.segment[i] = i == 1 ? SEL_CODE32 : SEL_DATA;
    for (unsigned i = 0; i < 4; i++)
        task16.segment[i] = i == 1 ? SEL_USER_CODE16 : SEL_USER_DATA16;
    /* What takes the registers down wants a stack whose pointer has 32 bits, at an inner level. */
    task16.stacks[0] = 0x9f00;
    task16.stacks[1] = SEL_DATA;
    code[0] = INT3;
    *(volatile uint8_t *)(uintptr_t)(EXITS_SEGMENT + 0xc000) = INT3;
    exits_gdt[SEL_TASK32 / 8] =
        tss_descriptor((uintptr_t)&task32, sizeof(task32) - 1, TYPE_TSS32 | (busy ? TYPE_BUSY : 0));
    exits_gdt[SEL_TASK16 / 8] =
        tss_descriptor((uintptr_t)&task16, sizeof(task16) - 1, TYPE_TSS16 | (busy ? TYPE_BUSY : 0));
}

/* Returns the instruction's length. */
static unsigned write_code(environment *env, const struct exits_place *at, enum way way,
                           uint16_t selector)
{
    uint8_t *out = at->code;
    unsigned length = 0, offset = env->bits == BITS_16 ? 2 : 4;
    switch (way) {
    case BY_JMP:
    case BY_CALL:
        out[length++] = way == BY_JMP ? 0xea : 0x9a;
        for (unsigned i = 0; i < offset; i++)
            out[length++] = 0x77; /* is not looked at */
        out[length++] = (uint8_t)selector;
        out[length++] = (uint8_t)(selector >> 8);
        break;
    case BY_INT:
        out[length++] = 0xcd;
        out[length++] = TASK_VECTOR;
        break;
    case BY_FAULT: /* MOV to a segment register of a selector past the table's limit: #GP(f0f8H) */
        out[length++] = 0x8e;
        out[length++] = 0xc2; /* MOV ES, DX */
        break;
    default:
        out[length++] = 0xcf;
        break;
    }
    out[length] = INT3;
    return length;
}

/* The old task's registers are in its TSS. */
static void check_old(environment *env, uint64_t rip, uint64_t rflags, const char *what)
{
    const struct tss32 *old = (const struct tss32 *)exits_tss32;
    guest_expect(old->eip, rip, what);
    guest_expect(old->eflags, rflags, what);
    for (unsigned i = 0; i < 8; i++)
        if (i != RSP || env->bits != BITS_16)
            guest_expect(old->gpr[i], (uint32_t)exits_run.gpr[i], what);
    guest_expect(old->segment[1] & 0xffff, env->cs, what);
    guest_expect(old->segment[2] & 0xffff, env->ss, what);
    guest_expect(old->segment[3] & 0xffff, env->ds, what);
}

static void check_new32(bool nested, bool has_code, const char *what)
{
    guest_expect(exits_run.out.cs, SEL_CODE32, what);
    guest_expect(exits_run.out.ss, SEL_DATA, what);
    guest_expect(exits_run.out.rflags, (task32.eflags) | (nested ? FLAG_NT : 0), what);
    for (unsigned i = 0; i < 8; i++)
        guest_expect((uint32_t)exits_run.out.gpr[i], task32.gpr[i] - (i == RSP && has_code ? 4 : 0),
                     what);
    guest_expect(task32.link, nested ? 0xeeee0000 | SEL_TSS32 : 0xeeeeeeee, what);
    if (has_code)
        guest_expect(*(uint32_t *)(stack + sizeof(stack) - 4), 0xf0f8, what);
}

static void check_new16(bool nested, bool has_code, const char *what)
{
    guest_expect(exits_run.out.cs, SEL_USER_CODE16, what);
    guest_expect(exits_run.out.ss, SEL_USER_DATA16, what);
    guest_expect(exits_run.out.rip, 0xc001, what);
    guest_expect(exits_run.out.rflags, (uint64_t)task16.flags | (nested ? FLAG_NT : 0), what);
    for (unsigned i = 0; i < 8; i++)
        guest_expect(exits_run.out.gpr[i] & 0xffff,
                     task16.gpr[i] - (i == RSP && has_code ? 2u : 0u), what);
    guest_expect(task16.link, nested ? SEL_TSS32 : 0xeeee, what);
}

static bool is_busy(uint16_t selector)
{
    return (exits_gdt[selector / 8] >> 40 & TYPE_BUSY) != 0;
}

static void run_switch(environment *env, enum way way, bool wide, bool traps)
{
    struct exits_place at;
    uint16_t selector = wide ? SEL_TASK32 : SEL_TASK16;
    bool nested = way == BY_CALL || way == BY_INT || way == BY_FAULT, has_code = way == BY_FAULT;
    unsigned vector = way == BY_FAULT ? VECTOR_GP : TASK_VECTOR;
    exits_find_place(env, &at);
    exits_prepare(env, &at);
    make_tasks(env, way == BY_IRET, traps);
    unsigned length = write_code(env, &at, way, selector);
    exits_run.gpr[RDX] = 0xf0f8;
    uint64_t saved = exits_run.rflags | (has_code ? FLAG_RF : 0), gate = idt32[vector];
    exits_run.rflags |= way == BY_IRET ? FLAG_NT : 0;
    *(uint32_t *)exits_tss32 = way == BY_IRET ? selector : 0;
    idt32[vector] = GATE_TASK << 32 | (uint64_t)(selector & ~3u) << 16;
    exits_go(env);
    idt32[vector] = gate;
    guest_expect(exits_run.out.vector, traps ? VECTOR_DB : VECTOR_BP, names[way]);
    guest_expect(exits_run.out.dr6 & 0xe00f, traps ? DR6_BT : 0, names[way]);
    check_old(env, at.rip + (has_code ? 0 : length), saved, names[way]);
    if (wide) {
        guest_expect(exits_run.out.rip, (uintptr_t)code + !traps, names[way]);
        check_new32(nested, has_code, names[way]);
    } else {
        check_new16(nested, has_code, names[way]);
    }
    guest_expect(exits_run.out.cr0 & CR0_TS, CR0_TS, "CR0.TS");
    guest_expect(is_busy(selector), 1, "the new task is busy");
    guest_expect((exits_run.out.tss_type & TYPE_BUSY) != 0, nested,
                 "the old task is busy while the new one is nested");
}

/* A selector that the new task cannot have: the fault is in the new task, before its first
 * instruction. */
static void run_bad_selector(environment *env, uint16_t selector, unsigned vector)
{
    struct exits_place at;
    exits_find_place(env, &at);
    exits_prepare(env, &at);
    make_tasks(env, false, true);
    task32.segment[3] = selector;
    write_code(env, &at, BY_JMP, SEL_TASK32);
    exits_go(env);
    guest_expect(exits_run.out.vector, vector, "a data segment");
    guest_expect(exits_run.out.error, selector, "a data segment");
    guest_expect(exits_run.out.cs, SEL_CODE32, "a data segment");
    guest_expect(exits_run.out.rip, (uintptr_t)code, "a data segment");
    guest_expect(exits_run.out.rflags, task32.eflags | FLAG_RF, "a data segment");
    guest_expect(exits_run.out.gpr[RSP], task32.gpr[RSP], "a data segment");
}

/* What a TSS at ring 3 cannot hold, one thing each: #TS in the new task, whose stack for the
 * handler is the inner one, so that it does not depend on SS. SDM: Exception Conditions Checked
 * During a Task Switch. */
enum { ES, CS, SS, DS, FS, GS, LDTR };

static const struct {
    const char *what;
    uint8_t place;
    uint16_t selector;
} bad_selectors[] = {
    {"CS past the table", CS, 0xf0f8 | 3},        {"CS of data", CS, SEL_DATA | 3},
    {"CS of an inner level", CS, SEL_CODE32 | 3}, {"SS null", SS, 0},
    {"SS past the table", SS, 0xf0f8 | 3},        {"SS with another RPL", SS, SEL_USER_DATA & ~3},
    {"SS of an inner level", SS, SEL_DATA | 3},   {"SS of code", SS, SEL_USER_CODE32},
    {"DS of an inner level", DS, SEL_DATA | 3},   {"ES of a system segment", ES, SEL_TASK16},
    {"FS past the table", FS, 0xf0f8 | 3},        {"GS of an inner level", GS, SEL_DATA},
    {"LDTR past the table", LDTR, 0xf0f8},        {"LDTR of data", LDTR, SEL_DATA},
    {"LDTR in the LDT", LDTR, SEL_DATA | 4},
};

static void run_bad_selectors(environment *env)
{
    for (unsigned i = 0; i < ARRAY_SIZE(bad_selectors); i++) {
        const char *what = bad_selectors[i].what;
        uint16_t selector = bad_selectors[i].selector;
        struct exits_place at;
        exits_find_place(env, &at);
        exits_prepare(env, &at);
        make_tasks(env, false, false);
        for (unsigned j = 0; j < 6; j++)
            task32.segment[j] = j == CS ? SEL_USER_CODE32 : SEL_USER_DATA;
        task32.stacks[0] = (uint32_t)(uintptr_t)(stack + sizeof(stack));
        task32.stacks[1] = SEL_DATA;
        if (bad_selectors[i].place == LDTR)
            task32.ldtr = selector;
        else
            task32.segment[bad_selectors[i].place] = selector;
        write_code(env, &at, BY_JMP, SEL_TASK32);
        exits_go(env);
        guest_expect(exits_run.out.vector, VECTOR_TS, what);
        guest_expect(exits_run.out.error, selector & ~3u, what);
        guest_expect(exits_run.out.cs, task32.segment[CS], what);
        guest_expect(exits_run.out.rip, (uintptr_t)code, what);
        guest_expect(exits_run.out.cr0 & CR0_TS, CR0_TS, what);
        guest_expect(is_busy(SEL_TASK32), 1, what);
    }
}

/* A TSS to which there is no way: the fault is in the old task, at the instruction. */
static void run_bad_tss(environment *env, enum way way, uint64_t clear, uint64_t set,
                        unsigned vector, const char *what)
{
    struct exits_place at;
    exits_find_place(env, &at);
    exits_prepare(env, &at);
    make_tasks(env, way == BY_IRET, false);
    uint64_t *descriptor = &exits_gdt[SEL_TASK32 / 8];
    *descriptor = (*descriptor & ~clear) | set;
    uint64_t before = *descriptor;
    write_code(env, &at, way, SEL_TASK32);
    *(uint32_t *)exits_tss32 = way == BY_IRET ? SEL_TASK32 : 0;
    exits_run.rflags |= way == BY_IRET ? FLAG_NT : 0;
    exits_go(env);
    guest_expect(exits_run.out.vector, vector, what);
    guest_expect(exits_run.out.error, SEL_TASK32 & ~3u, what);
    guest_expect(exits_run.out.cs, env->cs, what);
    guest_expect(exits_run.out.rip, at.rip, what);
    guest_expect(exits_run.out.cr0 & CR0_TS, 0, what);
    guest_expect(*descriptor, before, what);
    guest_expect((exits_run.out.tss_type & TYPE_BUSY) != 0, 1, what);
}

static void run_bad_tsss(environment *env)
{
    const uint64_t present = BIT(47), busy = BIT(41), limit = MASK(15, 0);
    run_bad_tss(env, BY_JMP, present, 0, VECTOR_NP, "JMP: not present");
    run_bad_tss(env, BY_JMP, 0, busy, VECTOR_GP, "JMP: busy");
    run_bad_tss(env, BY_JMP, limit, 0x66, VECTOR_TS, "JMP: a limit too small");
    run_bad_tss(env, BY_CALL, 0, busy, VECTOR_GP, "CALL: busy");
    run_bad_tss(env, BY_CALL, limit, 0x66, VECTOR_TS, "CALL: a limit too small");
    run_bad_tss(env, BY_IRET, busy, 0, VECTOR_TS, "IRET: not busy");
    run_bad_tss(env, BY_IRET, present, 0, VECTOR_NP, "IRET: not present");
    run_bad_tss(env, BY_IRET, limit, 0x66, VECTOR_TS, "IRET: a limit too small");
}

static bool is_possible(environment *env, enum way way)
{
    return !env->is_v86 || way == BY_INT;
}

void exits_test_tasks(void)
{
    for (unsigned e = 0; e < exits_environment_count; e++) {
        environment *env = &exits_environments[e];
        if (env->mode == MODE_IA32E || IS_REAL(env))
            continue;
        for (unsigned way = 0; way < WAYS; way++) {
            if (!is_possible(env, (enum way)way))
                continue;
            exits_case("TASK_SWITCH", names[way], "", env);
            run_switch(env, (enum way)way, true, false);
            run_switch(env, (enum way)way, true, true);
            run_switch(env, (enum way)way, false, false);
        }
        if (env->is_v86)
            continue;
        exits_case("TASK_SWITCH", "bad-selector", "", env);
        run_bad_selector(env, 0xf0f8, VECTOR_TS);
        run_bad_selector(env, SEL_ABSENT, VECTOR_NP);
        run_bad_selectors(env);
        exits_case("TASK_SWITCH", "bad-tss", "", env);
        run_bad_tsss(env);
    }
}
