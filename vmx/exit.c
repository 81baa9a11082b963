/* Every VM exit: snapshot, the handler of its row, and the one place that moves RIP. */
#include "vmx/internal.h"

#include "kernel/core/irq.h"

static const struct exit_row {
    exit_handler *handle;
    uint64_t reads;
} rows[VCPU_EXIT_REASONS_MAX] = {
#define EXIT_REASON(number, name, handler, reads) [number] = {handler, reads},
#include "vmx/exit_reasons.def"
#undef EXIT_REASON
};

/* Apart from the rows, which an exit reads. */
static const char *const names[VCPU_EXIT_REASONS_MAX] = {
#define EXIT_REASON(number, name, handler, reads) [number] = #name,
#include "vmx/exit_reasons.def"
#undef EXIT_REASON
};

STATIC_ASSERT(EXIT_REASON_RESERVED_79 == VCPU_EXIT_REASONS_MAX - 1, "every row has a handler");

const char *exit_reason_name(uint32_t reason)
{
    reason &= 0xffff;
    return reason < ARRAY_SIZE(names) ? names[reason] : "?";
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

/* Inline in both its places, one of which every emulated instruction passes.
 * SDM: Guest Non-Register State. The instruction counts as executed: its shadow ends, and a trap
 * flag that was set before it brings a #DB after it. */
static inline __attribute__((always_inline)) void advance(struct vcpu *vcpu,
                                                          const struct vmx_exit *exit,
                                                          uint64_t next)
{
    if (__builtin_expect((next ^ exit->rip) >> 32, 0))
        next = cross_border(vcpu, exit->rip, next);
    vmcs_write(VMCS_GUEST_RIP, next);
    if (__builtin_expect(vmcs_read(VMCS_GUEST_INTERRUPTIBILITY_STATE) & BLOCKING_BY_SHADOW, 0))
        state_end_shadow();
    if (__builtin_expect(vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_TF, 0))
        state_add_single_step();
}

static void record(struct vcpu *vcpu, const struct vmx_exit *exit)
{
    uint32_t index = vcpu->history_next;
    vcpu->history_next = (index + 1) % VCPU_HISTORY;
    vcpu->history[index].rip = exit->rip;
    vcpu->history[index].reason = exit->reason;
}

/* What the row asks for; and the qualification into the history, whose newest entry stands. */
static COLD void read_snapshot(struct vcpu *vcpu, struct vmx_exit *exit, uint64_t reads)
{
    if (reads & READ_QUALIFICATION)
        exit->qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    if (reads & READ_GUEST_PHYSICAL)
        exit->guest_physical = vmcs_read(VMCS_GUEST_PHYSICAL_ADDRESS);
    if (reads & READ_INTERRUPTION)
        exit->interruption = (uint32_t)vmcs_read(VMCS_VM_EXIT_INTERRUPTION_INFORMATION);
    vcpu->history[(vcpu->history_next - 1) % VCPU_HISTORY].qualification =
        reads & READ_QUALIFICATION ? exit->qualification : 0;
    if (reads & READ_VECTORING)
        inject_collect(vcpu, exit);
}

static COLD void stop(struct vcpu *vcpu)
{
    dump_report(vcpu);
    vm_stop(vcpu->vm, VM_STOPPED, 0);
}

static COLD void carry_out(struct vcpu *vcpu, struct vmx_exit *exit, enum verdict verdict)
{
    switch (verdict) {
    case ADVANCE_TO:
        advance(vcpu, exit, exit->next_rip);
        return;
    case INJECT:
        if (event_raise(&vcpu->events, &exit->exception) == EVENT_TRIPLE_FAULT)
            (void)exit_triple_fault(vcpu, exit);
        return;
    case STOP_VM:
        stop(vcpu);
        return;
    case ADVANCE:
    case RETRY:
        return;
    }
}

bool vmx_exit(struct vcpu *vcpu)
{
    struct vmx_exit exit;
    exit.reason = (uint32_t)vmcs_read(VMCS_EXIT_REASON);
    exit.rip = vmcs_read(VMCS_GUEST_RIP);
    uint32_t basic = exit.reason & 0xffff;
    if (__builtin_expect(basic >= ARRAY_SIZE(rows), 0))
        basic = EXIT_REASON_RESERVED_35; /* refused like every number that the SDM does not have */
    record(vcpu, &exit);
    vcpu->exit_count[basic]++;
    if (rows[basic].reads != 0)
        read_snapshot(vcpu, &exit, rows[basic].reads);
    enum verdict verdict = rows[basic].handle(vcpu, &exit);
    if (__builtin_expect(verdict == ADVANCE, 1))
        advance(vcpu, &exit, exit.rip + vmcs_read(VMCS_VM_EXIT_INSTRUCTION_LENGTH));
    else
        carry_out(vcpu, &exit, verdict);
    return run_prepare_entry(vcpu);
}
