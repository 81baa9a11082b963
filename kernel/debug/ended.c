#include "kernel/debug/ended.h"

#include "kernel/core/hw.h"
#include "kernel/core/log.h"
#include "kernel/core/smp.h"
#include "kernel/debug/gdb_server.h"
#include "kernel/debug/post_mortem.h"
#include "kernel/vm/debug.h"

#define LINE_SECONDS 2 /* a full ring takes 1.4 s at 115200 baud */

bool ended_is_death(enum vm_outcome outcome)
{
    const uint32_t deaths = 1u << VM_TRIPLE_FAULT | 1u << VM_STOPPED | 1u << VM_PANIC |
                            1u << VM_WATCHDOG | 1u << VM_TIMEOUT | 1u << VM_REJECTED;
    return deaths >> outcome & 1;
}

/* Of a life that is over by its end, or by a reset; VM_RUNNING: of one that calls for no report. A
 * reset that the guest asks for is its own affair, unless it may not. */
static enum vm_outcome outcome_of(const struct guest *guest)
{
    enum vm_outcome outcome = (enum vm_outcome)guest->vm.outcome;
    if (outcome == VM_RUNNING)
        outcome = (enum vm_outcome)guest->vm.reset_cause;
    else if (outcome == VM_RESET)
        return outcome;
    return ended_is_death(outcome) ? outcome : VM_RUNNING;
}

/* Until gdb lets it go, or somebody ends it once more; who did one of these before it stood is
 * seen here. */
static void stand(struct vcpu *vcpu, const struct guest *guest)
{
    struct vm *vm = vcpu->vm;
    __atomic_store_n(&vm->is_paused, true, __ATOMIC_SEQ_CST);
    if (gdb_server_attends(guest) &&
        !__atomic_load_n(&guest->monitor->powers_off, __ATOMIC_SEQ_CST)) {
        /* Before gdb is told, and also where somebody has let it go on by now. */
        __atomic_store_n(&vcpu->stands, true, __ATOMIC_SEQ_CST);
        smp_wake(0);
        vcpu_serve_debug(vcpu);
        __atomic_store_n(&vcpu->stands, false, __ATOMIC_SEQ_CST);
    }
    __atomic_store_n(&vm->is_paused, false, __ATOMIC_SEQ_CST);
}

/* Until guests' output goes out at once again, unless the line is stuck. The line is everybody's
 * meanwhile, and this processor takes its interrupts. */
static void wait_for_line(struct guest *guest)
{
    struct monitor *monitor = guest->monitor;
    uint64_t start = hw_rdtsc(), wait = LINE_SECONDS * guest->vm.clock.hz;
    while (monitor->has_line && !serial_line_has_room(&monitor->line) &&
           hw_rdtsc() - start < wait) {
        hw_take_interrupts();
        hw_pause();
    }
}

static void examine(struct vcpu *vcpu, void *context)
{
    struct guest *guest = context;
    /* What the line takes for it is none of the guest's time. */
    vcpu_stop_time(vcpu);
    post_mortem_report(guest, outcome_of(guest));
    wait_for_line(guest);
    vcpu_continue_time(vcpu);
    if (ended_is_death((enum vm_outcome)guest->vm.outcome))
        stand(vcpu, guest);
}

void ended_begin(struct guest *guest)
{
    __atomic_fetch_and(&guest->vcpu[0].requests, ~VCPU_REQUEST_STOP, __ATOMIC_SEQ_CST);
}

void ended_examine(struct guest *guest)
{
    if (!guest->is_lost && outcome_of(guest) != VM_RUNNING)
        vmx_vcpu_visit(&guest->vcpu[0], examine, guest);
}

void ended_keep(struct guest *guest)
{
    if (guest->is_lost)
        guest_release(guest);
    else
        __atomic_store_n(&guest->vm.is_kept, true, __ATOMIC_SEQ_CST);
}

static void release(void *guest)
{
    guest_release(guest);
}

/* On its processor, which is about to have nothing to do if it is not this one. */
static void have_released(struct guest *guest)
{
    if (guest->processor == cpu_this()->index) {
        guest_release(guest);
        return;
    }
    while (smp_run(guest->processor, release, guest) == ERR_BUSY)
        hw_pause();
    while (smp_is_busy(guest->processor))
        hw_pause();
}

uint64_t ended_settle(struct monitor *monitor, bool is_for_good)
{
    uint64_t pages = 0;
    for (uint32_t i = 0; i < monitor->guests; i++) {
        struct guest *guest = monitor->guest[i];
        if (!__atomic_load_n(&guest->vm.is_kept, __ATOMIC_SEQ_CST))
            continue;
        if (is_for_good)
            have_released(guest);
        else
            pages += guest->pages;
    }
    if (pages != 0)
        log_info("pages: %lu of those that are free again hold guests that have ended, until "
                 "these are started",
                 pages);
    return pages;
}
