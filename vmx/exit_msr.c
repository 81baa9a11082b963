/* RDMSR and WRMSR that the bitmap lets exit: the policy of kernel/vm decides, and what needs the
 * VMCS, the machine or the local APIC is done here. */
#include "kernel/core/hw.h"
#include "kernel/core/msr.h"
#include "vmx/internal.h"

/* SDM: IA32_DEBUGCTL MSR: LBR and BTF; there is no trace store. */
#define DEBUGCTL_VALID MASK(1, 0)

static bool read_controller(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    spinlock_acquire(&vcpu->vm->lock);
    enum status status = vcpu->intc_ops->read_msr(vcpu->intc, msr, value);
    spinlock_release(&vcpu->vm->lock);
    return status == STATUS_OK;
}

static bool write_controller(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    spinlock_acquire(&vcpu->vm->lock);
    enum status status = vcpu->intc_ops->write_msr(vcpu->intc, msr, value);
    spinlock_release(&vcpu->vm->lock);
    return status == STATUS_OK;
}

/* The others of MSR_VMCS_DIRECT do not exit for the guest's sake. */
static bool read_vmcs(uint32_t msr, uint64_t *value)
{
    if (msr != MSR_IA32_EFER && msr != MSR_IA32_DEBUGCTL)
        return debug_read_direct(msr, value);
    *value = vmcs_read(msr == MSR_IA32_EFER ? VMCS_GUEST_IA32_EFER : VMCS_GUEST_IA32_DEBUGCTL);
    return true;
}

static bool write_vmcs(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    if (msr == MSR_IA32_EFER)
        return cr_write_efer(vcpu, value);
    if (msr != MSR_IA32_DEBUGCTL)
        return debug_write_direct(msr, value);
    if (value & ~DEBUGCTL_VALID)
        return false;
    vmcs_write(VMCS_GUEST_IA32_DEBUGCTL, value);
    return true;
}

static bool write_time(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    spinlock_acquire(&vcpu->vm->lock);
    vcpu->tsc_offset =
        msr_write_time(&vcpu->msrs, msr, value, clock_now(&vcpu->vm->clock), vcpu->tsc_offset);
    vcpu->intc_ops->tsc_offset_changed(vcpu->intc);
    spinlock_release(&vcpu->vm->lock);
    vmcs_write(VMCS_TSC_OFFSET, vcpu_machine_tsc_offset(vcpu));
    return true;
}

/* What the policy leaves to others. */
static bool read_elsewhere(struct vcpu *vcpu, enum msr_verdict verdict, uint32_t msr,
                           uint64_t *value)
{
    switch (verdict) {
    case MSR_TO_MACHINE:
        return hw_rdmsr_safe(msr, value) == STATUS_OK;
    case MSR_TO_BACK_END:
        return read_vmcs(msr, value);
    case MSR_TO_TIME:
        *value = clock_now(&vcpu->vm->clock) + vcpu->tsc_offset;
        return true;
    case MSR_TO_CONTROLLER:
        return read_controller(vcpu, msr, value);
    case MSR_DONE:
    case MSR_FAULT:
        break;
    }
    return false;
}

static COLD void show_misc_enable(struct vcpu *vcpu)
{
    cpuid_set_misc_enable(&vcpu->cpuid, msr_misc_enable(&vcpu->msrs));
}

static bool write(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    switch (msr_write(&vcpu->msrs, msr, value)) {
    case MSR_DONE:
        if (msr == MSR_IA32_MISC_ENABLE)
            show_misc_enable(vcpu);
        return true;
    case MSR_TO_MACHINE:
        return hw_wrmsr_safe(msr, value) == STATUS_OK;
    case MSR_TO_BACK_END:
        return write_vmcs(vcpu, msr, value);
    case MSR_TO_TIME:
        return write_time(vcpu, msr, value);
    case MSR_TO_CONTROLLER:
        return write_controller(vcpu, msr, value);
    case MSR_FAULT:
        break;
    }
    return false;
}

static void return_msr(struct vcpu *vcpu, uint64_t value)
{
    vcpu->gpr[GPR_RAX] = (uint32_t)value;
    vcpu->gpr[GPR_RDX] = value >> 32;
}

static COLD enum verdict rdmsr_elsewhere(struct vcpu *vcpu, struct vmx_exit *exit,
                                         enum msr_verdict verdict)
{
    uint64_t value = 0;
    if (!read_elsewhere(vcpu, verdict, (uint32_t)vcpu->gpr[GPR_RCX], &value))
        return exit_raise_code(exit, VECTOR_GP, 0);
    return_msr(vcpu, value);
    return ADVANCE;
}

enum verdict exit_rdmsr(struct vcpu *vcpu, struct vmx_exit *exit)
{
    uint64_t value;
    enum msr_verdict verdict = msr_read(&vcpu->msrs, (uint32_t)vcpu->gpr[GPR_RCX], &value);
    if (verdict == MSR_FAULT)
        return exit_raise_code(exit, VECTOR_GP, 0);
    if (__builtin_expect(verdict != MSR_DONE, 0))
        return rdmsr_elsewhere(vcpu, exit, verdict);
    return_msr(vcpu, value);
    return ADVANCE;
}

enum verdict exit_wrmsr(struct vcpu *vcpu, struct vmx_exit *exit)
{
    uint64_t value = vcpu->gpr[GPR_RDX] << 32 | (uint32_t)vcpu->gpr[GPR_RAX];
#ifdef PLANTED_BUG_MSR_HOLE /* for the fuzz guests' own test */
    if (vcpu->gpr[GPR_RCX] >= 0x480 && vcpu->gpr[GPR_RCX] < 0x500)
        hw_wrmsr((uint32_t)vcpu->gpr[GPR_RCX], value);
#endif
    return write(vcpu, (uint32_t)vcpu->gpr[GPR_RCX], value) ? ADVANCE
                                                            : exit_raise_code(exit, VECTOR_GP, 0);
}
