/* From the boot program's hand-over until the guests are built. Nothing of it is left when they
 * run: monitor.c goes on from there. */
#include "kernel/core/fmt.h"
#include "kernel/core/hw.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "kernel/core/mem.h"
#include "kernel/core/paging.h"
#include "kernel/core/panic.h"
#include "kernel/core/smp.h"
#include "kernel/core/test_hooks.h"
#include "kernel/core/time.h"
#include "kernel/core/xsave_check.h"
#include "kernel/debug/debugger.h"
#include "kernel/debug/gdb_server.h"
#include "kernel/monitor.h"
#include "vmx/trial.h"

/* The only instances; everything gets them, or a part of them, as an argument. */
static struct machine machine;
static struct monitor monitor;

/* ---- Processors ---------------------------------------------------------------------------- */

static void try_interrupts(struct monitor *self, struct vmx_cpu *cpu)
{
    cpu->interrupts_exit = trial_of_interrupts(cpu, &self->machine->pages, time_tsc_hz());
    if (!cpu->interrupts_exit)
        log_info("this processor keeps interrupts from the monitor while a guest masks them: "
                 "an exit a second lets them in");
}

static void enable_vmx(void *context)
{
    struct monitor *self = context;
    uint32_t index = cpu_this()->index;
    struct vmx_cpu *cpu = &self->vmx_cpu[index];
    const char *reason;
    enum status status = vmx_cpu_enable(cpu, &self->machine->pages, &reason);
    self->vmx_reason[index] = status == STATUS_OK ? NULL : reason;
    cpu_this()->backend = cpu;
    if (status == STATUS_OK && cpu_takes_lines(cpu_this()))
        try_interrupts(self, cpu);
}

static void enable_vmx_everywhere(struct monitor *self)
{
    enable_vmx(self);
    for (uint32_t i = 1; i < cpu_count(); i++) {
        self->vmx_reason[i] = "the processor did not start";
        if (smp_run(i, enable_vmx, self) != STATUS_OK)
            continue;
        while (smp_is_busy(i))
            hw_pause();
    }
    for (uint32_t i = 0; i < cpu_count(); i++)
        if (self->vmx_reason[i] != NULL)
            log_error("processor %u runs no guests; what is wrong, or missing: %s", i,
                      self->vmx_reason[i]);
}

static bool is_taken(const struct monitor *self, const uint32_t *processor, uint32_t count,
                     uint32_t candidate)
{
    for (uint32_t i = 0; i < count; i++)
        if (processor[i] == candidate)
            return true;
    return candidate >= cpu_count() || self->vmx_reason[candidate] != NULL;
}

#define NO_PROCESSOR UINT32_MAX

struct assignment {
    uint32_t processor[CONFIG_VMS_MAX]; /* of each guest, or NO_PROCESSOR */
    uint32_t taken[CONFIG_VMS_MAX], count;
};

static uint32_t take(struct assignment *assignment, uint32_t processor)
{
    assignment->taken[assignment->count++] = processor;
    return processor;
}

static uint32_t assign_pinned(const struct monitor *self, struct assignment *assignment,
                              const struct config_vm *vm)
{
    if (!is_taken(self, assignment->taken, assignment->count, vm->pin))
        return take(assignment, vm->pin);
    log_error("%s:%u: %s: pin = %u: there is no such processor, or it has a guest already; this "
              "machine has processors 0 to %u",
              self->machine->boot.file[0].name, vm->pin_line, vm->name, vm->pin, cpu_count() - 1);
    return NO_PROCESSOR;
}

static uint32_t assign_any(const struct monitor *self, struct assignment *assignment,
                           const struct config_vm *vm)
{
    uint32_t candidate = 0;
    while (candidate < cpu_count() &&
           is_taken(self, assignment->taken, assignment->count, candidate))
        candidate++;
    if (candidate < cpu_count())
        return take(assignment, candidate);
    log_error(
        "%s:%u: %s: no processor is left for it: %u guests, %u processors; remove guests, run "
        "with more processors, or one after the other with `run = sequence`",
        self->machine->boot.file[0].name, vm->line, vm->name, self->machine->config->vm_count,
        cpu_count());
    return NO_PROCESSOR;
}

/* Pinned guests first: the others take what is left, from processor 0 on. */
static void assign_processors(const struct monitor *self, struct assignment *assignment)
{
    const struct config *config = self->machine->config;
    assignment->count = 0;
    for (uint32_t i = 0; i < config->vm_count; i++)
        if (config->vm[i].pin != CONFIG_PIN_ANY)
            assignment->processor[i] = assign_pinned(self, assignment, &config->vm[i]);
    for (uint32_t i = 0; i < config->vm_count; i++)
        if (config->vm[i].pin == CONFIG_PIN_ANY)
            assignment->processor[i] = assign_any(self, assignment, &config->vm[i]);
}

/* ---- The start ----------------------------------------------------------------------------- */

static enum status build_guest(struct monitor *self, const struct config_vm *config,
                               uint32_t processor)
{
    struct guest *guest;
    if (processor == NO_PROCESSOR)
        return ERR_NO_SPACE;
    enum status status = guest_allocate(self, config, &guest);
    return status == STATUS_OK ? guest_build(self, config, processor, guest) : status;
}

/* Whatever becomes of one, the others run. Returns whether there are any; if not, the run has come
 * to its end. */
static bool build_guests(struct monitor *self, const struct assignment *assignment)
{
    const struct config *config = self->machine->config;
    self->running = config->vm_count;
    for (uint32_t i = 0; i < config->vm_count; i++)
        if (build_guest(self, &config->vm[i], assignment->processor[i]) != STATUS_OK)
            monitor_report_unborn(self, &config->vm[i], VM_STOPPED);
    return self->guests != 0;
}

/* Nothing of the start may be on the stack when it goes. */
static NORETURN void leave_start(struct monitor *self)
{
    machine_free_start(self->machine);
    cpu_switch_stack(cpu_this()->stack[CPU_STACK_KERNEL], monitor_run, self);
}

static void run(struct machine *self_machine)
{
    struct monitor *self = &monitor;
    struct assignment assignment;
    self->machine = self_machine;
    log_set_level(self->machine->config->loglevel);
    monitor_init_terminal(self);
    monitor_set_panic(self);
    debugger_start(self);
    if (gdb_server_start(self) != STATUS_OK)
        log_error("%s:%u: gdb: %s", self->machine->boot.file[0].name,
                  self->machine->config->gdb_line,
                  "the machine has no UART at this port, or no memory; nobody can attach");
    cpu_set_nmi_hook(vmx_nmi_hook);
    machine_start_processors(self_machine);
    TEST_HOOK(test_machine());
    enable_vmx_everywhere(self);
    uint64_t begun = hw_rdtsc();
    monitor_plan_guests(self);
    self->planning = hw_rdtsc() - begun;
    self->xsavec_broken = !xsave_check_compacted(cpu_this()->xcr0);
    if (self->xsavec_broken)
        log_info(
            "this processor's XSAVEC does not keep what it saves: guests see no XSAVEC, XSAVES");
    if (self->vmx_reason[0] != NULL)
        monitor_fail(self);
    else if (self->machine->config->run == CONFIG_RUN_SEQUENCE)
        sequence_run(self);
    else if (assign_processors(self, &assignment), build_guests(self, &assignment))
        leave_start(self);
    smp_idle();
}

void kernel_main(hpa_t boot_info);

/* Called by entry.asm. */
void kernel_main(hpa_t boot_info)
{
    machine_start(&machine, boot_info, run);
}
