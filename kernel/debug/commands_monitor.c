/* Commands for the monitor and the machine. */
#include "kernel/core/hw.h"
#include "kernel/core/mem.h"
#include "kernel/core/panic.h"
#include "kernel/core/time.h"
#include "kernel/debug/debugger.h"

/* ---- The log ---- */

static void run_log(struct shell *shell, unsigned count, char *const argument[])
{
    (void)count;
    (void)argument;
    shell->used += (unsigned)log_copy(shell->output + shell->used, SHELL_OUTPUT_MAX - shell->used);
}

static const char *const levels[] = {"error", "warn", "info", "debug"};

static void run_loglevel(struct shell *shell, unsigned count, char *const argument[])
{
    if (count == 1) {
        shell_print(shell, "%s\n", levels[log_level()]);
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(levels); i++) {
        if (strcmp(argument[1], levels[i]) == 0) {
            log_set_level((enum log_level)i);
            return;
        }
    }
    shell_print(shell, "'%s' is no level; allowed are error, warn, info, debug\n", argument[1]);
}

static void complete_level(struct shell *shell, struct completion *completion)
{
    (void)shell;
    for (unsigned i = 0; i < ARRAY_SIZE(levels); i++)
        completion_offer(completion, levels[i]);
}

/* ---- Time and memory ---- */

static void run_uptime(struct shell *shell, unsigned count, char *const argument[])
{
    const struct monitor *monitor = debug_shell_of(shell)->monitor;
    uint64_t ms = time_to_ns(hw_rdtsc() - monitor->machine->started) / 1000000;
    uint64_t s = ms / 1000;
    (void)count;
    (void)argument;
    shell_print(shell, "%lu days %02lu:%02lu:%02lu.%03lu; TSC at %lu kHz, %u guests running\n",
                s / 86400, s / 3600 % 24, s / 60 % 60, s % 60, ms % 1000, time_tsc_hz() / 1000,
                __atomic_load_n(&monitor->running, __ATOMIC_SEQ_CST));
}

/* The kind of memory, and the guest that owns it, if one does. */
static void show_owner(struct shell *shell, unsigned kind, unsigned owner)
{
    const struct monitor *monitor = debug_shell_of(shell)->monitor;
    const char *name = pages_kind_name((enum page_kind)kind);
    if (owner == PAGE_OWNER_MONITOR)
        shell_print(shell, "%s\n", name);
    else if (owner == DEBUG_PAGES_OWNER)
        shell_print(shell, "%s of a dump\n", name);
    for (uint32_t i = 0; i < monitor->guests; i++)
        if (monitor->guest[i]->vm.id == owner)
            shell_print(shell, "%s of %s\n", name, monitor->guest[i]->vm.name);
}

static void show_extent(struct shell *shell, const struct page_extent *extent)
{
    shell_print(shell, "0x%012lx-0x%012lx %10lu KiB  ", extent->base,
                extent->base + extent->pages * PAGE_SIZE - 1, extent->pages * (PAGE_SIZE / 1024));
    show_owner(shell, extent->kind, extent->owner);
}

static void show_one(struct shell *shell, const char *text)
{
    struct page_extent extent;
    uint64_t address;
    if (!shell_number(shell, text, &address))
        return;
    if (pages_lookup(&debug_shell_of(shell)->monitor->machine->pages, HPA(address), &extent))
        show_extent(shell, &extent);
    else
        shell_print(shell, "0x%lx is no memory that the machine's firmware has named\n", address);
}

/* Sums by owner and kind; owners are numbered from 0, the monitor. */
static void show_sums(struct shell *shell)
{
    struct monitor *monitor = debug_shell_of(shell)->monitor;
    struct pages *pages = &monitor->machine->pages;
    for (unsigned owner = 0; owner <= monitor->guests; owner++) {
        uint64_t sum[PAGE_KIND_COUNT] = {0};
        struct page_extent extent;
        for (unsigned i = 0; pages_extent(pages, i, &extent); i++)
            if (extent.owner == owner && extent.kind < PAGE_KIND_COUNT)
                sum[extent.kind] += extent.pages;
        for (unsigned kind = 0; kind < PAGE_KIND_COUNT; kind++) {
            if (sum[kind] == 0)
                continue;
            shell_print(shell, "%10lu KiB  ", sum[kind] * (PAGE_SIZE / 1024));
            show_owner(shell, kind, owner);
        }
    }
}

static void run_mem(struct shell *shell, unsigned count, char *const argument[])
{
    struct page_extent extent;
    struct pages *pages = &debug_shell_of(shell)->monitor->machine->pages;
    if (count == 1)
        show_sums(shell);
    else if (strcmp(argument[1], "all") != 0)
        show_one(shell, argument[1]);
    else
        for (unsigned i = 0; pages_extent(pages, i, &extent); i++)
            show_extent(shell, &extent);
}

/* ---- The end ---- */

static void run_poweroff(struct shell *shell, unsigned count, char *const argument[])
{
    const struct mux_commands *commands = &debug_shell_of(shell)->monitor->mux.commands;
    (void)count;
    (void)argument;
    if (shell->is_panic)
        power_off(&debug_shell_of(shell)->monitor->machine->power);
    commands->power_off(commands->context);
}

static void run_reboot(struct shell *shell, unsigned count, char *const argument[])
{
    (void)count;
    (void)argument;
    log_flush();
    power_reboot(&debug_shell_of(shell)->monitor->machine->power);
}

static void run_panic(struct shell *shell, unsigned count, char *const argument[])
{
    (void)shell;
    (void)count;
    (void)argument;
    panic("asked for in the shell");
}

/* ---- The shell itself ---- */

#define COLUMNS_MIN 20
#define COLUMNS_MAX 256
#define ROWS_MAX 1000

static void run_terminal(struct shell *shell, unsigned count, char *const argument[])
{
    uint64_t columns, rows = shell->rows;
    if (count == 1) {
        shell_print(shell, "%u columns, %u rows\n", shell->columns, shell->rows);
        return;
    }
    if (!shell_number(shell, argument[1], &columns) ||
        (count > 2 && !shell_number(shell, argument[2], &rows)))
        return;
    if (columns < COLUMNS_MIN || columns > COLUMNS_MAX || rows > ROWS_MAX || rows == 1) {
        shell_print(shell, "allowed are %u to %u columns, and 2 to %u rows, or 0\n", COLUMNS_MIN,
                    COLUMNS_MAX, ROWS_MAX);
        return;
    }
    shell->columns = (unsigned)columns;
    shell->rows = (unsigned)rows;
}

const struct shell_command commands_monitor[] = {
    {"log", "", "show the monitor's log", "The last 64 KiB of it.\n", run_log, NULL, 0, 0,
     SHELL_AFTER_PANIC},
    {"loglevel", "[LEVEL]", "show or set what the log has: error, warn, info, debug", "",
     run_loglevel, complete_level, 0, 1, 0},
    {"mem", "[all|ADDRESS]", "show who owns the machine's memory",
     "Sums of each kind and guest; `all`: each piece in order; ADDRESS: the piece that it is in.\n",
     run_mem, NULL, 0, 1, SHELL_AFTER_PANIC},
    {"uptime", "", "show how long the monitor has run", "", run_uptime, NULL, 0, 0,
     SHELL_AFTER_PANIC},
    {"terminal", "[COLUMNS [ROWS]]", "show or set the size of the terminal",
     "It is taken to have 80 columns and 24 rows; 0 rows: output does not stop at pages.\n",
     run_terminal, NULL, 0, 2, SHELL_AFTER_PANIC},
    {"poweroff", "", "end all guests, and switch the machine off", "", run_poweroff, NULL, 0, 0,
     SHELL_WHOLE | SHELL_AFTER_PANIC},
    {"reboot", "", "reset the machine, at once", "Guests are not asked.\n", run_reboot, NULL, 0, 0,
     SHELL_WHOLE | SHELL_AFTER_PANIC},
    {"panic", "", "stop the machine with a report, as after a mistake of the monitor's", "",
     run_panic, NULL, 0, 0, SHELL_WHOLE},
    {"help", "[COMMAND]", "list the commands, or say more about one", "", shell_help,
     shell_complete_commands, 0, 1, SHELL_AFTER_PANIC},
    {NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0},
};
