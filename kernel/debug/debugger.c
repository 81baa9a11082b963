#include "kernel/debug/debugger.h"

#include "kernel/core/hw.h"
#include "kernel/core/log.h"
#include "kernel/core/mem.h"
#include "kernel/core/paging.h"
#include "kernel/debug/dump.h"
#include "kernel/debug/split.h"

static const struct shell_command *const tables[] = {
    commands_vm,    commands_cpu,     commands_memory,
    commands_catch, commands_exits,   commands_device,
    commands_dump,  commands_monitor, NULL};

struct debug_shell *debug_shell_of(struct shell *shell)
{
    return shell->context;
}

const char *debug_format(const char *word)
{
    while (*word != '\0' && *word != '/')
        word++;
    return *word == '/' ? word + 1 : NULL;
}

/* ---- Guests by their names ------------------------------------------------------------------ */

static struct guest *find_guest(struct shell *shell, const char *name)
{
    struct monitor *monitor = debug_shell_of(shell)->monitor;
    for (uint32_t i = 0; i < monitor->guests; i++)
        if (strcmp(monitor->guest[i]->vm.name, name) == 0)
            return monitor->guest[i];
    shell_print(shell, "there is no guest '%s'; `vm` lists those that there are\n", name);
    return NULL;
}

/* Whether it is still among the guests: with run = sequence they come and go. */
static bool is_there(const struct monitor *monitor, const struct guest *guest)
{
    for (uint32_t i = 0; i < monitor->guests; i++)
        if (monitor->guest[i] == guest)
            return true;
    return false;
}

struct guest *debug_guest(struct shell *shell, unsigned count, char *const argument[],
                          unsigned index)
{
    struct debug_shell *self = debug_shell_of(shell);
    if (count > index)
        return find_guest(shell, argument[index]);
    if (!is_there(self->monitor, self->guest))
        self->guest = self->monitor->guests != 0 ? self->monitor->guest[0] : NULL;
    if (self->guest == NULL)
        shell_print(shell, "there is no guest\n");
    return self->guest;
}

struct guest *debug_live_guest(struct shell *shell, unsigned count, char *const argument[],
                               unsigned index)
{
    struct guest *guest = debug_guest(shell, count, argument, index);
    if (guest == NULL || guest->vm.outcome == VM_RUNNING)
        return guest;
    shell_print(shell, "%s has ended (%s); `start %s` runs it again\n", guest->vm.name,
                vm_outcome_text(guest->vm.outcome), guest->vm.name);
    return NULL;
}

struct guest *debug_present_guest(struct shell *shell, unsigned count, char *const argument[],
                                  unsigned index)
{
    struct guest *guest = debug_guest(shell, count, argument, index);
    const struct vm *vm = guest != NULL ? &guest->vm : NULL;
    if (vm == NULL || vm->outcome == VM_RUNNING ||
        __atomic_load_n(&vm->is_kept, __ATOMIC_SEQ_CST) ||
        __atomic_load_n(&guest->vcpu[0].stands, __ATOMIC_SEQ_CST))
        return guest;
    shell_print(shell, "%s has ended (%s), and nothing is left of it\n", vm->name,
                vm_outcome_text(vm->outcome));
    return NULL;
}

void debug_complete_guests(struct shell *shell, struct completion *completion)
{
    const struct monitor *monitor = debug_shell_of(shell)->monitor;
    for (uint32_t i = 0; i < monitor->guests; i++)
        completion_offer(completion, monitor->guest[i]->vm.name);
}

/* ---- Symbols -------------------------------------------------------------------------------- */

struct system_map debug_symbols(const struct guest *guest)
{
    const struct boot_file *file = guest_file(guest->monitor, guest->config->symbols);
    if (guest->config->symbols[0] == '\0' || file == NULL)
        return (struct system_map){NULL, 0};
    return (struct system_map){phys_to_virt(HPA(file->base)), file->size};
}

void debug_print_symbol(struct shell *shell, const struct guest *guest, uint64_t address)
{
    struct system_map map = debug_symbols(guest);
    struct text text = shell_text(shell);
    describe_symbol(&text, &map, address);
}

void debug_complete_symbols(struct shell *shell, struct completion *completion)
{
    const struct debug_shell *self = debug_shell_of(shell);
    struct guest *guest = self->guest != NULL          ? self->guest
                          : self->monitor->guests != 0 ? self->monitor->guest[0]
                                                       : NULL;
    debug_complete_dollars(completion);
    if (guest == NULL || !is_there(self->monitor, guest))
        return;
    struct system_map map = debug_symbols(guest);
    system_map_offer(&map, completion);
}

void debug_refused(struct shell *shell, const struct guest *guest, const char *what,
                   enum status status)
{
    const char *why = status == ERR_NOT_FOUND ? "it is not running"
                      : status == ERR_TIMEOUT ? "its processor does not answer"
                      : status == ERR_BUSY    ? "another debugger is at it"
                                              : status_text(status);
    shell_print(shell, "%s: %s: %s\n", guest->vm.name, what, why);
}

/* ---- After a panic ------------------------------------------------------------------------- */

/* What the host's program says in frames is for nobody any more. */
static void type(struct debug_shell *self)
{
    uint8_t byte;
    host_uart_receive(self->uart);
    while (host_uart_read(self->uart, &byte, 1) == 1)
        if (frame_reader_put(&self->frames, byte) == FRAME_PLAIN)
            shell_input(&self->shell, byte);
}

/* Nothing else runs, on any processor. What was under way, in the shell too, is forgotten, and so
 * are locks that are held. Nothing is said before a key is pressed: whoever looks for the verdict
 * finds it at the end. */
static NORETURN void serve_after_panic(struct monitor *monitor)
{
    spinlock_release(&monitor->machine->pages.lock);
    for (unsigned i = 0; i < MONITOR_SHELLS_MAX && monitor->shell[i] != NULL; i++) {
        struct debug_shell *self = monitor->shell[i];
        struct shell_ports ports =
            shell_terminal_on_uart(&self->terminal, &self->shell, self->uart);
        shell_init(&self->shell, &ports, tables, self);
        self->shell.is_panic = true;
    }
    for (;;) {
        for (unsigned i = 0; i < MONITOR_SHELLS_MAX && monitor->shell[i] != NULL; i++)
            type(monitor->shell[i]);
        hw_pause();
    }
}

/* ---- The start ------------------------------------------------------------------------------ */

static INIT void *allocate(struct monitor *monitor, uint64_t size)
{
    hpa_t frame;
    uint64_t count = align_up(size, PAGE_SIZE) / PAGE_SIZE;
    enum status status = pages_alloc(&monitor->machine->pages, count, PAGE_SIZE, PAGE_HEAP,
                                     PAGE_OWNER_MONITOR, &frame);
    if (status == STATUS_OK)
        return memset(phys_to_virt(frame), 0, count * PAGE_SIZE);
    log_warn("no memory for a shell: %s", status_text(status));
    return NULL;
}

static INIT void start_on_console(struct monitor *monitor)
{
    struct debug_shell *self = allocate(monitor, sizeof(*self));
    if (self == NULL)
        return;
    self->monitor = monitor;
    self->uart = monitor->line.uart;
    monitor->shell[0] = self;
    struct shell_ports ports = shell_terminal_on_mux(&self->terminal, &self->shell, &monitor->mux);
    shell_init(&self->shell, &ports, tables, self);
}

INIT struct debug_shell *debugger_shell_alone(struct monitor *monitor)
{
    struct debug_shell *self = allocate(monitor, sizeof(*self));
    if (self == NULL)
        return NULL;
    self->monitor = monitor;
    shell_init(&self->shell, &(struct shell_ports){0}, tables, self);
    return self;
}

struct shell_line {
    struct debug_shell debug;
    struct host_uart uart;
    struct serial_line line;
};

static INIT void start_on_line(struct monitor *monitor, uint16_t port)
{
    struct shell_line *self = allocate(monitor, sizeof(*self));
    if (self == NULL)
        return;
    if (host_uart_init(&self->uart, port) != STATUS_OK) {
        log_warn("shell = 0x%x: the machine has no UART there; the shell is on the console only",
                 port);
        return;
    }
    self->debug.monitor = monitor;
    serial_line_init(&self->line, &self->uart);
    struct shell_ports ports =
        shell_terminal_on_line(&self->debug.terminal, &self->debug.shell, &self->line);
    shell_init(&self->debug.shell, &ports, tables, &self->debug);
    self->debug.uart = &self->uart;
    monitor->shell[monitor->shell[0] != NULL] = &self->debug;
    monitor_start_line(monitor, &self->line);
    shell_enter(&self->debug.shell);
}

INIT void debugger_start(struct monitor *monitor)
{
    const struct config *config = monitor->machine->config;
    monitor->after_panic = serve_after_panic;
    if (monitor->has_line)
        start_on_console(monitor);
    monitor->split = split_start(monitor);
    dump_start(monitor);
    if (config->shell != 0 && config->shell != config->console)
        start_on_line(monitor, config->shell);
}
