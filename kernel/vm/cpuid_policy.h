/*
 * What CPUID says to a guest. The policy is kernel/vm/cpuid.def: what is not listed there reads as
 * zero. A vCPU's table is made once, from the machine's CPUID and the VM's facts; an exit is then
 * two table reads. What CPUID shows of the guest's own state (OSXSAVE, the APIC's enable bit, the
 * size of the XSAVE area) is written into the table when that state changes. SDM: CPUID - CPU
 * Identification.
 */
#pragma once

#include "kernel/core/bits.h"

struct cpuid_result {
    uint32_t eax, ebx, ecx, edx;
};

/* What the policy needs to know. */
struct cpuid_facts {
    /* The machine's own CPUID, as the instruction gives it. */
    void (*raw)(void *context, uint32_t leaf, uint32_t subleaf, struct cpuid_result *result);
    void *context;
    uint64_t tsc_hz;       /* the guest's true TSC frequency, not 0 */
    uint64_t xcr0_offered; /* what the guest may enable in XCR0; 0: it has no XSAVE */
    uint32_t microcode;    /* the machine's revision; 0: it has none */
    uint32_t apic_id;      /* of this vCPU */
    uint32_t vcpu_count;   /* of its VM, at least 1 */
    bool has_rdtscp;       /* whether the back end lets the guest execute RDTSCP and RDPID, */
    bool has_invpcid;      /* INVPCID, */
    bool has_xsaves;       /* XSAVES and XRSTORS */
    bool has_xsavec;       /* the compacted form of XSAVE can be trusted; without it no XSAVES */
};

#define CPUID_MAX_BASIC 0x1fu
#define CPUID_MAX_BASIC_LIMITED 2u /* SDM: IA32_MISC_ENABLE, Limit CPUID Maxval */
#define CPUID_MAX_HYPERVISOR 0x40000010u
#define CPUID_MAX_EXTENDED 0x80000008u
#define CPUID_HYPERVISOR_SIGNATURE "TraprockTrap" /* EBX, ECX, EDX of leaf 0x40000000 */

#define CPUID_ENTRIES_MAX 64
#define CPUID_LEAVES 32u /* rows in each of the four quarters of the leaf numbers, 2 to the 5 */
#define CPUID_XSTATES                                                                              \
    10 /* state components that a guest may be offered: XCR0 bits 0 to 7 and 9                     \
        */
#define CPUID_XCR0_PKRU BIT(9)

struct cpuid_leaf {
    uint32_t subleaf_mask; /* all ones where ECX selects a subleaf, else 0 */
    uint16_t first;        /* entry of subleaf 0 */
    uint16_t count;        /* subleaves; beyond, see cpuid_lookup */
};

struct cpuid_table {
    struct cpuid_leaf leaf[4][CPUID_LEAVES];      /* by bits 31:30 and the low bits of the number */
    struct cpuid_result entry[CPUID_ENTRIES_MAX]; /* entry 0 is all zeros */
    uint16_t hidden[CPUID_LEAVES]; /* counts of basic leaves while their number is limited */
    bool is_limited;
    bool offers_nx;
    uint64_t xcr0_offered;
    uint32_t timer_hz;
    uint32_t maxphyaddr;
    uint32_t apic_id;
};

/* Builds the table of a vCPU as after reset: XCR0 1, CR4.OSXSAVE 0, local APIC enabled. */
void cpuid_build(struct cpuid_table *table, const struct cpuid_facts *facts);

/* Why protection keys, which the machine has, are hidden; NULL: they are not. */
const char *cpuid_keys_flaw(const struct cpuid_facts *facts);

/* The answer to CPUID where it stands in the table, else NULL: cpuid_lookup knows the rest. In the
 * header since it stands on the way of an exit. */
static inline const struct cpuid_result *cpuid_find(const struct cpuid_table *table, uint32_t leaf,
                                                    uint32_t subleaf)
{
    if ((leaf & MASK(29, 5)) != 0)
        return NULL;
    const struct cpuid_leaf *row = &table->leaf[leaf >> 30][leaf & (CPUID_LEAVES - 1)];
    uint32_t index = subleaf & row->subleaf_mask;
    return index < row->count ? &table->entry[row->first + index] : NULL;
}

/* The answer to CPUID. A leaf past the highest of its kind is answered as the highest basic leaf,
 * as the processor does; leaves of hypervisors past the highest are zero. */
void cpuid_lookup(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf,
                  struct cpuid_result *result);

/* SDM: IA32_MISC_ENABLE: bits that CPUID follows. */
#define MISC_ENABLE_LIMIT_CPUID_MAXVAL BIT(22)
#define MISC_ENABLE_XD_BIT_DISABLE BIT(34)

/* The guest changed CR4.OSXSAVE, CR4.PKE, IA32_APIC_BASE.EN, XCR0, IA32_MISC_ENABLE. */
void cpuid_set_osxsave(struct cpuid_table *table, bool enabled);
void cpuid_set_ospke(struct cpuid_table *table, bool enabled);
void cpuid_set_apic(struct cpuid_table *table, bool enabled);
void cpuid_set_xcr0(struct cpuid_table *table, uint64_t xcr0);
void cpuid_set_misc_enable(struct cpuid_table *table, uint64_t value);

/* Whether the guest has pages that cannot be executed (CPUID.80000001H:EDX.NX). */
bool cpuid_has_nx(const struct cpuid_table *table);

/* Width of guest-physical addresses in bits. */
static inline unsigned cpuid_maxphyaddr(const struct cpuid_table *table)
{
    return table->maxphyaddr;
}

/* The frequency that leaf 15H calls the crystal's: the local APIC's timer must run at it. */
static inline uint64_t cpuid_timer_hz(const struct cpuid_table *table)
{
    return table->timer_hz;
}

/* The XCR0 bits that the guest may set, after what belongs together was put together. */
static inline uint64_t cpuid_xcr0_offered(const struct cpuid_table *table)
{
    return table->xcr0_offered;
}
