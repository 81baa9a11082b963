/*
 * CPUID and MSRs, on any machine, asked for anything: what the policy does not list is not there, a
 * refused write changes nothing, an accepted one reads back, and CPUID's answers do not depend on
 * what was asked before.
 */
#include <string.h>

#include "kernel/vm/msr_policy.h"
#include "tests/fuzz/fuzz.h"

/* A machine whose CPUID is the input's: 64 results, by a mix of leaf and subleaf. */
struct machine {
    struct cpuid_result result[64];
};

static void raw(void *context, uint32_t leaf, uint32_t subleaf, struct cpuid_result *result)
{
    const struct machine *machine = context;
    *result = machine->result[(leaf * 5 + (leaf >> 28) + subleaf * 11) % 64];
    if ((leaf & 0x7fffffff) == 0)
        result->eax |= leaf;
}

static void ask_cpuid(const struct cpuid_table *table, struct fuzz_input *input)
{
    static const uint32_t bases[] = {0, 0x40000000, 0x80000000, 0xc0000000};
    uint64_t choice = fuzz_take(input, 1);
    uint32_t leaf = bases[choice & 3] + (uint32_t)fuzz_take(input, (choice & 4) != 0 ? 4 : 1);
    uint32_t subleaf = (uint32_t)fuzz_take(input, (choice & 8) != 0 ? 4 : 1);
    struct cpuid_result first, second;
    cpuid_lookup(table, leaf, subleaf, &first);
    cpuid_lookup(table, 0, 0, &second);
    REQUIRE(second.eax == CPUID_MAX_BASIC);
    cpuid_lookup(table, leaf, subleaf, &second);
    REQUIRE(memcmp(&first, &second, sizeof(first)) == 0);
    if (leaf == 1) /* the hypervisor bit is there; VMX is not */
        REQUIRE((first.ecx & BIT(31)) != 0 && (first.ecx & BIT(5)) == 0);
    if (leaf == 7 && subleaf == 0) /* no SGX, no protection keys */
        REQUIRE((first.ebx & BIT(2)) == 0 && (first.ecx & BIT(3)) == 0);
    if (leaf > 0x40000010 && leaf < 0x80000000)
        REQUIRE((first.eax | first.ebx | first.ecx | first.edx) == 0);
}

static void change_cpuid(struct cpuid_table *table, struct fuzz_input *input)
{
    uint64_t choice = fuzz_take(input, 1);
    struct cpuid_result result;
    cpuid_set_osxsave(table, (choice & 1) != 0);
    cpuid_set_apic(table, (choice & 2) != 0);
    cpuid_set_xcr0(table, fuzz_take(input, 1));
    cpuid_lookup(table, 1, 0, &result);
    REQUIRE(((result.ecx & BIT(27)) != 0) == ((choice & 1) != 0));
    REQUIRE(((result.edx & BIT(9)) != 0) == ((choice & 2) != 0));
}

/* An MSR's number: one that is listed, one near, or any. */
static uint32_t pick_msr(struct fuzz_input *input)
{
    uint64_t choice = fuzz_take(input, 1);
    const struct msr_policy *row = msr_policy_at((unsigned)choice & 63);
    if ((choice & 0xc0) == 0xc0 || row == NULL)
        return (uint32_t)fuzz_take(input, 4);
    return row->msr + ((choice & 0x80) != 0 ? 1 : 0);
}

static void access_msr(struct msr_state *state, struct fuzz_input *input)
{
    static struct msr_state before;
    uint32_t msr = pick_msr(input);
    uint64_t old = 0x5a5a, now = 0x5a5a, value = fuzz_take(input, 8);
    const struct msr_policy *row = msr_policy_find(msr);
    before = *state;
    enum msr_verdict could_read = msr_read(state, msr, &old);
    enum msr_verdict wrote = msr_write(state, msr, value);
    REQUIRE(row != NULL || (could_read == MSR_FAULT && wrote == MSR_FAULT));
    REQUIRE(could_read == MSR_DONE || old == 0x5a5a);
    if (wrote != MSR_DONE)
        REQUIRE(memcmp(&before, state, sizeof(before)) == 0);
    if (row != NULL && !msr_is_offered(state, row))
        REQUIRE(could_read == MSR_FAULT && wrote == MSR_FAULT);
    REQUIRE(msr_read(state, msr, &now) == could_read);
    if (could_read == MSR_DONE && wrote == MSR_FAULT)
        REQUIRE(now == old);
    if (wrote == MSR_DONE && could_read == MSR_DONE && row->check == MSR_CHECK_MASK)
        REQUIRE(now == value && (value & ~row->valid) == 0);
}

static void write_time(struct msr_state *state, struct fuzz_input *input)
{
    uint64_t choice = fuzz_take(input, 1), value = fuzz_take(input, 8), adjust, after;
    uint64_t machine = fuzz_take(input, 4), offset = fuzz_take(input, 8);
    REQUIRE(msr_read(state, 0x3b, &adjust) == MSR_DONE);
    uint64_t now = msr_write_time(state, (choice & 1) != 0 ? 0x3b : 0x10, value, machine, offset);
    REQUIRE(msr_read(state, 0x3b, &after) == MSR_DONE);
    REQUIRE(after - adjust == now - offset);
    REQUIRE((choice & 1) != 0 ? after == value : machine + now == value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine machine;
    static struct cpuid_table table;
    static struct msr_state state;
    struct fuzz_input input = {data, data + size};
    uint64_t flags = fuzz_take(&input, 1);
    memset(&machine, (flags & 0x80) != 0 ? 0xff : 0, sizeof(machine));
    for (unsigned i = 0; i < 16; i++)
        machine.result[fuzz_take(&input, 1) % 64] =
            (struct cpuid_result){(uint32_t)fuzz_take(&input, 4), (uint32_t)fuzz_take(&input, 2),
                                  (uint32_t)fuzz_take(&input, 4), (uint32_t)fuzz_take(&input, 4)};
    struct cpuid_facts facts = {.raw = raw,
                                .context = &machine,
                                .tsc_hz = 1 + fuzz_take(&input, 5),
                                .xcr0_offered = fuzz_take(&input, 1),
                                .apic_id = (uint32_t)fuzz_take(&input, 1),
                                .vcpu_count = 1 + (uint32_t)fuzz_take(&input, 1),
                                .has_rdtscp = (flags & 1) != 0,
                                .has_invpcid = (flags & 2) != 0,
                                .has_xsaves = (flags & 4) != 0,
                                .has_xsavec = (flags & 8) != 0};
    cpuid_build(&table, &facts);
    REQUIRE(cpuid_maxphyaddr(&table) >= 32 && cpuid_maxphyaddr(&table) <= 48);
    struct msr_facts msr_facts = {.cpuid = &table,
                                  .tsc_hz = facts.tsc_hz,
                                  .microcode = (uint32_t)fuzz_take(&input, 2),
                                  .arch_capabilities = fuzz_take(&input, 8)};
    msr_state_init(&state, &msr_facts);
    for (unsigned i = 0; i < 200 && !fuzz_is_done(&input); i++) {
        uint64_t choice = fuzz_take(&input, 1);
        if ((choice & 7) == 0)
            change_cpuid(&table, &input);
        else if ((choice & 7) == 1)
            write_time(&state, &input);
        else if ((choice & 1) != 0)
            ask_cpuid(&table, &input);
        else
            access_msr(&state, &input);
    }
    return 0;
}
