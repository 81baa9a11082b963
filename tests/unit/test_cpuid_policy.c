/* The CPUID policy, over a machine that has everything and over one that has little. */
#include <string.h>

#include "kernel/core/bits.h"
#include "kernel/vm/cpuid_policy.h"
#include "tests/check.h"

#define XCR0_ALL 0xe7ull

/* A machine with every bit set, but for numbers that must make sense. */
static void everything(void *context, uint32_t leaf, uint32_t subleaf, struct cpuid_result *result)
{
    static const struct cpuid_result caches[] = {
        {0x1c004121, 0x01c0003f, 0x3f, 0},   /* L1D, shared by two threads */
        {0x1c004122, 0x01c0003f, 0x3f, 0},   /* L1I */
        {0x1c03c143, 0x03c0003f, 0x3ff, 0},  /* L2 */
        {0x1c07c163, 0x0280003f, 0x5fff, 6}, /* L3 */
        {0, 0, 0, 0},
    };
    static const struct cpuid_result xstates[10] = {
        [2] = {256, 576, 0, 0},   [5] = {64, 1088, 0, 0}, [6] = {512, 1152, 2, 0},
        [7] = {1024, 1664, 2, 0}, [9] = {8, 2688, 0, 0},
    };

    (void)context;
    *result = (struct cpuid_result){~0u, ~0u, ~0u, ~0u};
    if (leaf == 0)
        *result = (struct cpuid_result){0x20, 0x756e6547, 0x6c65746e, 0x49656e69};
    else if (leaf == 0x80000000)
        result->eax = 0x80000008;
    else if (leaf == 4)
        *result = caches[subleaf < 4 ? subleaf : 4];
    else if (leaf == 0xd && subleaf >= 2)
        *result = subleaf < 10 ? xstates[subleaf] : (struct cpuid_result){0};
    else if (leaf == 0x80000008)
        result->eax = 57 << 8 | 46;
}

/* A machine with few leaves, where a leaf past the highest shows the highest's data. */
static void little(void *context, uint32_t leaf, uint32_t subleaf, struct cpuid_result *result)
{
    (void)context;
    (void)subleaf;
    *result = (struct cpuid_result){0xabcdef, 0xabcdef, 0xabcdef, 0xabcdef};
    if (leaf == 0)
        result->eax = 1;
    else if (leaf == 1)
        *result = (struct cpuid_result){0x106a5, 0x00100800, 0, 0x0183fbff};
    else if (leaf == 0x80000000)
        result->eax = 0x80000001;
    else if (leaf == 0x80000001)
        *result = (struct cpuid_result){0, 0, 1, 1 << 29 | 1 << 11};
}

static const struct cpuid_facts all = {
    .raw = everything,
    .tsc_hz = 50000000,
    .xcr0_offered = XCR0_ALL,
    .apic_id = 0,
    .vcpu_count = 1,
    .has_rdtscp = true,
    .has_invpcid = true,
    .has_xsaves = true,
    .has_xsavec = true,
};

static struct cpuid_result look(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf)
{
    struct cpuid_result result;
    cpuid_lookup(table, leaf, subleaf, &result);
    return result;
}

static void check_result(struct cpuid_result actual, struct cpuid_result expected)
{
    CHECK_EQ(actual.eax, expected.eax);
    CHECK_EQ(actual.ebx, expected.ebx);
    CHECK_EQ(actual.ecx, expected.ecx);
    CHECK_EQ(actual.edx, expected.edx);
}

static void hides_what_no_guest_may_have(void)
{
    static const struct {
        uint32_t leaf, subleaf, eax, ebx, ecx, edx;
    } hidden[] = {
        /* DTES64, MONITOR, DS-CPL, VMX, SMX, EST, TM2, xTPR, PDCM; DS, ACPI, TM, PBE */
        {1, 0, 0, 0, 0xc1fc | BIT(18), BIT(18) | BIT(21) | BIT(22) | BIT(29) | BIT(31)},
        /* SGX, HLE, RTM, RDT, MPX, PT; PKU, WAITPKG, CET, TME, LA57, KL, ENQCMD, PKS */
        {7, 0, 0, BIT(2) | BIT(4) | BIT(11) | BIT(12) | BIT(14) | BIT(15) | BIT(25),
         BIT(3) | BIT(4) | BIT(5) | BIT(7) | BIT(13) | BIT(16) | BIT(23) | BIT(29) | BIT(31),
         BIT(5) | BIT(9) | BIT(11) | BIT(15) | BIT(16) | BIT(18) | BIT(19) | BIT(20) | BIT(22) |
             BIT(24) | BIT(25)},
        {5, 0, ~0u, ~0u, ~0u, ~0u},
        {6, 0, ~4u, ~0u, ~0u, ~0u},
        {0xa, 0, ~0u, ~0u, ~0u, ~0u},
        {0xf, 0, ~0u, ~0u, ~0u, ~0u},
        {0x10, 0, ~0u, ~0u, ~0u, ~0u},
        {0x12, 0, ~0u, ~0u, ~0u, ~0u},
        {0x14, 0, ~0u, ~0u, ~0u, ~0u},
        {0x19, 0, ~0u, ~0u, ~0u, ~0u},
        {0x1c, 0, ~0u, ~0u, ~0u, ~0u},
        {0x1d, 0, ~0u, ~0u, ~0u, ~0u},
        {0x40000001, 0, ~0u, ~0u, ~0u, ~0u},
        {0x80000007, 0, ~0u, ~0u, ~0u, ~0x100u},
        {0xd, 1, ~0xfu, 0, ~0u, ~0u},
        {0xd, 8, ~0u, ~0u, ~0u, ~0u},
    };

    struct cpuid_table table;
    cpuid_build(&table, &all);
    for (size_t i = 0; i < ARRAY_SIZE(hidden); i++) {
        struct cpuid_result result = look(&table, hidden[i].leaf, hidden[i].subleaf);
        CHECK_EQ(result.eax & hidden[i].eax, 0);
        CHECK_EQ(result.ebx & hidden[i].ebx, 0);
        CHECK_EQ(result.ecx & hidden[i].ecx, 0);
        CHECK_EQ(result.edx & hidden[i].edx, 0);
    }
}

static void shows_what_the_machine_has(void)
{
    struct cpuid_table table;
    cpuid_build(&table, &all);
    struct cpuid_result leaf0 = look(&table, 0, 0);
    check_result(leaf0, (struct cpuid_result){0x1f, 0x756e6547, 0x6c65746e, 0x49656e69});
    struct cpuid_result leaf1 = look(&table, 1, 0);
    CHECK_EQ(leaf1.ecx, 0xf7fa3203); /* without OSXSAVE */
    CHECK_EQ(leaf1.edx, 0x0f8bfbff);
    CHECK_EQ(leaf1.ebx, 0x0001ffff);
    CHECK_EQ(look(&table, 7, 0).eax, 2);
    CHECK_EQ(look(&table, 7, 2).edx, 0x3f);
    check_result(look(&table, 7, 3), (struct cpuid_result){0});
    CHECK_EQ(look(&table, 0x80000000, 0).eax, 0x80000008);
    CHECK_EQ(look(&table, 0x80000008, 0).eax, 48 << 8 | 46);
    CHECK_EQ(cpuid_maxphyaddr(&table), 46);
    CHECK_EQ(look(&table, 0x80000003, 0).ecx, ~0u);
}

static void needs_are_obeyed(void)
{
    struct cpuid_table table;
    struct cpuid_facts facts = all;
    facts.has_rdtscp = facts.has_invpcid = facts.has_xsaves = false;
    facts.xcr0_offered = 0x67; /* part of AVX-512: none of it */
    cpuid_build(&table, &facts);
    CHECK_EQ(cpuid_xcr0_offered(&table), 7);
    CHECK_EQ(look(&table, 7, 0).ebx & (BIT(16) | BIT(10) | BIT(5)), BIT(5));
    CHECK_EQ(look(&table, 7, 0).ecx & BIT(22), 0);
    CHECK_EQ(look(&table, 0x80000001, 0).edx & BIT(27), 0);
    CHECK_EQ(look(&table, 0xd, 1).eax, 7);
    facts.xcr0_offered = 3;
    cpuid_build(&table, &facts);
    CHECK_EQ(look(&table, 1, 0).ecx & (BIT(28) | BIT(26) | BIT(12)), BIT(26));
    facts.xcr0_offered = 4; /* AVX without SSE is nothing */
    cpuid_build(&table, &facts);
    CHECK_EQ(look(&table, 1, 0).ecx & (BIT(28) | BIT(26)), 0);
    cpuid_set_xcr0(&table, 7);
    for (uint32_t i = 0; i < 11; i++)
        check_result(look(&table, 0xd, i), (struct cpuid_result){0});
}

static void emulated_features_need_no_machine(void)
{
    struct cpuid_table table;
    struct cpuid_facts facts = all;
    facts.raw = little;
    facts.xcr0_offered = 0;
    facts.tsc_hz = 2400000000;
    cpuid_build(&table, &facts);
    CHECK_EQ(look(&table, 0, 0).eax, 0x1f);
    CHECK_EQ(look(&table, 1, 0).ecx, BIT(31) | BIT(24) | BIT(21));
    check_result(look(&table, 2, 0), (struct cpuid_result){0});
    check_result(look(&table, 4, 0), (struct cpuid_result){0});
    check_result(look(&table, 6, 0), (struct cpuid_result){4, 0, 0, 0});
    check_result(look(&table, 7, 0), (struct cpuid_result){0, 2, 0, 0});
    check_result(look(&table, 0x15, 0), (struct cpuid_result){1, 1, 2400000000, 0});
    check_result(look(&table, 0x80000002, 0), (struct cpuid_result){0});
    CHECK_EQ(look(&table, 0x80000007, 0).edx, BIT(8));
    CHECK_EQ(look(&table, 0x80000008, 0).eax, 48 << 8 | 36);
}

static void the_hypervisor_names_itself(void)
{
    struct cpuid_table table;
    cpuid_build(&table, &all);
    struct cpuid_result result = look(&table, 0x40000000, 0);
    char text[13] = {0};
    memcpy(text, &result.ebx, 12);
    CHECK_STR(text, "TraprockTrap");
    CHECK_EQ(result.eax, 0x40000010);
    CHECK_EQ(look(&table, 0x40000010, 0).eax, 50000);
    check_result(look(&table, 0x40000011, 0), (struct cpuid_result){0});
    check_result(look(&table, 0x7fffffff, 5), (struct cpuid_result){0});
}

static void leaves_past_the_highest_are_the_highest(void)
{
    static const uint32_t leaves[] = {0x20, 0x3fffffff, 0x80000009, 0xbfffffff, 0xc0000000, ~0u};
    struct cpuid_table table;
    struct cpuid_facts facts = all;
    facts.apic_id = 5;
    facts.vcpu_count = 6;
    cpuid_build(&table, &facts);
    for (size_t i = 0; i < ARRAY_SIZE(leaves); i++)
        for (uint32_t subleaf = 0; subleaf < 4; subleaf++)
            check_result(look(&table, leaves[i], subleaf), look(&table, 0x1f, subleaf));
    check_result(look(&table, 0x80000005, 0), (struct cpuid_result){0});
}

static void topology_counts_the_vcpus(void)
{
    struct cpuid_table table;
    struct cpuid_facts facts = all;
    facts.apic_id = 5;
    facts.vcpu_count = 6;
    cpuid_build(&table, &facts);
    check_result(look(&table, 0xb, 0), (struct cpuid_result){0, 1, 0x100, 5});
    check_result(look(&table, 0xb, 1), (struct cpuid_result){3, 6, 0x201, 5});
    check_result(look(&table, 0xb, 0x102), (struct cpuid_result){0, 0, 2, 5});
    CHECK_EQ(look(&table, 1, 0).ebx >> 16, 5 << 8 | 8);
    CHECK(look(&table, 1, 0).edx & BIT(28));
    /* Caches: threads that share it, cores of the package. */
    CHECK_EQ(look(&table, 4, 0).eax, 7u << 26 | 0x121);
    CHECK_EQ(look(&table, 4, 3).eax, 7u << 26 | 7 << 14 | 0x163);
    CHECK_EQ(look(&table, 4, 3).ecx, 0x5fff);
    check_result(look(&table, 4, 4), (struct cpuid_result){0});
    check_result(look(&table, 4, 100), (struct cpuid_result){0});
    cpuid_build(&table, &all);
    CHECK_EQ(look(&table, 4, 3).eax, 0x163);
    check_result(look(&table, 0xb, 1), (struct cpuid_result){0, 1, 0x201, 0});
    facts.vcpu_count = 64;
    facts.apic_id = 63;
    cpuid_build(&table, &facts);
    CHECK_EQ(look(&table, 4, 3).eax, 63u << 26 | 63 << 14 | 0x163);
}

static void frequencies_are_exact(void)
{
    static const uint64_t hz[] = {1000000,    50000000,   2399999900ull, 4294967295ull,
                                  5000000000, 6600000003, 8589934590ull};
    for (size_t i = 0; i < ARRAY_SIZE(hz); i++) {
        struct cpuid_table table;
        struct cpuid_facts facts = all;
        facts.tsc_hz = hz[i];
        cpuid_build(&table, &facts);
        struct cpuid_result crystal = look(&table, 0x15, 0);
        CHECK_EQ(crystal.eax, 1);
        CHECK_EQ((uint64_t)crystal.ecx * crystal.ebx, hz[i]);
        CHECK_EQ(cpuid_timer_hz(&table), crystal.ecx);
        CHECK_EQ(look(&table, 0x16, 0).eax, (hz[i] + 500000) / 1000000);
    }
    /* A prime past 32 bits has no exact answer: below 1 in 10^9 off. */
    struct cpuid_table table;
    struct cpuid_facts facts = all;
    facts.tsc_hz = 4294967311ull;
    cpuid_build(&table, &facts);
    struct cpuid_result crystal = look(&table, 0x15, 0);
    CHECK(facts.tsc_hz - (uint64_t)crystal.ecx * crystal.ebx < 2);
}

/* Those of every processor but what is listed, which are known by an emulator's lack of microcode.
 */
static void keyed(void *context, uint32_t leaf, uint32_t subleaf, struct cpuid_result *result)
{
    everything(context, leaf, subleaf, result);
    if (leaf == 1)
        result->eax = *(const uint32_t *)context;
}

static void protection_keys(void)
{
    struct cpuid_table table;
    struct cpuid_facts facts = all;
    facts.xcr0_offered = XCR0_ALL | BIT(9);
    cpuid_build(&table, &facts);
    CHECK(cpuid_keys_flaw(&facts) == NULL);
    CHECK_EQ(look(&table, 7, 0).ecx & (BIT(3) | BIT(4)), BIT(3));
    CHECK_EQ(look(&table, 0xd, 0).eax, 0x2e7);
    CHECK_EQ(look(&table, 0xd, 0).ecx, 2696);
    CHECK_EQ(look(&table, 0xd, 9).ebx, 2688);
    cpuid_set_ospke(&table, true);
    CHECK_EQ(look(&table, 7, 0).ecx & (BIT(3) | BIT(4)), BIT(3) | BIT(4));
    cpuid_set_ospke(&table, false);
    CHECK_EQ(look(&table, 7, 0).ecx & (BIT(3) | BIT(4)), BIT(3));
    static const uint32_t emulated[] = {0x706e5, 0x806c1};
    facts.raw = keyed;
    for (size_t i = 0; i < ARRAY_SIZE(emulated); i++) {
        uint32_t signature = emulated[i];
        facts.context = &signature;
        facts.microcode = 0;
        CHECK(strstr(cpuid_keys_flaw(&facts), "Bochs") != NULL);
        cpuid_build(&table, &facts);
        CHECK_EQ(look(&table, 7, 0).ecx & BIT(3), 0);
        CHECK_EQ(cpuid_xcr0_offered(&table), XCR0_ALL);
        facts.microcode = 0xa6;
        CHECK(cpuid_keys_flaw(&facts) == NULL);
        cpuid_build(&table, &facts);
        CHECK(look(&table, 7, 0).ecx & BIT(3));
    }
    facts.raw = little; /* no leaf 7, whatever stands there */
    CHECK(cpuid_keys_flaw(&facts) == NULL);
    cpuid_build(&table, &facts);
    CHECK_EQ(cpuid_xcr0_offered(&table), XCR0_ALL);
}

static void the_guests_state_shows(void)
{
    struct cpuid_table table;
    cpuid_build(&table, &all);
    CHECK_EQ(look(&table, 1, 0).ecx & BIT(27), 0);
    cpuid_set_osxsave(&table, true);
    CHECK(look(&table, 1, 0).ecx & BIT(27));
    cpuid_set_osxsave(&table, false);
    CHECK_EQ(look(&table, 1, 0).ecx, 0xf7fa3203);
    cpuid_set_apic(&table, false);
    CHECK_EQ(look(&table, 1, 0).edx & BIT(9), 0);
    cpuid_set_apic(&table, true);
    CHECK(look(&table, 1, 0).edx & BIT(9));
    /* The XSAVE area: as after reset, for AVX, for AVX-512, and the most there can be. */
    check_result(look(&table, 0xd, 0), (struct cpuid_result){0xe7, 576, 2688, 0});
    cpuid_set_xcr0(&table, 7);
    CHECK_EQ(look(&table, 0xd, 0).ebx, 832);
    CHECK_EQ(look(&table, 0xd, 1).ebx, 832);
    cpuid_set_xcr0(&table, 0xe7);
    CHECK_EQ(look(&table, 0xd, 0).ebx, 2688);
    CHECK_EQ(look(&table, 0xd, 1).ebx, 576 + 256 + 64 + 512 + 1024);
    check_result(look(&table, 0xd, 6), (struct cpuid_result){512, 1152, 2, 0});
    check_result(look(&table, 0xd, 3), (struct cpuid_result){0});
}

/* SDM: IA32_MISC_ENABLE, Limit CPUID Maxval and XD Bit Disable. */
static void misc_enable_shows(void)
{
    struct cpuid_table table;
    cpuid_build(&table, &all);
    uint32_t highest = look(&table, 0, 0).eax;
    struct cpuid_result seven = look(&table, 7, 0), topology = look(&table, 0xb, 1);
    for (unsigned round = 0; round < 2; round++) {
        cpuid_set_misc_enable(&table, BIT(22));
        CHECK_EQ(look(&table, 0, 0).eax, 2);
        CHECK_EQ(look(&table, 1, 0).edx, 0xf8bfbff);
        for (uint32_t leaf = 3; leaf < 0x30; leaf++)
            check_result(look(&table, leaf, 0), look(&table, 2, 0));
        CHECK(look(&table, 0x40000000, 0).ebx != 0);
        CHECK(cpuid_has_nx(&table));
    }
    cpuid_set_misc_enable(&table, BIT(34));
    CHECK_EQ(look(&table, 0, 0).eax, highest);
    check_result(look(&table, 7, 0), seven);
    check_result(look(&table, 0xb, 1), topology);
    CHECK_EQ(look(&table, 0x80000001, 0).edx & BIT(20), 0);
    CHECK(!cpuid_has_nx(&table));
    cpuid_set_misc_enable(&table, 0);
    CHECK(cpuid_has_nx(&table));
}

/* Two vCPUs' tables do not share anything. */
static void tables_are_independent(void)
{
    struct cpuid_table a, b;
    struct cpuid_facts facts = all;
    facts.vcpu_count = 2;
    cpuid_build(&a, &facts);
    facts.apic_id = 1;
    cpuid_build(&b, &facts);
    cpuid_set_apic(&a, false);
    CHECK(look(&b, 1, 0).edx & BIT(9));
    CHECK_EQ(look(&b, 0xb, 0).edx, 1);
    CHECK_EQ(look(&a, 0xb, 0).edx, 0);
}

TEST_MAIN({"hides_what_no_guest_may_have", hides_what_no_guest_may_have},
          {"shows_what_the_machine_has", shows_what_the_machine_has},
          {"needs_are_obeyed", needs_are_obeyed}, {"protection_keys", protection_keys},
          {"emulated_features_need_no_machine", emulated_features_need_no_machine},
          {"the_hypervisor_names_itself", the_hypervisor_names_itself},
          {"leaves_past_the_highest_are_the_highest", leaves_past_the_highest_are_the_highest},
          {"topology_counts_the_vcpus", topology_counts_the_vcpus},
          {"frequencies_are_exact", frequencies_are_exact},
          {"the_guests_state_shows", the_guests_state_shows},
          {"misc_enable_shows", misc_enable_shows},
          {"tables_are_independent", tables_are_independent})
