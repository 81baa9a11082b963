/* The MSR policy: default deny, stored values with their reserved bits, and who gets the rest. */
#include "kernel/core/bits.h"
#include "kernel/vm/msr_policy.h"
#include "tests/check.h"

/* A machine with all features, or (context) none. */
static void machine(void *context, uint32_t leaf, uint32_t subleaf, struct cpuid_result *result)
{
    uint32_t all = context == NULL ? ~0u : 0;
    (void)subleaf;
    *result = (struct cpuid_result){all, all, all, all};
    if (leaf == 0)
        result->eax = 0x20;
    if (leaf == 0x80000000)
        result->eax = 0x80000008;
    if (leaf == 0x80000008)
        result->eax = 48 << 8 | 40;
    if (leaf == 4 || (leaf == 0xd && subleaf > 1))
        *result = (struct cpuid_result){0};
}

static struct cpuid_table cpuid;
static struct msr_state state;

static void make(bool has_features)
{
    struct cpuid_facts facts = {
        .raw = machine,
        .context = has_features ? NULL : &cpuid,
        .tsc_hz = 2600000000,
        .xcr0_offered = has_features ? 7 : 0,
        .vcpu_count = 1,
        .has_rdtscp = has_features,
        .has_xsaves = has_features,
        .has_xsavec = has_features,
    };
    cpuid_build(&cpuid, &facts);
    struct msr_facts msr_facts = {&cpuid, facts.tsc_hz, 0x2b000461, ~0ull};
    msr_state_init(&state, &msr_facts);
}

static uint64_t read_done(uint32_t msr)
{
    uint64_t value = 0;
    CHECK_EQ(msr_read(&state, msr, &value), MSR_DONE);
    return value;
}

static void every_other_msr_is_denied(void)
{
    static const uint32_t starts[] = {0,          0x40000000, 0xbffffff0,
                                      0xc0000000, 0xc0010000, 0xffff0000};
    make(true);
    for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
        for (uint32_t n = 0; n < 0x4000; n++) {
            uint32_t msr = starts[i] + n;
            uint64_t value = 0x55;
            if (msr_policy_find(msr) != NULL)
                continue;
            CHECK_EQ(msr_read(&state, msr, &value), MSR_FAULT);
            CHECK_EQ(msr_write(&state, msr, 0), MSR_FAULT);
            CHECK_EQ(value, 0x55);
        }
    }
    /* The MSRs of what CPUID hides. */
    static const uint32_t denied[] = {0x33,  0xc1,  0xe1,  0xe2,  0x122, 0x123, 0x186,
                                      0x199, 0x345, 0x38f, 0x480, 0x570, 0x6a0, 0x985,
                                      0xd90, 0x7ff, 0x900, 0xdff, 0xe00, 0xda1, 0xc0000085};
    for (size_t i = 0; i < ARRAY_SIZE(denied); i++)
        CHECK(msr_policy_find(denied[i]) == NULL);
}

static void every_row_is_found_by_its_number(void)
{
    unsigned count = 0;
    for (const struct msr_policy *row; (row = msr_policy_at(count)) != NULL; count++) {
        CHECK(msr_policy_find(row->msr) == row);
        CHECK(strncmp(row->name, "IA32_", 5) == 0);
        CHECK(msr_state_slot(&state, row) == &state.value[count]);
    }
    CHECK(count > 50 && count <= MSR_ROWS_MAX);
    CHECK(msr_policy_at(~0u) == NULL);
}

static void verdicts_name_who_does_it(void)
{
    static const struct {
        uint32_t msr;
        enum msr_verdict read, write;
    } expected[] = {
        {0xc0000082, MSR_TO_MACHINE, MSR_TO_MACHINE},   /* LSTAR */
        {0xc0000102, MSR_TO_MACHINE, MSR_TO_MACHINE},   /* KERNEL_GS_BASE */
        {0xc0000080, MSR_TO_BACK_END, MSR_TO_BACK_END}, /* EFER */
        {0xc0000100, MSR_TO_BACK_END, MSR_TO_BACK_END}, /* FS_BASE */
        {0x277, MSR_TO_BACK_END, MSR_TO_BACK_END},      /* PAT */
        {0x1d9, MSR_TO_BACK_END, MSR_TO_BACK_END},      /* DEBUGCTL */
        {0x10, MSR_TO_TIME, MSR_TO_TIME},               /* TSC */
        {0x3b, MSR_DONE, MSR_TO_TIME},                  /* TSC_ADJUST */
        {0x1b, MSR_TO_CONTROLLER, MSR_TO_CONTROLLER},   /* APIC_BASE */
        {0x6e0, MSR_TO_CONTROLLER, MSR_TO_CONTROLLER},  /* TSC_DEADLINE */
        {0x800, MSR_TO_CONTROLLER, MSR_TO_CONTROLLER},  /* x2APIC, first and last */
        {0x8ff, MSR_TO_CONTROLLER, MSR_TO_CONTROLLER},
        {0x3a, MSR_DONE, MSR_FAULT},        /* FEATURE_CONTROL */
        {0x0, MSR_DONE, MSR_FAULT},         /* P5_MC_ADDR */
        {0x1, MSR_DONE, MSR_FAULT},         /* P5_MC_TYPE */
        {0x79, MSR_FAULT, MSR_DONE},        /* BIOS_UPDT_TRIG */
        {0x49, MSR_FAULT, MSR_TO_MACHINE},  /* PRED_CMD */
        {0x10b, MSR_FAULT, MSR_TO_MACHINE}, /* FLUSH_CMD */
        {0x179, MSR_DONE, MSR_FAULT},       /* MCG_CAP */
        {0xfe, MSR_DONE, MSR_FAULT},        /* MTRRCAP */
    };
    make(true);
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
        uint64_t value;
        CHECK_EQ(msr_read(&state, expected[i].msr, &value), expected[i].read);
        CHECK_EQ(msr_write(&state, expected[i].msr, 1), expected[i].write);
    }
    CHECK_EQ(msr_write(&state, 0x49, 2), MSR_FAULT);
    CHECK_EQ(msr_write(&state, 0x10b, BIT(63)), MSR_FAULT);
}

static void cpuid_decides(void)
{
    static const uint32_t optional[] = {0x48, 0x49, 0x10a, 0x10b, 0xda0, 0xc0000103};
    uint64_t value;
    make(false);
    for (size_t i = 0; i < ARRAY_SIZE(optional); i++) {
        CHECK(!msr_is_offered(&state, msr_policy_find(optional[i])));
        CHECK_EQ(msr_read(&state, optional[i], &value), MSR_FAULT);
        CHECK_EQ(msr_write(&state, optional[i], 0), MSR_FAULT);
    }
    make(true);
    for (size_t i = 0; i < ARRAY_SIZE(optional); i++) {
        CHECK(msr_is_offered(&state, msr_policy_find(optional[i])));
        CHECK(msr_write(&state, optional[i], 0) != MSR_FAULT || optional[i] == 0x10a);
    }
    CHECK_EQ(msr_write(&state, 0xda0, 1), MSR_FAULT); /* XSS: no supervisor state */
    CHECK_EQ(msr_write(&state, 0xda0, 0), MSR_DONE);
}

static void values_after_reset(void)
{
    make(true);
    CHECK_EQ(read_done(0x3a), 1);
    CHECK_EQ(read_done(0x8b), 0x2b00046100000000ull);
    CHECK_EQ(read_done(0xce), 26 << 8);
    CHECK_EQ(read_done(0x179), 0);
    CHECK_EQ(read_done(0x17), 0);
    CHECK_EQ(read_done(0x3b), 0);
    CHECK_EQ(read_done(0x1a0), 0x1801);
    CHECK_EQ(read_done(0xfe), 0x508);
    CHECK_EQ(read_done(0x2ff), 0xc06);
    CHECK_EQ(read_done(0x200), 0xc0000000);
    CHECK_EQ(read_done(0x201), 0xffc0000800ull);
    CHECK_EQ(read_done(0x259), 0);
    CHECK_EQ(read_done(0x26f), 0x0606060606060606ull);
    /* No bit of IA32_ARCH_CAPABILITIES that announces an MSR which is denied. */
    CHECK_EQ(read_done(0x10a), 0x400000001d1ae17full);
}

static void bios_sign_id_takes_the_write_and_stays(void)
{
    make(true);
    CHECK_EQ(msr_write(&state, 0x8b, 0), MSR_DONE);
    CHECK_EQ(read_done(0x8b) >> 32, 0x2b000461);
}

static void misc_enable_keeps_what_it_says(void)
{
    make(true);
    CHECK_EQ(msr_write(&state, 0x1a0, 0), MSR_DONE);
    CHECK_EQ(read_done(0x1a0), 0x1800);
    CHECK_EQ(msr_write(&state, 0x1a0, BIT(34) | BIT(22) | BIT(18) | 1), MSR_DONE);
    CHECK_EQ(read_done(0x1a0), 0x1801 | BIT(34) | BIT(22));
    CHECK_EQ(msr_write(&state, 0x1a0, 1), MSR_DONE);
    CHECK_EQ(read_done(0x1a0), 0x1801);
    CHECK_EQ(msr_write(&state, 0x1a0, BIT(63)), MSR_FAULT);
    CHECK_EQ(msr_write(&state, 0x1a0, BIT(1)), MSR_FAULT);
    CHECK_EQ(read_done(0x1a0), 0x1801);
}

static void mtrrs_check_their_bits(void)
{
    static const struct {
        uint32_t msr;
        uint64_t value;
        bool is_valid;
    } writes[] = {
        {0x2ff, 0xc06, true},
        {0x2ff, 0, true},
        {0x2ff, 0x1c06, false},
        {0x2ff, 0xc02, false},
        {0x2ff, 0xc06 | BIT(8), false},
        {0x250, 0x0001040506000104ull, true},
        {0x26f, 0x0600000000000002ull, false},
        {0x268, 0x0300000000000000ull, false},
        {0x259, 0x0700000000000000ull, false},
        {0x202, 0xff80000006ull, true},
        {0x202, BIT(40) | 6, false},
        {0x202, 0x100 | 6, false},
        {0x20e, 7, false},
        {0x20e, 0xff, false},
        {0x203, 0xff80000800ull, true},
        {0x203, BIT(40), false},
        {0x20f, 0x400, false},
        {0x20f, 1, false},
        {0x17a, 7, true},
        {0x17a, 8, false},
    };
    make(true);
    for (size_t i = 0; i < ARRAY_SIZE(writes); i++) {
        uint64_t before = read_done(writes[i].msr);
        CHECK_EQ(msr_write(&state, writes[i].msr, writes[i].value),
                 writes[i].is_valid ? MSR_DONE : MSR_FAULT);
        CHECK_EQ(read_done(writes[i].msr), writes[i].is_valid ? writes[i].value : before);
    }
}

static void tsc_and_adjustment_move_together(void)
{
    make(true);
    uint64_t now = 1000, offset = (uint64_t)-1000; /* the guest's TSC is 0 */
    offset = msr_write_time(&state, 0x10, 500, now, offset);
    CHECK_EQ(now + offset, 500);
    CHECK_EQ(read_done(0x3b), 500);
    offset = msr_write_time(&state, 0x3b, 100, now, offset);
    CHECK_EQ(now + offset, 100);
    CHECK_EQ(read_done(0x3b), 100);
    offset = msr_write_time(&state, 0x10, UINT64_MAX, now, offset);
    CHECK_EQ(now + offset, UINT64_MAX);
    CHECK_EQ(read_done(0x3b), UINT64_MAX);
    offset = msr_write_time(&state, 0x3b, 0, now, offset);
    CHECK_EQ(now + offset, 0);
}

TEST_MAIN({"every_other_msr_is_denied", every_other_msr_is_denied},
          {"every_row_is_found_by_its_number", every_row_is_found_by_its_number},
          {"verdicts_name_who_does_it", verdicts_name_who_does_it},
          {"cpuid_decides", cpuid_decides}, {"values_after_reset", values_after_reset},
          {"bios_sign_id_takes_the_write_and_stays", bios_sign_id_takes_the_write_and_stays},
          {"misc_enable_keeps_what_it_says", misc_enable_keeps_what_it_says},
          {"mtrrs_check_their_bits", mtrrs_check_their_bits},
          {"tsc_and_adjustment_move_together", tsc_and_adjustment_move_together})
