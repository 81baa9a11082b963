/*
 * Each form in each environment, in every situation in which it can stand: alone, single-stepped,
 * in the shadow of STI and MOV SS, with a breakpoint held back, with RF, with LOCK.
 */
#include "tests/guests/exits/exits.h"

#define CR4_OSXSAVE BIT(18)
#define CR0_AM BIT(18)
#define SELECTOR_OFFSET 32 /* in the data, of what MOV SS loads */
#define INT3 0xcc
#define STI 0xfb
#define TIMER_TICKS 20000

#define DR7_EXECUTE0 BIT(1)
#define DR7_EXECUTE1 BIT(3)
#define DR7_DATA0 (BIT(1) | 7ull << 16) /* two bytes, read or written */

typedef const struct exits_environment environment;

enum variant { PLAIN, STEP, MOV_SS_STEP, MOV_SS_BREAKPOINT, STI_INTERRUPT, RESUME, LOCK, VARIANTS };

static const char *const names[VARIANTS] = {"alone",
                                            "stepped",
                                            "stepped behind MOV SS",
                                            "behind MOV SS that hits a breakpoint",
                                            "behind STI, an interrupt waiting",
                                            "with RF, a breakpoint on it and on the next",
                                            "with LOCK"};

/* What is expected of the next run. */
struct expected {
    uint64_t vector, error, rip, rflags, dr6;
};

static uint64_t linear(environment *env, uint64_t pointer)
{
    return env->bits == BITS_16 ? EXITS_SEGMENT + pointer : pointer;
}

/* The registers that an environment has. */
static uint64_t mask_of(environment *env)
{
    return env->bits == BITS_64 ? ~0ull : UINT32_MAX;
}

void exits_check(environment *env, const uint64_t *want, uint64_t rflags, uint64_t rip,
                 const char *what)
{
    uint64_t mask = mask_of(env);
    unsigned count = env->bits == BITS_64 ? GPRS : 8;
    uint64_t visible = IS_REAL(env) ? 0xffff : UINT32_MAX;
    /* SDM: IRET: a stack segment of 16 bits gets SP alone. */
    exits_run.out.gpr[RSP] &= env->bits == BITS_16 ? 0xffff : ~0ull;
    for (unsigned i = 0; i < count; i++)
        guest_expect(exits_run.out.gpr[i] & mask,
                     want[i] & (i == RSP && env->bits == BITS_16 ? 0xffff : mask), what);
    guest_expect(exits_run.out.rflags & visible, rflags & visible, what);
    guest_expect(exits_run.out.rip, rip & (IS_REAL(env) ? 0xffff : ~0ull), what);
    guest_expect(exits_run.out.cs, exits_run.cs, what);
}

/* ---- One variant ---- */

static unsigned write_code(const struct exits_form *form, environment *env,
                           const struct exits_place *at, enum variant variant)
{
    uint8_t *code = at->code;
    unsigned length = 0;
    if (variant == MOV_SS_STEP) {
        code[length++] = 0x8e;
        code[length++] = 0xd5; /* MOV SS, BP */
    }
    if (variant == MOV_SS_BREAKPOINT) {
        static const uint8_t absolute[][4] = {
            {2, 0x8e, 0x16}, {2, 0x8e, 0x15}, {3, 0x8e, 0x14, 0x25}};
        const uint8_t *move = absolute[env->bits]; /* MOV SS, [address] */
        for (unsigned i = 0; i < move[0]; i++)
            code[length++] = move[1 + i];
        for (unsigned i = 0; i < (env->bits == BITS_16 ? 2 : 4); i++)
            code[length++] = (uint8_t)((at->pointer + SELECTOR_OFFSET) >> 8 * i);
    }
    if (variant == STI_INTERRUPT)
        code[length++] = STI;
    unsigned before = length;
    if (variant == LOCK)
        code[length++] = 0xf0;
    exits_encode(form, env, code + length);
    length += form->length;
    code[length] = INT3;
    return before;
}

void exits_set_form(const struct exits_form *form, environment *env, const struct exits_place *at)
{
    exits_prepare(env, at);
    if (form->flags & FORM_IOPL0)
        exits_run.rflags &= ~FLAGS_IOPL3;
    if (form->flags & FORM_ALIGNED)
        exits_run.rflags |= FLAG_AC;
    if (form->flags & FORM_DEVICE) {
        exits_run.gpr[RBX] = env->bits == BITS_16 ? 0 : EXITS_DEVICE;
        exits_run.ds = env->bits == BITS_16 ? env->device_ds : env->ds;
    }
    if (form->set != NULL)
        form->set(env, at);
    exits_allow_ports(!(form->flags & FORM_IOPL0));
}

/* What the variant finds; and what it leads to where the form is carried out. */
static void set_variant(environment *env, const struct exits_place *at, enum variant variant,
                        uint64_t start, uint64_t next, struct expected *expected)
{
    switch (variant) {
    case PLAIN:
    case LOCK:
        expected->rip = next + 1;
        break;
    case STEP:
    case MOV_SS_STEP:
        exits_run.rflags |= FLAG_TF;
        *expected = (struct expected){.vector = VECTOR_DB, .rip = next, .dr6 = DR6_BS};
        break;
    case MOV_SS_BREAKPOINT:
        *(volatile uint16_t *)(at->data + SELECTOR_OFFSET) = env->ss;
        (void)guest_try_write_dr0(linear(env, at->pointer + SELECTOR_OFFSET));
        (void)guest_try_write_dr7(0x400 | DR7_DATA0);
        *expected = (struct expected){.vector = VECTOR_DB, .rip = next, .dr6 = 1};
        break;
    case STI_INTERRUPT:
        exits_send_interrupt();
        *expected = (struct expected){.vector = EXITS_VECTOR, .rip = next};
        break;
    case RESUME:
        exits_run.rflags |= FLAG_RF;
        (void)guest_try_write_dr0(linear(env, start));
        (void)guest_try_write_dr1(linear(env, next));
        (void)guest_try_write_dr7(0x400 | DR7_EXECUTE0 | DR7_EXECUTE1);
        *expected = (struct expected){.vector = VECTOR_DB, .rip = next, .dr6 = 2};
        break;
    case VARIANTS:
        break;
    }
}

static bool is_possible(const struct exits_form *form, environment *env, enum variant variant)
{
    bool has_trap = variant == STEP || variant == MOV_SS_STEP || variant == MOV_SS_BREAKPOINT;
    if (form->flags & FORM_STEPS || (form->flags & FORM_NEEDS_IF && has_trap))
        return has_trap && form->flags & FORM_STEPS;
    switch (variant) {
    case STI_INTERRUPT: /* with IOPL 0, STI faults; HLT has its own interrupt */
        return !(form->flags & FORM_IOPL0 && env->cpl != 0) && !(form->flags & FORM_NEEDS_IF);
    case LOCK:
        return !(form->flags & FORM_LOCKABLE);
    case RESUME:
        return !(form->flags & FORM_NEEDS_IF);
    default:
        return true;
    }
}

/* A fault leaves RIP at the instruction, and RF in the flags that it pushes. */
static void expect_fault(struct exits_outcome outcome, uint64_t start, struct expected *expected)
{
    *expected = (struct expected){
        .vector = outcome.fault,
        .error = outcome.error,
        .rip = start,
        .rflags = FLAG_RF,
    };
}

/* HLT goes on at a timer's interrupt, unless a debug exception comes first. */
static void set_timer(const struct exits_form *form, enum variant variant, uint64_t next,
                      struct exits_outcome outcome, struct expected *expected)
{
    if (!(form->flags & FORM_NEEDS_IF) || outcome.fault != NO_EVENT || variant == LOCK)
        return;
    exits_run.rflags |= FLAG_IF;
    exits_start_timer(TIMER_TICKS);
    if (variant == PLAIN)
        *expected = (struct expected){.vector = EXITS_VECTOR, .rip = next};
}

static void run_variant(const struct exits_form *form, environment *env, enum variant variant)
{
    struct exits_place at;
    struct exits_outcome outcome = exits_outcome(form, env);
    struct expected expected = {.vector = VECTOR_BP};
    uint64_t want[GPRS];
    exits_find_place(env, &at);
    exits_set_form(form, env, &at);
    if (variant == MOV_SS_BREAKPOINT && form->flags & FORM_DEVICE && env->bits == BITS_16)
        return; /* the selector for SS is not in the device's segment */
    unsigned before = write_code(form, env, &at, variant);
    uint64_t start = at.rip + before;
    uint64_t next = start + form->length + (variant == LOCK);
    set_variant(env, &at, variant, start, next, &expected);
    if (variant == LOCK)
        outcome = (struct exits_outcome){VECTOR_UD, 0};
    if (form->flags & FORM_TRAPS && outcome.fault == NO_EVENT)
        expected = (struct expected){.vector = VECTOR_DB, .rip = next};
    if (outcome.fault != NO_EVENT)
        expect_fault(outcome, start, &expected);
    set_timer(form, variant, next, outcome, &expected);
    for (unsigned i = 0; i < GPRS; i++)
        want[i] = exits_run.gpr[i];
    expected.rflags |= exits_run.rflags & ~FLAG_RF;
    if (variant == STI_INTERRUPT)
        expected.rflags |= FLAG_IF;
    exits_go(env);
    if (outcome.fault == NO_EVENT && form->expect != NULL)
        form->expect(env, &at, want, &expected.rflags);
    guest_expect(exits_run.out.vector, expected.vector, names[variant]);
    if (!IS_REAL(env) && outcome.fault >= 8 && outcome.fault != NO_EVENT)
        guest_expect(exits_run.out.error, expected.error, names[variant]);
    guest_expect(exits_run.out.dr6 & 0x600f, expected.dr6, names[variant]);
    exits_check(env, want, expected.rflags, expected.rip, names[variant]);
    exits_drop_events();
}

/* ---- All ---- */

bool exits_is_here(const struct exits_form *form, environment *env)
{
    if (form->flags & FORM_LONG && env->bits != BITS_64)
        return false;
    return !(form->flags & FORM_USER) || env->cpl == 3;
}

void exits_case(const char *reason, const char *form, const char *kind, environment *env)
{
    static char names_kept[2][96]; /* the library keeps the name until the next one comes */
    static unsigned turn;
    char *case_name = names_kept[turn ^= 1];
    const char *parts[] = {reason, ".", form, kind, ".", env->name};
    unsigned length = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(parts); i++)
        for (const char *c = parts[i]; *c != '\0'; c++)
            case_name[length++] = *c;
    case_name[length] = '\0';
    guest_case(case_name);
}

static void test_form(const struct exits_form *form, environment *env)
{
    exits_case(form->reason, form->name, "", env);
    if (form->flags & FORM_MONITOR && guest_has(1, 0, ECX, 3)) {
        guest_skip("offered here");
        return;
    }
    if (form->flags & FORM_OSXSAVE)
        (void)guest_try_write_cr4(guest_read_cr4() | CR4_OSXSAVE);
    if (form->flags & FORM_ALIGNED)
        (void)guest_try_write_cr0(guest_read_cr0() | CR0_AM);
    for (unsigned variant = 0; variant < VARIANTS; variant++)
        if (is_possible(form, env, (enum variant)variant))
            run_variant(form, env, (enum variant)variant);
}

void exits_test_forms(void)
{
    uint64_t cr0 = guest_read_cr0(), cr4 = guest_read_cr4();
    for (unsigned i = 0; i < exits_form_count; i++)
        for (unsigned e = 0; e < exits_environment_count; e++) {
            if (!exits_is_here(&exits_forms[i], &exits_environments[e]))
                continue;
            test_form(&exits_forms[i], &exits_environments[e]);
            (void)guest_try_write_cr0(cr0);
            (void)guest_try_write_cr4(cr4);
        }
}
