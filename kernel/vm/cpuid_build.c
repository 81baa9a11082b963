/* Making a vCPU's CPUID table from the policy, the machine and the VM. */
#include "kernel/core/bits.h"
#include "kernel/core/mem.h"
#include "kernel/vm/cpuid_policy.h"

enum reg { EAX, EBX, ECX, EDX };
enum need { NONE, XSAVE, AVX, AVX512, RDTSCP, INVPCID, XSAVEC, XSAVES, KEYS, NEEDS };

#define XCR0_X87 BIT(0)
#define XCR0_SSE BIT(1)
#define XCR0_AVX BIT(2)
#define XCR0_AVX512 MASK(7, 5)

#define CACHE_SUBLEAVES 8
#define TOPOLOGY_SUBLEAVES 2
#define STRUCTURED_SUBLEAVES 3

struct rule {
    uint32_t leaf;
    uint8_t subleaf;
    uint8_t reg;
    uint8_t need;
    bool from_machine; /* the machine's bits under mask, else the mask itself */
    uint32_t mask;
};

#define CPUID_FEATURE(leaf, subleaf, reg, bit, name, need)                                         \
    {(leaf), (subleaf), (reg), (need), true, (uint32_t)BIT(bit)},
#define CPUID_OFFERED(leaf, subleaf, reg, bit, name)                                               \
    {(leaf), (subleaf), (reg), NONE, false, (uint32_t)BIT(bit)},
#define CPUID_PASS(leaf, subleaf, reg, mask) {(leaf), (subleaf), (reg), NONE, true, (mask)},
#define CPUID_FIXED(leaf, subleaf, reg, value) {(leaf), (subleaf), (reg), NONE, false, (value)},

static const struct rule rules[] = {
#include "kernel/vm/cpuid.def"
};

/* The leaves that are not all zeros. */
static const struct {
    uint32_t leaf;
    uint8_t count;
    bool indexed;
} layout[] = {
    {0x0, 1, false},
    {0x1, 1, false},
    {0x2, 1, false},
    {0x4, CACHE_SUBLEAVES, true},
    {0x6, 1, false},
    {0x7, STRUCTURED_SUBLEAVES, true},
    {0xb, TOPOLOGY_SUBLEAVES, true},
    {0xd, CPUID_XSTATES, true},
    {0x15, 1, false},
    {0x16, 1, false},
    {0x1f, TOPOLOGY_SUBLEAVES, true},
    {0x40000000, 1, false},
    {0x40000010, 1, false},
    {0x80000000, 1, false},
    {0x80000001, 1, false},
    {0x80000002, 1, false},
    {0x80000003, 1, false},
    {0x80000004, 1, false},
    {0x80000006, 1, false},
    {0x80000007, 1, false},
    {0x80000008, 1, false},
};

STATIC_ASSERT(1 + ARRAY_SIZE(layout) + CACHE_SUBLEAVES + 2 * TOPOLOGY_SUBLEAVES +
                      STRUCTURED_SUBLEAVES + CPUID_XSTATES <=
                  CPUID_ENTRIES_MAX,
              "every subleaf has an entry");

static struct cpuid_leaf *leaf_row(struct cpuid_table *table, uint32_t leaf)
{
    return &table->leaf[leaf >> 30][leaf & (CPUID_LEAVES - 1)];
}

static struct cpuid_result *entry_of(struct cpuid_table *table, uint32_t leaf, uint32_t subleaf)
{
    return &table->entry[leaf_row(table, leaf)->first + subleaf];
}

/* Every leaf up to the highest of its kind is there, as zeros where nothing else is said. */
static void lay_out(struct cpuid_table *table)
{
    static const uint32_t highest[] = {CPUID_MAX_BASIC, CPUID_MAX_HYPERVISOR, CPUID_MAX_EXTENDED};
    for (size_t i = 0; i < ARRAY_SIZE(highest); i++)
        for (uint32_t leaf = highest[i] & MASK(31, 30); leaf <= highest[i]; leaf++)
            *leaf_row(table, leaf) = (struct cpuid_leaf){0, 0, 1};
    uint8_t next = 1;
    for (size_t i = 0; i < ARRAY_SIZE(layout); i++) {
        *leaf_row(table, layout[i].leaf) =
            (struct cpuid_leaf){layout[i].indexed ? ~0u : 0, next, layout[i].count};
        next = (uint8_t)(next + layout[i].count);
    }
}

/* The machine's leaf, zeros where it has none: past its highest leaf it would show another's. */
static struct cpuid_result raw_leaf(const struct cpuid_facts *facts, uint32_t leaf,
                                    uint32_t subleaf)
{
    struct cpuid_result result;
    facts->raw(facts->context, leaf & BIT(31), 0, &result);
    if (leaf > result.eax)
        return (struct cpuid_result){0};
    facts->raw(facts->context, leaf, subleaf, &result);
    return result;
}

static uint32_t *result_reg(struct cpuid_result *result, unsigned reg)
{
    uint32_t *regs[] = {&result->eax, &result->ebx, &result->ecx, &result->edx};
    return regs[reg];
}

/* Processors whose protection keys are broken. Signatures are leaf 01H's EAX; an emulator's are
 * those of the processor that it is like, which has a revision of microcode. */
static const struct {
    uint32_t signature;
    bool has_microcode;
    const char *reason;
} key_flaws[] = {
    {0x000706e5, false, "Bochs 2.7 (corei7_icelake_u) lets a supervisor read what a key forbids"},
    {0x000806c1, false, "Bochs 2.7 (tigerlake) lets a supervisor read what a key forbids"},
};

#define LEAF7_ECX_PKU BIT(3)

const char *cpuid_keys_flaw(const struct cpuid_facts *facts)
{
    uint32_t signature = raw_leaf(facts, 1, 0).eax;
    if (!(raw_leaf(facts, 7, 0).ecx & LEAF7_ECX_PKU))
        return NULL;
    for (size_t i = 0; i < ARRAY_SIZE(key_flaws); i++)
        if (signature == key_flaws[i].signature &&
            (facts->microcode != 0) == key_flaws[i].has_microcode)
            return key_flaws[i].reason;
    return NULL;
}

/* State components that belong together, together or not at all. SDM: XCR0. */
static uint64_t sane_xcr0(const struct cpuid_facts *facts)
{
    uint64_t offered =
        facts->xcr0_offered & (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | CPUID_XCR0_PKRU);
    if ((offered & (XCR0_X87 | XCR0_SSE)) != (XCR0_X87 | XCR0_SSE))
        return 0;
    if (!(offered & XCR0_AVX) || (offered & XCR0_AVX512) != XCR0_AVX512)
        offered &= ~XCR0_AVX512;
    if (!(raw_leaf(facts, 7, 0).ecx & LEAF7_ECX_PKU) || cpuid_keys_flaw(facts) != NULL)
        offered &= ~CPUID_XCR0_PKRU;
    return offered;
}

static void apply_rules(struct cpuid_table *table, const struct cpuid_facts *facts)
{
    const bool has[NEEDS] = {
        [NONE] = true,
        [XSAVE] = table->xcr0_offered != 0,
        [AVX] = table->xcr0_offered & XCR0_AVX,
        [AVX512] = table->xcr0_offered & XCR0_AVX512,
        [RDTSCP] = facts->has_rdtscp,
        [INVPCID] = facts->has_invpcid,
        [KEYS] = table->xcr0_offered & CPUID_XCR0_PKRU,
        [XSAVEC] = table->xcr0_offered != 0 && facts->has_xsavec,
        [XSAVES] = table->xcr0_offered != 0 && facts->has_xsavec && facts->has_xsaves,
    };
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        const struct rule *rule = &rules[i];
        if (!has[rule->need])
            continue;
        struct cpuid_result raw = raw_leaf(facts, rule->leaf, rule->subleaf);
        uint32_t bits = rule->from_machine ? *result_reg(&raw, rule->reg) : ~0u;
        *result_reg(entry_of(table, rule->leaf, rule->subleaf), rule->reg) |= bits & rule->mask;
    }
}

/* ---- Computed leaves ---- */

/* How many bits number count vCPUs. */
static unsigned id_bits(uint32_t count)
{
    unsigned bits = 0;
    while (bits < 16 && count > 1u << bits)
        bits++;
    return bits;
}

/* SDM: CPUID leaf 01H: initial APIC ID, maximum number of addressable IDs, HTT. */
static void fill_features(struct cpuid_table *table, const struct cpuid_facts *facts)
{
    struct cpuid_result *entry = entry_of(table, 1, 0);
    uint32_t ids = 1u << id_bits(facts->vcpu_count);
    entry->ebx |= facts->apic_id << 24 | (ids > 255 ? 255 : ids) << 16;
    if (facts->vcpu_count > 1)
        entry->edx |= (uint32_t)BIT(28);
}

/* SDM: Deterministic Cache Parameters: every vCPU is a core of one package, with one thread; the
 * third level is shared by all. */
static void fill_caches(struct cpuid_table *table, const struct cpuid_facts *facts)
{
    uint32_t others = (1u << id_bits(facts->vcpu_count)) - 1;
    for (unsigned i = 0; i < CACHE_SUBLEAVES - 1; i++) { /* the last says that there are no more */
        struct cpuid_result cache = raw_leaf(facts, 4, i);
        if ((cache.eax & 0x1f) == 0)
            return;
        bool is_shared = bits_get(cache.eax, 7, 5) >= 3;
        cache.eax &= (uint32_t)MASK(13, 0);
        cache.eax |= (others > 63 ? 63 : others) << 26;
        cache.eax |= (is_shared ? others : 0) << 14;
        *entry_of(table, 4, i) = cache;
    }
}

/* The highest subleaf of leaf 07H: no further than the machine's. */
static void fill_structured(struct cpuid_table *table, const struct cpuid_facts *facts)
{
    uint32_t highest = raw_leaf(facts, 7, 0).eax;
    entry_of(table, 7, 0)->eax =
        highest < STRUCTURED_SUBLEAVES - 1 ? highest : STRUCTURED_SUBLEAVES - 1;
    for (uint32_t i = highest + 1; i != 0 && i < STRUCTURED_SUBLEAVES; i++)
        *entry_of(table, 7, i) = (struct cpuid_result){0};
}

/* SDM: Extended Topology Enumeration: a level of one thread, and a level of all cores. */
static void fill_topology(struct cpuid_table *table, const struct cpuid_facts *facts)
{
    static const uint32_t leaves[] = {0xb, 0x1f};
    for (size_t i = 0; i < ARRAY_SIZE(leaves); i++) {
        *entry_of(table, leaves[i], 0) = (struct cpuid_result){0, 1, 1 << 8 | 0, facts->apic_id};
        *entry_of(table, leaves[i], 1) = (struct cpuid_result){
            id_bits(facts->vcpu_count), facts->vcpu_count, 2 << 8 | 1, facts->apic_id};
    }
}

/* SDM: Processor Extended State Enumeration. */
static void fill_xstate(struct cpuid_table *table, const struct cpuid_facts *facts)
{
    if (table->xcr0_offered == 0)
        return;
    for (unsigned i = 2; i < CPUID_XSTATES; i++) {
        struct cpuid_result raw = raw_leaf(facts, 0xd, i);
        if (table->xcr0_offered & BIT(i))
            *entry_of(table, 0xd, i) = (struct cpuid_result){raw.eax, raw.ebx, raw.ecx & 2, 0};
    }
    struct cpuid_result *entry = entry_of(table, 0xd, 0);
    entry->eax = (uint32_t)table->xcr0_offered;
    entry->edx = (uint32_t)(table->xcr0_offered >> 32);
    cpuid_set_xcr0(table, table->xcr0_offered);
    entry->ecx = entry->ebx;
    cpuid_set_xcr0(table, XCR0_X87);
}

/* The smallest divisor that makes the frequency fit in 32 bits, an exact one where one is near. */
static uint32_t crystal_divisor(uint64_t hz)
{
    uint32_t least = (uint32_t)(hz / UINT32_MAX) + (hz % UINT32_MAX != 0);
    for (uint32_t divisor = least; divisor < least + 64; divisor++)
        if (hz % divisor == 0)
            return divisor;
    return least;
}

/* SDM: Time Stamp Counter and Nominal Core Crystal Clock Information; Processor Frequency
 * Information. The guest's crystal is its TSC, divided only where that does not fit. */
static void fill_frequencies(struct cpuid_table *table, const struct cpuid_facts *facts)
{
    uint32_t divisor = crystal_divisor(facts->tsc_hz);
    table->timer_hz = (uint32_t)(facts->tsc_hz / divisor);
    *entry_of(table, 0x15, 0) = (struct cpuid_result){1, divisor, table->timer_hz, 0};
    uint64_t mhz = (facts->tsc_hz + 500000) / 1000000;
    uint32_t shown = mhz > 0xffff ? 0xffff : (uint32_t)mhz;
    *entry_of(table, 0x16, 0) = (struct cpuid_result){shown, shown, 100, 0};
    /* A leaf that hypervisors have in common: TSC and APIC timer in kHz. */
    *entry_of(table, CPUID_MAX_HYPERVISOR, 0) =
        (struct cpuid_result){(uint32_t)(facts->tsc_hz / 1000), table->timer_hz / 1000, 0, 0};
}

static void fill_signature(struct cpuid_table *table)
{
    static const char signature[] = CPUID_HYPERVISOR_SIGNATURE;
    STATIC_ASSERT(sizeof(signature) == 13, "the signature fills three registers");
    struct cpuid_result *entry = entry_of(table, 0x40000000, 0);
    memcpy(&entry->ebx, signature, 4);
    memcpy(&entry->ecx, signature + 4, 4);
    memcpy(&entry->edx, signature + 8, 4);
}

/* SDM: CPUID leaf 80000008H. No more than what four levels of EPT and of paging translate. */
static void fill_widths(struct cpuid_table *table, const struct cpuid_facts *facts)
{
    uint32_t raw = raw_leaf(facts, 0x80000008, 0).eax;
    uint32_t physical = raw & 0xff;
    if (physical < 32)
        physical = 36; /* SDM: where the leaf is not there */
    table->maxphyaddr = physical > 48 ? 48 : physical;
    entry_of(table, 0x80000008, 0)->eax = table->maxphyaddr | 48 << 8;
}

void cpuid_build(struct cpuid_table *table, const struct cpuid_facts *facts)
{
    memset(table, 0, sizeof(*table));
    table->xcr0_offered = sane_xcr0(facts);
    table->apic_id = facts->apic_id;
    lay_out(table);
    apply_rules(table, facts);
    fill_features(table, facts);
    fill_caches(table, facts);
    fill_structured(table, facts);
    fill_topology(table, facts);
    fill_xstate(table, facts);
    fill_frequencies(table, facts);
    fill_signature(table);
    fill_widths(table, facts);
    table->offers_nx = cpuid_has_nx(table);
}
