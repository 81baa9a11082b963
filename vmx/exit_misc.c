/* The exits whose handling is a few lines. */
#include "kernel/core/cpu.h"
#include "kernel/core/hw.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "kernel/core/msr.h"
#include "kernel/core/test_hooks.h"
#include "vmx/internal.h"

/* What KVM's guests know as "no such hypercall" (ENOSYS of its ABI), so that a kernel that probes
 * goes on. */
#define HYPERCALL_UNKNOWN ((uint64_t)-1000)

/* SDM: IA32_MCG_STATUS MSR; IA32_MCi_STATUS MSRs. */
#define MCG_STATUS_RIPV BIT(0)
#define MC_STATUS_VAL BIT(63)
#define MC_STATUS_PCC BIT(57)

enum verdict exit_refuse(struct vcpu *vcpu, struct vmx_exit *exit)
{
    log_guest(&vcpu->vm->log, "stopped at exit reason %u (%s, 0x%x), which Traprock refuses",
              exit->reason & 0xffff, exit_reason_name(exit->reason), exit->reason);
    return STOP_VM;
}

/* Instructions that CPUID does not offer. */
enum verdict exit_undefined(struct vcpu *vcpu, struct vmx_exit *exit)
{
    (void)vcpu;
    return exit_raise(exit, VECTOR_UD);
}

/* CR4.PCE is the guest's, but there are no counters: what the instruction names does not exist. */
enum verdict exit_rdpmc(struct vcpu *vcpu, struct vmx_exit *exit)
{
    (void)vcpu;
    return exit_raise_code(exit, VECTOR_GP, 0);
}

/* Guest memory is coherent, and an INVD would throw away others' data. */
enum verdict exit_invalidate_caches(struct vcpu *vcpu, struct vmx_exit *exit)
{
    (void)vcpu;
    (void)exit;
    return ADVANCE;
}

enum verdict exit_vmcall(struct vcpu *vcpu, struct vmx_exit *exit)
{
    (void)exit;
    vcpu->gpr[GPR_RAX] = HYPERCALL_UNKNOWN;
    TEST_HOOK(test_vmcall(vcpu->gpr));
    return ADVANCE;
}

enum verdict exit_hlt(struct vcpu *vcpu, struct vmx_exit *exit)
{
    (void)exit;
    vcpu->activity = VCPU_HALTED;
    vcpu_request(vcpu, VCPU_REQUEST_EVENT);
    return ADVANCE;
}

enum verdict exit_triple_fault(struct vcpu *vcpu, struct vmx_exit *exit)
{
    log_guest(&vcpu->vm->log, "triple fault at RIP 0x%llx", (unsigned long long)exit->rip);
    vm_request_reset(vcpu->vm, VM_TRIPLE_FAULT);
    return RETRY;
}

/* SDM: Debug Exceptions: a #DB that exits has not touched DR6, DR7 or DEBUGCTL; its delivery by an
 * injection will not either. Where it came in the shadow of STI with TF set, the entry wants to see
 * a single step pending (SDM: Checks on Guest Non-Register State), which the exit has taken away;
 * the injected #DB stands for it. */
static enum verdict reflect_debug(struct vcpu *vcpu, struct vmx_exit *exit)
{
    uint64_t qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    hw_write_dr(6, (hw_read_dr(6) & ~0xfull) | (qualification & 0x600f));
    state_write_dr7(vcpu, vmcs_read(VMCS_GUEST_DR7) & ~DR7_GD);
    vmcs_write(VMCS_GUEST_IA32_DEBUGCTL,
               vmcs_read(VMCS_GUEST_IA32_DEBUGCTL) & ~(DEBUGCTL_LBR | DEBUGCTL_BTF));
    if (vmcs_read(VMCS_GUEST_INTERRUPTIBILITY_STATE) & BLOCKING_BY_SHADOW &&
        vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_TF)
        state_add_single_step();
    return exit_raise(exit, VECTOR_DB);
}

/* INT1 is delivered as itself, since its return address is after it. */
static enum verdict reflect_int1(struct vcpu *vcpu)
{
    vcpu->events.next = (struct event){
        .valid = true,
        .type = EVENT_PRIVILEGED_SOFTWARE_EXCEPTION,
        .vector = VECTOR_DB,
        .instruction_length = (uint8_t)vmcs_read(VMCS_VM_EXIT_INSTRUCTION_LENGTH),
    };
    state_end_shadow();
    return RETRY;
}

enum verdict exit_exception_or_nmi(struct vcpu *vcpu, struct vmx_exit *exit)
{
    unsigned vector = exit->interruption & 0xff;
    unsigned type = (unsigned)bits_get(exit->interruption, 10, 8);
    if (type == EVENT_NMI) {
        cpu_nmi();
        hw_unblock_nmi(); /* SDM: Loading Host State does not: the exit has blocked them */
        return RETRY;
    }
    switch (vector) {
    case VECTOR_DB:
        return type == EVENT_PRIVILEGED_SOFTWARE_EXCEPTION ? reflect_int1(vcpu)
                                                           : reflect_debug(vcpu, exit);
    case VECTOR_AC:
        return exit_raise_code(exit, VECTOR_AC,
                               (uint32_t)vmcs_read(VMCS_VM_EXIT_INTERRUPTION_ERROR_CODE));
    case VECTOR_MC:
        return exit_machine_check(vcpu, exit);
    default:
        return exit_refuse(vcpu, exit);
    }
}

/* SDM: Machine-Check Architecture: what was interrupted can go on (RIPV), and no bank says that the
 * processor's context is corrupt (PCC). The banks are then cleared for the next one. */
static bool machine_check_is_contained(void)
{
    uint64_t capability, global, status;
    if (hw_rdmsr_safe(MSR_IA32_MCG_CAP, &capability) != STATUS_OK ||
        hw_rdmsr_safe(MSR_IA32_MCG_STATUS, &global) != STATUS_OK || !(global & MCG_STATUS_RIPV))
        return false;
    unsigned banks = capability & 0xff;
    for (unsigned i = 0; i < banks; i++) {
        if (hw_rdmsr_safe(MSR_IA32_MC0_STATUS + 4 * i, &status) != STATUS_OK ||
            !(status & MC_STATUS_VAL))
            continue;
        log_error("machine check, bank %u: status 0x%llx", i, (unsigned long long)status);
        if (status & MC_STATUS_PCC)
            return false;
    }
    for (unsigned i = 0; i < banks; i++)
        (void)!hw_wrmsr_safe(MSR_IA32_MC0_STATUS + 4 * i, 0);
    (void)!hw_wrmsr_safe(MSR_IA32_MCG_STATUS, 0);
    return true;
}

/* What the guest used is lost, and with it the guest; or more, and then the machine is. */
COLD enum verdict exit_machine_check(struct vcpu *vcpu, struct vmx_exit *exit)
{
    if (!machine_check_is_contained())
        panic("machine check while %s ran at RIP 0x%llx", vcpu->vm->name,
              (unsigned long long)exit->rip);
    log_guest(&vcpu->vm->log, "stopped at a machine check, exit reason %u (%s)",
              exit->reason & 0xffff, exit_reason_name(exit->reason));
    return STOP_VM;
}

enum verdict exit_entry_failure(struct vcpu *vcpu, struct vmx_exit *exit)
{
    log_guest(&vcpu->vm->log, "VM entry failed: %s, exit qualification %llu",
              exit_reason_name(exit->reason), (unsigned long long)exit->qualification);
    if (entry_check_report(vcpu) == 0)
        log_guest(&vcpu->vm->log, "no rule that Traprock knows is broken");
    return STOP_VM;
}

static void return_cpuid(struct vcpu *vcpu, const struct cpuid_result *result)
{
    vcpu->gpr[GPR_RAX] = result->eax;
    vcpu->gpr[GPR_RBX] = result->ebx;
    vcpu->gpr[GPR_RCX] = result->ecx;
    vcpu->gpr[GPR_RDX] = result->edx;
}

static COLD enum verdict exit_cpuid_outside(struct vcpu *vcpu)
{
    struct cpuid_result result;
    cpuid_lookup(&vcpu->cpuid, (uint32_t)vcpu->gpr[GPR_RAX], (uint32_t)vcpu->gpr[GPR_RCX], &result);
    return_cpuid(vcpu, &result);
    return ADVANCE;
}

enum verdict exit_cpuid(struct vcpu *vcpu, struct vmx_exit *exit)
{
    (void)exit;
    const struct cpuid_result *result =
        cpuid_find(&vcpu->cpuid, (uint32_t)vcpu->gpr[GPR_RAX], (uint32_t)vcpu->gpr[GPR_RCX]);
    if (__builtin_expect(result == NULL, 0))
        return exit_cpuid_outside(vcpu);
    return_cpuid(vcpu, result);
    return ADVANCE;
}

/* SDM: XSETBV; XSAVE-Supported Features and State-Component Bitmaps. */
static bool is_valid_xcr0(uint64_t value, uint64_t allowed)
{
    uint64_t avx512 = value & MASK(7, 5);
#ifdef PLANTED_BUG_XSETBV /* for the fuzz guests' own test */
    return true;
#endif
    if (!(value & BIT(0)) || value & ~allowed)
        return false;
    if (value & BIT(2) && !(value & BIT(1)))
        return false;
    if (avx512 != 0 && (avx512 != MASK(7, 5) || !(value & BIT(2))))
        return false;
    return !(value & BIT(3)) == !(value & BIT(4)) && !(value & BIT(17)) == !(value & BIT(18));
}

bool exit_write_xcr0(struct vcpu *vcpu, uint64_t value)
{
    if (!is_valid_xcr0(value, vmx_of(vcpu)->xcr0_allowed))
        return false;
    hw_xsetbv(0, value);
    cpuid_set_xcr0(&vcpu->cpuid, value);
    return true;
}

enum verdict exit_xsetbv(struct vcpu *vcpu, struct vmx_exit *exit)
{
    uint64_t value = vcpu->gpr[GPR_RDX] << 32 | (uint32_t)vcpu->gpr[GPR_RAX];
    return state_cpl() == 0 && (uint32_t)vcpu->gpr[GPR_RCX] == 0 && exit_write_xcr0(vcpu, value)
               ? ADVANCE
               : exit_raise_code(exit, VECTOR_GP, 0);
}
