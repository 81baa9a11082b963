/*
 * VM entries that fail: of a VMCS with random changes, by a VM exit (reasons 33 and 34) and by
 * VMfail. The guest ends, with a report that names field, value and rule for each rule that is
 * broken; nothing panics, and a guest that starts afterwards runs.
 */
#include "tests/check.h"
#include "tests/fake/log.h"
#include "tests/fake/vmx_guest.h"

#define FAILED_ENTRY BIT(31)
#define CASES 4000

static const uint16_t checked_fields[] = {
#define VMCS_FIELD(name, encoding, width, type) encoding,
#include "vmx/vmcs_fields.def"
#undef VMCS_FIELD
};

/* xorshift64*, by Marsaglia and Vigna. */
static uint64_t random_bits(void)
{
    static uint64_t x = 88172645463325252ull;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    return x * 2685821657736338717ull;
}

static void change_fields(void)
{
    static const uint8_t bits[] = {16, 64, 32, 64};
    for (unsigned n = 1 + random_bits() % 3; n > 0; n--) {
        uint16_t field = checked_fields[random_bits() % ARRAY_SIZE(checked_fields)];
        uint64_t value =
            random_bits() % 2 ? fake_vmcs.field[field] ^ BIT(random_bits() % 64) : random_bits();
        if ((field >> 10 & 3) != VMCS_TYPE_EXIT)
            fake_vmcs.field[field] = value & MASK(bits[field >> 13 & 3] - 1u, 0);
    }
}

static void check_is_reported(void *context, const struct broken_rule *rule)
{
    char line[240];
    (void)context;
    snprintf(line, sizeof(line), "guest: %s = 0x%llx: %s\n", vmcs_field_name(rule->field),
             (unsigned long long)rule->value, rule->text);
    if (strstr(fake_log_text(), line) == NULL)
        printf("# not in the report: %s", line);
    CHECK(strstr(fake_log_text(), line) != NULL);
}

/* The report has every broken rule, or says that none is. */
static void check_ended(const char *first)
{
    CHECK_EQ(fake_guest.vm.outcome, VM_STOPPED);
    CHECK(strstr(fake_log_text(), first) != NULL);
    (void)fake_guest_check_entry(check_is_reported, NULL);
}

static void fail_by_exit(unsigned reason, uint64_t qualification)
{
    fake_vmcs.field[VMCS_EXIT_REASON] = FAILED_ENTRY | reason;
    fake_vmcs.field[VMCS_EXIT_QUALIFICATION] = qualification;
    fake_log_clear();
    CHECK(!vmx_exit(&fake_guest.vcpu));
}

static void guest_state_that_is_refused_ends_its_guest(void)
{
    unsigned broken = 0;
    for (unsigned i = 0; i < CASES; i++) {
        fake_guest_start((enum fake_mode)(i % FAKE_MODES));
        change_fields();
        fail_by_exit(EXIT_REASON_ENTRY_FAILURE_GUEST_STATE, i % 5);
        check_ended("VM entry failed: ENTRY_FAILURE_GUEST_STATE, exit qualification");
        enum vmcs_field field;
        const char *rule;
        bool is_broken = fake_guest_broken_rules(&field, &rule) != 0;
        broken += is_broken;
        CHECK_EQ(strstr(fake_log_text(), "no rule that Traprock knows") != NULL, !is_broken);
    }
    CHECK(broken > CASES / 4);
}

static void msrs_that_cannot_be_loaded_end_their_guest(void)
{
    fake_guest_start(FAKE_LONG);
    fail_by_exit(EXIT_REASON_ENTRY_FAILURE_MSR_LOADING, 3);
    check_ended("VM entry failed: ENTRY_FAILURE_MSR_LOADING, exit qualification 3");
}

static void vmfail_ends_its_guest(void)
{
    for (unsigned i = 0; i < CASES / 4; i++) {
        fake_guest_start((enum fake_mode)(i % FAKE_MODES));
        change_fields();
        fake_vmcs.field[VMCS_VM_INSTRUCTION_ERROR] = 7 + i % 2;
        fake_log_clear();
        fake_vmcs.fails_entries = true;
        vmx_vcpu_run(&fake_guest.vcpu);
        check_ended(i % 2 ? "VM-instruction error 8" : "VM-instruction error 7");
        CHECK(!fake_guest.vmx.launched); /* a reset may start it again */
    }
}

/* What a guest's end leaves is nothing: one that starts then can be entered, and runs. */
static void the_next_guest_runs(void)
{
    fake_guest_start(FAKE_PROTECTED_32);
    fake_vmcs.field[VMCS_GUEST_CS_ACCESS_RIGHTS] = 0;
    fail_by_exit(EXIT_REASON_ENTRY_FAILURE_GUEST_STATE, 0);
    CHECK_EQ(fake_guest.vm.outcome, VM_STOPPED);
    fake_guest_start(FAKE_PROTECTED_32);
    fake_vmcs.field[VMCS_EXIT_REASON] = EXIT_REASON_CPUID;
    CHECK(vmx_exit(&fake_guest.vcpu));
    CHECK_EQ(fake_guest.vm.outcome, VM_RUNNING);
    enum vmcs_field field;
    const char *rule;
    CHECK_EQ(fake_guest_broken_rules(&field, &rule), 0);
}

TEST_MAIN(
    {"guest_state_that_is_refused_ends_its_guest", guest_state_that_is_refused_ends_its_guest},
    {"msrs_that_cannot_be_loaded_end_their_guest", msrs_that_cannot_be_loaded_end_their_guest},
    {"vmfail_ends_its_guest", vmfail_ends_its_guest}, {"the_next_guest_runs", the_next_guest_runs})
