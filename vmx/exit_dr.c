/*
 * MOV to and from debug registers. DR0 to DR3 and DR6 are the machine's own, which hold the guest's
 * values while it runs, and DR7 is the VMCS's. Every such instruction exits, so that the monitor
 * knows without a VMREAD whether the guest has breakpoints enabled. SDM: Exit Qualification for MOV
 * DR; Debug Registers.
 */
#include "kernel/core/hw.h"
#include "vmx/internal.h"

#define FROM_DR BIT(4)
#define DR6_BD BIT(13)

static enum verdict raise_access_detected(struct vcpu *vcpu, struct vmx_exit *exit)
{
    hw_write_dr(6, hw_read_dr(6) | DR6_BD);
    state_write_dr7(vcpu, vmcs_read(VMCS_GUEST_DR7) & ~DR7_GD);
    return exit_raise(exit, VECTOR_DB);
}

static bool write_dr(struct vcpu *vcpu, unsigned number, uint64_t value)
{
    if (number >= 6 && value >> 32)
        return false;
    if (number == 7)
        state_write_dr7(vcpu, (value & ~DR7_FIXED_0) | DR7_FIXED_1);
    else
        hw_write_dr(number, value);
    return true;
}

/* The exit comes before every fault of the instruction; on Bochs also before the #UD of DR8 to
 * DR15, whose bit 3 it puts into the qualification. */
enum verdict exit_mov_dr(struct vcpu *vcpu, struct vmx_exit *exit)
{
    unsigned number = exit->qualification & 0xf;
    unsigned gpr = (unsigned)bits_get(exit->qualification, 11, 8);
    if (number > 7)
        return exit_raise(exit, VECTOR_UD);
    if (number == 4 || number == 5) {
        if (cr_read_cr4() & CR4_DE)
            return exit_raise(exit, VECTOR_UD);
        number += 2;
    }
    if (state_cpl() != 0)
        return exit_raise_code(exit, VECTOR_GP, 0);
    uint64_t dr7 = vmcs_read(VMCS_GUEST_DR7);
    if (dr7 & DR7_GD)
        return raise_access_detected(vcpu, exit);
    uint64_t width = state_is_64bit() ? ~0ull : UINT32_MAX;
    if (exit->qualification & FROM_DR)
        state_write_gpr(vcpu, gpr, (number == 7 ? dr7 : hw_read_dr(number)) & width);
    else if (!write_dr(vcpu, number, state_read_gpr(vcpu, gpr) & width))
        return exit_raise_code(exit, VECTOR_GP, 0);
    return ADVANCE;
}
