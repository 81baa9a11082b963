/*
 * Device memory and string I/O: the instruction at RIP, carried out by the emulator. SDM: Exit
 * Qualification for EPT Violations.
 */
#include "kernel/core/fmt.h"
#include "kernel/core/hw.h"
#include "kernel/core/log.h"
#include "kernel/vm/guest_access.h"
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

static enum verdict carry_out(struct vcpu *vcpu, struct vmx_exit *exit, struct guest_access *access)
{
    struct emulate_state state;
    read_state(vcpu, exit, access->paging.efer, &state);
    uint64_t rsp = vcpu->gpr[GPR_RSP], rcx = vcpu->gpr[GPR_RCX], rflags = state.rflags;
    spinlock_acquire(&vcpu->vm->lock);
    enum emulate_result result = guest_access_emulate(access, &state, &exit->exception);
    spinlock_release(&vcpu->vm->lock);
    write_state(vcpu, &state, rsp, rflags);
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
    return refuse_instruction(vcpu, exit, access);
}

enum verdict exit_emulate(struct vcpu *vcpu, struct vmx_exit *exit)
{
    struct guest_access *access = &vmx_of(vcpu)->access;
    read_paging(vcpu, &access->paging);
    state_read_segment(SEG_TR, &access->tr);
    return carry_out(vcpu, exit, access);
}

enum verdict exit_ept_violation(struct vcpu *vcpu, struct vmx_exit *exit)
{
    uint64_t qualification = exit->qualification;
    if (vcpu->events.next.valid || qualification & EPT_VIOLATION_FETCH) {
        log_guest(&vcpu->vm->log, "%s device memory at guest-physical 0x%llx, RIP 0x%llx",
                  qualification & EPT_VIOLATION_FETCH ? "executes" : "delivers an event through",
                  (unsigned long long)exit->guest_physical, (unsigned long long)exit->rip);
        return STOP_VM;
    }
    /* A MOV to CR that loads PDPTEs from where no memory is: they read as all ones. */
    if (!(qualification & EPT_VIOLATION_LINEAR_VALID))
        return exit_raise_code(exit, VECTOR_GP, 0);
    struct guest_access *access = &vmx_of(vcpu)->access;
    read_paging(vcpu, &access->paging);
    if (qualification & EPT_VIOLATION_FINAL_ADDRESS)
        guest_access_assume(access, GVA(vmcs_read(VMCS_GUEST_LINEAR_ADDRESS)),
                            GPA(exit->guest_physical), qualification & EPT_VIOLATION_WRITE);
    return carry_out(vcpu, exit, access);
}

/* Our own tables are wrong: nothing that a guest does leads here. */
enum verdict exit_ept_misconfiguration(struct vcpu *vcpu, struct vmx_exit *exit)
{
    uint64_t entry = 0, size;
    enum status status = ept_walk(&vmx_of(vcpu)->vm->ept, GPA(exit->guest_physical), &entry, &size);
    log_error("%s: EPT misconfiguration at 0x%llx, entry 0x%llx (%s)", vcpu->vm->name,
              (unsigned long long)exit->guest_physical, (unsigned long long)entry,
              status_text(status));
    return STOP_VM;
}
