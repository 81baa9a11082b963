#include "kernel/vm/msr_policy.h"

#include "kernel/core/bits.h"
#include "kernel/core/mem.h"
#include "kernel/core/msr.h"
#include "kernel/core/panic.h"
#include "kernel/vm/platform.h"

#define HIGH_FIRST 0xc0000080u
#define LOW_MSRS 0x6e1
#define X2APIC_FIRST 0x800 /* one row for all */
#define X2APIC_MSRS 0x100
#define HIGH_MSRS 0x90

/* ---- The rows ---- */

enum row {
#define MSR_LOW(number, name, kind, check, need, valid, reset) ROW_##name,
#define MSR_HIGH MSR_LOW
#define MSR_ALONE MSR_LOW
#include "kernel/vm/msrs.def"
    ROWS
};

STATIC_ASSERT(ROWS <= MSR_ROWS_MAX, "every row has a slot");

static const struct msr_policy rows[ROWS] = {
#define MSR_LOW(number, name, kind, check, need, valid, reset)                                     \
    [ROW_##name] = {(number), MSR_##kind, MSR_CHECK_##check, MSR_NEED_##need,                      \
                    (valid),  (reset),    "IA32_" #name},
#define MSR_HIGH MSR_LOW
#define MSR_ALONE MSR_LOW
#include "kernel/vm/msrs.def"
};

/* From an MSR's number to its row + 1; 0: no such MSR. */
static const uint8_t low_row[LOW_MSRS] = {
#define MSR_LOW(number, name, ...) [(number)] = ROW_##name + 1,
#include "kernel/vm/msrs.def"
};

static const uint8_t high_row[HIGH_MSRS] = {
#define MSR_HIGH(number, name, ...) [(number)-HIGH_FIRST] = ROW_##name + 1,
#include "kernel/vm/msrs.def"
};

/* Inlined into the exit's path. */
static inline unsigned find_row(uint32_t msr)
{
    if (msr < LOW_MSRS)
        return low_row[msr];
    if (msr - X2APIC_FIRST < X2APIC_MSRS)
        return ROW_X2APIC + 1;
    if (msr - HIGH_FIRST < HIGH_MSRS)
        return high_row[msr - HIGH_FIRST];
    return msr == MSR_IA32_XSS ? ROW_XSS + 1 : 0;
}

const struct msr_policy *msr_policy_at(unsigned i)
{
    return i < ROWS ? &rows[i] : NULL;
}

const struct msr_policy *msr_policy_find(uint32_t msr)
{
    unsigned row = find_row(msr);
    return row != 0 ? &rows[row - 1] : NULL;
}

uint64_t *msr_state_slot(struct msr_state *state, const struct msr_policy *row)
{
    ASSERT(row >= rows && row < rows + ROWS);
    return &state->value[row - rows];
}

/* ---- After reset ---- */

/* What a guest may know of the machine's immunities. Left out: bits that announce MSRs which the
 * guest does not have (TSX_CTRL, MISC_PACKAGE_CTLS, ENERGY_FILTERING, DOITM, MCU_CONTROL,
 * FB_CLEAR_CTRL, XAPIC_DISABLE, OVERCLOCKING, GDS_CTRL). SDM: IA32_ARCH_CAPABILITIES. */
#define ARCH_CAPABILITIES_SHOWN                                                                    \
    (MASK(6, 0) | BIT(8) | MASK(15, 13) | BIT(17) | MASK(20, 19) | BIT(24) | MASK(28, 26) | BIT(62))

#define MTRR_VALID BIT(11)

/* One bit for each enum msr_need. */
static uint32_t offered_needs(const struct cpuid_table *cpuid)
{
    static const struct {
        uint8_t need;
        uint32_t leaf, subleaf;
        uint32_t eax, ecx, edx; /* any of these bits */
    } sources[] = {
        {MSR_NEED_SPEC_CTRL, 7, 0, 0, 0, BIT(26) | BIT(27) | BIT(31)},
        {MSR_NEED_PRED_CMD, 7, 0, 0, 0, BIT(26)},
        {MSR_NEED_FLUSH_CMD, 7, 0, 0, 0, BIT(28)},
        {MSR_NEED_ARCH_CAPABILITIES, 7, 0, 0, 0, BIT(29)},
        {MSR_NEED_TSC_AUX, 7, 0, 0, BIT(22), 0},
        {MSR_NEED_TSC_AUX, 0x80000001, 0, 0, 0, BIT(27)},
        {MSR_NEED_XSAVES, 0xd, 1, BIT(3), 0, 0},
    };

    uint32_t offered = 1u << MSR_NEED_NOTHING;
    for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
        struct cpuid_result result;
        cpuid_lookup(cpuid, sources[i].leaf, sources[i].subleaf, &result);
        if (result.eax & sources[i].eax || result.ecx & sources[i].ecx ||
            result.edx & sources[i].edx)
            offered |= 1u << sources[i].need;
    }
    return offered;
}

void msr_state_init(struct msr_state *state, const struct msr_facts *facts)
{
    memset(state, 0, sizeof(*state));
    state->address_mask = BIT(cpuid_maxphyaddr(facts->cpuid)) - 1;
    state->offered = offered_needs(facts->cpuid);
    for (unsigned i = 0; i < ROWS; i++)
        state->value[i] = rows[i].reset;
    state->value[ROW_BIOS_SIGN_ID] = (uint64_t)facts->microcode << 32;
    state->value[ROW_ARCH_CAPABILITIES] = facts->arch_capabilities & ARCH_CAPABILITIES_SHOWN;
    /* Maximum non-turbo ratio, in units of 100 MHz. */
    uint64_t ratio = (facts->tsc_hz + 50000000) / 100000000;
    state->value[ROW_PLATFORM_INFO] = (ratio > 0xff ? 0xff : ratio) << 8;
    /* Uncacheable from the end of low RAM up to 4 GiB: a power of two, naturally aligned. */
    uint64_t size = PLATFORM_HIGH_RAM - PLATFORM_LOW_RAM_END;
    STATIC_ASSERT((PLATFORM_LOW_RAM_END & (PLATFORM_HIGH_RAM - PLATFORM_LOW_RAM_END - 1)) == 0,
                  "one variable range covers what lies between low RAM and 4 GiB");
    state->value[ROW_MTRR_PHYSBASE0] = PLATFORM_LOW_RAM_END;
    state->value[ROW_MTRR_PHYSMASK0] = (~(size - 1) & state->address_mask) | MTRR_VALID;
}

/* ---- Checks of stored values ---- */

/* SDM: Memory Types That Can Be Encoded in MTRRs: UC, WC, WT, WP, WB. */
static bool is_memory_type(uint64_t type)
{
    return type < 8 && (BIT(type) & (BIT(0) | BIT(1) | BIT(4) | BIT(5) | BIT(6)));
}

static bool are_memory_types(uint64_t types)
{
    for (unsigned i = 0; i < 8; i++)
        if (!is_memory_type(types >> 8 * i & 0xff))
            return false;
    return true;
}

/* SDM: IA32_MISC_ENABLE. Fast strings can be switched, and what CPUID follows; the other defined
 * bits keep what they say of a processor without these features; the rest is reserved. */
#define MISC_ENABLE_SWITCHED (BIT(0) | MISC_ENABLE_LIMIT_CPUID_MAXVAL | MISC_ENABLE_XD_BIT_DISABLE)
#define MISC_ENABLE_DEFINED                                                                        \
    (MISC_ENABLE_SWITCHED | BIT(3) | BIT(7) | BIT(11) | BIT(12) | BIT(16) | BIT(18) | BIT(23))

/* Whether value may be written over *stored; also what of it is kept. */
static bool check_value(const struct msr_state *state, const struct msr_policy *row,
                        uint64_t stored, uint64_t *value)
{
    uint64_t frame = state->address_mask & ~MASK(11, 0);
    switch ((enum msr_check)row->check) {
    case MSR_CHECK_MASK:
        return (*value & ~row->valid) == 0;
    case MSR_CHECK_IGNORED:
        *value = stored;
        return true;
    case MSR_CHECK_MISC_ENABLE: {
        bool is_valid = (*value & ~MISC_ENABLE_DEFINED) == 0;
        *value = (stored & ~MISC_ENABLE_SWITCHED) | (*value & MISC_ENABLE_SWITCHED);
        return is_valid;
    }
    case MSR_CHECK_MTRR_TYPES:
        return are_memory_types(*value);
    case MSR_CHECK_MTRR_PHYS_BASE:
        return (*value & ~(frame | 0xff)) == 0 && is_memory_type(*value & 0xff);
    case MSR_CHECK_MTRR_PHYS_MASK:
        return (*value & ~(frame | MTRR_VALID)) == 0;
    case MSR_CHECK_MTRR_DEF_TYPE:
        return (*value & ~(MASK(11, 10) | 0xff)) == 0 && is_memory_type(*value & 0xff);
    }
    return false;
}

/* ---- Access ---- */

enum msr_verdict msr_read(const struct msr_state *state, uint32_t msr, uint64_t *value)
{
    unsigned number = find_row(msr);
    if (number == 0)
        return MSR_FAULT;
    const struct msr_policy *row = &rows[number - 1];
    if (!msr_is_offered(state, row))
        return MSR_FAULT;
    switch ((enum msr_kind)row->kind) {
    case MSR_STORED:
    case MSR_FIXED:
        *value = state->value[number - 1];
        return MSR_DONE;
    case MSR_PASS_THROUGH:
        return MSR_TO_MACHINE;
    case MSR_VMCS_DIRECT:
    case MSR_VMCS_CHECKED:
        return MSR_TO_BACK_END;
    case MSR_CONTROLLER:
        return MSR_TO_CONTROLLER;
    case MSR_TIME:
        if (number - 1 != ROW_TSC_ADJUST)
            return MSR_TO_TIME;
        *value = state->value[ROW_TSC_ADJUST];
        return MSR_DONE;
    case MSR_COMMAND:
    case MSR_SINK:
        break;
    }
    return MSR_FAULT;
}

enum msr_verdict msr_write(struct msr_state *state, uint32_t msr, uint64_t value)
{
    unsigned number = find_row(msr);
    if (number == 0)
        return MSR_FAULT;
    const struct msr_policy *row = &rows[number - 1];
    if (!msr_is_offered(state, row))
        return MSR_FAULT;
    switch ((enum msr_kind)row->kind) {
    case MSR_STORED:
#ifdef PLANTED_BUG_POLICY /* for the fuzzer's own test */
        state->value[number - 1] = value;
#endif
        if (!check_value(state, row, state->value[number - 1], &value))
            return MSR_FAULT;
        state->value[number - 1] = value;
        return MSR_DONE;
    case MSR_SINK:
        return MSR_DONE;
    case MSR_PASS_THROUGH:
        return MSR_TO_MACHINE;
    case MSR_COMMAND:
        return (value & ~row->valid) == 0 ? MSR_TO_MACHINE : MSR_FAULT;
    case MSR_VMCS_DIRECT:
    case MSR_VMCS_CHECKED:
        return MSR_TO_BACK_END;
    case MSR_CONTROLLER:
        return MSR_TO_CONTROLLER;
    case MSR_TIME:
        return MSR_TO_TIME;
    case MSR_FIXED:
        break;
    }
    return MSR_FAULT;
}

uint64_t msr_misc_enable(const struct msr_state *state)
{
    return state->value[ROW_MISC_ENABLE];
}

uint64_t msr_write_time(struct msr_state *state, uint32_t msr, uint64_t value, uint64_t machine_tsc,
                        uint64_t offset)
{
    uint64_t *adjust = &state->value[ROW_TSC_ADJUST];
    uint64_t delta =
        find_row(msr) == ROW_TSC_ADJUST + 1 ? value - *adjust : value - (machine_tsc + offset);
    *adjust += delta;
    return offset + delta;
}
