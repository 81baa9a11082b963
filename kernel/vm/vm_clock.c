#include "kernel/core/hw.h"
#include "kernel/vm/vm.h"

uint64_t vm_clock_read(void *context)
{
    return vm_time(context, hw_rdtsc());
}

uint64_t vm_clock_stands(void *context)
{
    const struct vm *vm = context;
    return vm_time(vm, vm->stands_at);
}
