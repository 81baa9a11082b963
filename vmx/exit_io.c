/* Port I/O. SDM: Exit Qualification for I/O Instructions. */
#include "kernel/core/hw.h"
#include "kernel/vm/breakpoint.h"
#include "vmx/internal.h"

#define IO_IN BIT(3)
#define IO_STRING BIT(4)

static void complete_in(struct vcpu *vcpu, unsigned size, uint64_t value)
{
    /* As every 32-bit result: zero-extended; narrower ones leave the rest of RAX alone. */
    uint64_t kept = size == 4 ? 0 : vcpu->gpr[GPR_RAX] & ~bits_size_mask(size);
    vcpu->gpr[GPR_RAX] = kept | value;
}

/* Breakpoints on ports are left to who emulates the access; they trap behind the instruction. */
static COLD void meet_breakpoints(uint64_t port, unsigned size)
{
    uint64_t address[4];
    if (!(cr_read_cr4() & CR4_DE))
        return;
    for (unsigned i = 0; i < ARRAY_SIZE(address); i++)
        address[i] = hw_read_dr(i);
    state_add_breakpoints(breakpoint_match_io(address, vmcs_read(VMCS_GUEST_DR7), port, size));
}

static COLD enum verdict string_io(struct vcpu *vcpu, struct vmx_exit *exit, uint64_t port,
                                   unsigned size)
{
    uint64_t rcx = vcpu->gpr[GPR_RCX];
    enum verdict verdict = exit_emulate(vcpu, exit);
    if ((verdict == ADVANCE_TO || vcpu->gpr[GPR_RCX] != rcx) && vmx_of(vcpu)->breakpoints)
        meet_breakpoints(port, size);
    return verdict;
}

enum verdict exit_io(struct vcpu *vcpu, struct vmx_exit *exit)
{
    uint64_t qualification = exit->qualification;
    unsigned size = (qualification & 7) + 1;
    uint64_t port = bits_get(qualification, 31, 16);
    struct vm *vm = vcpu->vm;
    if (__builtin_expect(qualification & IO_STRING, 0))
        return string_io(vcpu, exit, port, size);
    spinlock_acquire(&vm->lock);
    if (qualification & IO_IN)
        complete_in(vcpu, size, bus_read(&vm->bus, BUS_PORT, port, size));
    else
        bus_write(&vm->bus, BUS_PORT, port, size, vcpu->gpr[GPR_RAX]);
    spinlock_release(&vm->lock);
    if (__builtin_expect(vmx_of(vcpu)->breakpoints, 0))
        meet_breakpoints(port, size);
    return ADVANCE;
}
