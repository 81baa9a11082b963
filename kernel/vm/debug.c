#include "kernel/vm/debug.h"

#include "kernel/core/cpu.h"
#include "kernel/core/hw.h"
#include "kernel/core/smp.h"

#define CALLS_WAIT(hz) ((hz) / 20)

/* ---- On the vCPU's processor --------------------------------------------------------------- */

static void serve_call(struct vcpu *vcpu)
{
    struct vcpu_call *call = __atomic_exchange_n(&vcpu->call, NULL, __ATOMIC_SEQ_CST);
    if (call == NULL)
        return;
    call->run(vcpu, call->context);
    __atomic_store_n(&call->is_done, true, __ATOMIC_RELEASE);
}

/* Each vCPU stands, but the time is the first one's. */
void vcpu_stop_time(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    if (vcpu != vm->vcpu[0])
        return;
    spinlock_acquire(&vm->lock);
    vm->stands_at = hw_rdtsc();
    vm->clock.now = vm_clock_stands;
    spinlock_release(&vm->lock);
}

void vcpu_continue_time(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    if (vcpu != vm->vcpu[0])
        return;
    spinlock_acquire(&vm->lock);
    /* Rounded down, since no clock goes backwards. */
    vm->behind += align_down(hw_rdtsc() - vm->stands_at, VM_BEHIND_UNIT);
    vm->clock.now = vm_clock_read;
    spinlock_release(&vm->lock);
}

/* Interrupts are off between the look at requests and HLT, so that whoever asks for something in
 * between wakes the processor up again. */
static void stand(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    vcpu_stop_time(vcpu);
    __atomic_store_n(&vcpu->stands, true, __ATOMIC_SEQ_CST);
    while (vm_is_paused(vm)) {
        uint32_t requests =
            __atomic_fetch_and(&vcpu->requests, ~VCPU_REQUEST_DEBUG, __ATOMIC_SEQ_CST);
        if (requests & VCPU_REQUEST_STOP)
            break;
        serve_call(vcpu);
        if (!(__atomic_load_n(&vcpu->requests, __ATOMIC_SEQ_CST) &
              (VCPU_REQUEST_DEBUG | VCPU_REQUEST_STOP)) &&
            vm_is_paused(vm))
            hw_sti_hlt();
    }
    __atomic_store_n(&vcpu->stands, false, __ATOMIC_SEQ_CST);
    vcpu_continue_time(vcpu);
}

/* A reset that was caught happens when the guest goes on, unless it is reset otherwise, or ended.
 */
static void let_reset(struct vm *vm)
{
    uint32_t catches = vm->reset_catches, cause = vm->reset_caught;
    vm->reset_caught = VM_RUNNING;
    vm->reset_catches = 0;
    if (cause != VM_RUNNING && !vm->reset_pending &&
        !__atomic_load_n(&vm->is_ending, __ATOMIC_SEQ_CST))
        vm_request_reset(vm, (enum vm_outcome)cause);
    vm->reset_catches = catches;
}

void vcpu_serve_debug(struct vcpu *vcpu)
{
    serve_call(vcpu);
    if (!vm_is_paused(vcpu->vm))
        return;
    stand(vcpu);
    let_reset(vcpu->vm);
}

/* ---- On the debugger's --------------------------------------------------------------------- */

/* False: it was taken back before anybody took it up. */
static bool wait_for(struct vcpu *vcpu, struct vcpu_call *call)
{
    uint64_t start = hw_rdtsc(), wait = CALLS_WAIT(vcpu->vm->clock.hz);
    struct vcpu_call *expected = call;
    while (!__atomic_load_n(&call->is_done, __ATOMIC_ACQUIRE)) {
        if (hw_rdtsc() - start >= wait &&
            __atomic_compare_exchange_n(&vcpu->call, &expected, NULL, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST))
            return false;
        expected = call;
        hw_pause();
    }
    return true;
}

/* ---- A VM that has ended ------------------------------------------------------------------- */

static void serve_visited(struct vcpu *vcpu, void *context)
{
    (void)context;
    serve_call(vcpu);
}

/* Meanwhile the VM may have been given up. */
static void serve_ended(void *argument)
{
    struct vcpu *vcpu = argument;
    if (__atomic_load_n(&vcpu->vm->is_kept, __ATOMIC_SEQ_CST))
        vcpu->vm->visit(vcpu, serve_visited, NULL);
}

/* Its processor has nothing else to do, or is about to have nothing. */
static enum status call_ended(struct vcpu *vcpu, struct vcpu_call *call)
{
    struct vcpu_call *none = NULL;
    uint64_t start = hw_rdtsc(), wait = CALLS_WAIT(vcpu->vm->clock.hz);
    enum status status;
    if (!__atomic_compare_exchange_n(&vcpu->call, &none, call, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST))
        return ERR_BUSY;
    while ((status = smp_run(vcpu->processor, serve_ended, vcpu)) == ERR_BUSY &&
           hw_rdtsc() - start < wait)
        hw_pause();
    /* What an earlier caller left behind when its time was up may have taken it up. */
    struct vcpu_call *expected = call;
    if (status != STATUS_OK && __atomic_compare_exchange_n(&vcpu->call, &expected, NULL, false,
                                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        return status;
    if (!wait_for(vcpu, call))
        return ERR_TIMEOUT;
    while (smp_is_busy(vcpu->processor)) /* which it is for a moment only: the work is done */
        hw_pause();
    return STATUS_OK;
}

/* It runs, or has died and stands for a debugger. */
static bool is_there(const struct vcpu *vcpu)
{
    return __atomic_load_n(&vcpu->vm->outcome, __ATOMIC_SEQ_CST) == VM_RUNNING ||
           __atomic_load_n(&vcpu->stands, __ATOMIC_SEQ_CST);
}

enum status vcpu_call(struct vcpu *vcpu, void (*run)(struct vcpu *vcpu, void *context),
                      void *context)
{
    struct vcpu_call call = {run, context, false}, *none = NULL;
    const struct cpu *cpu = cpu_this();
    bool is_kept = __atomic_load_n(&vcpu->vm->is_kept, __ATOMIC_SEQ_CST);
    if (is_kept && cpu->index != vcpu->processor)
        return call_ended(vcpu, &call);
    if (is_kept) {
        vcpu->vm->visit(vcpu, run, context);
        return STATUS_OK;
    }
    if (!is_there(vcpu))
        return ERR_NOT_FOUND;
    if (cpu->vcpu == vcpu) {
        run(vcpu, context);
        return STATUS_OK;
    }
    if (cpu->index == vcpu->processor)
        return ERR_NOT_FOUND;
    if (!__atomic_compare_exchange_n(&vcpu->call, &none, &call, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST))
        return ERR_BUSY;
    vcpu_request(vcpu, VCPU_REQUEST_DEBUG);
    return wait_for(vcpu, &call) ? STATUS_OK : ERR_TIMEOUT;
}

static void meet(struct vcpu *vcpu, void *context)
{
    (void)vcpu;
    (void)context;
}

enum status vm_pause(struct vm *vm)
{
    enum status status = STATUS_OK;
    __atomic_store_n(&vm->is_paused, true, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        vcpu_request(vm->vcpu[i], VCPU_REQUEST_DEBUG);
        enum status met = vcpu_call(vm->vcpu[i], meet, NULL);
        status = met != STATUS_OK ? met : status;
    }
    return status;
}

void vm_resume(struct vm *vm)
{
    __atomic_store_n(&vm->is_paused, false, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < vm->vcpu_count; i++)
        vcpu_request(vm->vcpu[i], VCPU_REQUEST_DEBUG);
}
