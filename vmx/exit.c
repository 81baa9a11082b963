/* Every VM exit: snapshot, the handler of its row, and the one place that moves RIP. */
#include "vmx/internal.h"

#include "kernel/core/irq.h"
#include "kernel/vm/account.h"

/* Bits beside the basic reason: of those that the SDM has, 25 to 28 (shadow stack prematurely busy,
 * bus lock, enclave mode, pending MTF exit) may stand; 29 (exit from VMX root operation) cannot be
 * ours. */
#define EXIT_REASON_FAILED_ENTRY BIT(31)
#define EXIT_REASON_FLAGS_UNKNOWN (BIT(30) | BIT(29) | MASK(24, 16))

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

const char *vmx_verdict_name(uint32_t verdict)
{
    static const char *const text[] = {[ADVANCE] = "ADVANCE",
                                       [ADVANCE_TO] = "ADVANCE_TO",
                                       [RETRY] = "RETRY",
                                       [INJECT] = "INJECT",
                                       [STOP_VM] = "STOP_VM"};
    return verdict < ARRAY_SIZE(text) ? text[verdict] : "?";
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

/* A step over a 4-GByte border: IP wraps outside 64-bit mode. In 64-bit mode a step to the first
 * address past canonical space is one that the guest takes: #GP comes from the fetch there. SDM:
 * Checks on Guest RIP, RFLAGS, and SSP: a VM entry looks only at the bits past the width of a
 * linear address, which no single step can make differ. */
static COLD uint64_t cross_border(uint64_t next)
{
    return state_is_64bit() ? next : (uint32_t)next;
}

/* SDM: Guest Non-Register State. The instruction counts as executed: its shadow ends, and a trap
 * flag that was set before it brings a #DB after it. SDM: Saving RIP, RSP, RFLAGS, and SSP: an EPT
 * violation leaves RF set, which is for trying again. */
static COLD void settle_debug(const struct vcpu *vcpu, uint64_t rflags)
{
    if (rflags & RFLAGS_RF)
        vmcs_write(VMCS_GUEST_RFLAGS, rflags & ~RFLAGS_RF);
    if (!(rflags & RFLAGS_TF) && !vmx_of(vcpu)->shadow_matters)
        return;
    state_end_shadow();
    if (rflags & RFLAGS_TF)
        state_add_single_step();
}

/*
 * Moves RIP behind an instruction that was emulated. The shadow in which it may have stood is over,
 * and stays in the VMCS nonetheless, to save the VMREAD: inject_prepare ends it before it looks
 * whether an event can go in, and an interrupt that comes later could as well have come one
 * instruction later. Debug exceptions can tell, and events that wait: for them it ends here.
 */
static inline __attribute__((always_inline)) void advance(struct vcpu *vcpu,
                                                          const struct vmx_exit *exit,
                                                          uint64_t next)
{
    if (__builtin_expect((next ^ exit->rip) >> 32, 0))
        next = cross_border(next);
    vmcs_write(VMCS_GUEST_RIP, next);
    uint64_t rflags = vmcs_read(VMCS_GUEST_RFLAGS);
    if (__builtin_expect(rflags & (RFLAGS_TF | RFLAGS_RF) || vmx_of(vcpu)->shadow_matters, 0))
        settle_debug(vcpu, rflags);
}

/* After the one before; all but the reason. */
static inline __attribute__((always_inline)) struct vcpu_exit *record(struct vcpu *vcpu,
                                                                      const struct vmx_exit *exit,
                                                                      struct vcpu_exit *before)
{
    struct vcpu_history *history = &vcpu->history;
    struct vcpu_exit *entry = before + 1;
    entry = entry == history->end ? history->first : entry;
    history->newest = entry;
    entry->rip = exit->rip;
    entry->qualification = exit->qualification;
    return entry;
}

static COLD void read_more(struct vmx_exit *exit, uint64_t reads)
{
    if (reads & READ_GUEST_PHYSICAL)
        exit->guest_physical = vmcs_read(VMCS_GUEST_PHYSICAL_ADDRESS);
    if (reads & READ_INTERRUPTION)
        exit->interruption = (uint32_t)vmcs_read(VMCS_VM_EXIT_INTERRUPTION_INFORMATION);
}

/* What the row asks for. */
static inline void read_snapshot(struct vmx_exit *exit, uint64_t reads)
{
    if (reads & READ_QUALIFICATION)
        exit->qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    if (reads & ~(uint64_t)READ_QUALIFICATION)
        read_more(exit, reads);
}

static COLD void carry_out(struct vcpu *vcpu, struct vmx_exit *exit, enum verdict verdict)
{
    switch (verdict) {
    case ADVANCE_TO: /* perhaps to itself: its shadow does not wait for a moved RIP to end */
        state_end_shadow();
        advance(vcpu, exit, exit->next_rip);
        return;
    case INJECT:
        if (event_raise(&vcpu->events, &exit->exception) == EVENT_TRIPLE_FAULT)
            (void)exit_triple_fault(vcpu, exit);
        return;
    case STOP_VM:
        vm_stop(vcpu->vm, VM_STOPPED, 0);
        return;
    case ADVANCE:
    case RETRY:
        return;
    }
}

/* The row of a reason that has more than a number of the list. SDM: Format of Exit Reason in
 * Basic VM-Exit Information: an entry that failed, which has no other reasons than the three; and
 * what may stand beside any reason and asks for nothing here. All else is refused like every number
 * that the SDM does not have. */
static COLD uint32_t find_row(uint32_t reason)
{
    uint32_t basic = reason & 0xffff;
    bool is_entry_failure = basic == EXIT_REASON_ENTRY_FAILURE_GUEST_STATE ||
                            basic == EXIT_REASON_ENTRY_FAILURE_MSR_LOADING ||
                            basic == EXIT_REASON_ENTRY_FAILURE_MACHINE_CHECK;
    if (reason & EXIT_REASON_FLAGS_UNKNOWN || basic >= ARRAY_SIZE(rows) ||
        (reason & EXIT_REASON_FAILED_ENTRY && !is_entry_failure))
        return EXIT_REASON_RESERVED_35;
    return basic;
}

STATIC_ASSERT(ADVANCE == 0, "reason_alone");

/* What tells exits of one reason apart, and where the vCPU has it: a leaf, an MSR, a port in the
 * qualification, a page in the address; all of them are masked parts of eight bytes there. */
#define ACCOUNT_BY(reason)                                                                         \
    ((reason) == EXIT_REASON_CPUID                                    ? ACCOUNT_LEAF               \
     : (reason) == EXIT_REASON_RDMSR || (reason) == EXIT_REASON_WRMSR ? ACCOUNT_MSR                \
     : (reason) == EXIT_REASON_IO_INSTRUCTION                         ? ACCOUNT_PORT               \
     : (reason) == EXIT_REASON_EPT_VIOLATION                          ? ACCOUNT_PAGE               \
                                                                      : ACCOUNT_NOTHING)
#define ACCOUNT_OFFSET(by)                                                                         \
    ((by) == ACCOUNT_LEAF   ? GPR_RAX * 8                                                          \
     : (by) == ACCOUNT_MSR  ? GPR_RCX * 8                                                          \
     : (by) == ACCOUNT_PORT ? offsetof(struct vcpu, account_qualification) + 2                     \
                            : offsetof(struct vcpu, account_physical) + 1)
#define ACCOUNT_MASK(by)                                                                           \
    ((by) == ACCOUNT_PORT      ? 0xffffull                                                         \
     : (by) == ACCOUNT_PAGE    ? MASK(43, 4)                                                       \
     : (by) == ACCOUNT_NOTHING ? 0                                                                 \
                               : 0xffffffffull)

/* Twice as large as the rows: what one is found by finds the other. */
static const DEBUGGER_CONST struct key_row {
    uint64_t mask, tag, offset;
    uint32_t by;
} keys[VCPU_EXIT_REASONS_MAX] = {
#define EXIT_REASON(number, name, handler, reads)                                                  \
    [number] = {ACCOUNT_MASK(ACCOUNT_BY(number)), ACCOUNT_TAG(number),                             \
                ACCOUNT_OFFSET(ACCOUNT_BY(number)), ACCOUNT_BY(number)},
#include "vmx/exit_reasons.def"
#undef EXIT_REASON
};

enum account_by vmx_account_by(uint32_t reason)
{
    return reason < ARRAY_SIZE(keys) ? keys[reason].by : ACCOUNT_NOTHING;
}

STATIC_ASSERT(sizeof(struct key_row) == 2 * sizeof(struct exit_row), "key_of");

/* Without a branch, whatever the exit is. at: of its row in rows, in bytes. */
static inline uint64_t key_of(const struct vcpu *vcpu, uint64_t at)
{
    const struct key_row *row = (const void *)((const uint8_t *)keys + 2 * at);
    uint64_t value;
    __builtin_memcpy(&value, (const uint8_t *)vcpu + row->offset, sizeof(value));
    return row->tag + (value & row->mask);
}

static inline __attribute__((always_inline)) void handle(struct vcpu *vcpu)
{
    struct vmx_exit exit;
    uint64_t reason = vmcs_read(VMCS_EXIT_REASON); /* of 32 bits */
    exit.reason = (uint32_t)reason;
    exit.rip = vmcs_read(VMCS_GUEST_RIP);
    uint32_t basic = exit.reason;
    if (__builtin_expect(basic >= ARRAY_SIZE(rows), 0))
        basic = find_row(exit.reason);
    uint64_t reads = rows[basic].reads;
    exit.qualification = 0;
    if (reads != 0)
        read_snapshot(&exit, reads);
    record(vcpu, &exit, vcpu->history.newest)->reason_alone = reason;
    vcpu->exit_count[basic]++;
    if (reads & READ_VECTORING)
        inject_collect(vcpu, &exit);
    enum verdict verdict = rows[basic].handle(vcpu, &exit);
    if (__builtin_expect(verdict == ADVANCE, 1))
        advance(vcpu, &exit, exit.rip + vmcs_read(VMCS_VM_EXIT_INSTRUCTION_LENGTH));
    else
        carry_out(vcpu, &exit, verdict);
}

bool vmx_exit(struct vcpu *vcpu)
{
    handle(vcpu);
    return run_prepare_entry(vcpu, hw_rdtsc());
}

#define READ_OF_VIOLATION (READ_QUALIFICATION | READ_GUEST_PHYSICAL | READ_VECTORING)

static COLD void read_rest(struct vcpu *vcpu, struct vmx_exit *exit, uint64_t reads)
{
    read_snapshot(exit, reads);
    if (reads & READ_VECTORING)
        inject_collect(vcpu, exit);
}

/* What the row asks for: also into the vCPU, where it is a part of the key. */
static inline __attribute__((always_inline)) void read_accounted(struct vcpu *vcpu,
                                                                 struct vmx_exit *exit,
                                                                 uint64_t reads)
{
    if (reads == READ_QUALIFICATION) {
        vcpu->account_qualification = exit->qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    } else if (reads == READ_OF_VIOLATION) {
        exit->qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
        vcpu->account_physical = exit->guest_physical = vmcs_read(VMCS_GUEST_PHYSICAL_ADDRESS);
        inject_collect(vcpu, exit);
    } else {
        read_rest(vcpu, exit, reads);
    }
}

/* The same with accounting on. A VMCS with another HOST_RIP leads here: while it is off, it costs
 * nothing. */
bool vmx_exit_accounted(struct vcpu *vcpu)
{
    struct vmx_exit exit;
    uint64_t start = hw_rdtsc();
    exit.reason = (uint32_t)vmcs_read(VMCS_EXIT_REASON);
    exit.rip = vmcs_read(VMCS_GUEST_RIP);
    uint32_t basic = exit.reason;
    if (__builtin_expect(basic >= ARRAY_SIZE(rows), 0))
        basic = find_row(exit.reason);
    vcpu->exit_count[basic]++;
    uint64_t at = basic * sizeof(rows[0]);
    __asm__("" : "+r"(at)); /* computed once, and no address of a row */
    const struct exit_row *row = (const void *)((const uint8_t *)rows + at);
    exit.qualification = 0;
    if (row->reads != 0)
        read_accounted(vcpu, &exit, row->reads);
    account_own(vcpu, vcpu->history.newest);
    account_guest(vcpu, key_of(vcpu, at), start);
    struct vcpu_exit *noted = record(vcpu, &exit, vcpu->history.newest);
    noted->reason_alone = exit.reason;
    noted->start = start;
    enum verdict verdict = row->handle(vcpu, &exit);
    if (__builtin_expect(verdict == ADVANCE, 1)) {
        advance(vcpu, &exit, exit.rip + vmcs_read(VMCS_VM_EXIT_INSTRUCTION_LENGTH));
    } else {
        carry_out(vcpu, &exit, verdict);
        vcpu->history.newest->result = (uint16_t)verdict;
    }
    uint64_t now = hw_rdtsc();
    bool enters = true;
    if (run_is_time(vcpu, now) || !run_is_quiet(vcpu)) {
        enters = run_prepare_entry(vcpu, now);
        now = hw_rdtsc();
    }
    vcpu->account_mark = now;
    return enters;
}

COLD void exit_handle(struct vcpu *vcpu)
{
    uint64_t start = vcpu->history.newest->start;
    handle(vcpu);
    vcpu->history.newest->start = start; /* the time goes on to be that of the exit before */
}

COLD enum verdict exit_again(struct vcpu *vcpu, struct vmx_exit *exit)
{
    uint32_t basic = (uint32_t)vmcs_read(VMCS_EXIT_REASON);
    exit->reason = basic;
    exit->qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    exit->guest_physical = vmcs_read(VMCS_GUEST_PHYSICAL_ADDRESS);
    exit->interruption = (uint32_t)vmcs_read(VMCS_VM_EXIT_INTERRUPTION_INFORMATION);
    if (basic >= ARRAY_SIZE(rows))
        return exit_refuse(vcpu, exit);
    vcpu->exit_count[basic]++;
    enum verdict verdict = rows[basic].handle(vcpu, exit);
    if (verdict != ADVANCE)
        return verdict;
    exit->next_rip = exit->rip + vmcs_read(VMCS_VM_EXIT_INSTRUCTION_LENGTH);
    return ADVANCE_TO;
}
