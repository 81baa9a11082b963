/*
 * The checks of a build with DEBUG_CHECKS=1: after each VM exit, whether the processor is as the
 * monitor wants it. entry.asm calls them in place of vmx_exit; a release has none of this.
 */
#pragma once

#include "kernel/vm/vcpu.h"

/* Before the first entry of a stay in the guest: notes what must come back. */
void host_check_begin(struct vcpu *vcpu);

/* vmx_exit, with checks before and after. The RFLAGS that the exit left are in RSP's slot of
 * vcpu->gpr. A difference is a panic. */
bool host_check_exit(struct vcpu *vcpu);

/* After the last exit: compares all MSRs. */
void host_check_end(struct vcpu *vcpu);
