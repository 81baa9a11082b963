/* Every bit of the architectural MSRs, by the tables msr.def and x2apic.def. */
#include "kernel/core/x86.h"
#include "tests/guests/registers/control.h"

#define IA32_APIC_BASE 0x1bu
#define APIC_EXTD BIT(10)
#define APIC_EN BIT(11)
#define X2APIC_FIRST 0x800u
#define DETAILS_MAX 30

enum access { RO = 1, WO = 2, RW = RO | WO };

/* ---- What the table's expressions name ---- */

#define HAS guest_has

/* What a condition may be besides true and false: what another machine has there is its own. */
enum { ABSENT = false, PRESENT = true, UNKNOWN };

static bool is_traprock;

#define IN_TRAPROCK (is_traprock ? PRESENT : UNKNOWN)

/* SDM: Memory Types That Can Be Encoded in MTRRs, and in the PAT, which adds UC-. */
static bool is_type(uint64_t type, uint64_t allowed)
{
    return type < 8 && allowed >> type & 1;
}

static bool are_types(uint64_t n, uint64_t allowed)
{
    for (unsigned i = 0; i < 64; i += 8)
        if (!is_type(n >> i & 0xff, allowed))
            return false;
    return true;
}

#define MTRR_TYPES 0x73u

static bool are_pat_types(uint64_t n)
{
    return are_types(n, MTRR_TYPES | BIT(7));
}

static bool are_mtrr_types(uint64_t n)
{
    return are_types(n, MTRR_TYPES);
}

static bool has_variable_mtrr(unsigned i)
{
    return guest_has(1, 0, EDX, 12) && (guest_rdmsr(0xfe) & 0xff) > i;
}

static bool has_fixed_mtrrs(void)
{
    return guest_has(1, 0, EDX, 12) && guest_rdmsr(0xfe) & BIT(8);
}

static uint64_t frame_bits(void)
{
    return MASK((guest_cpuid(0x80000008, 0, EAX) & 0xff) - 1, 12);
}

static bool is_mtrr_base(uint64_t n)
{
    return !(n & ~(frame_bits() | 0xff)) && is_type(n & 0xff, MTRR_TYPES);
}

static bool is_mtrr_mask(uint64_t n)
{
    return !(n & ~(frame_bits() | BIT(11)));
}

static bool is_mtrr_default(uint64_t n)
{
    return !(n & ~(MASK(11, 10) | 0xff)) && is_type(n & 0xff, MTRR_TYPES);
}

static uint64_t mcg_cap(void)
{
    uint64_t value;
    return guest_try_rdmsr(0x179, &value) == NO_FAULT ? value : 0;
}

static uint64_t xss_defined(void)
{
    return (uint64_t)guest_cpuid(0xd, 1, EDX) << 32 | guest_cpuid(0xd, 1, ECX);
}

/* SDM: IA32_DEBUGCTL MSR: what CPUID offers, besides LBR and BTF. */
static uint64_t debugctl_defined(void)
{
    uint64_t defined = MASK(1, 0);
    if (guest_has(7, 0, ECX, 24))
        defined |= BIT(2); /* BUS_LOCK_DETECT */
    if (guest_has(1, 0, EDX, 21))
        defined |= MASK(8, 6); /* TR, BTS, BTINT */
    if (guest_has(1, 0, ECX, 4))
        defined |= MASK(10, 9); /* BTS_OFF_OS, BTS_OFF_USR */
    if (guest_has(1, 0, ECX, 15))
        defined |= MASK(14, 11);
    if (guest_has(7, 0, EBX, 11))
        defined |= BIT(15);
    return defined;
}

static const uint64_t misc_enable_defined =
    BIT(0) | BIT(3) | BIT(7) | MASK(12, 11) | BIT(16) | BIT(18) | MASK(23, 22) | BIT(34);

static const uint64_t misc_enable_switched = BIT(0) | BIT(22) | BIT(34);

/* SVR: focus checking, which newer processors have no more; suppression of EOI broadcasts. */
static uint64_t svr_optional(void)
{
    return BIT(9) | BIT(12);
}

/* ---- The rows ---- */

struct msr_row {
    uint32_t number;
    enum access access;
    const char *name;
};

static const struct msr_row rows[] = {
#define MSR(number, name, access, ...) {number, access, "msr-" #name},
#include "tests/guests/registers/msr.def"
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

struct msr_now {
    unsigned presence;
    uint64_t tried;
};

static void look(unsigned row, struct msr_now *now)
{
    unsigned i = 0;
#define MSR(number, name, access, condition, bits, ...)                                            \
    if (row == i++)                                                                                \
        *now = (struct msr_now){.presence = (condition), .tried = (bits)};
#include "tests/guests/registers/msr.def"
}

/* Whether n may be written over old; *reads: what is read afterwards. */
static bool expect(unsigned row, uint64_t n, uint64_t old, uint64_t *reads)
{
    unsigned i = 0;
    bool is_valid = false;
#define MSR(number, name, access, condition, bits, valid, kept)                                    \
    if (row == i++) {                                                                              \
        is_valid = (valid);                                                                        \
        *reads = (kept);                                                                           \
    }
#include "tests/guests/registers/msr.def"
    return is_valid && rows[row].access & WO;
}

static void detail(const struct msr_row *row, uint64_t n, uint64_t vector, uint64_t after)
{
    static unsigned details;
    if (details++ >= DETAILS_MAX)
        return;
    guest_print("  ");
    guest_print(row->name);
    guest_print(" <- ");
    guest_print_hex(n);
    guest_print(": vector ");
    guest_print_hex(vector);
    guest_print(", reads ");
    guest_print_hex(after);
    guest_print("\n");
}

static void try_row(unsigned row, uint64_t n, uint64_t old)
{
    uint64_t reads = old, after = old;
    bool is_valid = expect(row, n, old, &reads);
    uint64_t vector = guest_try_wrmsr(rows[row].number, n);
    if (vector != NO_FAULT)
        guest_expect(caught_error, 0, "the error code");
    if (rows[row].access & RO)
        after = guest_rdmsr(rows[row].number);
    else
        reads = old;
    if (vector != (is_valid ? NO_FAULT : VECTOR_GP) || after != (is_valid ? reads : old))
        detail(&rows[row], n, vector, after);
    guest_expect(vector, is_valid ? NO_FAULT : VECTOR_GP, "WRMSR");
    guest_expect(after, is_valid ? reads : old, "RDMSR afterwards");
    if (vector == NO_FAULT && rows[row].access == RW)
        guest_wrmsr(rows[row].number, old);
}

static void test_absent(uint32_t number)
{
    uint64_t value;
    guest_expect(guest_try_rdmsr(number, &value), VECTOR_GP, "RDMSR where it is not offered");
    guest_expect(guest_try_wrmsr(number, 0), VECTOR_GP, "WRMSR of 0");
    guest_expect(guest_try_wrmsr(number, ~0ull), VECTOR_GP, "WRMSR of all bits");
}

static void test_present(unsigned row, uint64_t tried)
{
    uint64_t old = 0, vector = guest_try_rdmsr(rows[row].number, &old);
    guest_expect(vector, rows[row].access & RO ? NO_FAULT : VECTOR_GP, "RDMSR");
    if (vector != NO_FAULT && rows[row].access & RO)
        return;
    if (!(rows[row].access & RO))
        old = 0;
    for (unsigned i = 0; i < 64; i++)
        if (tried >> i & 1)
            try_row(row, old ^ BIT(i), old);
    if (tried != ~0ull)
        return;
    /* Every value of every byte, for memory types; and the edges of canonical addresses. */
    for (unsigned i = 0; i < 64 * 256; i += 61)
        try_row(row,
                (old & ~(0xffull << (i / 256 * 8 & 63))) | (uint64_t)(i & 0xff)
                                                               << (i / 256 * 8 & 63),
                old);
    static const uint64_t edges[] = {
        0, ~0ull, 0x00007fffffffffff, 0x0000800000000000, 0xffff7fffffffffff, 0xffff800000000000};
    for (unsigned i = 0; i < sizeof(edges) / sizeof(edges[0]); i++)
        try_row(row, edges[i], old);
}

static void test_row(unsigned row)
{
    struct msr_now now = {0};
    guest_case(rows[row].name);
    look(row, &now);
    if (now.presence == UNKNOWN)
        guest_skip("what this machine has there is its own");
    else if (now.presence == ABSENT)
        test_absent(rows[row].number);
    else
        test_present(row, now.tried);
}

bool msr_is_traprock(void)
{
    return is_traprock;
}

bool msr_is_listed(uint32_t number)
{
    struct msr_now now = {0};
    if (number == 0x10 || number == IA32_APIC_BASE || number == 0xc0000080)
        return true; /* TSC; EFER, which is in control.def */
    for (unsigned row = 0; row < ROWS; row++) {
        if (rows[row].number != number)
            continue;
        look(row, &now);
        return now.presence == PRESENT;
    }
    return false;
}

/* ---- The local APIC ---- */

#define MODE(base) ((base) >> 10 & 3)

/* SDM: x2APIC State Transitions. */
static bool may_follow(uint64_t old, uint64_t n)
{
    static const uint8_t successors[4] = {0x5, 0, 0xd, 0x9}; /* by mode: a bit for each mode */
    uint64_t defined = frame_bits() | BIT(8) | APIC_EN | (HAS(1, 0, ECX, 21) ? APIC_EXTD : 0);
    return !(n & ~defined) && successors[MODE(old)] >> MODE(n) & 1;
}

/* Through the modes that lie between. */
static void set_apic_mode(uint64_t base, uint64_t mode)
{
    uint64_t address = base & ~(APIC_EXTD | APIC_EN), now = MODE(guest_rdmsr(IA32_APIC_BASE));
    if (mode != now && (now == 3 || mode == 0))
        guest_wrmsr(IA32_APIC_BASE, address);
    if (mode != 0 && now != 3)
        guest_wrmsr(IA32_APIC_BASE, address | APIC_EN);
    if (mode == 3)
        guest_wrmsr(IA32_APIC_BASE, address | APIC_EN | APIC_EXTD);
    if (mode == 2 && now == 3)
        guest_wrmsr(IA32_APIC_BASE, address | APIC_EN);
}

static void try_apic_base(uint64_t base, uint64_t mode, uint64_t n)
{
    uint64_t old = guest_rdmsr(IA32_APIC_BASE);
    bool is_valid = may_follow(old, n);
    guest_expect(guest_try_wrmsr(IA32_APIC_BASE, n), is_valid ? NO_FAULT : VECTOR_GP,
                 "WRMSR of IA32_APIC_BASE");
    guest_expect(guest_rdmsr(IA32_APIC_BASE), is_valid ? n : old, "IA32_APIC_BASE");
    if (caught_vector != (is_valid ? NO_FAULT : VECTOR_GP))
        detail(&(struct msr_row){0, RW, "apic-base"}, n, caught_vector, old);
    if (is_valid)
        set_apic_mode(base, mode);
}

static void test_apic_base(void)
{
    uint64_t base = guest_rdmsr(IA32_APIC_BASE);
    guest_case("apic-base-transitions");
    for (uint64_t mode = 0; mode < 4; mode++) {
        if (mode == 1 || (mode == 3 && !HAS(1, 0, ECX, 21)))
            continue;
        set_apic_mode(base, mode);
        uint64_t start = guest_rdmsr(IA32_APIC_BASE);
        guest_expect(MODE(start), mode, "the mode");
        for (uint64_t next = 0; next < 4; next++)
            for (unsigned i = 0; i < 65; i++)
                try_apic_base(base, mode,
                              ((start & ~MASK(11, 10)) | next << 10) ^ (i < 64 ? BIT(i) : 0));
    }
    set_apic_mode(base, MODE(base));
}

static const struct {
    uint32_t number;
    enum access access;
} x2apic[] = {
#define X2APIC(number, name, access, taken, tried) {number, access},
#include "tests/guests/registers/x2apic.def"
};

static enum access x2apic_access(uint32_t number)
{
    for (unsigned i = 0; i < sizeof(x2apic) / sizeof(x2apic[0]); i++)
        if (x2apic[i].number == number)
            return x2apic[i].access;
    return 0;
}

/* Flips the bits of one register from a value that is harmless. */
static void flip_x2apic(uint32_t msr, enum access access, uint64_t taken, uint64_t tried)
{
    uint64_t old = 0;
    if (access & RO)
        (void)guest_try_rdmsr(msr, &old);
    for (unsigned i = 0; i < 64; i++) {
        uint64_t n = old ^ BIT(i);
        if (!(tried >> i & 1))
            continue;
        bool is_valid = access & WO && !(n & ~taken);
        if (msr == X2APIC_FIRST + 0x28)
            is_valid = n == 0;
        uint64_t vector = guest_try_wrmsr(msr, n);
        guest_expect(vector, is_valid ? NO_FAULT : VECTOR_GP, "WRMSR of a bit");
        if (vector != (is_valid ? NO_FAULT : VECTOR_GP))
            detail(&(struct msr_row){msr, access, "x2apic"}, n, vector, msr);
        if (vector == NO_FAULT && access == RW)
            guest_wrmsr(msr, old);
    }
}

static void test_x2apic(void)
{
    uint64_t base = guest_rdmsr(IA32_APIC_BASE), value;
    guest_case("x2apic-msrs-in-xapic-mode");
    for (uint32_t msr = X2APIC_FIRST; msr < X2APIC_FIRST + 0x100; msr++) {
        guest_expect(guest_try_rdmsr(msr, &value), VECTOR_GP, "RDMSR");
        guest_expect(guest_try_wrmsr(msr, 0), VECTOR_GP, "WRMSR");
    }
    guest_case("x2apic-msrs");
    if (!HAS(1, 0, ECX, 21)) {
        guest_skip("not offered");
        return;
    }
    set_apic_mode(base, 3);
    for (uint32_t i = 0; i < 0x100; i++) {
        enum access access = x2apic_access(i);
        uint64_t vector = guest_try_rdmsr(X2APIC_FIRST + i, &value);
        guest_expect(vector, access & RO ? NO_FAULT : VECTOR_GP, "RDMSR in x2APIC mode");
        if (vector != (access & RO ? NO_FAULT : VECTOR_GP))
            detail(&(struct msr_row){0, access, "x2apic, RDMSR"}, i, vector, value);
        if (!(access & WO))
            guest_expect(guest_try_wrmsr(X2APIC_FIRST + i, 0), VECTOR_GP, "WRMSR in x2APIC mode");
    }
    guest_case("x2apic-flips");
#define X2APIC(number, name, access, taken, tried)                                                 \
    flip_x2apic(X2APIC_FIRST + (number), access, taken, tried);
#include "tests/guests/registers/x2apic.def"
    set_apic_mode(base, MODE(base));
}

void msr_test(void)
{
    is_traprock = HAS(1, 0, ECX, 31) && guest_cpuid(0x40000000, 0, EBX) == 0x70617254; /* "Trap" */
    for (unsigned row = 0; row < ROWS; row++)
        test_row(row);
    test_x2apic();
    test_apic_base();
    msr_holes_test();
}
