/* Carrying events between vcpu->events and the VMCS. SDM: Event Injection; VM-Exit Information. */
#include "vmx/internal.h"

static void set_nmi_blocking(bool blocked)
{
    uint64_t state = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY_STATE);
    uint64_t changed = blocked ? state | BLOCKING_BY_NMI : state & ~BLOCKING_BY_NMI;
    if (changed != state)
        vmcs_write(VMCS_GUEST_INTERRUPTIBILITY_STATE, changed);
}

void inject_collect(struct vcpu *vcpu, const struct vmx_exit *exit)
{
    uint32_t basic = exit->reason & 0xffff;
    uint64_t information = vmcs_read(VMCS_IDT_VECTORING_INFORMATION);
    if (!(information & EVENT_INFORMATION_VALID)) {
        /* SDM: Information About NMI Unblocking Due to IRET. What is not there for the first try
         * may be there for the next; but an IRET whose exception goes to the guest has unblocked.
         */
        if (basic == EXIT_REASON_EPT_VIOLATION &&
            exit->qualification & EVENT_INFORMATION_NMI_UNBLOCKING)
            set_nmi_blocking(true);
        return;
    }
    struct event *next = &vcpu->events.next;
    *next = (struct event){
        .valid = true,
        .type = bits_get(information, 10, 8),
        .vector = information & 0xff,
        .has_error_code = information & EVENT_INFORMATION_ERROR_CODE,
    };
    if (next->has_error_code)
        next->error_code = (uint32_t)vmcs_read(VMCS_IDT_VECTORING_ERROR_CODE);
    if (next->type >= EVENT_SOFTWARE_INTERRUPT)
        next->instruction_length = (uint8_t)vmcs_read(VMCS_VM_EXIT_INSTRUCTION_LENGTH);
    /* Its delivery has begun, and with it the blocking, whatever becomes of it. */
    if (next->type == EVENT_NMI)
        set_nmi_blocking(true);
}

static void write_event(struct vcpu *vcpu, const struct event *event)
{
    uint64_t information = event->vector | (uint64_t)event->type << 8 | EVENT_INFORMATION_VALID;
    /* SDM: Checks on VM-Entry Control Fields: in real mode no error code is delivered. */
    if (event->has_error_code && vmcs_read(VMCS_GUEST_CR0) & CR0_PE) {
        information |= EVENT_INFORMATION_ERROR_CODE;
        vmcs_write(VMCS_VM_ENTRY_EXCEPTION_ERROR_CODE, event->error_code);
    }
    if (event->type >= EVENT_SOFTWARE_INTERRUPT)
        vmcs_write(VMCS_VM_ENTRY_INSTRUCTION_LENGTH, event->instruction_length);
    /* SDM: Checks on Guest Non-Register State: the blocking must begin with the injection. */
    if (event->type == EVENT_NMI)
        set_nmi_blocking(false);
    /* SDM: Vectored-Event Injection: RF is pushed as it stands. */
    if (event_sets_rf(event))
        vmcs_write(VMCS_GUEST_RFLAGS, vmcs_read(VMCS_GUEST_RFLAGS) | RFLAGS_RF);
    vmcs_write(VMCS_VM_ENTRY_INTERRUPTION_INFORMATION, information);
    vcpu->history.newest->event = (uint16_t)(information | VCPU_EVENT);
}

void inject_next(struct vcpu *vcpu)
{
    write_event(vcpu, &vcpu->events.next);
    vcpu->events.next.valid = false;
}

static void set_activity(struct vcpu *vcpu, enum vcpu_activity activity)
{
    vcpu->activity = activity;
    vmcs_write(VMCS_GUEST_ACTIVITY_STATE, activity == VCPU_HALTED ? ACTIVITY_HLT : ACTIVITY_ACTIVE);
}

/* Debug traps that wait come first, and an injection would lose them. SDM: Delivery of Pending
 * Debug Exceptions after VM Entry. */
static bool is_trap_pending(const struct vcpu *vcpu, uint64_t rflags)
{
    return (rflags & RFLAGS_TF || vmx_of(vcpu)->breakpoints) &&
           vmcs_read(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS) &
               (PENDING_DEBUG_ENABLED | PENDING_DEBUG_BS);
}

/* See advance in exit.c, which leaves it to others to end the shadow. */
static COLD uint64_t end_old_shadow(const struct vcpu *vcpu, uint64_t state)
{
    if (vmcs_read(VMCS_GUEST_RIP) == vcpu->history.newest->rip)
        return state;
    state_end_shadow();
    return state & ~BLOCKING_BY_SHADOW;
}

static struct event_choice choose(struct vcpu *vcpu)
{
    uint64_t state = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY_STATE);
    uint64_t rflags = vmcs_read(VMCS_GUEST_RFLAGS);
    if (state & BLOCKING_BY_SHADOW)
        state = end_old_shadow(vcpu, state);
    struct event_blocking blocking = {
        .interrupt_flag = rflags & RFLAGS_IF,
        .shadow = state & BLOCKING_BY_SHADOW || is_trap_pending(vcpu, rflags),
        .nmi = state & BLOCKING_BY_NMI,
    };
    bool pending = vcpu->intc_ops->has_interrupt(vcpu->intc);
    struct event_choice choice = event_choose(&vcpu->events, &blocking, pending);
    /* SDM: NMI-Window Exiting: a processor may open it in spite of blocking by STI, and the guest
     * would exit for ever where it stands. RFLAGS.IF is set then: the interrupt window opens. */
    if (choice.nmi_window && state & BLOCKING_BY_STI) {
        choice.nmi_window = false;
        choice.interrupt_window = true;
    }
    if (choice.take_interrupt) {
        int vector = vcpu->intc_ops->acknowledge(vcpu->intc);
        if (vector >= 0)
            event_queue_interrupt(&vcpu->events, (uint8_t)vector);
        /* What is left behind the one just taken must not wait for the next exit. */
        choice.interrupt_window = vcpu->intc_ops->has_interrupt(vcpu->intc);
    }
    return choice;
}

void inject_prepare(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    spinlock_acquire(&vcpu->vm->lock);
    struct event_choice choice = choose(vcpu);
    spinlock_release(&vcpu->vm->lock);
    state_set_primary(vmx, CONTROL_INTERRUPT_WINDOW_EXITING, choice.interrupt_window);
    state_set_primary(vmx, CONTROL_NMI_WINDOW_EXITING, choice.nmi_window);
    if (vcpu->events.next.valid) {
        inject_next(vcpu);
        if (vcpu->activity == VCPU_HALTED)
            set_activity(vcpu, VCPU_RUNNING);
    } else if (vcpu->activity == VCPU_HALTED) {
        set_activity(vcpu, VCPU_HALTED);
    }
}

enum verdict exit_interrupt_window(struct vcpu *vcpu, struct vmx_exit *exit)
{
    (void)exit;
    state_set_primary(vmx_of(vcpu), CONTROL_INTERRUPT_WINDOW_EXITING, false);
    vcpu_request(vcpu, VCPU_REQUEST_EVENT);
    return RETRY;
}

enum verdict exit_nmi_window(struct vcpu *vcpu, struct vmx_exit *exit)
{
    (void)exit;
    state_set_primary(vmx_of(vcpu), CONTROL_NMI_WINDOW_EXITING, false);
    vcpu_request(vcpu, VCPU_REQUEST_EVENT);
    return RETRY;
}
