/* Port I/O. SDM: Exit Qualification for I/O Instructions. */
#include "vmx/internal.h"

#define IO_IN BIT(3)
#define IO_STRING BIT(4)

static void complete_in(struct vcpu *vcpu, unsigned size, uint64_t value)
{
    /* As every 32-bit result: zero-extended; narrower ones leave the rest of RAX alone. */
    uint64_t kept = size == 4 ? 0 : vcpu->gpr[GPR_RAX] & ~bits_size_mask(size);
    vcpu->gpr[GPR_RAX] = kept | value;
}

enum verdict exit_io(struct vcpu *vcpu, struct vmx_exit *exit)
{
    uint64_t qualification = exit->qualification;
    if (qualification & IO_STRING)
        return exit_emulate(vcpu, exit);
    unsigned size = (qualification & 7) + 1;
    uint64_t port = bits_get(qualification, 31, 16);
    struct vm *vm = vcpu->vm;
    spinlock_acquire(&vm->lock);
    if (qualification & IO_IN)
        complete_in(vcpu, size, bus_read(&vm->bus, BUS_PORT, port, size));
    else
        bus_write(&vm->bus, BUS_PORT, port, size, vcpu->gpr[GPR_RAX]);
    spinlock_release(&vm->lock);
    return ADVANCE;
}
