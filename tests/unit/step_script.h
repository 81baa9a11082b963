/* A step of the debugger's, and what happens in the guest meanwhile, entry by entry. */
#pragma once

#include "tests/check.h"
#include "tests/fake/vmx_guest.h"

#define VMCS fake_vmcs.field
#define VCPU fake_guest.vcpu
#define VM fake_guest.vm
#define DEBUG fake_guest.vmx.debug

static struct happening {
    uint32_t reason, information;
    uint64_t qualification, rip, gpa;
    void (*does)(void);
} script[8];
static unsigned entries;
static uint64_t seen_shadow, seen_primary, first_ept;
static uint64_t seen_rflags, seen_ept, seen_exceptions, seen_event, seen_timer;

static int play(struct vcpu *vcpu)
{
    const struct happening *now = &script[entries++];
    (void)vcpu;
    seen_rflags = VMCS[VMCS_GUEST_RFLAGS];
    seen_shadow = VMCS[VMCS_GUEST_INTERRUPTIBILITY_STATE];
    seen_primary = VMCS[VMCS_PROCESSOR_BASED_CONTROLS];
    if (entries == 1)
        first_ept = VMCS[VMCS_EPT_POINTER];
    seen_ept = VMCS[VMCS_EPT_POINTER];
    seen_exceptions = VMCS[VMCS_EXCEPTION_BITMAP];
    seen_event = VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION];
    seen_timer = VMCS[VMCS_VMX_PREEMPTION_TIMER_VALUE];
    VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION] &= ~BIT(31);
    VMCS[VMCS_IDT_VECTORING_INFORMATION] = 0;
    VMCS[VMCS_HOST_RSP] = 0x1234;
    VMCS[VMCS_EXIT_REASON] = now->reason;
    VMCS[VMCS_EXIT_QUALIFICATION] = now->qualification;
    VMCS[VMCS_GUEST_PHYSICAL_ADDRESS] = now->gpa;
    VMCS[VMCS_VM_EXIT_INTERRUPTION_INFORMATION] = now->information;
    if (now->rip != 0)
        VMCS[VMCS_GUEST_RIP] = now->rip;
    if (now->does != NULL)
        now->does();
    return 0;
}

#define EVENT(type, vector) (EVENT_INFORMATION_VALID | (type) << 8 | (vector))
#define STEPPED(bytes)                                                                             \
    {                                                                                              \
        .reason = EXIT_REASON_EXCEPTION_OR_NMI,                                                    \
        .information = EVENT(EVENT_HARDWARE_EXCEPTION, VECTOR_DB),                                 \
        .qualification = PENDING_DEBUG_BS, .rip = FAKE_GUEST_RIP + (bytes)                         \
    }
#define DELIVERED                                                                                  \
    {                                                                                              \
        .reason = EXIT_REASON_PREEMPTION_TIMER                                                     \
    }

__attribute__((unused)) static void step(const char *bytes, unsigned count,
                                         const struct happening *happenings, unsigned n)
{
    memcpy(fake_guest.memory + FAKE_GUEST_RIP, bytes, count);
    memset(script, 0, sizeof(script));
    memcpy(script, happenings, n * sizeof(*happenings));
    entries = fake_hw.wakes = 0;
    VCPU.requests = 0; /* the last stop is served */
    VM.is_paused = DEBUG.has_stopped = false;
    fake_vmcs.once = play;
    VMCS[VMCS_HOST_RSP] = 0x8888;
    uint64_t host_rip = VMCS[VMCS_HOST_RIP];
    debug_arm_step(&VCPU, 0, 0);
    debug_run_steps(&VCPU);
    CHECK_EQ(entries, n);
    CHECK(DEBUG.has_stopped && vm_is_paused(&VM) && !DEBUG.steps);
    CHECK_EQ(fake_hw.wakes, 1);
    CHECK_EQ(VMCS[VMCS_HOST_RSP], 0x8888);
    CHECK_EQ(VMCS[VMCS_HOST_RIP], host_rip);
    CHECK(VMCS[VMCS_EXCEPTION_BITMAP] != UINT32_MAX);
}
