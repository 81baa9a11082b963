/* Where a build for tests steps in (tests/monitor); in every other build these are nothing. */
#pragma once

#ifdef TEST_BUILD

#include "kernel/core/cpu.h"

void test_early(void);                        /* the first tables are loaded */
void test_machine(void);                      /* the machine is up, VMX is not on yet */
void test_nmi(const struct cpu_frame *frame); /* an NMI in root mode */
bool test_fault(struct cpu_frame *frame);     /* an exception: true if it was expected */
void test_vmcall(uint64_t *gpr);              /* a guest's VMCALL; may change registers */

#define TEST_HOOK(call) call
#define TEST_HOOK_FAULT(frame) test_fault(frame)

#else

#define TEST_HOOK(call) ((void)0)
#define TEST_HOOK_FAULT(frame) false

#endif
