/*
 * What a guest died of, by having it happen once more. A triple fault's exit tells neither the
 * event that came first nor what went wrong with its delivery (SDM: Information for VM Exits That
 * Occur During Event Delivery). But the guest stands before it: the instruction at RIP is executed
 * again, by itself and with every exception exiting, and what it raises is delivered in the same
 * way, until that comes to the triple fault again.
 */
#include "kernel/core/irq.h"
#include "kernel/core/mem.h"
#include "vmx/internal.h"

struct repetition {
    struct vcpu *vcpu;
    struct debug_fault *fault;
    unsigned count;
};

static bool is_exception(uint64_t reason, uint32_t information)
{
    return reason == EXIT_REASON_EXCEPTION_OR_NMI && bits_get(information, 10, 8) != EVENT_NMI &&
           (information & 0xff) != VECTOR_MC; /* the machine's */
}

#define TRIES_MAX 64
#define NO_EXIT UINT64_MAX

/* An interrupt of the machine's that comes first is served, and it begins again; behind an event
 * that was injected, that has been delivered. Returns the exit's reason, or NO_EXIT. */
static uint64_t enter(struct vcpu *vcpu, uint32_t timer)
{
    for (unsigned i = 0; i < TRIES_MAX; i++) {
        if (!debug_enter(vcpu, UINT32_MAX, timer))
            return NO_EXIT;
        uint64_t reason = vmcs_read(VMCS_EXIT_REASON);
        if (reason != EXIT_REASON_EXTERNAL_INTERRUPT)
            return reason;
        irq_dispatch(vmcs_read(VMCS_VM_EXIT_INTERRUPTION_INFORMATION) & 0xff);
        if (timer == 0)
            return reason;
    }
    return EXIT_REASON_EXTERNAL_INTERRUPT;
}

/* One entry, and what came of it. False: nothing that is an exception. */
static bool take(struct repetition *all, uint32_t timer)
{
    struct debug_fault *fault = &all->fault[all->count];
    uint64_t reason = enter(all->vcpu, timer);
    uint32_t information = (uint32_t)vmcs_read(VMCS_VM_EXIT_INTERRUPTION_INFORMATION);
    uint64_t vectoring = vmcs_read(VMCS_IDT_VECTORING_INFORMATION);
    bool is_step = is_exception(reason, information) && (information & 0xff) == VECTOR_DB;
    fault->exit_reason = (uint32_t)reason;
    fault->during = (uint32_t)vectoring;
    if (is_exception(reason, information) && !is_step) {
        fault->information = information;
        fault->error_code = (uint32_t)vmcs_read(VMCS_VM_EXIT_INTERRUPTION_ERROR_CODE);
        fault->address = vmcs_read(VMCS_EXIT_QUALIFICATION);
    } else if (reason == EXIT_REASON_EPT_VIOLATION || reason == EXIT_REASON_EPT_MISCONFIGURATION) {
        fault->address = vmcs_read(VMCS_GUEST_PHYSICAL_ADDRESS);
    } else {
        return false;
    }
    all->count++;
    return fault->information != 0;
}

/* The event that would have been delivered next; false: it is the end. */
static bool raise_last(struct repetition *all)
{
    const struct debug_fault *last = &all->fault[all->count - 1];
    struct event_queue *events = &all->vcpu->events;
    unsigned type = (unsigned)bits_get(last->information, 10, 8);
    struct exception exception = {
        .vector = (uint8_t)last->information,
        .has_error_code = last->information & EVENT_INFORMATION_ERROR_CODE,
        .error_code = last->error_code,
    };
    events->next.valid = false; /* an interrupt that was under way gives way */
    if (type >= EVENT_SOFTWARE_INTERRUPT) {
        events->next = (struct event){
            .valid = true,
            .type = (uint8_t)type,
            .vector = (uint8_t)last->information,
            .instruction_length = (uint8_t)vmcs_read(VMCS_VM_EXIT_INSTRUCTION_LENGTH),
        };
        return true;
    }
    if (last->during & EVENT_INFORMATION_VALID &&
        bits_get(last->during, 10, 8) == EVENT_HARDWARE_EXCEPTION)
        events->next = (struct event){
            .valid = true, .type = EVENT_HARDWARE_EXCEPTION, .vector = (uint8_t)last->during};
    return event_raise(events, &exception) != EVENT_TRIPLE_FAULT;
}

static void repeat(struct repetition *all, const struct event *first)
{
    struct vcpu *vcpu = all->vcpu;
    vcpu->events.next = *first;
    if (first->valid)
        inject_next(vcpu);
    else
        vmcs_write(VMCS_GUEST_RFLAGS, vmcs_read(VMCS_GUEST_RFLAGS) | RFLAGS_TF);
    bool goes_on = take(all, first->valid ? 0 : UINT32_MAX);
    while (goes_on && all->count < DEBUG_FAULTS_MAX && raise_last(all)) {
        inject_next(vcpu);
        goes_on = take(all, 0);
    }
}

/* What the entries may have changed of the guest, and is no memory. */
struct kept {
    uint64_t gpr[GPR_COUNT];
    uint64_t rip, rsp, rflags, interruptibility, activity, traps, debugctl, cr2, cr3, dr6;
    struct segment segment[SEG_COUNT];
    struct event_queue events;
    enum vcpu_activity own_activity;
    uint16_t event; /* the history's newest: ours are none of the guest's */
};

static void keep(const struct vcpu *vcpu, struct kept *kept)
{
    *kept = (struct kept){
        .rip = vmcs_read(VMCS_GUEST_RIP),
        .rsp = vmcs_read(VMCS_GUEST_RSP),
        .rflags = vmcs_read(VMCS_GUEST_RFLAGS),
        .interruptibility = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY_STATE),
        .activity = vmcs_read(VMCS_GUEST_ACTIVITY_STATE),
        .traps = vmcs_read(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS),
        .debugctl = vmcs_read(VMCS_GUEST_IA32_DEBUGCTL),
        .cr2 = hw_read_cr2(),
        .cr3 = vmcs_read(VMCS_GUEST_CR3),
        .dr6 = hw_read_dr(6),
        .events = vcpu->events,
        .own_activity = vcpu->activity,
        .event = vcpu->history.newest->event,
    };
    for (unsigned i = 0; i < GPR_COUNT; i++)
        kept->gpr[i] = vcpu->gpr[i];
    for (unsigned i = 0; i < SEG_COUNT; i++)
        state_read_segment((enum segment_register)i, &kept->segment[i]);
}

static void restore(struct vcpu *vcpu, const struct kept *kept)
{
    vmcs_write(VMCS_GUEST_RIP, kept->rip);
    vmcs_write(VMCS_GUEST_RSP, kept->rsp);
    vmcs_write(VMCS_GUEST_RFLAGS, kept->rflags);
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY_STATE, kept->interruptibility);
    vmcs_write(VMCS_GUEST_ACTIVITY_STATE, kept->activity);
    vmcs_write(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, kept->traps);
    vmcs_write(VMCS_GUEST_IA32_DEBUGCTL, kept->debugctl);
    hw_write_cr2(kept->cr2);
    vmcs_write(VMCS_GUEST_CR3, kept->cr3);
    hw_write_dr(6, kept->dr6);
    vcpu->events = kept->events;
    vcpu->activity = kept->own_activity;
    vcpu->history.newest->event = kept->event;
    for (unsigned i = 0; i < GPR_COUNT; i++)
        vcpu->gpr[i] = kept->gpr[i];
    for (unsigned i = 0; i < SEG_COUNT; i++)
        state_write_segment((enum segment_register)i, &kept->segment[i]);
}

unsigned debug_repeat_fault(struct vcpu *vcpu, const struct event *first,
                            struct debug_fault fault[DEBUG_FAULTS_MAX])
{
    struct repetition all = {.vcpu = vcpu, .fault = fault};
    struct kept kept;
    for (unsigned i = 0; i < DEBUG_FAULTS_MAX; i++)
        fault[i] = (struct debug_fault){0};
    keep(vcpu, &kept);
    vmcs_write(VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_ACTIVE);
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY_STATE, kept.interruptibility & ~BLOCKING_BY_SHADOW);
    vmcs_write(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
    vmcs_write(VMCS_GUEST_IA32_DEBUGCTL, 0);
    repeat(&all, first);
    restore(vcpu, &kept);
    return all.count;
}
