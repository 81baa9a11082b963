/*
 * The guests of the configuration one after the other, on processor 0: a suite of test kernels
 * costs one start of the machine, one processor, and the memory of its largest guest. Each guest is
 * built when its turn comes, in the same state as those before it, out of what they gave back; and
 * whatever becomes of it, the next one follows. Until then, and the last one for good, it stays as
 * it has ended.
 */
#include "kernel/monitor.h"

/* A UART of the machine that belongs to a guest keeps its interrupt, which leads to the guest's
 * state for ever. */
static INIT bool is_known_to_the_machine(const struct config_vm *config)
{
    for (uint32_t i = 0; i < config->hvc_count; i++)
        if (!config->hvc[i].loop)
            return true;
    return false;
}

INIT void monitor_report_unborn(struct monitor *monitor, const struct config_vm *config,
                                enum vm_outcome outcome)
{
    struct result result = {.name = config->name, .outcome = outcome};
    monitor_report(monitor, &result);
}

static INIT bool powers_off(const struct monitor *monitor)
{
    return __atomic_load_n(&monitor->powers_off, __ATOMIC_SEQ_CST);
}

/* The one before stays as it is until now. */
static INIT void make_room(struct monitor *monitor)
{
    if (monitor->guests == 0)
        return;
    if (__atomic_load_n(&monitor->guest[0]->vm.is_kept, __ATOMIC_SEQ_CST))
        guest_release(monitor->guest[0]);
    guest_discard(monitor);
}

/* *room is where its state goes; NULL: nowhere yet. */
static INIT void run_one(struct monitor *monitor, const struct config_vm *config,
                         struct guest **room)
{
    struct pages *pages = &monitor->machine->pages;
    if (powers_off(monitor)) {
        monitor_report_unborn(monitor, config, VM_KILLED);
        return;
    }
    enum status status = STATUS_OK;
    make_room(monitor);
    if (*room == NULL)
        status = guest_allocate(monitor, config, room);
    monitor->pages = pages_total(pages, PAGE_FREE);
    if (status == STATUS_OK)
        status = guest_build(monitor, config, 0, *room);
    if (status == STATUS_OK)
        guest_run(*room);
    else
        monitor_report_unborn(monitor, config, VM_STOPPED);
    if (is_known_to_the_machine(config))
        *room = NULL;
}

INIT void sequence_run(struct monitor *monitor)
{
    const struct config *config = monitor->machine->config;
    struct guest *room = NULL;
    integrity_seal(monitor);
    monitor->running = config->vm_count;
    for (uint32_t i = 0; i < config->vm_count; i++)
        run_one(monitor, &config->vm[i], &room);
}
