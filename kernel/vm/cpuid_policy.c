#include "kernel/vm/cpuid_policy.h"

#include "kernel/core/bits.h"

#define LEAF_EXTENDED_TOPOLOGY 0xbu
#define LEAF_V2_EXTENDED_TOPOLOGY 0x1fu
#define FEATURES_ECX_OSXSAVE BIT(27)
#define FEATURES_EDX_APIC BIT(9)
#define STRUCTURED_FEATURES_ECX_OSPKE BIT(4)
#define EXTENDED_FEATURES_EDX_NX BIT(20)

/* SDM: XSAVE Area: the legacy region and the header; and state components from here on lie behind
 * them, at offsets that CPUID gives. */
#define XSAVE_HEADER_END 576u
#define XSTATE_FIRST_EXTENDED 2

/* What does not stand in the table. SDM: CPUID, returned information for invalid leaves. */
static void lookup_outside(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf,
                           struct cpuid_result *result)
{
    *result = (struct cpuid_result){0};
    uint32_t highest = table->is_limited ? CPUID_MAX_BASIC_LIMITED : CPUID_MAX_BASIC;
    bool is_listed = (leaf & MASK(29, 0)) < CPUID_LEAVES &&
                     table->leaf[leaf >> 30][leaf & (CPUID_LEAVES - 1)].count != 0;
    if (leaf <= highest && (leaf == LEAF_EXTENDED_TOPOLOGY || leaf == LEAF_V2_EXTENDED_TOPOLOGY)) {
        result->ecx = subleaf & 0xff;
        result->edx = table->apic_id;
    } else if (!is_listed && leaf >> 30 != 1) {
        cpuid_lookup(table, highest, subleaf, result);
    }
}

void cpuid_lookup(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf,
                  struct cpuid_result *result)
{
    const struct cpuid_result *entry = cpuid_find(table, leaf, subleaf);
    if (entry != NULL)
        *result = *entry;
    else
        lookup_outside(table, leaf, subleaf, result);
}

static void set_bit(uint32_t *value, uint64_t bit, bool on)
{
    *value = on ? *value | (uint32_t)bit : *value & ~(uint32_t)bit;
}

void cpuid_set_osxsave(struct cpuid_table *table, bool enabled)
{
    set_bit(&table->entry[table->leaf[0][1].first].ecx, FEATURES_ECX_OSXSAVE, enabled);
}

void cpuid_set_ospke(struct cpuid_table *table, bool enabled)
{
    set_bit(&table->entry[table->leaf[0][7].first].ecx, STRUCTURED_FEATURES_ECX_OSPKE, enabled);
}

void cpuid_set_apic(struct cpuid_table *table, bool enabled)
{
    set_bit(&table->entry[table->leaf[0][1].first].edx, FEATURES_EDX_APIC, enabled);
}

void cpuid_set_xcr0(struct cpuid_table *table, uint64_t xcr0)
{
    struct cpuid_result *xstate = &table->entry[table->leaf[0][0xd].first];
    if (table->xcr0_offered == 0)
        return;
    uint32_t standard = XSAVE_HEADER_END, compacted = XSAVE_HEADER_END;
    for (unsigned i = XSTATE_FIRST_EXTENDED; i < CPUID_XSTATES; i++) {
        if (!(xcr0 & table->xcr0_offered & BIT(i)))
            continue;
        uint32_t size = xstate[i].eax, end = xstate[i].ebx + size;
        bool is_aligned_64 = xstate[i].ecx & 2;
        standard = end > standard ? end : standard;
        compacted = is_aligned_64 ? (uint32_t)align_up(compacted, 64) : compacted;
        compacted += size;
    }
    xstate[0].ebx = standard;
    if (xstate[1].eax & 2) /* XSAVEC: the compacted format exists */
        xstate[1].ebx = compacted;
}

/* The leaves past the limit are taken out of the table, so that finding one needs not know of it.
 */
static void limit_basic(struct cpuid_table *table, bool limited)
{
    if (limited == table->is_limited)
        return;
    table->is_limited = limited;
    table->entry[table->leaf[0][0].first].eax = limited ? CPUID_MAX_BASIC_LIMITED : CPUID_MAX_BASIC;
    for (unsigned i = CPUID_MAX_BASIC_LIMITED + 1; i < CPUID_LEAVES; i++) {
        uint16_t count = table->leaf[0][i].count;
        table->leaf[0][i].count = table->hidden[i];
        table->hidden[i] = count;
    }
}

void cpuid_set_misc_enable(struct cpuid_table *table, uint64_t value)
{
    limit_basic(table, value & MISC_ENABLE_LIMIT_CPUID_MAXVAL);
    set_bit(&table->entry[table->leaf[2][1].first].edx, EXTENDED_FEATURES_EDX_NX,
            table->offers_nx && !(value & MISC_ENABLE_XD_BIT_DISABLE));
}

bool cpuid_has_nx(const struct cpuid_table *table)
{
    return table->entry[table->leaf[2][1].first].edx & EXTENDED_FEATURES_EDX_NX;
}
