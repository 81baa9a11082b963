/*
 * Which model-specific registers a guest has, and what they do. The policy is kernel/vm/msrs.def;
 * what is not listed there is #GP, for reads and for writes. Here is everything that needs no
 * hardware; for the rest the verdict names who carries it out. SDM: Model-Specific Registers.
 */
#pragma once

#include "kernel/core/types.h"
#include "kernel/vm/cpuid_policy.h"

/* Who an MSR belongs to. */
enum msr_kind {
    MSR_PASS_THROUGH, /* the machine's: the guest reaches it without an exit, and its value is
                         switched with the vCPU (see msr_state_slot) */
    MSR_COMMAND,      /* write-only, without state: a write is carried out on the machine */
    MSR_SINK,         /* write-only, and a write has no effect */
    MSR_VMCS_DIRECT,  /* switched by every entry and exit, so needs no exit where it has a field */
    MSR_VMCS_CHECKED, /* switched likewise, but the back end must check what is written */
    MSR_STORED,       /* a value of the vCPU, kept here */
    MSR_FIXED,        /* a read-only value, kept here */
    MSR_TIME,         /* the TSC and its adjustment: the back end has the offset */
    MSR_CONTROLLER,   /* the local APIC's */
};

/* What stored values obey; a value that does not is #GP. */
enum msr_check {
    MSR_CHECK_MASK,    /* no bit outside valid */
    MSR_CHECK_IGNORED, /* any value; nothing happens */
    MSR_CHECK_MISC_ENABLE,
    MSR_CHECK_MTRR_TYPES,     /* eight memory types */
    MSR_CHECK_MTRR_PHYS_BASE, /* a memory type, and an address */
    MSR_CHECK_MTRR_PHYS_MASK,
    MSR_CHECK_MTRR_DEF_TYPE,
};

/* What the guest's CPUID must show for the MSR to be there. */
enum msr_need {
    MSR_NEED_NOTHING,
    MSR_NEED_SPEC_CTRL,
    MSR_NEED_PRED_CMD,
    MSR_NEED_FLUSH_CMD,
    MSR_NEED_ARCH_CAPABILITIES,
    MSR_NEED_TSC_AUX,
    MSR_NEED_XSAVES,
};

/* A row of msrs.def. */
struct msr_policy {
    uint32_t msr;
    uint8_t kind;   /* enum msr_kind */
    uint8_t check;  /* enum msr_check, for MSR_STORED */
    uint8_t need;   /* enum msr_need */
    uint64_t valid; /* the bits that may be written, for MSR_CHECK_MASK and MSR_COMMAND */
    uint64_t reset; /* after reset; what only a VM knows, msr_state_init fills in */
    const char *name;
};

#define MSR_ROWS_MAX 64

/* The MSRs of a vCPU. */
struct msr_state {
    uint64_t value[MSR_ROWS_MAX]; /* by row */
    uint64_t address_mask;        /* the bits of a guest-physical address */
    uint32_t offered;             /* enum msr_need, a bit each */
};

/* What msr_state_init needs to know. */
struct msr_facts {
    const struct cpuid_table *cpuid; /* the vCPU's, built */
    uint64_t tsc_hz;
    uint32_t microcode;         /* the machine's revision: IA32_BIOS_SIGN_ID, bits 63:32 */
    uint64_t arch_capabilities; /* the machine's IA32_ARCH_CAPABILITIES; 0: it has none */
};

/* What an access comes to. */
enum msr_verdict {
    MSR_DONE,          /* the value was read or taken */
    MSR_FAULT,         /* #GP(0) */
    MSR_TO_MACHINE,    /* MSR_PASS_THROUGH and MSR_COMMAND that came by an exit all the same: the
                          back end does the access on the machine; its fault is the guest's */
    MSR_TO_BACK_END,   /* MSR_VMCS_*: the back end has the value, and checks it */
    MSR_TO_TIME,       /* IA32_TIME_STAMP_COUNTER, and writes of IA32_TSC_ADJUST: see below */
    MSR_TO_CONTROLLER, /* the local APIC: IA32_APIC_BASE, IA32_TSC_DEADLINE, x2APIC */
};

/* Row i of the policy, from 0; NULL past the last. */
const struct msr_policy *msr_policy_at(unsigned i);

/* The row of an MSR; NULL: the guest has no such MSR. */
const struct msr_policy *msr_policy_find(uint32_t msr);

/* The values after reset. */
void msr_state_init(struct msr_state *state, const struct msr_facts *facts);

/* Whether the vCPU has the row's MSR. */
static inline bool msr_is_offered(const struct msr_state *state, const struct msr_policy *row)
{
    return state->offered >> row->need & 1;
}

/* Where the value of a row's MSR is kept while the vCPU does not run. */
uint64_t *msr_state_slot(struct msr_state *state, const struct msr_policy *row);

/* RDMSR. *value is only set with MSR_DONE. */
enum msr_verdict msr_read(const struct msr_state *state, uint32_t msr, uint64_t *value);

/* WRMSR. With any verdict but MSR_DONE nothing was changed. */
enum msr_verdict msr_write(struct msr_state *state, uint32_t msr, uint64_t value);

/* What IA32_MISC_ENABLE holds. */
uint64_t msr_misc_enable(const struct msr_state *state);

/*
 * A write of IA32_TIME_STAMP_COUNTER or IA32_TSC_ADJUST, for MSR_TO_TIME: returns the new offset
 * (guest TSC - machine's TSC), given the present one and the machine's TSC. Either write moves the
 * other register along. SDM: IA32_TSC_ADJUST Register Support.
 */
uint64_t msr_write_time(struct msr_state *state, uint32_t msr, uint64_t value, uint64_t machine_tsc,
                        uint64_t offset);
