/* The guest's registers, in the VMCS and in those that a VM exit leaves alone. */
#include "kernel/core/hw.h"
#include "kernel/core/msr.h"
#include "vmx/internal.h"

/* The VMCS numbers the segments as instructions do, two encodings apart. */
#define SEGMENT_FIELD(first, number) ((enum vmcs_field)(VMCS_GUEST_ES_##first + 2 * (number)))

uint64_t state_read_gpr(const struct vcpu *vcpu, unsigned number)
{
    return number == GPR_RSP ? vmcs_read(VMCS_GUEST_RSP) : vcpu->gpr[number];
}

void state_write_gpr(struct vcpu *vcpu, unsigned number, uint64_t value)
{
    if (number == GPR_RSP)
        vmcs_write(VMCS_GUEST_RSP, value);
    else
        vcpu->gpr[number] = value;
}

void state_read_segment(enum segment_register number, struct segment *segment)
{
    segment->base = vmcs_read(SEGMENT_FIELD(BASE, number));
    segment->limit = (uint32_t)vmcs_read(SEGMENT_FIELD(LIMIT, number));
    segment->access = (uint32_t)vmcs_read(SEGMENT_FIELD(ACCESS_RIGHTS, number));
    segment->selector = (uint16_t)vmcs_read(SEGMENT_FIELD(SELECTOR, number));
}

void state_write_segment(enum segment_register number, const struct segment *segment)
{
    vmcs_write(SEGMENT_FIELD(BASE, number), segment->base);
    vmcs_write(SEGMENT_FIELD(LIMIT, number), segment->limit);
    vmcs_write(SEGMENT_FIELD(ACCESS_RIGHTS, number), segment->access);
    vmcs_write(SEGMENT_FIELD(SELECTOR, number), segment->selector);
}

bool state_is_64bit(void)
{
    return vmcs_read(VMCS_GUEST_IA32_EFER) & EFER_LMA &&
           vmcs_read(VMCS_GUEST_CS_ACCESS_RIGHTS) & SEGMENT_L;
}

/* SDM: Guest Register State: the DPL of SS is the CPL. */
unsigned state_cpl(void)
{
    return SEGMENT_DPL(vmcs_read(VMCS_GUEST_SS_ACCESS_RIGHTS));
}

void state_add_single_step(void)
{
    if (!(vmcs_read(VMCS_GUEST_IA32_DEBUGCTL) & DEBUGCTL_BTF))
        vmcs_write(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS,
                   vmcs_read(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS) | PENDING_DEBUG_BS);
}

void state_add_breakpoints(unsigned hits)
{
    if (hits != 0)
        vmcs_write(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS,
                   vmcs_read(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS) | PENDING_DEBUG_ENABLED | hits);
}

void state_end_shadow(void)
{
    uint64_t state = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY_STATE);
    if (state & BLOCKING_BY_SHADOW)
        vmcs_write(VMCS_GUEST_INTERRUPTIBILITY_STATE, state & ~BLOCKING_BY_SHADOW);
}

void state_write_dr7(struct vcpu *vcpu, uint64_t value)
{
    vmcs_write(VMCS_GUEST_DR7, value);
    vmx_of(vcpu)->breakpoints = value & DR7_ENABLES || vmx_of(vcpu)->debug.points != NULL;
    state_see_shadow(vmx_of(vcpu));
}

static void load_msrs(struct vcpu *vcpu)
{
    const struct msr_policy *row;
    for (unsigned i = 0; (row = msr_policy_at(i)) != NULL; i++)
        if (row->kind == MSR_PASS_THROUGH && msr_is_offered(&vcpu->msrs, row))
            (void)!hw_wrmsr_safe(row->msr, *msr_state_slot(&vcpu->msrs, row));
}

static void save_msrs(struct vcpu *vcpu)
{
    const struct msr_policy *row;
    for (unsigned i = 0; (row = msr_policy_at(i)) != NULL; i++)
        if (row->kind == MSR_PASS_THROUGH && msr_is_offered(&vcpu->msrs, row))
            (void)!hw_rdmsr_safe(row->msr, msr_state_slot(&vcpu->msrs, row));
}

void state_load(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    load_msrs(vcpu);
    for (unsigned i = 0; i < 4; i++)
        hw_write_dr(i, vmx->dr[i]);
    hw_write_dr(6, vmx->dr6);
    hw_write_cr2(vmx->cr2);
    if (vmx->xcr0_allowed == 0) {
        hw_fxrstor(vmx->xsave_area);
        return;
    }
    hw_xsetbv(0, vmx->xcr0_allowed);
    hw_xrstor(vmx->xsave_area, vmx->xcr0_allowed);
    hw_xsetbv(0, vmx->xcr0);
}

void state_save(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    save_msrs(vcpu);
    for (unsigned i = 0; i < 4; i++)
        vmx->dr[i] = hw_read_dr(i);
    vmx->dr6 = hw_read_dr(6);
    vmx->cr2 = hw_read_cr2();
    if (vmx->xcr0_allowed == 0) {
        hw_fxsave(vmx->xsave_area);
        return;
    }
    vmx->xcr0 = hw_xgetbv(0);
    hw_xsetbv(0, vmx->xcr0_allowed);
    hw_xsave(vmx->xsave_area, vmx->xcr0_allowed);
}
