/* What a debugger makes the guest exit for, and its look at every exit. */
#include "vmx/debug_internal.h"

#define NOTHING_EXECUTED UINT64_MAX

static void write_exit(const struct vcpu *vcpu)
{
    uintptr_t stub = vmx_of(vcpu)->debug.looks ? (uintptr_t)vmx_exit_debug_stub
                     : vcpu->account != NULL   ? (uintptr_t)vmx_exit_accounted_stub
                                               : (uintptr_t)vmx_exit_stub;
    vmcs_write(VMCS_HOST_RIP, stub);
}

/* SDM: Guest/Host Masks and Read Shadows for CR0 and CR4: where the guest owned a bit, the shadow
 * has it now. */
static void set_masks(uint64_t cr0_mask, uint64_t cr4_mask)
{
    uint64_t cr0 = cr_read_cr0(), cr4 = cr_read_cr4();
    vmcs_write(VMCS_CR0_GUEST_HOST_MASK, cr0_mask);
    vmcs_write(VMCS_CR0_READ_SHADOW, cr0);
    vmcs_write(VMCS_CR4_GUEST_HOST_MASK, cr4_mask);
    vmcs_write(VMCS_CR4_READ_SHADOW, cr4);
}

/* What the processor is to be entered with whatever there is. */
static uint32_t own_primary(const struct vmx_vcpu *vmx)
{
    return vmx->cpu->controls.word[CONTROL_PRIMARY];
}

void debug_apply(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    struct vmx_debug *debug = &vmx->debug;
    const struct debug_points *points = debug->points;
    const struct debug_catches *catches = &debug->catches;
    bool has_points = points != NULL && points->active != 0 && points->used != 0;
    bool is_linear = has_points && points->linear != 0;
    uint32_t loads = own_primary(vmx) & CONTROL_CR3_LOAD_EXITING;
    vmcs_write(VMCS_EPT_POINTER, ept_pointer(has_points ? &points->ept : &vmx->vm->used));
    vmcs_write(VMCS_EXCEPTION_BITMAP, debug->exceptions | catches->vectors);
    vmcs_write(VMCS_MSR_BITMAPS, catches->count != 0 && catches->msr_bitmap.v != 0
                                     ? catches->msr_bitmap.v
                                     : vmx->vm->msr_bitmap.v);
    state_set_primary(vmx, CONTROL_CR3_LOAD_EXITING,
                      is_linear || catches->control & BIT(3) || loads != 0);
    set_masks(catches->control & BIT(0) ? ~0ull : debug->cr0_mask,
              catches->control & BIT(4) ? ~0ull : debug->cr4_mask | (is_linear ? CR4_PSE : 0));
    debug->is_active = has_points || catches->count != 0;
    debug->looks = is_linear || catches->count != 0;
    write_exit(vcpu);
}

/* SDM: MOV - Move to/from Control Registers: reserved bits; Operations that Invalidate TLBs: with
 * PCIDs, bit 63 asks for none. */
bool debug_write_cr3(struct vcpu *vcpu, uint64_t value)
{
    uint64_t old = vmcs_read(VMCS_GUEST_CR3);
    uint64_t keeps = state_is_64bit() && cr_read_cr4() & CR4_PCIDE ? value & BIT(63) : 0;
    value &= ~keeps;
    if (value >> cpuid_maxphyaddr(&vcpu->cpuid))
        return false;
    if (keeps) {
        vmcs_write(VMCS_GUEST_CR3, value);
        return true;
    }
    if (cr_switch_cr3(vcpu, value))
        return true;
    vmcs_write(VMCS_GUEST_CR3, old);
    return false;
}

/* While something is caught, exits are not in the accounting, nor is the guest's time between them;
 * what points take is the monitor's. What is due was looked at by a time that is ahead by what is
 * hidden, of which the guest learns nothing. */
bool vmx_exit_debug(struct vcpu *vcpu)
{
    struct vmx_debug *debug = &vmx_of(vcpu)->debug;
    bool enters, is_accounted = debug->catches.count == 0;
    debug->left_at = hw_rdtsc();
    debug->behind = NOTHING_EXECUTED;
    if (!is_accounted) {
        debug_handle_exit(vcpu);
        enters = run_prepare_later(vcpu);
    } else {
        enters = vcpu->account != NULL ? vmx_exit_accounted(vcpu) : vmx_exit(vcpu);
    }
    if (enters && debug->catches.by_steps)
        enters = debug_run_by_mode(vcpu);
    if (enters)
        debug_refresh(vcpu);
    if (debug->behind == vcpu->vm->behind) /* else it stood meanwhile, by which that is hidden */
        debug_hide_time(vcpu);
    if (is_accounted)
        vcpu->account_mark = hw_rdtsc();
    else
        run_skip_time(vcpu);
    return enters;
}
