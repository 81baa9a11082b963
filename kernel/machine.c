#include "kernel/machine.h"

#include "drivers/host/clock_sources.h"
#include "drivers/host/pic.h"
#include "kernel/core/cpu.h"
#include "kernel/core/hw.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "kernel/core/mem.h"
#include "kernel/core/paging.h"
#include "kernel/core/panic.h"
#include "kernel/core/smp.h"
#include "kernel/core/test_hooks.h"
#include "kernel/core/time.h"
#include "kernel/vm/platform.h"

/* What goes on on the guarded stack. */
struct start {
    struct machine *machine;
    void (*run)(struct machine *machine);
};

static void fill_owner_table(struct machine *machine)
{
    static const uint8_t kinds[] = {
        [BOOT_MEMORY_USABLE] = PAGE_FREE,   [BOOT_MEMORY_IMAGE] = PAGE_IMAGE,
        [BOOT_MEMORY_LOADER] = PAGE_LOADER, [BOOT_MEMORY_FILE] = PAGE_FILE,
        [BOOT_MEMORY_ACPI] = PAGE_ACPI,     [BOOT_MEMORY_FIRMWARE] = PAGE_FIRMWARE};
    pages_init(&machine->pages);
    for (uint32_t i = 0; i < machine->boot.memory_count; i++) {
        const struct boot_memory *memory = &machine->boot.memory[i];
        if (memory->type >= ARRAY_SIZE(kinds))
            panic("memory map entry %u has type %u", i, memory->type);
        if (memory->pages == 0)
            continue;
        enum status status =
            pages_add(&machine->pages, HPA(memory->base), memory->pages, kinds[memory->type]);
        if (status != STATUS_OK)
            panic("memory map entry %u (0x%lx, %lu pages): %s", i, memory->base, memory->pages,
                  status_text(status));
    }
}

static void keep(struct machine *machine, uint64_t base, uint64_t size, enum page_kind kind)
{
    uint64_t start = align_down(base, PAGE_SIZE), end = align_up(base + size, PAGE_SIZE);
    if (size == 0)
        return;
    enum status status = pages_set_kind(&machine->pages, HPA(start), (end - start) / PAGE_SIZE,
                                        kind, PAGE_OWNER_MONITOR);
    if (status != STATUS_OK)
        panic("the boot program's %s at 0x%lx is not in its memory map", pages_kind_name(kind),
              base);
}

/* Symbols and configuration outlive the boot program: their pages are taken out of what is given
 * back. */
static void keep_configuration(struct machine *machine)
{
    const struct boot_info *info = &machine->boot;
    machine->config = phys_to_virt(HPA(info->config_base));
    keep(machine, info->config_base, config_size_used(machine->config), PAGE_CONFIG);
}

static void keep_symbols(struct machine *machine)
{
    const struct boot_info *info = &machine->boot;
    if (info->symtab_base == 0 || info->strtab_base == 0)
        return;
    keep(machine, info->symtab_base, info->symtab_size, PAGE_SYMBOLS);
    keep(machine, info->strtab_base, info->strtab_size, PAGE_SYMBOLS);
    machine->symbols = (struct symbols){phys_to_virt(HPA(info->symtab_base)), info->symtab_size,
                                        phys_to_virt(HPA(info->strtab_base)), info->strtab_size};
}

/* What is wrong with it; NULL: nothing. */
static const char *copy_boot_info(struct machine *machine, hpa_t address)
{
    /* The boot program's tables are still loaded: memory is where it is. */
    const struct boot_info *info = (const void *)(uintptr_t)address.v;
    if (info->magic != BOOT_INFO_MAGIC || info->size != sizeof(*info) ||
        info->config_size != sizeof(*machine->config))
        return "the boot program is of another version";
    if (info->memory_count > BOOT_MEMORY_MAX || info->file_count > BOOT_FILES_MAX ||
        info->cpu_count > BOOT_CPUS_MAX || info->cpu_count == 0)
        return "the boot program counts more than there is room for";
    memcpy(&machine->boot, info,
           offsetof(struct boot_info, file) + info->file_count * sizeof(info->file[0]));
    machine->config = (const void *)(uintptr_t)info->config_base;
    return NULL;
}

static const void *map_acpi(void *context, hpa_t address, uint64_t size)
{
    (void)context;
    return paging_map_table(address, size);
}

/* Ports need no mapping: from here on mistakes are visible. */
static void start_console(struct machine *machine, uint16_t console_port)
{
    if (console_port != 0 && host_uart_init(&machine->console, console_port) == STATUS_OK) {
        struct log_sink sink = host_uart_log_sink(&machine->console);
        machine->has_console = true;
        log_add_sink(&sink);
    }
}

static void start_screen(struct machine *machine)
{
    enum status status =
        framebuffer_init(&machine->framebuffer, &machine->boot.framebuffer, &machine->pages);
    if (status == STATUS_OK) {
        struct log_sink sink = framebuffer_log_sink(&machine->framebuffer);
        log_add_sink(&sink);
    } else if (status != ERR_NOT_FOUND) {
        log_warn("the framebuffer is not used: %s", status_text(status));
    }
}

static void start_devices(struct machine *machine)
{
    static const struct acpi_memory memory = {map_acpi, NULL};
    struct time_reference references[CLOCK_SOURCES_MAX];
    enum status status = acpi_read(&machine->acpi, machine->boot.rsdp, &memory);
    if (status == ERR_NOT_FOUND)
        log_info("the machine has no ACPI");
    else if (status != STATUS_OK)
        log_warn("the machine's ACPI tables are not used: %s", status_text(status));
    power_init(&machine->power, &machine->acpi);
    host_pic_disable();
    host_lapic_init(&machine->lapic);
    cpu_this()->apic_id = host_lapic_id(&machine->lapic);
    time_init(references, clock_sources_find(&machine->acpi, references));
    host_lapic_timer_init(&machine->lapic);
    host_ioapic_init(&machine->ioapic, &machine->acpi);
}

static void go_on(void *argument)
{
    struct start *start = argument;
    struct machine *machine = start->machine;
    void (*run)(struct machine *) = start->run;
    start->run = NULL; /* it goes away in the end */
    cpu_enter(cpu_by_index(0));
    keep_symbols(machine);
    machine->panic =
        (struct panic_ports){.symbols = &machine->symbols, .stop_others = smp_stop_others};
    panic_set_ports(&machine->panic);
    start_devices(machine);
    run(machine);
    panic("the monitor's main function returned");
}

void machine_start(struct machine *machine, hpa_t boot_info, void (*run)(struct machine *machine))
{
    static struct start start; /* on neither stack */
    uint64_t stack[CPU_STACKS];
    void *tables;
    machine->started = hw_rdtsc();
    cpu_early_init();
    TEST_HOOK(test_early());
    const char *wrong = copy_boot_info(machine, boot_info);
    start_console(machine, machine->config != NULL ? machine->config->console : PLATFORM_PORT_COM1);
    if (wrong != NULL)
        panic("%s", wrong);
    fill_owner_table(machine);
    paging_init(&machine->boot, &machine->pages);
    keep_configuration(machine);
    start_screen(machine);
    enum status status = paging_map_cpu(0, stack, &tables);
    if (status != STATUS_OK)
        panic("no memory for the first processor's stacks: %s", status_text(status));
    cpu_add(0, stack, PAGING_STACK_SIZE, tables);
    start = (struct start){machine, run};
    cpu_switch_stack(stack[CPU_STACK_KERNEL], go_on, &start);
}

/* Frees what is the boot program's, extent by extent. */
static void free_boot_program(struct machine *machine)
{
    struct page_extent extent;
    uint64_t freed = 0;
    for (unsigned i = 0; pages_extent(&machine->pages, i, &extent);) {
        if (extent.kind != PAGE_LOADER) {
            i++;
            continue;
        }
        enum status status = pages_free(&machine->pages, HPA(extent.base), extent.pages);
        if (status != STATUS_OK)
            panic("cannot free the boot program's memory: %s", status_text(status));
        freed += extent.pages;
        i = 0; /* neighbours may have merged */
    }
    log_debug("%lu KiB of the boot program or the start are free", freed * PAGE_SIZE / 1024);
}

void machine_free_start(struct machine *machine)
{
    hpa_t base;
    uint64_t size = paging_prepare_release(&base);
    keep(machine, base.v, size, PAGE_LOADER);
    free_boot_program(machine);
}

void machine_start_processors(struct machine *machine)
{
    struct smp_ports ports = host_lapic_smp_ports(&machine->lapic);
    unsigned online = 0;
    smp_start(&machine->boot, &ports);
    for (uint32_t i = 0; i < cpu_count(); i++)
        online += cpu_by_index(i)->online;
    log_info("%u of %u processors are up", online, machine->boot.cpu_count);
    free_boot_program(machine);
    enum status status = paging_check();
    if (status != STATUS_OK)
        panic("the monitor's page tables are not as they should be");
}

enum status machine_route_isa(struct machine *machine, uint8_t irq, irq_handler *handler,
                              void *argument)
{
    uint8_t vector;
    enum status status = irq != 0 ? irq_allocate(handler, argument, &vector) : ERR_NOT_FOUND;
    return status == STATUS_OK
               ? host_ioapic_route_isa(&machine->ioapic, irq, vector, cpu_by_index(0)->apic_id)
               : status;
}

void machine_set_panic(struct machine *machine, void (*last_exits)(void *context),
                       NORETURN void (*finish)(void *context), void *context)
{
    machine->panic.last_exits = last_exits;
    machine->panic.finish = finish;
    machine->panic.context = context;
    panic_set_ports(&machine->panic);
}
