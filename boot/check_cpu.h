/* Whether this processor can run guests: the table of what Traprock needs of VMX. Pure. */
#pragma once

#include "kernel/core/hw.h"

/* Where the facts come from: hw_cpuid and hw_rdmsr, or a test's doubles. */
struct cpu_source {
    void (*cpuid)(uint32_t leaf, uint32_t subleaf, struct cpuid_regs *regs);
    uint64_t (*rdmsr)(uint32_t msr);
};

/* One requirement, for the message about a processor that does not meet it. */
struct cpu_requirement {
    const char *missing; /* the capability by its name in the SDM */
    const char *advice;  /* what the user can do */
};

/* The first requirement that the processor does not meet, NULL: it meets them all. No MSR is read
 * that the processor does not have. */
const struct cpu_requirement *check_cpu(const struct cpu_source *source);

/* The local APIC's ID of the processor that runs this: all 32 bits where there is leaf 0BH. SDM:
 * CPUID, Extended Topology Enumeration Leaf. */
uint32_t check_cpu_apic_id(const struct cpu_source *source);

/* Whether pages of 1 GiB can be mapped. */
bool check_cpu_has_1g_pages(const struct cpu_source *source);

/* The processor's brand string, or its vendor where it has none; text holds 49 bytes. */
void check_cpu_name(const struct cpu_source *source, char *text);
