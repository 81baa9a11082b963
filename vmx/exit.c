/* Every VM exit: snapshot, the handler of its row, and the one place that moves RIP. */
#include "vmx/internal.h"

#include "kernel/core/irq.h"

static const struct exit_row {
    exit_handler *handle;
    const char *name;
    uint32_t reads;
} rows[VCPU_EXIT_REASONS_MAX] = {
#define EXIT_REASON(number, name, handler, reads) [number] = {handler, #name, reads},
#include "vmx/exit_reasons.def"
#undef EXIT_REASON
};

const char *exit_reason_name(uint32_t reason)
{
    reason &= 0xffff;
    return reason < ARRAY_SIZE(rows) && rows[reason].name != NULL ? rows[reason].name : "?";
}

enum verdict exit_raise(struct vmx_exit *exit, enum vector vector)
{
    exit->exception = (struct exception){.vector = (uint8_t)vector};
    return INJECT;
}

enum verdict exit_raise_code(struct vmx_exit *exit, enum vector vector, uint32_t error_code)
{
    exit->exception = (struct exception){
        .vector = (uint8_t)vector, .has_error_code = true, .error_code = error_code};
    return INJECT;
}

/* A step over a 4-GByte border: IP wraps outside 64-bit mode. A step out of canonical space, which
 * no VM entry accepts, is #GP at the instruction itself. */
static COLD uint64_t cross_border(struct vcpu *vcpu, uint64_t rip, uint64_t next)
{
    static const struct exception protection = {.vector = VECTOR_GP, .has_error_code = true};
    if (!state_is_64bit())
        return (uint32_t)next;
    if (is_canonical(next))
        return next;
    (void)event_raise(&vcpu->events, &protection);
    return rip;
}

/* SDM: Guest Non-Register State. The instruction counts as executed: its shadow ends, and a trap
 * flag that was set before it brings a #DB after it. */
static void advance(struct vcpu *vcpu, const struct vmx_exit *exit)
{
    uint64_t next = exit->has_next_rip ? exit->next_rip
                                       : exit->rip + vmcs_read(VMCS_VM_EXIT_INSTRUCTION_LENGTH);
    if (__builtin_expect((next ^ exit->rip) >> 32, 0))
        next = cross_border(vcpu, exit->rip, next);
    vmcs_write(VMCS_GUEST_RIP, next);
    if (__builtin_expect(vmcs_read(VMCS_GUEST_INTERRUPTIBILITY_STATE) & BLOCKING_BY_SHADOW, 0))
        state_end_shadow();
    if (__builtin_expect(vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_TF, 0))
        state_add_single_step();
}

static COLD void read_snapshot(struct vmx_exit *exit, uint32_t reads)
{
    if (reads & READ_QUALIFICATION)
        exit->qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    if (reads & READ_GUEST_PHYSICAL)
        exit->guest_physical = vmcs_read(VMCS_GUEST_PHYSICAL_ADDRESS);
    if (reads & READ_INTERRUPTION)
        exit->interruption = (uint32_t)vmcs_read(VMCS_VM_EXIT_INTERRUPTION_INFORMATION);
}

static void record(struct vcpu *vcpu, const struct vmx_exit *exit)
{
    struct vcpu_history *entry = &vcpu->history[vcpu->exits++ & (VCPU_HISTORY - 1)];
    entry->rip = exit->rip;
    entry->reason = exit->reason;
    entry->qualification = exit->qualification;
}

static COLD void stop(struct vcpu *vcpu)
{
    dump_report(vcpu);
    vm_stop(vcpu->vm, VM_STOPPED, 0);
}

static COLD void carry_out(struct vcpu *vcpu, struct vmx_exit *exit, enum verdict verdict)
{
    switch (verdict) {
    case ADVANCE:
    case RETRY:
        return;
    case INJECT:
        if (event_raise(&vcpu->events, &exit->exception) == EVENT_TRIPLE_FAULT)
            (void)exit_triple_fault(vcpu, exit);
        return;
    case STOP_VM:
        stop(vcpu);
        return;
    }
}

bool vmx_exit(struct vcpu *vcpu)
{
    struct vmx_exit exit;
    exit.reason = (uint32_t)vmcs_read(VMCS_EXIT_REASON);
    exit.rip = vmcs_read(VMCS_GUEST_RIP);
    exit.has_next_rip = false;
    exit.qualification = 0;
    uint32_t basic = exit.reason & 0xffff;
    enum verdict verdict;
    if (__builtin_expect(basic < ARRAY_SIZE(rows) && rows[basic].handle != NULL, 1)) {
        const struct exit_row *row = &rows[basic];
        vcpu->exit_count[basic]++;
        if (row->reads != 0) {
            read_snapshot(&exit, row->reads);
            inject_collect(vcpu, &exit);
        }
        record(vcpu, &exit);
        verdict = row->handle(vcpu, &exit);
    } else {
        record(vcpu, &exit);
        verdict = exit_refuse(vcpu, &exit);
    }
    if (__builtin_expect(verdict == ADVANCE, 1))
        advance(vcpu, &exit);
    else
        carry_out(vcpu, &exit, verdict);
    return run_prepare_entry(vcpu);
}
