/* The terminal, the guests' run and its end. */
#include "kernel/monitor.h"
#include "kernel/core/fmt.h"
#include "kernel/core/hw.h"
#include "kernel/core/log.h"
#include "kernel/core/mem.h"
#include "kernel/core/paging.h"
#include "kernel/core/panic.h"
#include "kernel/core/smp.h"
#include "kernel/core/time.h"
#include "kernel/debug/ended.h"

/* A 16-byte FIFO fills in 1.4 ms at 115200 baud. */
#define POLLS_PER_SECOND 1000

/* How much of the guests' output is on its way to the line, 20 ms of it, so that the monitor's own
 * comes at once. */
#define GUESTS_BYTES_WAITING 256

/* ---- The terminal -------------------------------------------------------------------------- */

static void write_line(void *context, const char *bytes, size_t count)
{
    struct monitor *self = context;
    if (self->has_line)
        serial_line_write(&self->line, bytes, count);
}

static bool line_has_room(void *context)
{
    struct monitor *self = context;
    return !self->has_line || serial_line_has_room(&self->line);
}

static void line_is_ready(void *context)
{
    struct monitor *self = context;
    mux_line_ready(&self->mux);
}

/* Log lines end in a newline only; a terminal wants a carriage return too. A panic goes past every
 * lock, straight to the UART. */
static void write_log(void *context, const char *text, size_t length)
{
    struct monitor *self = context;
    char line[LOG_LINE_MAX + 2];
    if (length > 0 && text[length - 1] == '\n')
        length--;
    if (length > LOG_LINE_MAX)
        length = LOG_LINE_MAX;
    memcpy(line, text, length);
    line[length] = '\r';
    line[length + 1] = '\n';
    if (panic_in_progress()) {
        serial_line_abandon(&self->line);
        host_uart_write(self->line.uart, line, length + 2);
    } else {
        mux_message(&self->mux, line, length + 2);
    }
}

static void flush_log(void *context)
{
    struct monitor *self = context;
    if (!panic_in_progress())
        serial_line_drain(&self->line);
}

static void handle_input(void *context)
{
    struct monitor *self = context;
    uint8_t byte;
    while (serial_line_read(&self->line, &byte, 1) == 1)
        mux_input(&self->mux, byte);
}

static const char *state_text(const struct guest *guest)
{
    if (guest->vm.outcome != VM_RUNNING)
        return vm_outcome_text(guest->vm.outcome);
    return guest->vcpu[0].activity == VCPU_HALTED ? "halted" : "running";
}

static void show_status(void *context)
{
    struct monitor *self = context;
    for (uint32_t i = 0; i < self->guests; i++) {
        const struct guest *guest = self->guest[i];
        char line[160];
        int length = fmt_format(
            line, sizeof(line),
            "traprock: %c %-16s %-12s processor %u, %llu MiB, %llu exits, %llu resets\r\n",
            i == self->mux.focus ? '*' : ' ', guest->vm.name, state_text(guest), guest->processor,
            (unsigned long long)(guest->config->memory >> 20),
            (unsigned long long)vcpu_exits(&guest->vcpu[0]), (unsigned long long)guest->resets);
        mux_message(&self->mux, line, (size_t)length);
    }
    integrity_verify(self);
}

static void reset_guest(void *context, unsigned number)
{
    struct monitor *self = context;
    vm_reset(&self->guest[number]->vm);
}

static void power_off_all(void *context)
{
    struct monitor *self = context;
    __atomic_store_n(&self->powers_off, true, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < self->guests; i++)
        vm_stop(&self->guest[i]->vm, VM_KILLED, 0);
    if (__atomic_load_n(&self->running, __ATOMIC_SEQ_CST) == 0)
        power_off(&self->machine->power);
}

static void poll_lines(void *context)
{
    struct monitor *self = context;
    host_lapic_timer_arm(&self->machine->lapic, time_now() + time_tsc_hz() / POLLS_PER_SECOND);
    for (uint32_t i = 0; i < self->polled_count; i++)
        serial_line_interrupt(self->polled[i]);
}

INIT void monitor_start_line(struct monitor *self, struct serial_line *line)
{
    enum status status =
        machine_route_isa(self->machine, line->uart->irq, serial_line_interrupt, line);
    if (status == STATUS_OK) {
        serial_line_start(line, false);
    } else if (self->polled_count == MONITOR_POLLED_MAX) {
        log_warn("too many UARTs without an interrupt: input at port 0x%x is not seen",
                 line->uart->port);
    } else {
        log_info("the UART at port 0x%x has no interrupt that is known (%s): it is polled",
                 line->uart->port, status_text(status));
        self->polled[self->polled_count++] = line;
        serial_line_start(line, true);
        self->machine->lapic.tick = poll_lines;
        self->machine->lapic.tick_context = self;
        poll_lines(self);
    }
}

INIT void monitor_init_terminal(struct monitor *self)
{
    struct mux_line line = {write_line, line_has_room, self};
    struct mux_commands commands = {show_status, reset_guest, power_off_all, self};
    bool has_focus = self->machine->config->terminal == CONFIG_TERMINAL_FOCUS;
    mux_init(&self->mux, &line, &commands, self->machine->config->escape,
             has_focus ? 0 : MUX_NOBODY);
    self->has_line = self->machine->has_console;
    if (!self->has_line)
        return;
    serial_line_init(&self->line, &self->machine->console);
    self->line.limit = GUESTS_BYTES_WAITING;
    self->line.input = handle_input;
    self->line.room = line_is_ready;
    self->line.context = self;
    struct log_sink sink = {write_log, flush_log, self};
    log_replace_sink(&self->machine->console, &sink);
    monitor_start_line(self, &self->line);
}

/* ---- Panics -------------------------------------------------------------------------------- */

static void log_last_exits(void *context)
{
    const struct vcpu *vcpu = cpu_this()->vcpu;
    (void)context;
    if (vcpu != NULL)
        vmx_log_history(vcpu);
}

/* The verdict for whoever waits at the other end of the line; the screen keeps what it shows. */
static NORETURN void finish_panic(void *context)
{
    static const char verdict[] = "traprock: exit 255\r\n";
    struct monitor *self = context;
    if (self->has_line) {
        host_uart_write(self->line.uart, verdict, sizeof(verdict) - 1);
        host_uart_drain(self->line.uart);
    }
    if (self->after_panic != NULL)
        self->after_panic(self);
    panic_halt();
}

INIT void monitor_set_panic(struct monitor *self)
{
    machine_set_panic(self->machine, log_last_exits, finish_panic, self);
}

/* ---- The run ------------------------------------------------------------------------------- */

void monitor_say(struct monitor *self, const char *line, size_t length)
{
    if (self->has_line)
        mux_message(&self->mux, line, length);
    else
        log_info("%.*s", (int)(length - 2), line);
}

INIT void monitor_fail(struct monitor *self)
{
    self->exit_code = 1;
    monitor_finish(self);
}

void monitor_finish(struct monitor *self)
{
    char line[64];
    bool ends = self->powers_off || self->machine->config->on_idle != CONFIG_IDLE_WAIT;
    uint64_t kept = ended_settle(self, ends);
    integrity_verify(self);
    if (self->pages != 0)
        log_info("pages: %lu free after the guests, %lu before",
                 pages_total(&self->machine->pages, PAGE_FREE) + kept, self->pages);
    if (ends)
        mux_end_shell(&self->mux);
    int length = fmt_format(line, sizeof(line), "traprock: exit %d\r\n", self->exit_code);
    monitor_say(self, line, (size_t)length);
    if (self->has_line)
        serial_line_drain(&self->line);
    if (self->powers_off)
        power_off(&self->machine->power);
    switch (self->machine->config->on_idle) {
    case CONFIG_IDLE_POWEROFF:
        power_off(&self->machine->power);
    case CONFIG_IDLE_REBOOT:
        power_reboot(&self->machine->power);
    case CONFIG_IDLE_WAIT:
        return;
    }
}

/* Who has which memory, for whoever looks for it. */
static COLD void log_owners(struct pages *pages)
{
    struct page_extent extent;
    for (unsigned i = 0; pages_extent(pages, i, &extent); i++)
        log_debug("memory: 0x%lx %lu pages, owner %u: %s", extent.base, extent.pages, extent.owner,
                  pages_kind_name(extent.kind));
}

/* This processor's own guest last, since its run does not come back before its end. */
static void start_guests(struct monitor *self)
{
    struct guest *mine = NULL;
    integrity_seal(self);
    log_owners(&self->machine->pages);
    self->pages = pages_total(&self->machine->pages, PAGE_FREE);
    for (uint32_t i = 0; i < self->guests; i++)
        self->pages += self->guest[i]->pages;
    for (uint32_t i = 0; i < self->guests; i++) {
        struct guest *guest = self->guest[i];
        if (guest->processor == 0)
            mine = guest;
        else if (smp_run(guest->processor, guest_run, guest) != STATUS_OK) {
            guest->is_lost = true;
            vm_stop(&guest->vm, VM_STOPPED, 0);
            guest_run(guest); /* does no more than report it */
        }
    }
    if (mine != NULL)
        guest_run(mine);
}

static void forget_start(void *context)
{
    (void)context;
    paging_flush();
}

/* The start's pages go, and every processor forgets what it knew of them. */
static void release_start(void)
{
    paging_release_start();
    paging_flush();
    for (uint32_t i = 1; i < cpu_count(); i++)
        if (smp_run(i, forget_start, NULL) == STATUS_OK)
            while (smp_is_busy(i))
                hw_pause();
}

void monitor_run(void *context)
{
    struct monitor *self = context;
    release_start();
    start_guests(self);
    smp_idle();
}
