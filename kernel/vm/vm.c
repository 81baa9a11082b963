#include "kernel/vm/vm.h"

void vcpu_request(struct vcpu *vcpu, uint32_t requests)
{
    uint32_t before = __atomic_fetch_or(&vcpu->requests, requests, __ATOMIC_SEQ_CST);
    if ((before & requests) != requests)
        vcpu->vm->kick(vcpu);
}

void vcpu_raise_nmi(struct vcpu *vcpu)
{
    vcpu->events.nmi_pending = true;
    vcpu_request(vcpu, VCPU_REQUEST_EVENT);
}

static void request_all(struct vm *vm)
{
    for (uint32_t i = 0; i < vm->vcpu_count; i++)
        vcpu_request(vm->vcpu[i], VCPU_REQUEST_STOP);
}

void vm_stop(struct vm *vm, enum vm_outcome outcome, uint32_t code)
{
    if (!__atomic_exchange_n(&vm->is_ending, true, __ATOMIC_SEQ_CST)) {
        vm->code = code;
        __atomic_store_n(&vm->outcome, outcome, __ATOMIC_SEQ_CST);
    }
    request_all(vm);
}

static void reset(struct vm *vm, enum vm_outcome cause)
{
    vm->reset_cause = cause;
    __atomic_store_n(&vm->reset_pending, true, __ATOMIC_SEQ_CST);
    request_all(vm);
}

void vm_reset(struct vm *vm)
{
    reset(vm, VM_RESET);
}

void vm_request_reset(struct vm *vm, enum vm_outcome cause)
{
    enum vm_outcome as = cause == VM_TRIPLE_FAULT ? cause : VM_RESET;
    if (vm->reset_catches >> as & 1) {
        vm->reset_caught = cause;
        vcpu_request(vm->vcpu[0], VCPU_REQUEST_DEBUG);
    } else if (vm->stops_at_reset)
        vm_stop(vm, as, 0);
    else
        reset(vm, cause);
}

void vm_ask_for_work(void *context)
{
    const struct vm *vm = context;
    vcpu_request(vm->vcpu[0], VCPU_REQUEST_WORK);
}

void vm_panicked(struct vm *vm, bool is_over)
{
    log_guest(&vm->log, "reports a panic of its kernel%s", is_over ? "" : ", and goes on");
    if (is_over && vm->on_panic == VM_PANIC_STOP)
        vm_stop(vm, VM_PANIC, 0);
    else if (is_over && vm->on_panic == VM_PANIC_RESET)
        reset(vm, VM_PANIC);
}

const char *vm_outcome_text(enum vm_outcome outcome)
{
    static const char *const text[] = {
        [VM_RUNNING] = "running",
        [VM_POWEROFF] = "poweroff",
        [VM_RESET] = "reset",
        [VM_DEBUG_EXIT] = "debug-exit",
        [VM_TRIPLE_FAULT] = "triple-fault",
        [VM_STOPPED] = "stopped",
        [VM_KILLED] = "killed",
        [VM_PANIC] = "panic",
        [VM_WATCHDOG] = "watchdog",
        [VM_TIMEOUT] = "timeout",
        [VM_EXPECTED] = "expected",
        [VM_REJECTED] = "rejected",
    };
    return outcome < ARRAY_SIZE(text) ? text[outcome] : "?";
}

int vm_exit_code(enum vm_outcome outcome, uint32_t code, uint32_t success)
{
    if (outcome == VM_POWEROFF || outcome == VM_EXPECTED ||
        (outcome == VM_DEBUG_EXIT && code == success))
        return 0;
    return outcome == VM_DEBUG_EXIT ? (int)((code << 1 | 1) & 0xff) : 1;
}
