/* What is said on the log when a guest dies: why, as far as can be known, and in what state. */
#pragma once

#include "kernel/monitor.h"

/* The report. Where another life of the guest may follow by itself, there is one in as many seconds
 * as it has lines. On the vCPU's processor, in what vmx_vcpu_visit runs; the guest has ended, or is
 * about to be reset, by this outcome. */
void post_mortem_report(struct guest *guest, enum vm_outcome outcome);
