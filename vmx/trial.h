/* A processor on trial before it runs guests. */
#pragma once

#include "vmx/vmx.h"

/*
 * Whether an external interrupt that is pending while a guest masks interrupts makes it exit, as
 * external-interrupt exiting has it; false also where that could not be found out. A guest of the
 * monitor's own tells, which does nothing else for a moment: no guest that tells may have reason to
 * lie. On the processor that cpu describes, which is in VMX operation, before there are guests:
 * takes memory as VM 1 and gives it back.
 * SDM: External interrupts and "external-interrupt exiting" (Pin-Based VM-Execution Controls).
 */
bool trial_of_interrupts(const struct vmx_cpu *cpu, struct pages *pages, uint64_t tsc_hz);
