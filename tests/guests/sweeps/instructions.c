/* Every instruction of instructions.def in every mode, at ring 0 and ring 3. */
#include "kernel/core/x86.h"
#include "tests/guests/sweeps/sweeps.h"

#define OPCODE_RET 0xc3
#define OPCODE_INT 0xcd
#define PROBE_LEFT 0x82

enum rule {
    PRIVILEGED,
    SYSTEM,
    UNDEFINED,
    UNDEFINED_VM,
    PORT,
    IOPL,
    USER,
    USER_PROTECTED,
    MONITOR,
    XSAVES,
    ONLY_64,
};

static bool has_xsave, has_xsaves, has_invpcid, has_rdtscp, has_rdrand, has_rdseed, has_monitor;

static const struct {
    const char *name;
    uint8_t length;
    uint8_t bytes[7];
} rows[] = {
#define INSTRUCTION(name, rule, ...) {name, sizeof((uint8_t[]){__VA_ARGS__}), {__VA_ARGS__}},
#include "tests/guests/sweeps/instructions.def"
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static enum rule rules[ROWS];

#define IF(feature, rule) ((feature) ? (rule) : UNDEFINED)

static void read_rules(void)
{
    unsigned i = 0;
    has_xsave = guest_has(1, 0, ECX, 26);
    has_xsaves = guest_has(0xd, 1, EAX, 3);
    has_invpcid = guest_has(7, 0, EBX, 10);
    has_rdtscp = guest_has(0x80000001, 0, EDX, 27);
    has_rdrand = guest_has(1, 0, ECX, 30);
    has_rdseed = guest_has(7, 0, EBX, 18);
    has_monitor = guest_has(1, 0, ECX, 3);
#define INSTRUCTION(name, rule, ...) rules[i++] = rule;
#include "tests/guests/sweeps/instructions.def"
}

/* ---- Modes ---- */

extern uint8_t probe_code[], probe_code16[];
extern uint64_t probe_resume;
extern uint32_t probe_resume16, probe_result16;
extern const uint8_t probe_32[], probe_ring3_32[], probe_v86[], probe_real[];
void probe_64(void);
void probe_ring3_64(void);
void probe_ring3_compat(void);
void probe_restore_tss(void);

#define LOW_BASE 0x20000u

struct context {
    const char *name;
    void (*direct)(void);   /* or */
    const uint8_t *routine; /* for call_mode */
    enum guest_mode mode;
    bool is_ring3, is_low, is_64, is_protected;
};

static const struct context contexts[] = {
    {"64-bit-ring-0", probe_64, NULL, 0, false, false, true, true},
    {"64-bit-ring-3", probe_ring3_64, NULL, 0, true, false, true, true},
    {"compat-ring-0", NULL, probe_32, MODE_COMPAT, false, false, false, true},
    {"compat-ring-3", probe_ring3_compat, NULL, 0, true, false, false, true},
    {"pae-ring-0", NULL, probe_32, MODE_PAE, false, false, false, true},
    {"paged-32-ring-0", NULL, probe_32, MODE_PAGED32, false, false, false, true},
    {"protected-32-ring-0", NULL, probe_32, MODE_FLAT32, false, false, false, true},
    {"protected-32-ring-3", NULL, probe_ring3_32, MODE_FLAT32, true, false, false, true},
    {"virtual-8086", NULL, probe_v86, MODE_FLAT32, true, true, false, false},
    {"real", NULL, probe_real, MODE_REAL, false, true, false, false},
};

#define CONTEXTS (sizeof(contexts) / sizeof(contexts[0]))

/* Puts the instruction, and what leaves behind it, where the context runs it. */
static void place(const struct context *context, unsigned row)
{
    uint8_t *code = context->is_low ? probe_code16 : probe_code;
    unsigned at;
    for (at = 0; at < rows[row].length; at++)
        code[at] = rows[row].bytes[at];
    uint64_t resume = (uintptr_t)&code[at];
    code[at] = context->is_ring3 ? OPCODE_INT : OPCODE_RET;
    code[at + 1] = PROBE_LEFT;
    probe_resume = context->is_low ? resume - LOW_BASE : resume;
    probe_resume16 = (uint32_t)probe_resume;
}

static uint64_t probe(const struct context *context, unsigned row)
{
    place(context, row);
    if (context->direct != NULL) {
        context->direct();
        return caught_vector;
    }
    guest_call_mode(context->mode, (uint64_t)(uintptr_t)context->routine);
    if (context->routine == probe_ring3_32 || context->routine == probe_v86)
        probe_restore_tss();
    if (context->mode == MODE_REAL)
        return probe_result16 == ~0u ? NO_FAULT : probe_result16;
    return (uint32_t)caught_vector == ~0u ? NO_FAULT : (uint32_t)caught_vector;
}

/* The vector that the table wants; false: not executed here. */
static bool expect(enum rule rule, const struct context *context, uint64_t *vector)
{
    bool is_vm = sweeps_is_traprock();
    *vector = NO_FAULT;
    switch (rule) {
    case PRIVILEGED:
    case PORT:
    case IOPL:
        *vector = VECTOR_GP;
        return context->is_ring3;
    case ONLY_64:
        *vector = VECTOR_GP;
        return context->is_ring3 && context->is_64;
    case SYSTEM:
        *vector = context->is_protected ? VECTOR_GP : VECTOR_UD;
        return context->is_ring3;
    case UNDEFINED:
        *vector = VECTOR_UD;
        return true;
    case UNDEFINED_VM:
        *vector = is_vm ? NO_FAULT : VECTOR_UD;
        return true;
    case USER:
        return true;
    case USER_PROTECTED:
        *vector = context->is_protected ? NO_FAULT : VECTOR_UD;
        return true;
    case MONITOR:
        *vector = VECTOR_UD;
        return context->is_ring3 || !has_monitor;
    case XSAVES:
        *vector = has_xsaves ? VECTOR_GP : VECTOR_UD;
        return context->is_ring3 == has_xsaves;
    }
    return false;
}

static void test_context(const struct context *context)
{
    uint64_t vector;
    guest_case(context->name);
    for (unsigned row = 0; row < ROWS; row++) {
        if (!expect(rules[row], context, &vector))
            continue;
        uint64_t got = probe(context, row);
        guest_expect(got, vector, rows[row].name);
        if (got == vector)
            continue;
        guest_print("  ");
        guest_print(rows[row].name);
        guest_print(": vector ");
        guest_print_hex(got);
        guest_print("\n");
    }
}

void instructions_test(void)
{
    uint64_t cr4 = guest_read_cr4();
    read_rules();
    if (has_xsave)
        (void)guest_try_write_cr4(cr4 | CR4_OSXSAVE);
    for (unsigned i = 0; i < CONTEXTS; i++)
        test_context(&contexts[i]);
    (void)guest_try_write_cr4(cr4);
}
