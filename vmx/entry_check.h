/*
 * Why a VM entry would fail: the SDM's rules for controls, host and guest state, over a VMCS that
 * comes as a port. Pure. SDM: Checks on VMX Controls and Host-State Area; Checking and Loading
 * Guest State; Loading MSRs.
 */
#pragma once

#include "vmx/controls.h"
#include "vmx/vmcs.h"

/* How an entry ends that breaks a rule. SDM: VM-Instruction Error Numbers; VMX Basic Exit Reasons;
 * VM-Entry Failures During or After Loading Guest State (the exit qualifications). */
enum entry_error {
    ENTRY_ERROR_CONTROLS = 7, /* VMfailValid, as the next */
    ENTRY_ERROR_HOST_STATE = 8,
    ENTRY_ERROR_GUEST_STATE = 33, /* a VM exit, as the next */
    ENTRY_ERROR_MSR_LOADING = 34,
};

#define ENTRY_QUALIFICATION_PDPTE 2
#define ENTRY_QUALIFICATION_NMI 3
#define ENTRY_QUALIFICATION_LINK_POINTER 4

struct broken_rule {
    enum vmcs_field field; /* the field that the rule is about */
    enum entry_error error;
    uint64_t qualification; /* of the exit, where the error is one; for MSRs: which entry, from 1 */
    uint64_t value;         /* of the field; of the entry's MSR where that is to blame */
    const char *text;       /* the rule in words */
};

/* The processor and where it stands: outside SMM, in IA-32e mode. */
struct entry_machine {
    const struct vmx_capabilities *capabilities;
    uint64_t efer_supported;        /* the bits of IA32_EFER that are not reserved */
    uint64_t perf_global_supported; /* of IA32_PERF_GLOBAL_CTRL */
    uint64_t current_vmcs;          /* its address */
    uint32_t leaf7_ebx, leaf7_ecx;  /* CPUID.(EAX=07H,ECX=0) */
    uint8_t physical_bits, linear_bits;
};

/* SDM: CPUID, leaf 80000001H: the bits of IA32_EFER that its EDX promises. */
static inline uint64_t entry_efer_supported(uint32_t edx)
{
    return (edx & BIT(11) ? BIT(0) : 0) | (edx & BIT(20) ? BIT(11) : 0) |
           (edx & BIT(29) ? BIT(8) | BIT(10) : 0);
}

/* SDM: CPUID, leaf 0AH: the counters, and so the bits of IA32_PERF_GLOBAL_CTRL. */
static inline uint64_t entry_perf_global_supported(uint32_t eax, uint32_t edx)
{
    return (BIT(eax >> 8 & 0x1f) - 1) | (BIT(edx & 0x1f) - 1) << 32;
}

struct entry_check_ports {
    uint64_t (*read)(void *context, enum vmcs_field field);
    /* 8 bytes at an aligned physical address; false: no memory there, the rule is left out. NULL:
     * as if there were none. */
    bool (*load)(void *context, uint64_t address, uint64_t *value);
    void (*broken)(void *context, const struct broken_rule *rule);
    void *context;
};

/* Reports every broken rule; returns how many there are. */
unsigned entry_check(const struct entry_machine *machine, const struct entry_check_ports *ports);
