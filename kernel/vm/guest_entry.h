/* The state in which a virtual processor starts: what a loader decides and a back end carries out.
 */
#pragma once

#include "kernel/core/types.h"
#include "kernel/vm/cpu_mode.h"

struct descriptor_table {
    uint64_t base;
    uint32_t limit; /* bytes - 1 */
};

/*
 * Complete and neutral: a back end adds only the bits that its own hardware demands (SDM: VMX-Fixed
 * Bits in CR0, in CR4). Debug registers, FPU and MSRs that are not named here start with their
 * reset values (SDM: Processor State After Reset).
 */
struct guest_entry {
    uint64_t gpr[GPR_COUNT];
    uint64_t rip;
    uint64_t rflags;
    uint64_t cr0;
    uint64_t cr3;
    uint64_t cr4;
    uint64_t efer;
    struct segment segment[SEG_COUNT];
    struct descriptor_table gdtr;
    struct descriptor_table idtr;
};
