/*
 * The vCPU loop: what is due between an exit and the next entry.
 *
 * Order matters. The preemption timer is armed first and requests are read after it: an NMI that
 * tells of a request sets the timer to 0 (vmx_nmi_hook), so that whichever comes first, either the
 * request is seen here or the guest exits at once.
 */
#include "kernel/core/cpu.h"
#include "kernel/core/hw.h"
#include "kernel/core/irq.h"
#include "kernel/vm/debug.h"
#include "vmx/internal.h"
#include "vmx/vmx_hw.h"

/* How often device models get the processor while they have work that they put off. */
#define WORK_SLICES_PER_SECOND 50000

/* Some processors (Bochs) lose external-interrupt exits while the guest masks interrupts (trial.h).
 * Where the one that takes the machine's interrupts does, these are let in once a second whatever
 * the guest does, at gdb's pace where it may come, and more often after one came, which seldom
 * comes alone. */
#define LONGEST_BREAK(vm) ((vm)->is_debugged ? (vm)->clock.hz / 32 : (vm)->clock.hz)
#define SHORTEST_BREAK(hz) ((hz) / 1024)
#define NO_BREAK (UINT64_MAX / 2) /* with room for what arm_preemption_timer adds */

/* The timer stands still outside the guest. It is set anew at least this often (a quarter of a
 * millisecond), so that no deadline comes late by all that the exits before it took. */
#define LAG_BOUND(hz) ((hz) / 4096)

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* SDM: VMX-Preemption Timer: counts down by one whenever bit `shift` of the TSC changes. Counted so
 * that the guest does not exit just before its deadline. Times are the guest's but for look_at: see
 * vm->behind. */
void run_arm_preemption_timer(struct vcpu *vcpu, uint64_t time)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    unsigned shift = VMX_MISC_PREEMPTION_SHIFT(vmx->cpu->capabilities.misc);
    uint64_t deadline = vcpu->timers.next;
    uint64_t end = earlier(deadline, vmx->break_at);
    uint64_t ticks = end > time ? ((end + BIT(shift) - 1) >> shift) - (time >> shift) : 0;
    vmx->armed = deadline;
    vmx->look_at = earlier(end, time + LAG_BOUND(vcpu->vm->clock.hz)) + vcpu->vm->behind;
    vmcs_write(VMCS_VMX_PREEMPTION_TIMER_VALUE, earlier(ticks, UINT32_MAX));
}

static COLD void run_timers(struct vcpu *vcpu, uint64_t time)
{
    spinlock_acquire(&vcpu->vm->lock);
    timers_run(&vcpu->timers, time);
    spinlock_release(&vcpu->vm->lock);
}

static void continue_work(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    spinlock_acquire(&vm->lock);
    vm->work(vm->board);
    spinlock_release(&vm->lock);
}

/* Something is left over: the guest goes on for a moment, takes its interrupts, and comes back. */
static void exit_soon(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    uint64_t ticks = vcpu->vm->clock.hz / WORK_SLICES_PER_SECOND;
    vmx->armed = 0;
    vmcs_write(VMCS_VMX_PREEMPTION_TIMER_VALUE,
               ticks >> VMX_MISC_PREEMPTION_SHIFT(vmx->cpu->capabilities.misc));
}

/* Returns what is requested afterwards. The time that passes is neither an exit's nor the guest's.
 */
static COLD uint32_t serve_debug(struct vcpu *vcpu, uint32_t requests)
{
    uint64_t begun = hw_rdtsc();
    vcpu_serve_debug(vcpu);
    vmcs_write(VMCS_TSC_OFFSET, vcpu_machine_tsc_offset(vcpu));
    if (!vm_is_paused(vcpu->vm)) /* a stop that nobody has taken is none that comes now */
        __atomic_store_n(&vmx_of(vcpu)->debug.has_stopped, false, __ATOMIC_SEQ_CST);
    if (vmx_of(vcpu)->debug.steps) {
        debug_run_steps(vcpu);
        run_arm_preemption_timer(
            vcpu, vm_time(vcpu->vm, hw_rdtsc())); /* the steps had it for themselves */
    }
    uint64_t passed = hw_rdtsc() - begun;
    vcpu->history.newest->start += passed;
    vcpu->account_mark += passed;
    /* Who pauses it says so first, and asks for it then. */
    requests |= vm_is_paused(vcpu->vm) ? VCPU_REQUEST_DEBUG : 0;
    return requests | __atomic_exchange_n(&vcpu->requests, 0, __ATOMIC_SEQ_CST);
}

/* Serves what was requested; false: leave the guest. A request that stands when the guest is
 * entered would hide the next one of its kind, which then makes no kick: so there is none, or the
 * guest is back soon. */
bool run_serve_requests(struct vcpu *vcpu)
{
    /* Only an exception of the guest's own: what else is pending was looked at when it came. */
    if (__atomic_load_n(&vcpu->requests, __ATOMIC_RELAXED) == 0 && vcpu->activity == VCPU_RUNNING) {
        inject_next(vcpu);
        return true;
    }
    uint32_t requests = __atomic_exchange_n(&vcpu->requests, 0, __ATOMIC_SEQ_CST);
    while ((requests & (VCPU_REQUEST_DEBUG | VCPU_REQUEST_STOP)) == VCPU_REQUEST_DEBUG)
        requests = serve_debug(vcpu, requests & ~VCPU_REQUEST_DEBUG);
    if (requests & VCPU_REQUEST_STOP)
        return false;
    if (requests & VCPU_REQUEST_WORK) {
        continue_work(vcpu);
        /* It may have set one of the guest's timers. */
        run_arm_preemption_timer(vcpu, vm_time(vcpu->vm, hw_rdtsc()));
        /* What it raised is looked for anyway. */
        __atomic_fetch_and(&vcpu->requests, ~VCPU_REQUEST_EVENT, __ATOMIC_SEQ_CST);
    }
    inject_prepare(vcpu);
    if (__atomic_load_n(&vcpu->requests, __ATOMIC_RELAXED) != 0)
        exit_soon(vcpu);
    return true;
}

static void set_break(struct vmx_vcpu *vmx, uint64_t time, uint64_t length)
{
    vmx->break_length = length;
    vmx->break_at = vmx->needs_breaks ? time + length : NO_BREAK;
}

static void let_interrupts_in(struct vcpu *vcpu, uint64_t time)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    uint64_t before = cpu_this()->interrupts, hz = vcpu->vm->clock.hz;
    hw_take_interrupts();
    bool came = cpu_this()->interrupts != before;
    set_break(vmx, time,
              came ? SHORTEST_BREAK(hz) : earlier(2 * vmx->break_length, LONGEST_BREAK(vcpu->vm)));
}

COLD void run_do_what_is_due(struct vcpu *vcpu, uint64_t time)
{
    if (time >= vmx_of(vcpu)->break_at)
        let_interrupts_in(vcpu, time);
    if (time >= vcpu->timers.next)
        run_timers(vcpu, time);
    run_arm_preemption_timer(vcpu, time);
}

COLD bool run_prepare_later(struct vcpu *vcpu)
{
    return run_prepare_entry(vcpu, hw_rdtsc());
}

enum verdict exit_preemption_timer(struct vcpu *vcpu, struct vmx_exit *exit)
{
    (void)exit;
    vmx_of(vcpu)->look_at = 0; /* the count is used up, or an NMI has set it to 0 */
    return RETRY;
}

enum verdict exit_external_interrupt(struct vcpu *vcpu, struct vmx_exit *exit)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    irq_dispatch(exit->interruption & 0xff);
    set_break(vmx, clock_now(&vcpu->vm->clock), SHORTEST_BREAK(vcpu->vm->clock.hz));
    vmx->look_at = 0;
    return RETRY;
}

void vmx_nmi_hook(void)
{
    (void)!vmx_hw_vmwrite(VMCS_VMX_PREEMPTION_TIMER_VALUE, 0);
}

void vmcs_write_failed(uint64_t field, uint64_t value)
{
    panic("VMWRITE of 0x%llx to %s (0x%llx) failed, error %llu", (unsigned long long)value,
          vmcs_field_name((uint32_t)field), (unsigned long long)field,
          (unsigned long long)vmcs_read(VMCS_VM_INSTRUCTION_ERROR));
}

/* An entry that failed with VMfail: the guest's state is not to blame, but it is only this guest
 * that ends. SDM: VM-Instruction Error Numbers. */
static void entry_failed(struct vcpu *vcpu)
{
    log_error("%s: VM entry failed, VM-instruction error %llu", vcpu->vm->name,
              (unsigned long long)vmcs_read(VMCS_VM_INSTRUCTION_ERROR));
    entry_check_report(vcpu);
    vm_stop(vcpu->vm, VM_STOPPED, 0);
}

COLD void run_skip_time(struct vcpu *vcpu)
{
    uint64_t passed = hw_rdtsc() - vcpu->account_mark;
    vcpu->account_mark += passed;
    vcpu->history.newest->start += passed;
}

void vmx_vcpu_run(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    state_load(vcpu);
    cpu_this()->vcpu = vcpu;
    if (run_prepare_entry(vcpu, hw_rdtsc())) {
        bool launched = vmx->launched;
        run_skip_time(vcpu);
        if (vmx->debug.catches.by_steps) /* from the first instruction on */
            vmcs_write(VMCS_VMX_PREEMPTION_TIMER_VALUE, 0);
        vmx->launched = true;
        if (vmx_guest_loop(vcpu, launched) != 0) {
            vmx->launched = false;
            entry_failed(vcpu);
        }
    }
    cpu_this()->vcpu = NULL;
    state_save(vcpu);
}
