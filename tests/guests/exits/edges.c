/* Instructions that end at a border of the instruction pointer: what comes next is at the border,
 * and if that cannot be fetched, the fault is there. */
#include "tests/guests/exits/exits.h"

#define INT3 0xcc
#define TABLE_FLAGS 7ull
#define LARGE_FLAGS 0x87ull

typedef const struct exits_environment environment;

/* Where the instruction ends; NO_EVENT: the code goes on there with INT3. */
struct edge {
    const char *name;
    uint64_t end;  /* as RIP */
    uint8_t *code; /* just behind the instruction */
    uint16_t cs;   /* 0: the environment's */
    uint8_t fault;
};

extern uint64_t pml4[512], page_directories[2048];
static uint64_t tables[5][512] ALIGNED(4096);

/* The first page of exits_code once more, below the end of the lower half and below 4 GiB (and so
 * at the very top, as lib/start.inc maps the fourth GiB there too); page 0 at 4 GiB. */
static void map_edges(void)
{
    uint64_t code = (uintptr_t)exits_code | TABLE_FLAGS;
    uint64_t *pdpt = (uint64_t *)(pml4[0] & ~0xfffull);
    pml4[255] = (uintptr_t)tables[0] | TABLE_FLAGS;
    tables[0][511] = (uintptr_t)tables[1] | TABLE_FLAGS;
    tables[1][511] = (uintptr_t)tables[2] | TABLE_FLAGS;
    tables[2][511] = code;
    for (unsigned i = 0; i < 511; i++)
        tables[3][i] = (0xffe00000ull + i * 4096ull) | TABLE_FLAGS;
    tables[3][511] = code;
    page_directories[2047] = (uintptr_t)tables[3] | TABLE_FLAGS;
    tables[4][0] = LARGE_FLAGS;
    pdpt[4] = (uintptr_t)tables[4] | TABLE_FLAGS;
    (void)guest_try_write_cr3(guest_read_cr3());
}

static uint8_t *page_zero(void)
{
    uintptr_t address = 0;
    __asm__("" : "+r"(address)); /* no null pointer to the compiler */
    return (uint8_t *)address;
}

static void run_edge(const struct exits_form *form, environment *env, const struct edge *edge,
                     bool steps)
{
    struct exits_place at;
    uint64_t want[GPRS];
    exits_find_place(env, &at);
    at.rip = edge->end - form->length;
    at.code = edge->code - form->length;
    exits_set_form(form, env, &at);
    exits_encode(form, env, at.code);
    exits_run.rip = at.rip;
    exits_run.rflags |= steps ? FLAG_TF : 0;
    exits_run.cs = edge->cs != 0 ? edge->cs : env->cs;
    uint64_t rflags = exits_run.rflags;
    for (unsigned i = 0; i < GPRS; i++)
        want[i] = exits_run.gpr[i];
    exits_go(env);
    if (form->expect != NULL)
        form->expect(env, &at, want, &rflags);
    if (steps) {
        guest_expect(exits_run.out.vector, VECTOR_DB, edge->name);
        exits_check(env, want, rflags, edge->end, edge->name);
    } else if (edge->fault == NO_EVENT) {
        guest_expect(exits_run.out.vector, VECTOR_BP, edge->name);
        exits_check(env, want, rflags, edge->end + 1, edge->name);
    } else {
        guest_expect(exits_run.out.vector, edge->fault, edge->name);
        guest_expect(exits_run.out.error, 0, edge->name);
        exits_check(env, want, rflags | FLAG_RF, edge->end, edge->name);
    }
    exits_drop_events();
}

static void test_edges(const struct exits_form *form, environment *env)
{
    uint8_t *code = exits_code + EXITS_PAGE;
    const struct edge in_16 = {"at 64 KiB", 0x10000,
                               (uint8_t *)(uintptr_t)(EXITS_SEGMENT + 0x10000), 0, VECTOR_GP};
    const struct edge in_32 = {"at 4 GiB", 0, code,
                               env->cpl == 3 ? SEL_USER_EDGE_CODE32 : SEL_EDGE_CODE32, NO_EVENT};
    const struct edge in_64[] = {
        {"at the end of the lower half", BIT(47), code, 0, VECTOR_GP},
        {"at 4 GiB", BIT(32), code, 0, NO_EVENT},
        {"at the top", 0, code, 0, NO_EVENT},
    };
    exits_case(form->reason, form->name, "-at-a-border", env);
    for (unsigned steps = 0; steps < 2; steps++) {
        if (env->bits == BITS_16)
            run_edge(form, env, &in_16, steps);
        if (env->bits == BITS_32)
            run_edge(form, env, &in_32, steps);
        for (unsigned i = 0; i < ARRAY_SIZE(in_64) && env->bits == BITS_64; i++)
            run_edge(form, env, &in_64[i], steps);
    }
}

void exits_test_edges(void)
{
    map_edges();
    *(volatile uint8_t *)page_zero() = INT3;
    exits_code[EXITS_PAGE] = INT3;
    for (unsigned i = 0; i < exits_form_count; i++)
        for (unsigned e = 0; e < exits_environment_count; e++) {
            const struct exits_form *form = &exits_forms[i];
            environment *env = &exits_environments[e];
            if (form->flags & FORM_EDGE && exits_is_here(form, env) &&
                exits_outcome(form, env).fault == NO_EVENT)
                test_edges(form, env);
        }
}
