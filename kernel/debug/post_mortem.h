/* What is said on the log when a guest dies: why, as far as can be known, and in what state. */
#pragma once

#include "kernel/monitor.h"

/* Whether a guest that ends so gets a report: not one that was done, or that somebody ended. */
bool post_mortem_is_due(enum vm_outcome outcome);

/* The report, unless the guest's share of the log is used up. On the vCPU's processor, in what
 * vmx_vcpu_visit runs; the guest has ended, or is about to be reset, by this outcome. */
void post_mortem_report(struct guest *guest, enum vm_outcome outcome);
