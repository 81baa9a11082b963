/*
 * The control registers in other modes: lists of writes, made here, carried out there (modes.inc),
 * and judged by the table. The page tables map one to one in every way of paging, so that each bit
 * may change under the code that runs.
 */
#include "kernel/core/x86.h"
#include "tests/guests/registers/control.h"

enum { OP_END, OP_CR0, OP_CR3, OP_CR4, OP_WRMSR, OP_POKE, OP_KEEP = 0x100 };

struct mode_op {
    uint32_t kind;
    uint32_t msr; /* or the address */
    uint64_t value, before, after;
    uint32_t vector, error;
};

#define OPS_MAX 2400
#define OPS16_MAX 599
#define EFER 0xc0000080u
#define NO_MEMORY 0xd0000000ul

extern uint32_t mode_ops;
extern struct mode_op mode_ops16[];
extern uint64_t pml4[512], page_directories[2048];
extern const uint8_t mode_ops_run[], mode_ops_run_cs_l[], mode_ops_run_tss_16[], mode_ops_run16[];
void mode_tss_restore(void);

/*
 * One page that is a page directory of 32-bit paging and, at its end, four PDPTEs: CR3 with bits
 * 11:5 is good for both, and CR4.PAE may change under paging. Its first entry is a page table, so
 * that CR4.PSE may.
 */
static union {
    uint32_t pde[1024];
    uint64_t pdpte[512];
} directory __attribute__((aligned(4096)));
static uint32_t table32[1024] __attribute__((aligned(4096)));

#define PDPTES 508
#define DIRECTORY_CR3 ((uint32_t)(uintptr_t)&directory.pdpte[PDPTES])

static struct mode_op ops[OPS_MAX + 1];

struct list {
    struct mode_op *op;
    unsigned count, max;
};

/* A mode, and what is written there before the attempts. */
struct scenario {
    const char *name;
    enum guest_mode mode;
    const uint8_t *routine;
    uint32_t cr3;
    bool is_pae, has_lme;
    bool pairs;
};

static void make_tables(void)
{
    for (unsigned i = 0; i < 1024; i++)
        table32[i] = i << 12 | 3;
    directory.pde[0] = (uint32_t)(uintptr_t)table32 | 3;
    for (unsigned i = 0; i < 4; i++)
        directory.pdpte[PDPTES + i] = (uintptr_t)&page_directories[512 * i] | 1;
}

static struct mode_op *add(struct list *list, uint32_t kind, uint64_t value)
{
    guest_expect(list->count < list->max, 1, "room in the list");
    list->op[list->count] = (struct mode_op){.kind = kind, .msr = EFER, .value = value};
    return &list->op[list->count++];
}

static void add_flips(struct list *list, uint32_t kind, uint64_t base, unsigned width, bool pairs)
{
    for (unsigned i = 0; i < width; i++) {
        add(list, kind, base ^ BIT(i));
        for (unsigned j = i + 1; pairs && j < width; j++)
            add(list, kind, base ^ BIT(i) ^ BIT(j));
    }
}

/* Follows the list and judges each attempt by the state that it was made in. */
static void judge(const struct list *list, struct control_state *state)
{
    static const enum control controls[] = {[OP_CR0] = CONTROL_CR0,
                                            [OP_CR3] = CONTROL_CR3,
                                            [OP_CR4] = CONTROL_CR4,
                                            [OP_WRMSR] = CONTROL_EFER};
    for (unsigned i = 0; i < list->count; i++) {
        const struct mode_op *op = &list->op[i];
        if ((op->kind & 0xff) == OP_POKE) { /* once more, for the table's look at the PDPTEs */
            *(volatile uint64_t *)(uintptr_t)op->msr = op->value;
            continue;
        }
        enum control control = controls[op->kind & 0xff];
        struct control_attempt attempt = {
            .control = control,
            .n = op->value,
            .vector = op->vector == ~0u ? NO_FAULT : op->vector,
            .error = op->error,
            .before = op->before,
            .after = op->after,
        };
        guest_expect(op->before, state->value[control], "the register before the attempt");
        control_judge(&attempt, state);
        if (op->kind & OP_KEEP)
            state->value[control] = op->after;
    }
}

/* What call_mode leaves to a mode's code. */
static void start_state(const struct scenario *scenario, struct control_state *state)
{
    uint64_t cr0 = guest_read_cr0(), efer = guest_rdmsr(EFER);
    bool is_compat = scenario->mode == MODE_COMPAT;
    *state = (struct control_state){.has_cs_l = scenario->routine == mode_ops_run_cs_l,
                                    .has_tss_16 = scenario->routine == mode_ops_run_tss_16};
    state->value[CONTROL_CR0] = is_compat ? cr0 : cr0 & ~CR0_PG;
    if (scenario->mode == MODE_REAL)
        state->value[CONTROL_CR0] &= ~CR0_PE;
    state->value[CONTROL_CR3] = guest_read_cr3();
    state->value[CONTROL_CR4] = guest_read_cr4();
    state->value[CONTROL_EFER] = is_compat ? efer : efer & ~(EFER_LME | EFER_LMA);
}

static void run_list(const struct scenario *scenario, struct list *list,
                     struct control_state *state)
{
    list->op[list->count] = (struct mode_op){.kind = OP_END};
    mode_ops = (uint32_t)(uintptr_t)ops;
    guest_call_mode(scenario->mode, (uint64_t)(uintptr_t)scenario->routine);
    if (scenario->routine == mode_ops_run_tss_16)
        mode_tss_restore();
    judge(list, state);
}

/* Brings the state to what the scenario is about. */
static void add_setup(struct list *list, const struct scenario *scenario,
                      const struct control_state *state)
{
    if (scenario->mode == MODE_COMPAT || scenario->mode == MODE_REAL)
        return;
    uint64_t cr4 = state->value[CONTROL_CR4] & ~CR4_PAE;
    add(list, OP_CR3 | OP_KEEP, scenario->cr3);
    add(list, OP_CR4 | OP_KEEP, cr4 | (scenario->is_pae ? CR4_PAE : 0));
    uint64_t efer = state->value[CONTROL_EFER] & ~(EFER_LME | EFER_LMA);
    add(list, OP_WRMSR | OP_KEEP, efer | (scenario->has_lme ? EFER_LME : 0));
}

static void flip_without_paging(const struct scenario *scenario)
{
    struct list list = {ops, 0, OPS_MAX};
    struct control_state state;
    if (scenario->mode == MODE_REAL)
        list = (struct list){mode_ops16, 0, OPS16_MAX};
    guest_case(scenario->name);
    start_state(scenario, &state);
    add_setup(&list, scenario, &state);
    uint64_t cr4 = list.count != 0 ? list.op[1].value : state.value[CONTROL_CR4];
    uint64_t efer = list.count != 0 ? list.op[2].value : state.value[CONTROL_EFER];
    add_flips(&list, OP_CR0, state.value[CONTROL_CR0], 32, scenario->pairs);
    add_flips(&list, OP_CR4, cr4, 32, scenario->pairs);
    add_flips(&list, OP_WRMSR, efer, 64, false);
    run_list(scenario, &list, &state);
}

/* As above, then with paging on: what changes under paging. */
static void flip_under_paging(const char *name, bool is_pae)
{
    struct scenario scenario = {name,   MODE_FLAT32, mode_ops_run, DIRECTORY_CR3,
                                is_pae, false,       true};
    struct list list = {ops, 0, OPS_MAX};
    struct control_state state;
    guest_case(name);
    start_state(&scenario, &state);
    add_setup(&list, &scenario, &state);
    uint64_t cr0 = state.value[CONTROL_CR0] | CR0_PG, cr4 = list.op[1].value;
    add(&list, OP_CR0 | OP_KEEP, cr0);
    add_flips(&list, OP_CR0, cr0, 32, true);
    add_flips(&list, OP_CR4, cr4, 32, true);
    add_flips(&list, OP_CR3, DIRECTORY_CR3, is_pae ? 5 : 12, false);
    add_flips(&list, OP_WRMSR, list.op[2].value, 64, false);
    run_list(&scenario, &list, &state);
}

/* The writes that load the PDPTEs, or some that must not; each is undone later. */
static void add_loads(struct list *list, uint64_t cr0, uint64_t cr4, bool under_paging, bool loads)
{
    if (!loads) {
        add(list, OP_CR0 | OP_KEEP, cr0 ^ CR0_NE);
        add(list, OP_CR4 | OP_KEEP, cr4 ^ CR4_TSD);
        add(list, OP_CR4 | OP_KEEP, cr4 ^ CR4_DE);
        return;
    }
    if (under_paging)
        add(list, OP_CR3 | OP_KEEP, DIRECTORY_CR3);
    else
        add(list, OP_CR0 | OP_KEEP, cr0 | CR0_PG);
    add(list, OP_CR0 | OP_KEEP, cr0 | CR0_PG | CR0_CD);
    add(list, OP_CR0 | OP_KEEP, cr0 | CR0_PG | CR0_CD | CR0_NW);
    add(list, OP_CR4 | OP_KEEP, cr4 ^ CR4_PGE);
    add(list, OP_CR4 | OP_KEEP, cr4 ^ CR4_PGE ^ CR4_PSE);
}

/* Bits of a PDPTE that may be flipped: another address is another page directory, and the code that
 * runs needs the first entry. */
static bool is_harmless(unsigned entry, unsigned bit)
{
    unsigned address_bits = guest_cpuid(0x80000008, 0, EAX) & 0xff;
    return (bit < 12 || bit >= address_bits) && (entry != 0 || bit != 0);
}

/* Each bit of each PDPTE, at writes that load them, or at writes that do not. */
static void test_pdptes(bool under_paging, bool loads)
{
    struct scenario scenario = {"", MODE_FLAT32, mode_ops_run, DIRECTORY_CR3, true, false, false};
    for (unsigned i = 0; i < 4; i++) {
        struct list list = {ops, 0, OPS_MAX};
        struct control_state state;
        uint64_t *pdpte = &directory.pdpte[PDPTES + i], good = *pdpte;
        start_state(&scenario, &state);
        add_setup(&list, &scenario, &state);
        uint64_t cr4 = list.op[1].value;
        uint64_t cr0 = state.value[CONTROL_CR0] | (under_paging ? CR0_PG : 0);
        for (unsigned bit = 0; bit < 64; bit++) {
            if (!is_harmless(i, bit))
                continue;
            add(&list, OP_CR0 | OP_KEEP, cr0);
            add(&list, OP_POKE, good ^ BIT(bit))->msr = (uint32_t)(uintptr_t)pdpte;
            add_loads(&list, cr0, cr4, under_paging, loads);
            add(&list, OP_POKE, good)->msr = (uint32_t)(uintptr_t)pdpte;
            add(&list, OP_CR4 | OP_KEEP, cr4);
            add(&list, OP_CR3 | OP_KEEP, DIRECTORY_CR3);
            add(&list, OP_CR0 | OP_KEEP, cr0);
        }
        run_list(&scenario, &list, &state);
        *pdpte = good;
    }
}

/* PDPTEs where there is no memory read as all ones, so have reserved bits set. */
static void test_pdptes_in_no_memory(void)
{
    struct scenario scenario = {"", MODE_FLAT32, mode_ops_run, DIRECTORY_CR3, true, false, false};
    struct list list = {ops, 0, OPS_MAX};
    struct control_state state;
    guest_case("pdptes-in-no-memory");
    guest_expect(*(volatile uint64_t *)NO_MEMORY, ~0ull, "what is read where there is no memory");
    start_state(&scenario, &state);
    add_setup(&list, &scenario, &state);
    uint64_t cr0 = state.value[CONTROL_CR0], cr4 = list.op[1].value;
    add(&list, OP_CR3 | OP_KEEP, NO_MEMORY); /* without paging it may point anywhere */
    add(&list, OP_CR0 | OP_KEEP, cr0 | CR0_PG);
    add(&list, OP_CR3 | OP_KEEP, DIRECTORY_CR3);
    add(&list, OP_CR0 | OP_KEEP, cr0 | CR0_PG);
    add(&list, OP_CR3 | OP_KEEP, NO_MEMORY);
    add(&list, OP_CR4 | OP_KEEP, cr4 ^ CR4_PGE);
    run_list(&scenario, &list, &state);
}

/* CR4.PCIDE, which compatibility mode may clear, but not leave paging with. */
static void test_compat_pcid(void)
{
    static const struct scenario scenario = {
        "compat-pcid-flips", MODE_COMPAT, mode_ops_run, 0, true, true, true};
    uint64_t cr4 = guest_read_cr4();
    if (!guest_has(1, 0, ECX, 17))
        return;
    (void)guest_try_write_cr4(cr4 | CR4_PCIDE);
    flip_without_paging(&scenario);
    (void)guest_try_write_cr4(cr4);
}

void control_modes_test(void)
{
    uint32_t long_cr3 = (uint32_t)(uintptr_t)pml4;
    const struct scenario scenarios[] = {
        {"real-flips", MODE_REAL, mode_ops_run16, 0, true, false, false},
        {"flat-32-flips", MODE_FLAT32, mode_ops_run, DIRECTORY_CR3, false, false, true},
        {"flat-pae-flips", MODE_FLAT32, mode_ops_run, DIRECTORY_CR3, true, false, true},
        {"flat-pae-bad-pdptes-flips", MODE_FLAT32, mode_ops_run, long_cr3, true, false, false},
        {"flat-lme-flips", MODE_FLAT32, mode_ops_run, long_cr3, true, true, true},
        {"flat-lme-no-pae-flips", MODE_FLAT32, mode_ops_run, long_cr3, false, true, false},
        {"flat-lme-cs-l-flips", MODE_FLAT32, mode_ops_run_cs_l, long_cr3, true, true, false},
        {"flat-lme-tss-16-flips", MODE_FLAT32, mode_ops_run_tss_16, long_cr3, true, true, false},
        {"compat-flips", MODE_COMPAT, mode_ops_run, long_cr3, true, true, true},
    };
    make_tables();
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
        flip_without_paging(&scenarios[i]);
    test_compat_pcid();
    flip_under_paging("paging-32-flips", false);
    flip_under_paging("pae-flips", true);
    guest_case("pdptes-at-paging");
    test_pdptes(false, true);
    guest_case("pdptes-under-paging");
    test_pdptes(true, true);
    guest_case("pdptes-kept");
    test_pdptes(true, false);
    test_pdptes_in_no_memory();
}
