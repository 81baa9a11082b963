/* A debugger's way to the guest's registers, between an exit and the next entry. */
#include "kernel/vm/debug.h"
#include "kernel/core/cpu.h"
#include "kernel/core/mem.h"
#include "kernel/core/msr.h"
#include "vmx/internal.h"

void vmx_vcpu_visit(struct vcpu *vcpu, void (*run)(struct vcpu *vcpu, void *context), void *context)
{
    state_load(vcpu);
    cpu_this()->vcpu = vcpu;
    run(vcpu, context);
    cpu_this()->vcpu = NULL;
    state_save(vcpu);
}

static uint64_t read_kernel_gs_base(void)
{
    uint64_t value;
    return hw_rdmsr_safe(MSR_IA32_KERNEL_GS_BASE, &value) == STATUS_OK ? value : 0;
}

static uint64_t read_cr8(struct vcpu *vcpu)
{
    spinlock_acquire(&vcpu->vm->lock);
    uint64_t value = vcpu->intc_ops->read_cr8(vcpu->intc);
    spinlock_release(&vcpu->vm->lock);
    return value;
}

void vmx_vcpu_get_registers(struct vcpu *vcpu, struct vcpu_registers *registers)
{
    memset(registers, 0, sizeof(*registers)); /* what lies between its members is compared, too */
    registers->rip = vmcs_read(VMCS_GUEST_RIP);
    registers->rflags = vmcs_read(VMCS_GUEST_RFLAGS);
    registers->gdtr.base = vmcs_read(VMCS_GUEST_GDTR_BASE);
    registers->gdtr.limit = (uint32_t)vmcs_read(VMCS_GUEST_GDTR_LIMIT);
    registers->idtr.base = vmcs_read(VMCS_GUEST_IDTR_BASE);
    registers->idtr.limit = (uint32_t)vmcs_read(VMCS_GUEST_IDTR_LIMIT);
    registers->cr0 = cr_read_cr0();
    registers->cr2 = hw_read_cr2();
    registers->cr3 = vmcs_read(VMCS_GUEST_CR3);
    registers->cr4 = cr_read_cr4();
    registers->cr8 = read_cr8(vcpu);
    registers->efer = vmcs_read(VMCS_GUEST_IA32_EFER);
    registers->xcr0 = vmx_of(vcpu)->xcr0_allowed != 0 ? hw_xgetbv(0) : 0;
    registers->kernel_gs_base = read_kernel_gs_base();
    registers->dr6 = hw_read_dr(6);
    registers->dr7 = vmcs_read(VMCS_GUEST_DR7);
    registers->interruptibility = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY_STATE);
    registers->activity = vcpu->activity;
    for (unsigned i = 0; i < GPR_COUNT; i++)
        registers->gpr[i] = state_read_gpr(vcpu, i);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        state_read_segment((enum segment_register)i, &registers->segment[i]);
    for (unsigned i = 0; i < ARRAY_SIZE(registers->dr); i++)
        registers->dr[i] = hw_read_dr(i);
}

/* What stood in the old place, a HLT or a shadow, does not go along. */
static void jump(struct vcpu *vcpu, uint64_t rip)
{
    vmcs_write(VMCS_GUEST_RIP, rip);
    vmcs_write(VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_ACTIVE);
    vcpu->activity = VCPU_RUNNING;
    state_end_shadow();
}

static bool set_control(struct vcpu *vcpu, const struct vcpu_registers *from,
                        const struct vcpu_registers *to)
{
    return (to->efer == from->efer || cr_write_efer(vcpu, to->efer)) &&
           (to->cr4 == from->cr4 || cr_write(vcpu, 4, to->cr4)) &&
           (to->cr3 == from->cr3 || cr_switch_cr3(vcpu, to->cr3)) &&
           (to->cr0 == from->cr0 || cr_write(vcpu, 0, to->cr0)) &&
           (to->cr8 == from->cr8 || cr_write(vcpu, 8, to->cr8)) &&
           (to->xcr0 == from->xcr0 || exit_write_xcr0(vcpu, to->xcr0));
}

static bool set_debug(struct vcpu *vcpu, const struct vcpu_registers *from,
                      const struct vcpu_registers *to)
{
    if (to->dr6 >> 32 || to->dr7 >> 32)
        return false;
    for (unsigned i = 0; i < ARRAY_SIZE(to->dr); i++)
        hw_write_dr(i, to->dr[i]);
    hw_write_dr(6, to->dr6);
    if (to->dr7 != from->dr7)
        state_write_dr7(vcpu, (to->dr7 & ~DR7_FIXED_0) | DR7_FIXED_1);
    return true;
}

static void set_tables(const struct vcpu_registers *to)
{
    vmcs_write(VMCS_GUEST_GDTR_BASE, to->gdtr.base);
    vmcs_write(VMCS_GUEST_GDTR_LIMIT, to->gdtr.limit);
    vmcs_write(VMCS_GUEST_IDTR_BASE, to->idtr.base);
    vmcs_write(VMCS_GUEST_IDTR_LIMIT, to->idtr.limit);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        state_write_segment((enum segment_register)i, &to->segment[i]);
}

/* From one to the other; false: in the middle. */
static bool change(struct vcpu *vcpu, const struct vcpu_registers *from,
                   const struct vcpu_registers *to)
{
    for (unsigned i = 0; i < GPR_COUNT; i++)
        state_write_gpr(vcpu, i, to->gpr[i]);
    if (to->rip != from->rip)
        jump(vcpu, to->rip);
    vmcs_write(VMCS_GUEST_RFLAGS, to->rflags);
    set_tables(to);
    hw_write_cr2(to->cr2);
    return set_control(vcpu, from, to) && set_debug(vcpu, from, to) &&
           (to->kernel_gs_base == from->kernel_gs_base ||
            hw_wrmsr_safe(MSR_IA32_KERNEL_GS_BASE, to->kernel_gs_base) == STATUS_OK) &&
           entry_check_report(vcpu) == 0;
}

enum status vmx_vcpu_set_registers(struct vcpu *vcpu, const struct vcpu_registers *registers)
{
    struct vcpu_registers before, reached;
    vmx_vcpu_get_registers(vcpu, &before);
    if (change(vcpu, &before, registers))
        return STATUS_OK;
    vmx_vcpu_get_registers(vcpu, &reached);
    (void)!change(vcpu, &reached, &before);
    vcpu->activity = before.activity;
    vmcs_write(VMCS_GUEST_ACTIVITY_STATE,
               before.activity == VCPU_HALTED ? ACTIVITY_HLT : ACTIVITY_ACTIVE);
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY_STATE, before.interruptibility);
    return ERR_INVALID;
}

void vmx_vcpu_get_fpu(struct vcpu *vcpu, void *area)
{
    (void)vcpu;
    hw_fxsave(area);
}

enum status vmx_vcpu_set_fpu(struct vcpu *vcpu, const void *area)
{
    uint32_t copy[128] ALIGNED(16), own[128] ALIGNED(16);
    (void)vcpu;
    memcpy(copy, area, sizeof(copy));
    hw_fxsave(own);
    uint32_t mask = own[7] != 0 ? own[7] : 0xffbf; /* SDM: MXCSR_MASK */
    if ((copy[6] & ~mask) != 0)
        return ERR_INVALID;
    hw_fxrstor(copy);
    return STATUS_OK;
}

void vmx_vcpu_get_paging(struct vcpu *vcpu, struct paging *paging)
{
    *paging = exit_access(vcpu)->paging;
    paging->cr0 = cr_read_cr0();
    paging->rflags = RFLAGS_AC; /* SMAP is not for a debugger */
    paging->pkru = 0;           /* nor are protection keys */
    paging->cpl = 0;
    paging->bus = NULL;
}

/* By the exits of RDMSR and WRMSR: what they call is theirs alone, so that it is compiled into
 * them. */
static enum verdict access_msr(struct vcpu *vcpu, uint32_t msr, uint64_t *value,
                               enum verdict (*exit)(struct vcpu *vcpu, struct vmx_exit *exit))
{
    struct vmx_exit fault = {0};
    uint64_t rax = vcpu->gpr[GPR_RAX], rcx = vcpu->gpr[GPR_RCX], rdx = vcpu->gpr[GPR_RDX];
    vcpu->gpr[GPR_RCX] = msr;
    vcpu->gpr[GPR_RAX] = (uint32_t)*value;
    vcpu->gpr[GPR_RDX] = *value >> 32;
    enum verdict verdict = exit(vcpu, &fault);
    *value = vcpu->gpr[GPR_RDX] << 32 | (uint32_t)vcpu->gpr[GPR_RAX];
    vcpu->gpr[GPR_RAX] = rax;
    vcpu->gpr[GPR_RCX] = rcx;
    vcpu->gpr[GPR_RDX] = rdx;
    return verdict;
}

bool debug_read_msr(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    *value = 0;
    return access_msr(vcpu, msr, value, exit_rdmsr) == ADVANCE;
}

bool debug_write_msr(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    return access_msr(vcpu, msr, &value, exit_wrmsr) == ADVANCE;
}
