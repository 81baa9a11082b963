/*
 * Device memory, memory that is not there, and string I/O: the instruction at RIP, or the event
 * that was being delivered, is carried out in software. SDM: Exit Qualification for EPT Violations.
 */
#include "kernel/core/fmt.h"
#include "kernel/core/hw.h"
#include "kernel/core/log.h"
#include "kernel/vm/task_switch.h"
#include "vmx/internal.h"

#define EPT_VIOLATION_WRITE BIT(1)
#define EPT_VIOLATION_FETCH BIT(2)
#define EPT_VIOLATION_LINEAR_VALID BIT(7)
#define EPT_VIOLATION_FINAL_ADDRESS BIT(8) /* else the access was to a paging structure */

static void read_paging(const struct vcpu *vcpu, struct paging *paging)
{
    paging->cr3 = vmcs_read(VMCS_GUEST_CR3);
    paging->cr4 = cr_read_cr4();
    paging->efer = vmcs_read(VMCS_GUEST_IA32_EFER);
    paging->pkru = paging->cr4 & CR4_PKE && paging->efer & EFER_LMA ? hw_rdpkru() : 0;
    paging->maxphyaddr = (uint8_t)cpuid_maxphyaddr(&vcpu->cpuid);
    paging->one_gib_pages = vmx_of(vcpu)->has_1g_pages;
    if (paging->cr4 & CR4_PAE && !(paging->efer & EFER_LMA)) {
        paging->pdpte[0] = vmcs_read(VMCS_GUEST_PDPTE0);
        paging->pdpte[1] = vmcs_read(VMCS_GUEST_PDPTE1);
        paging->pdpte[2] = vmcs_read(VMCS_GUEST_PDPTE2);
        paging->pdpte[3] = vmcs_read(VMCS_GUEST_PDPTE3);
    }
}

static void read_state(struct vcpu *vcpu, const struct vmx_exit *exit, uint64_t efer,
                       struct emulate_state *state)
{
    vcpu->gpr[GPR_RSP] = vmcs_read(VMCS_GUEST_RSP);
    state->gpr = vcpu->gpr;
    state->rip = exit->rip;
    state->rflags = vmcs_read(VMCS_GUEST_RFLAGS);
    state->cr0 = cr_read_cr0();
    state->code_size =
        (uint8_t)decode_code_size(efer, (uint32_t)vmcs_read(VMCS_GUEST_CS_ACCESS_RIGHTS));
    state->cpl = (uint8_t)state_cpl();
    if (state->code_size == 8) {
        state->segment[SEG_FS].base = vmcs_read(VMCS_GUEST_FS_BASE);
        state->segment[SEG_GS].base = vmcs_read(VMCS_GUEST_GS_BASE);
        return;
    }
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        state_read_segment((enum segment_register)i, &state->segment[i]);
}

static void write_state(struct vcpu *vcpu, const struct emulate_state *state, uint64_t rsp,
                        uint64_t rflags)
{
    if (vcpu->gpr[GPR_RSP] != rsp)
        vmcs_write(VMCS_GUEST_RSP, vcpu->gpr[GPR_RSP]);
    if (state->rflags != rflags)
        vmcs_write(VMCS_GUEST_RFLAGS, state->rflags);
}

static enum verdict refuse_instruction(struct vcpu *vcpu, const struct vmx_exit *exit,
                                       const struct guest_access *access)
{
    char bytes[3 * INSTRUCTION_BYTES_MAX + 1] = "";
    for (unsigned i = 0; i < access->count && i < INSTRUCTION_BYTES_MAX; i++)
        fmt_format(&bytes[3 * i], 4, " %02x", access->bytes[i]);
    log_guest(&vcpu->vm->log, "cannot emulate the instruction at RIP 0x%llx (%s), bytes%s",
              (unsigned long long)exit->rip, status_text(access->status), bytes);
    return STOP_VM;
}

/* Breakpoints on data are left to who makes the access; they trap behind it. */
static COLD void begin_watch(struct vcpu *vcpu, struct guest_access *access,
                             struct breakpoint_watch *watch)
{
    for (unsigned i = 0; i < ARRAY_SIZE(watch->address); i++)
        watch->address[i] = hw_read_dr(i);
    watch->dr7 = vmcs_read(VMCS_GUEST_DR7);
    watch->hits = 0;
    watch->see = vmx_of(vcpu)->debug.points != NULL ? debug_see_access : NULL;
    watch->context = vcpu;
    if (watch->see != NULL || breakpoint_wants_watch(watch->dr7))
        access->watch = watch;
}

static COLD void end_watch(struct guest_access *access, bool done)
{
    if (done)
        state_add_breakpoints(access->watch->hits);
    access->watch = NULL;
}

static enum verdict carry_out(struct vcpu *vcpu, struct vmx_exit *exit, struct guest_access *access)
{
    struct emulate_state state;
    struct breakpoint_watch watch;
    read_state(vcpu, exit, access->paging.efer, &state);
    uint64_t rsp = vcpu->gpr[GPR_RSP], rcx = vcpu->gpr[GPR_RCX], rflags = state.rflags;
    if (__builtin_expect(vmx_of(vcpu)->breakpoints, 0))
        begin_watch(vcpu, access, &watch);
    state.one_iteration = access->watch != NULL;
    spinlock_acquire(&vcpu->vm->lock);
    enum emulate_result result = guest_access_emulate(access, &state, &exit->exception);
    spinlock_release(&vcpu->vm->lock);
    /* SDM: Instruction-Breakpoint Exception Condition: a repeated instruction in the middle, whose
     * breakpoint was met when it began. An instruction that exits is saved as one that begins. */
    if (result == EMULATE_AGAIN)
        state.rflags |= RFLAGS_RF;
    write_state(vcpu, &state, rsp, rflags);
    if (__builtin_expect(access->watch != NULL, 0))
        end_watch(access, result == EMULATE_DONE || vcpu->gpr[GPR_RCX] != rcx);
    switch (result) {
    case EMULATE_DONE:
        exit->next_rip = state.rip;
        return ADVANCE_TO;
    case EMULATE_AGAIN:
        /* SDM: REP Prefix: a single step traps after each iteration. */
        if (rflags & RFLAGS_TF && vcpu->gpr[GPR_RCX] != rcx)
            state_add_single_step();
        return RETRY;
    case EMULATE_FAULT:
        if (exit->exception.vector == VECTOR_PF)
            hw_write_cr2(exit->exception.cr2);
        return INJECT;
    case EMULATE_UNSUPPORTED:
        break;
    }
    enum verdict verdict;
    if (exit->reason == EXIT_REASON_EPT_VIOLATION && access->status == ERR_UNSUPPORTED &&
        step_instruction(vcpu, exit, &verdict))
        return verdict;
    return refuse_instruction(vcpu, exit, access);
}

struct guest_access *exit_access(struct vcpu *vcpu)
{
    struct guest_access *access = &vmx_of(vcpu)->access;
    read_paging(vcpu, &access->paging);
    return access;
}

enum verdict exit_emulate(struct vcpu *vcpu, struct vmx_exit *exit)
{
    struct guest_access *access = &vmx_of(vcpu)->access;
    read_paging(vcpu, &access->paging);
    state_read_segment(SEG_TR, &access->tr);
    return carry_out(vcpu, exit, access);
}

COLD void exit_read_delivery(const struct vmx_exit *exit, struct deliver_state *state)
{
    state->rip = exit->rip;
    state->rsp = vmcs_read(VMCS_GUEST_RSP);
    state->rflags = vmcs_read(VMCS_GUEST_RFLAGS);
    state->cr0 = cr_read_cr0();
    state->cpl = (uint8_t)state_cpl();
    for (unsigned i = 0; i < SEG_COUNT; i++)
        state_read_segment((enum segment_register)i, &state->segment[i]);
    state->gdtr = (struct deliver_table){vmcs_read(VMCS_GUEST_GDTR_BASE),
                                         (uint32_t)vmcs_read(VMCS_GUEST_GDTR_LIMIT)};
    state->idtr = (struct deliver_table){vmcs_read(VMCS_GUEST_IDTR_BASE),
                                         (uint32_t)vmcs_read(VMCS_GUEST_IDTR_LIMIT)};
}

/* The vCPU stands before the handler's first instruction. Shadows are over. Of debug traps that MOV
 * SS held back, those on data come now if an instruction raised the event, and are lost otherwise.
 * SDM: Delivery of Pending Debug Exceptions after VM Entry. */
static COLD void write_delivery(const struct deliver_state *state, const struct event *event)
{
    bool software =
        event->type == EVENT_SOFTWARE_INTERRUPT || event->type == EVENT_SOFTWARE_EXCEPTION;
    uint64_t traps = vmcs_read(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS);
    vmcs_write(VMCS_GUEST_RIP, state->rip);
    vmcs_write(VMCS_GUEST_RSP, state->rsp);
    vmcs_write(VMCS_GUEST_RFLAGS, state->rflags);
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        state_write_segment((enum segment_register)i, &state->segment[i]);
    state_end_shadow();
    vmcs_write(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, software ? traps & ~PENDING_DEBUG_BS : 0);
}

/* The event whose delivery has met an address without RAM is delivered in software. What it raises
 * is raised like any other exception, which may meet such an address in its turn. */
static COLD enum verdict deliver(struct vcpu *vcpu, struct vmx_exit *exit)
{
    struct guest_access *access = &vmx_of(vcpu)->access;
    struct event *event = &vcpu->events.next;
    struct deliver_state state;
    struct breakpoint_watch watch;
    read_paging(vcpu, &access->paging);
    exit_read_delivery(exit, &state);
    if (vmx_of(vcpu)->breakpoints)
        begin_watch(vcpu, access, &watch);
    spinlock_acquire(&vcpu->vm->lock);
    enum deliver_result result = deliver_event(access, &state, event, &exit->exception);
    spinlock_release(&vcpu->vm->lock);
    if (result == DELIVER_DONE)
        write_delivery(&state, event);
    if (access->watch != NULL)
        end_watch(access, result == DELIVER_DONE);
    switch (result) {
    case DELIVER_DONE:
        event->valid = false;
        return RETRY;
    case DELIVER_FAULT:
        if (exit->exception.vector == VECTOR_PF)
            hw_write_cr2(exit->exception.cr2);
        return INJECT;
    case DELIVER_AGAIN:
        return RETRY;
    case DELIVER_TASK_GATE:
        break;
    }
    /* As if the processor had come as far. SDM: Exit Qualification for Task Switches. */
    exit->qualification = (uint64_t)TASK_SWITCH_GATE << 30 | exit->exception.error_code;
    return exit_task_switch(vcpu, exit);
}

/* A MOV that was met before, which is what most exits for a device are: without reading what the
 * emulator would need to know of the guest. */
static inline bool repeat(struct vcpu *vcpu, struct vmx_exit *exit)
{
    const uint64_t access = EPT_VIOLATION_LINEAR_VALID | EPT_VIOLATION_FINAL_ADDRESS;
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    if ((exit->qualification & (access | EPT_VIOLATION_FETCH)) != access ||
        !(vmx->entry_controls & CONTROL_IA32E_MODE_GUEST) ||
        !(vmcs_read(VMCS_GUEST_CS_ACCESS_RIGHTS) & SEGMENT_L) || vmx->breakpoints)
        return false;
    const struct guest_repeat what = {.rip = exit->rip,
                                      .cr3 = vmcs_read(VMCS_GUEST_CR3),
                                      .linear = vmcs_read(VMCS_GUEST_LINEAR_ADDRESS),
                                      .gpa = exit->guest_physical,
                                      .write = exit->qualification & EPT_VIOLATION_WRITE};
    spinlock_acquire(&vcpu->vm->lock);
    bool done = guest_access_repeat(&vmx->access, &what, vcpu->gpr, &exit->next_rip);
    spinlock_release(&vcpu->vm->lock);
    return done;
}

enum verdict exit_ept_violation(struct vcpu *vcpu, struct vmx_exit *exit)
{
    uint64_t qualification = exit->qualification;
    if (__builtin_expect(vcpu->events.next.valid, 0))
        return deliver(vcpu, exit);
    if (__builtin_expect(repeat(vcpu, exit), 1))
        return ADVANCE_TO;
    if (__builtin_expect(vmx_of(vcpu)->debug.points != NULL, 0) &&
        debug_take_violation(vcpu, exit->rip, exit->guest_physical, qualification))
        return RETRY;
    /* A MOV to CR that loads PDPTEs from where no memory is: they read as all ones. */
    if (!(qualification & EPT_VIOLATION_LINEAR_VALID))
        return exit_raise_code(exit, VECTOR_GP, 0);
    struct guest_access *access = &vmx_of(vcpu)->access;
    read_paging(vcpu, &access->paging);
    if ((qualification & (EPT_VIOLATION_FINAL_ADDRESS | EPT_VIOLATION_FETCH)) ==
        EPT_VIOLATION_FINAL_ADDRESS)
        guest_access_assume(access, GVA(vmcs_read(VMCS_GUEST_LINEAR_ADDRESS)),
                            GPA(exit->guest_physical), qualification & EPT_VIOLATION_WRITE);
    return carry_out(vcpu, exit, access);
}

/* Our own tables are wrong: nothing that a guest does leads here. */
enum verdict exit_ept_misconfiguration(struct vcpu *vcpu, struct vmx_exit *exit)
{
    uint64_t entry = 0, size;
    enum status status =
        ept_walk(&vmx_of(vcpu)->vm->used, GPA(exit->guest_physical), &entry, &size);
    log_error("%s: EPT misconfiguration at 0x%llx, entry 0x%llx (%s)", vcpu->vm->name,
              (unsigned long long)exit->guest_physical, (unsigned long long)entry,
              status_text(status));
    return STOP_VM;
}
