/*
 * Negotiation of the VMX controls against the capability MSRs. Pure: the MSRs come as values.
 * SDM: VMX Capability Reporting Facility.
 */
#pragma once

#include "kernel/core/bits.h"
#include "kernel/core/status.h"

/* The words of controls, in the VMCS and in the capability MSRs alike. */
enum control_word {
    CONTROL_PIN,
    CONTROL_PRIMARY,
    CONTROL_SECONDARY,
    CONTROL_EXIT,
    CONTROL_ENTRY,
    CONTROL_WORDS
};

/* One mask for each control of vmx_controls.def, such as CONTROL_HLT_EXITING. */
enum {
#define VMX_CONTROL(word, bit, name, need, text) CONTROL_##name = (int)(1u << (bit)),
#include "vmx/vmx_controls.def"
#undef VMX_CONTROL
};

/* What the capability MSRs of one processor say. */
struct vmx_capabilities {
    uint64_t basic;                  /* IA32_VMX_BASIC */
    uint64_t control[CONTROL_WORDS]; /* the TRUE MSR where there is one; 0: the word is absent */
    uint64_t misc;                   /* IA32_VMX_MISC */
    uint64_t cr0_fixed0, cr0_fixed1;
    uint64_t cr4_fixed0, cr4_fixed1;
    /* IA32_VMX_EPT_VPID_CAP, IA32_VMX_VMFUNC, IA32_VMX_PROCBASED_CTLS3, IA32_VMX_EXIT_CTLS2; 0:
     * absent */
    uint64_t ept_vpid, vmfunc, tertiary, secondary_exit;
};

/* SDM: VPID and EPT Capabilities. */
#define EPT_CAP_EXECUTE_ONLY BIT(0)
#define EPT_CAP_WALK_4 BIT(6)
#define EPT_CAP_WB BIT(14)
#define EPT_CAP_2M BIT(16)
#define EPT_CAP_1G BIT(17)
#define EPT_CAP_INVEPT BIT(20)
#define EPT_CAP_AD BIT(21)
#define EPT_CAP_INVEPT_SINGLE BIT(25)
#define EPT_CAP_INVEPT_ALL BIT(26)
#define VPID_CAP_INVVPID BIT(32)
#define VPID_CAP_INVVPID_SINGLE BIT(41)
#define VPID_CAP_INVVPID_ALL BIT(42)

#define VMX_MISC_PREEMPTION_SHIFT(misc) ((misc)&0x1f)
#define VMX_MISC_ACTIVITY_HLT BIT(6)

struct vmx_controls {
    uint32_t word[CONTROL_WORDS];
};

/* Computes every word: required and available optional controls on, everything else at its
 * allowed-0 setting. Returns ERR_UNSUPPORTED with the SDM's name of the first required feature that
 * is missing in *missing, or STATUS_OK. */
enum status MUST_CHECK controls_negotiate(const struct vmx_capabilities *capabilities,
                                          struct vmx_controls *controls, const char **missing);

/* The SDM's name of a control bit, "?" where vmx_controls.def does not have it. */
const char *controls_name(enum control_word word, unsigned bit);
