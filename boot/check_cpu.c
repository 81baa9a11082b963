/*
 * The rows stand in the order in which the facts may be read: each MSR exists only where the rows
 * above it hold (SDM: VMX Capability Reporting Facility).
 */
#include "boot/check_cpu.h"

#include "kernel/core/bits.h"
#include "kernel/core/mem.h"

#define MSR_FEATURE_CONTROL 0x3au
#define MSR_VMX_PINBASED_CTLS 0x481u
#define MSR_VMX_PROCBASED_CTLS 0x482u
#define MSR_VMX_PROCBASED_CTLS2 0x48bu
#define MSR_VMX_EPT_VPID_CAP 0x48cu

#define LEAF_EXTENDED_MAX 0x80000000u
#define LEAF_EXTENDED_FEATURES 0x80000001u
#define LEAF_BRAND 0x80000002u
#define LEAF_TOPOLOGY 0xbu

/* In the capability MSRs of the controls, bits 63:32 say which may be 1. */
#define ALLOWED_1(bit) BIT(32 + (bit))

#define FEATURE_CONTROL_LOCK BIT(0)
#define FEATURE_CONTROL_VMX BIT(2)

enum fact { FACT_CPUID_1_ECX, FACT_MSR };

/* The requirement is met where all bits of set are 1; or, where unless is not 0, all of those are
 * 0. */
struct row {
    enum fact fact;
    uint32_t msr;
    uint64_t set;
    uint64_t unless;
    struct cpu_requirement requirement;
};

#define NEWER_CPU                                                                                  \
    "a processor with VMX, EPT and unrestricted guest is needed: Intel's since 2010 (Westmere)"

static const struct row rows[] = {
    {FACT_CPUID_1_ECX,
     0,
     BIT(5),
     0,
     {"VMX (CPUID.1:ECX bit 5)",
      "use an Intel processor with VT-x; in a virtual machine turn on nested virtualisation"}},
    {FACT_MSR,
     MSR_FEATURE_CONTROL,
     FEATURE_CONTROL_VMX,
     FEATURE_CONTROL_LOCK,
     {"permission to use VMX (the firmware locked it out in IA32_FEATURE_CONTROL)",
      "turn on \"Intel Virtualization Technology\" in the firmware's setup and power-cycle"}},
    {FACT_MSR,
     MSR_VMX_PROCBASED_CTLS,
     ALLOWED_1(31),
     0,
     {"secondary processor-based VM-execution controls", NEWER_CPU}},
    {FACT_MSR, MSR_VMX_PROCBASED_CTLS, ALLOWED_1(28), 0, {"MSR bitmaps", NEWER_CPU}},
    {FACT_MSR, MSR_VMX_PROCBASED_CTLS2, ALLOWED_1(1), 0, {"EPT (extended page tables)", NEWER_CPU}},
    {FACT_MSR, MSR_VMX_PROCBASED_CTLS2, ALLOWED_1(7), 0, {"unrestricted guest", NEWER_CPU}},
    {FACT_MSR,
     MSR_VMX_EPT_VPID_CAP,
     BIT(6) | BIT(14),
     0,
     {"EPT with a page-walk length of 4 in write-back memory", NEWER_CPU}},
    {FACT_MSR, MSR_VMX_EPT_VPID_CAP, BIT(20), 0, {"INVEPT", NEWER_CPU}},
    {FACT_MSR, MSR_VMX_PINBASED_CTLS, ALLOWED_1(6), 0, {"the VMX-preemption timer", NEWER_CPU}},
};

static bool row_holds(const struct row *row, const struct cpu_source *source)
{
    uint64_t value;

    if (row->fact == FACT_CPUID_1_ECX) {
        struct cpuid_regs regs;

        source->cpuid(1, 0, &regs);
        value = regs.ecx;
    } else {
        value = source->rdmsr(row->msr);
    }
    return (value & row->set) == row->set || (row->unless != 0 && (value & row->unless) == 0);
}

const struct cpu_requirement *check_cpu(const struct cpu_source *source)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (!row_holds(&rows[i], source))
            return &rows[i].requirement;
    return NULL;
}

uint32_t check_cpu_apic_id(const struct cpu_source *source)
{
    struct cpuid_regs regs;

    source->cpuid(0, 0, &regs);
    if (regs.eax >= LEAF_TOPOLOGY) {
        source->cpuid(LEAF_TOPOLOGY, 0, &regs);
        if (regs.ebx != 0) /* otherwise the leaf is not there */
            return regs.edx;
    }
    source->cpuid(1, 0, &regs);
    return regs.ebx >> 24;
}

static uint32_t extended_max(const struct cpu_source *source)
{
    struct cpuid_regs regs;

    source->cpuid(LEAF_EXTENDED_MAX, 0, &regs);
    return regs.eax;
}

bool check_cpu_has_1g_pages(const struct cpu_source *source)
{
    struct cpuid_regs regs;

    if (extended_max(source) < LEAF_EXTENDED_FEATURES)
        return false;
    source->cpuid(LEAF_EXTENDED_FEATURES, 0, &regs);
    return (regs.edx & BIT(26)) != 0;
}

void check_cpu_name(const struct cpu_source *source, char *text)
{
    struct cpuid_regs regs;
    size_t skip = 0;

    memset(text, 0, 49);
    if (extended_max(source) < LEAF_BRAND + 2) {
        source->cpuid(0, 0, &regs);
        memcpy(text, &regs.ebx, 4);
        memcpy(text + 4, &regs.edx, 4);
        memcpy(text + 8, &regs.ecx, 4);
        return;
    }
    for (uint32_t i = 0; i < 3; i++) {
        source->cpuid(LEAF_BRAND + i, 0, &regs);
        memcpy(text + 16 * i, &regs, 16);
    }
    while (text[skip] == ' ') /* some are right-justified */
        skip++;
    memmove(text, text + skip, 49 - skip);
}
