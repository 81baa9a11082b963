/*
 * A virtual processor, as everything but the back end sees it. The processor that runs it owns it;
 * others only set requests (vcpu_request) and take vm->lock for what the device models hold.
 */
#pragma once

#include "kernel/core/status.h"
#include "kernel/vm/cpu_mode.h"
#include "kernel/vm/cpuid_policy.h"
#include "kernel/vm/events.h"
#include "kernel/vm/guest_entry.h"
#include "kernel/vm/msr_policy.h"
#include "kernel/vm/timers.h"

struct vm;
struct vcpu_call;
struct account;
struct account_slot;

/* Why a vCPU must look up before its next entry. */
#define VCPU_REQUEST_EVENT 1u /* an interrupt or NMI may have become deliverable */
#define VCPU_REQUEST_STOP 2u  /* leave the guest: the VM's state changed */
#define VCPU_REQUEST_WORK 4u  /* a device model has work left over */
#define VCPU_REQUEST_DEBUG 8u /* a debugger wants something: see kernel/vm/debug.h */

enum vcpu_activity { VCPU_RUNNING, VCPU_HALTED, VCPU_WAIT_FOR_SIPI };

/* The interrupt controller in front of a vCPU. All calls are made with vm->lock held. */
struct interrupt_controller_ops {
    bool (*has_interrupt)(void *controller);
    int (*acknowledge)(void *controller); /* the vector, or -1: it was withdrawn */
    uint64_t (*read_cr8)(void *controller);
    void (*write_cr8)(void *controller, uint64_t value);
    /* MSRs of the controller: IA32_APIC_BASE, IA32_TSC_DEADLINE, x2APIC. ERR_FAULT: #GP. */
    enum status (*read_msr)(void *controller, uint32_t msr, uint64_t *value);
    enum status (*write_msr)(void *controller, uint32_t msr, uint64_t value);
    /* vcpu->tsc_offset has changed, and with it when a TSC deadline comes. */
    void (*tsc_offset_changed)(void *controller);
};

#define VCPU_EXIT_REASONS_MAX 80
#define VCPU_HISTORY 16u

/* One of the last exits, for reports and for the trace. */
struct vcpu_exit {
    uint64_t rip;
    uint64_t qualification;
    union {
        struct {
            uint32_t reason;
            uint16_t event;  /* that the entry after it injected: VCPU_EVENT; 0: none */
            uint16_t result; /* the back end's; this, and what follows, only with accounting on */
        };
        uint64_t reason_alone; /* sets event and result to 0 */
    };
    uint64_t start; /* TSC */
    uint64_t own;   /* counts until the entry that followed; not yet known of the newest */
};

/* SDM: Format of the VM-Entry Interruption-Information Field: beside this bit, the vector, the type
 * and whether there is an error code. */
#define VCPU_EVENT 0x8000u

/* Where exits are noted, round and round. */
struct vcpu_history {
    struct vcpu_exit *newest;
    struct vcpu_exit *first, *end;
    uint64_t before; /* exits that are not in it, since it was empty */
};

struct vcpu {
    uint64_t gpr[GPR_COUNT]; /* first: entry.asm; RSP's slot is the back end's, see vcpu_rsp */
    uint32_t requests;       /* VCPU_REQUEST_*; set atomically by anyone, cleared by the owner */
    uint32_t index;
    struct vm *vm;
    struct timer_queue timers; /* deadlines in TSC ticks; vCPU 0's also serve the VM's devices */
    uint64_t tsc_offset;       /* guest TSC - vm->clock, modulo 2^64 */
    struct event_queue events;
    enum vcpu_activity activity;
    const struct interrupt_controller_ops *intc_ops;
    void *intc;
    struct cpuid_table cpuid;
    struct msr_state msrs;
    uint32_t processor;     /* the machine's processor that it is bound to */
    void *backend;          /* e.g. struct vmx_vcpu */
    bool stands;            /* for a debugger: its processor halts between requests; atomic */
    struct vcpu_call *call; /* what a debugger wants to be run; atomic */
    struct vcpu_history history;
    struct account *account;           /* NULL: off; see kernel/vm/account.h */
    uint64_t account_mark;             /* TSC when the guest was last entered */
    struct account_slot *account_last; /* of the exit before; its own time is not counted yet */
    /* Of this exit, where it has them: what account.h's keys are made of. */
    uint64_t account_qualification, account_physical, account_unused;
    uint64_t exit_count[VCPU_EXIT_REASONS_MAX];
    struct vcpu_exit last_exits[VCPU_HISTORY]; /* the history with accounting off */
};

/* All exits so far. */
static inline uint64_t vcpu_exits(const struct vcpu *vcpu)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < VCPU_EXIT_REASONS_MAX; i++)
        sum += vcpu->exit_count[i];
    return sum;
}

/* Makes the vCPU look at requests before its next entry, at once also when it is in the guest on
 * another processor. Any context. */
void vcpu_request(struct vcpu *vcpu, uint32_t requests);

/* For the interrupt controller's NMI output. */
void vcpu_raise_nmi(struct vcpu *vcpu);
