/*
 * A VMCS that is an array, behind the link-time doubles of VMREAD and VMWRITE (tests/fake/vmcs.c),
 * and the counts of the VMX instructions that a test may want to see.
 */
#pragma once

#include "kernel/vm/vcpu.h"
#include "vmx/vmcs.h"

struct fake_vmcs {
    uint64_t field[0x8000]; /* by encoding */
    unsigned reads, writes;
    unsigned invvpids, invepts;
    bool fails_entries; /* with VMfailValid */
    int (*guest)(
        struct vcpu *vcpu);         /* the guest's part, in place of entry.asm's loop; NULL: none */
    int (*once)(struct vcpu *vcpu); /* vmx_guest_once: plays the guest up to its exit */
};

/* The current one. */
extern struct fake_vmcs fake_vmcs;

/* All fields 0. */
void fake_vmcs_clear(void);
