/* Every bit and every pair of bits of the control registers, in 64-bit mode. */
#include "tests/guests/registers/control.h"

#include "kernel/core/x86.h"

#define DETAILS_MAX 12

const char *const control_names[CONTROLS] = {"CR0", "CR3", "CR4", "CR8", "EFER", "XCR0"};

static struct {
    uint64_t writable[CONTROLS], kept[CONTROLS];
} masks;

static unsigned details;

/* ---- The table ---- */

static bool turns_long_mode_on(uint64_t cr0, const struct control_state *s)
{
    return cr0 & ~s->value[CONTROL_CR0] & CR0_PG && s->value[CONTROL_EFER] & EFER_LME;
}

static bool is_pae(uint64_t cr0, uint64_t cr4, const struct control_state *s)
{
    return cr0 & CR0_PG && cr4 & CR4_PAE && !(s->value[CONTROL_EFER] & EFER_LME);
}

static unsigned physical_bits(void)
{
    return guest_cpuid(0x80000000, 0, EAX) >= 0x80000008 ? guest_cpuid(0x80000008, 0, EAX) & 0xff
                                                         : 36;
}

/* SDM: PDPTE Registers: those that CR3 points at, in memory. */
static bool are_pdptes_valid(uint64_t cr3)
{
    const volatile uint64_t *pdpte = (const void *)(uintptr_t)(cr3 & MASK(31, 5));
    uint64_t reserved = MASK(2, 1) | MASK(8, 5) | MASK(63, physical_bits());
    for (unsigned i = 0; i < 4; i++)
        if (pdpte[i] & 1 && pdpte[i] & reserved)
            return false;
    return true;
}

#define FORBIDDEN_ROW_2(line) ROW_##line
#define FORBIDDEN_ROW(line) FORBIDDEN_ROW_2(line)

enum {
#define CONTROL_FORBIDDEN(...) FORBIDDEN_ROW(__LINE__),
#include "tests/guests/registers/control.def"
    FORBIDDEN_ROWS
};

static const struct {
    enum control control;
    const char *name;
} forbidden[FORBIDDEN_ROWS] = {
#define CONTROL_FORBIDDEN(register, name, ...) {CONTROL_##register, name},
#include "tests/guests/registers/control.def"
};

static bool is_possible[FORBIDDEN_ROWS];
static uint32_t sole_reason[FORBIDDEN_ROWS]; /* how often the row alone forbade a write */

#define HAS guest_has

void control_init(void)
{
#define CONTROL_BIT(register, bit, name, condition)                                                \
    if (condition)                                                                                 \
        masks.writable[CONTROL_##register] |= BIT(bit);
#define CONTROL_KEPT(register, mask) masks.kept[CONTROL_##register] |= (mask);
#define CONTROL_FORBIDDEN(register, name, feature, expression)                                     \
    is_possible[FORBIDDEN_ROW(__LINE__)] = (feature);
#include "tests/guests/registers/control.def"
    masks.writable[CONTROL_CR3] |= MASK(physical_bits() - 1, 0) & ~MASK(4, 3);
}

/* The number of rows that forbid the write; *row is the last of them. */
static unsigned find_forbidding(enum control control, uint64_t n, const struct control_state *s,
                                unsigned *row)
{
    unsigned count = 0;
#define CONTROL_FORBIDDEN(register, name, feature, expression)                                     \
    if (control == CONTROL_##register && (expression)) {                                           \
        count++;                                                                                   \
        *row = FORBIDDEN_ROW(__LINE__);                                                            \
    }
#include "tests/guests/registers/control.def"
    return count;
}

bool control_expect(enum control control, uint64_t n, const struct control_state *state,
                    uint64_t *kept)
{
    unsigned row;
    if (n & ~(masks.writable[control] | masks.kept[control]))
        return false;
    unsigned count = find_forbidding(control, n, state, &row);
    if (count == 1)
        sole_reason[row]++;
    *kept = (n & masks.writable[control]) | (state->value[control] & masks.kept[control]);
    return count == 0;
}

static void print_attempt(const struct control_attempt *attempt, bool is_legal, uint64_t kept)
{
    guest_print("  ");
    guest_print(control_names[attempt->control]);
    guest_print(" ");
    guest_print_hex(attempt->before);
    guest_print(" <- ");
    guest_print_hex(attempt->n);
    guest_print(": vector ");
    guest_print_hex(attempt->vector);
    guest_print(", reads ");
    guest_print_hex(attempt->after);
    guest_print(is_legal ? ", should read " : ", should be #GP, ");
    guest_print_hex(is_legal ? kept : attempt->before);
    guest_print("\n");
}

void control_judge(const struct control_attempt *attempt, const struct control_state *state)
{
    uint64_t kept = 0;
    bool is_legal = control_expect(attempt->control, attempt->n, state, &kept);
    uint64_t vector = is_legal ? NO_FAULT : VECTOR_GP;
    uint64_t after = is_legal ? kept : attempt->before;
    if (attempt->vector == vector && attempt->after == after && (is_legal || attempt->error == 0))
        return;
    guest_expect(attempt->vector, vector, control_names[attempt->control]);
    guest_expect(attempt->after, after, "what it reads as");
    guest_expect(is_legal ? 0 : attempt->error, 0, "error code");
    if (details++ < DETAILS_MAX)
        print_attempt(attempt, is_legal, kept);
}

void control_check_coverage(void)
{
    guest_case("control-forbidden-rows");
    for (unsigned i = 0; i < FORBIDDEN_ROWS; i++)
        if (is_possible[i] && sole_reason[i] == 0)
            guest_expect(0, 1, forbidden[i].name);
}

/* ---- Attempts ---- */

static uint64_t read(enum control control)
{
    switch (control) {
    case CONTROL_CR0:
        return guest_read_cr0();
    case CONTROL_CR3:
        return guest_read_cr3();
    case CONTROL_CR4:
        return guest_read_cr4();
    case CONTROL_CR8:
        return guest_read_cr8();
    case CONTROL_EFER:
        return guest_rdmsr(0xc0000080);
    default:
        return guest_xgetbv(0);
    }
}

static uint64_t try_write(enum control control, uint64_t n)
{
    switch (control) {
    case CONTROL_CR0:
        return guest_try_write_cr0(n);
    case CONTROL_CR3:
        return guest_try_write_cr3(n);
    case CONTROL_CR4:
        return guest_try_write_cr4(n);
    case CONTROL_CR8:
        return guest_try_write_cr8(n);
    case CONTROL_EFER:
        return guest_try_wrmsr(0xc0000080, n);
    default:
        return guest_try_xsetbv(0, n);
    }
}

static void read_state(struct control_state *state)
{
    *state = (struct control_state){.is_64bit = true, .has_cs_l = true};
    for (unsigned i = 0; i < CONTROL_XCR0; i++)
        state->value[i] = read(i);
    if (state->value[CONTROL_CR4] & CR4_OSXSAVE)
        state->value[CONTROL_XCR0] = read(CONTROL_XCR0);
}

/* CR4.PCIDE comes back only while CR3 has no PCID. */
static void restore(enum control control, const struct control_state *state)
{
    uint64_t cr3 = state->value[CONTROL_CR3];
    if (control == CONTROL_CR4)
        (void)guest_try_write_cr3(cr3 & ~0xfffull);
    guest_expect(try_write(control, state->value[control]), NO_FAULT, "the old value again");
    if (control == CONTROL_CR4)
        (void)guest_try_write_cr3(cr3);
}

/* Writes n and puts back what was there. */
static void attempt(enum control control, uint64_t n, const struct control_state *state)
{
    struct control_attempt attempt = {.control = control, .n = n, .before = state->value[control]};
    attempt.vector = try_write(control, n);
    attempt.error = caught_error;
    attempt.after = read(control);
    if (attempt.vector == NO_FAULT)
        restore(control, state);
    control_judge(&attempt, state);
}

/* Each bit flipped, and each pair. */
static void flip(enum control control, bool pairs)
{
    struct control_state state;
    read_state(&state);
    uint64_t base = state.value[control];
    /* Another address in CR3 would be other page tables. */
    uint64_t tried = control == CONTROL_CR3 ? ~MASK(physical_bits() - 1, 12) : ~0ull;
    for (unsigned i = 0; i < 64; i++) {
        if (!(tried >> i & 1))
            continue;
        attempt(control, base ^ BIT(i), &state);
        for (unsigned j = i + 1; pairs && j < 64; j++)
            if (tried >> j & 1)
                attempt(control, base ^ BIT(i) ^ BIT(j), &state);
    }
    guest_expect(read(control), base, "the register at the end");
}

static void test_registers(void)
{
    guest_case("cr0-flips");
    flip(CONTROL_CR0, true);
    guest_case("cr4-flips");
    flip(CONTROL_CR4, true);
    guest_case("cr3-flips");
    flip(CONTROL_CR3, true);
    guest_case("efer-flips");
    flip(CONTROL_EFER, true);
    guest_case("cr8-flips");
    flip(CONTROL_CR8, true);
}

/* CR0.WP set, CR4 with everything that there is: other bits now change by being cleared. */
static void test_all_on(void)
{
    uint64_t cr0 = guest_read_cr0(), cr4 = guest_read_cr4();
    guest_case("cr0-cr4-flips-all-on");
    uint64_t on = masks.writable[CONTROL_CR4] & ~(CR4_LA57 | CR4_PCIDE | CR4_SMXE | BIT(23));
    guest_expect(guest_try_write_cr0(cr0 | CR0_WP | CR0_AM | CR0_CD | CR0_NW), NO_FAULT, "CR0");
    guest_expect(guest_try_write_cr4(on), NO_FAULT, "CR4");
    flip(CONTROL_CR0, true);
    flip(CONTROL_CR4, true);
    (void)guest_try_write_cr4(cr4);
    (void)guest_try_write_cr0(cr0);
}

static void test_pcids(void)
{
    uint64_t cr3 = guest_read_cr3(), cr4 = guest_read_cr4();
    guest_case("pcid-flips");
    if (!guest_has(1, 0, ECX, 17)) {
        guest_skip("not offered");
        return;
    }
    guest_expect(guest_try_write_cr3(cr3 | 0x18), NO_FAULT, "PWT and PCD");
    flip(CONTROL_CR4, false); /* PCIDE with CR3[11:0] != 0 */
    (void)guest_try_write_cr3(cr3);
    guest_expect(guest_try_write_cr4(cr4 | CR4_PCIDE), NO_FAULT, "CR4.PCIDE");
    guest_expect(guest_try_write_cr3(cr3 | 5), NO_FAULT, "PCID 5");
    flip(CONTROL_CR3, true);
    flip(CONTROL_CR4, true); /* PCIDE may be cleared with a PCID in CR3 */
    (void)guest_try_write_cr3(cr3);
    flip(CONTROL_CR4, false);
    flip(CONTROL_CR0, false);
    (void)guest_try_write_cr4(cr4);
}

static void test_xcr0(void)
{
    uint64_t cr4 = guest_read_cr4();
    struct control_state state;
    guest_case("xcr0-all-combinations");
    if (!guest_has(1, 0, ECX, 26)) {
        guest_skip("not offered");
        return;
    }
    (void)guest_try_write_cr4(cr4 & ~CR4_OSXSAVE);
    guest_expect(guest_try_xsetbv(0, 1), VECTOR_UD, "XSETBV without CR4.OSXSAVE");
    (void)guest_try_write_cr4(cr4 | CR4_OSXSAVE);
    read_state(&state);
    for (uint64_t n = 0; n < 0x400; n++) /* all of the components that are in use */
        attempt(CONTROL_XCR0, n, &state);
    (void)guest_try_xsetbv(0, 1);
    flip(CONTROL_XCR0, true);
    uint64_t all = masks.writable[CONTROL_XCR0];
    guest_expect(guest_try_xsetbv(0, all), NO_FAULT, "all components that there are");
    flip(CONTROL_XCR0, true);
    (void)guest_try_xsetbv(0, 1);
    for (uint64_t index = 1; index != 0; index = (uint32_t)(index << 1))
        guest_expect(guest_try_xsetbv((uint32_t)index, 1), VECTOR_GP, "another register than XCR0");
    (void)guest_try_xsetbv(0, state.value[CONTROL_XCR0]);
    (void)guest_try_write_cr4(cr4);
}

/* SDM: LMSW - Load Machine Status Word: bits 3:0, and PE cannot be cleared. */
static void test_lmsw(void)
{
    guest_case("lmsw-all-values");
    uint64_t base = guest_read_cr0();
    for (unsigned i = 0; i < 16 * 16; i++) {
        uint64_t before = (base & ~0xeull) | (i & 0xe), source = (i >> 4) | 0xa5a0;
        (void)guest_try_write_cr0(before);
        __asm__ volatile(GUEST_TRY("lmsw %w0") : : "r"(source) : "memory");
        guest_expect(caught_vector, NO_FAULT, "LMSW");
        guest_expect(guest_read_cr0(), (before & ~0xeull) | (source & 0xf), "CR0 after LMSW");
        (void)guest_try_write_cr0(before);
        __asm__ volatile(GUEST_TRY("clts") : : : "memory");
        guest_expect(guest_read_cr0(), before & ~CR0_TS, "CR0 after CLTS");
    }
    (void)guest_try_write_cr0(base);
}

void control_test(void)
{
    test_registers();
    test_all_on();
    test_pcids();
    test_xcr0();
    test_lmsw();
}
