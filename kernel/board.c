#include "kernel/board.h"

#include "kernel/core/cpu.h"
#include "kernel/core/msr.h"
#include "kernel/core/panic.h"
#include "kernel/vm/platform.h"

/* ---- The local APICs ---------------------------------------------------------------------- */

static void cpu_wake(void *context)
{
    struct board_cpu *cpu = context;
    vcpu_request(cpu->vcpu, VCPU_REQUEST_EVENT);
}

static void cpu_nmi_pin(void *context)
{
    struct board_cpu *cpu = context;
    vcpu_raise_nmi(cpu->vcpu);
}

/* INIT to a processor that runs alone is a reset of the machine, as a chipset makes of it. */
static void cpu_init_pin(void *context)
{
    struct board_cpu *cpu = context;
    vm_request_reset(cpu->vcpu->vm, VM_RESET);
}

/* Heeded only by a processor that waits for it, which the bootstrap processor never does. */
static void cpu_sipi(void *context, uint8_t vector)
{
    (void)context;
    (void)vector;
}

static uint8_t cpu_pic_acknowledge(void *context)
{
    struct board_cpu *cpu = context;
    return pic_acknowledge(&cpu->board->pic);
}

/* The xAPIC pages of all vCPUs may share one address, so the page finds its LAPIC by who asks. */
static struct lapic *asking_lapic(struct board *board)
{
    const struct vcpu *vcpu = cpu_this()->vcpu;
    return &board->cpu[vcpu->index].lapic;
}

static uint64_t page_read(void *board, uint64_t offset, unsigned size)
{
    return lapic_mmio_read(asking_lapic(board), offset, size);
}

static void page_write(void *board, uint64_t offset, unsigned size, uint64_t value)
{
    lapic_mmio_write(asking_lapic(board), offset, size, value);
}

static const struct bus_ops page_ops = {page_read, page_write};

/* The xAPIC page of the vCPU hides the RAM at its place. */
static void hide_ram(const struct board_cpu *cpu, bool runs)
{
    struct vm *vm = cpu->board->vm;
    struct guest_mem *mem = &vm->mem;
    uint64_t available;
    mem->hidden_end = 0;
    bool hides = cpu->has_page && guest_mem_span(mem, GPA(cpu->page), &available) != NULL;
    if (hides)
        mem->hidden_end = cpu->page + LAPIC_PAGE_SIZE;
    vm->hide(cpu->vcpu, hides ? cpu->page : UINT64_MAX, runs);
}

/* A page that cannot be where the guest wants it, since a device is there, is nowhere. */
static void place_page(struct board_cpu *cpu)
{
    struct bus *bus = &cpu->board->vm->bus;
    if (cpu->has_page)
        bus_remove(bus, BUS_MMIO, cpu->page, cpu->board);
    cpu->page = lapic_page(&cpu->lapic).v;
    cpu->has_page =
        lapic_has_page(&cpu->lapic) &&
        bus_add(bus, BUS_MMIO, cpu->page, LAPIC_PAGE_SIZE, &page_ops, cpu->board) == STATUS_OK;
}

static void cpu_base_changed(void *context, uint64_t old_base, uint64_t new_base)
{
    struct board_cpu *cpu = context;
    (void)old_base;
    place_page(cpu);
    cpuid_set_apic(&cpu->vcpu->cpuid, new_base & APIC_BASE_EN);
}

static const struct lapic_ops lapic_ops = {
    .wake = cpu_wake,
    .nmi = cpu_nmi_pin,
    .init = cpu_init_pin,
    .sipi = cpu_sipi,
    .base_changed = cpu_base_changed,
    .pic_acknowledge = cpu_pic_acknowledge,
};

static bool controller_has_interrupt(void *controller)
{
    return lapic_has_interrupt(&((struct board_cpu *)controller)->lapic);
}

static int controller_acknowledge(void *controller)
{
    return lapic_acknowledge(&((struct board_cpu *)controller)->lapic);
}

static uint64_t controller_read_cr8(void *controller)
{
    return lapic_read_cr8(&((struct board_cpu *)controller)->lapic);
}

static void controller_write_cr8(void *controller, uint64_t value)
{
    enum status status = lapic_write_cr8(&((struct board_cpu *)controller)->lapic, value);
    ASSERT(status == STATUS_OK); /* the back end has refused more than four bits */
}

static enum status controller_read_msr(void *controller, uint32_t msr, uint64_t *value)
{
    struct lapic *lapic = &((struct board_cpu *)controller)->lapic;
    if (msr == MSR_IA32_TSC_DEADLINE)
        return lapic_read_tsc_deadline(lapic, value);
    if (msr != MSR_IA32_APIC_BASE)
        return lapic_msr_read(lapic, msr, value);
    *value = lapic_read_base(lapic);
    return STATUS_OK;
}

/* Apart, so that a deadline, which Linux writes at every tick, does not pay for their registers. */
static __attribute__((noinline)) enum status write_register(struct board_cpu *cpu, uint32_t msr,
                                                            uint64_t value)
{
    if (msr != MSR_IA32_APIC_BASE)
        return lapic_msr_write(&cpu->lapic, msr, value);
    enum status status = lapic_write_base(&cpu->lapic, value);
    hide_ram(cpu, true);
    return status;
}

static enum status controller_write_msr(void *controller, uint32_t msr, uint64_t value)
{
    struct lapic *lapic = &((struct board_cpu *)controller)->lapic;
    return msr == MSR_IA32_TSC_DEADLINE ? lapic_write_tsc_deadline(lapic, value)
                                        : write_register(controller, msr, value);
}

static void controller_tsc_offset_changed(void *controller)
{
    lapic_tsc_offset_changed(&((struct board_cpu *)controller)->lapic);
}

const struct interrupt_controller_ops board_interrupt_controller = {
    .has_interrupt = controller_has_interrupt,
    .acknowledge = controller_acknowledge,
    .read_cr8 = controller_read_cr8,
    .write_cr8 = controller_write_cr8,
    .read_msr = controller_read_msr,
    .write_msr = controller_write_msr,
    .tsc_offset_changed = controller_tsc_offset_changed,
};

static INIT enum status init_cpu(struct board *board, uint32_t index,
                                 const struct board_config *config)
{
    struct board_cpu *cpu = &board->cpu[index];
    struct vcpu *vcpu = board->vm->vcpu[index];
    struct lapic_config lapic = {
        .apic_id = index,
        .is_bsp = index == 0,
        .x2apic = config->x2apic,
        .tsc_deadline = true,
        .physical_bits = config->physical_bits,
        .timer_hz = config->timer_hz,
        .clock = &board->vm->clock,
        .timers = &vcpu->timers,
        .tsc_offset = &vcpu->tsc_offset,
        .fabric = &board->fabric,
        .ops = &lapic_ops,
        .context = cpu,
    };
    cpu->vcpu = vcpu;
    cpu->board = board;
    vcpu->intc_ops = &board_interrupt_controller;
    vcpu->intc = cpu;
    lapic_init(&cpu->lapic, &lapic);
    if (index == 0)
        lapic_set_virtual_wire(&cpu->lapic);
    place_page(cpu);
    return apic_fabric_add(&board->fabric, &cpu->lapic);
}

/* ---- What the chipset does to the VM ------------------------------------------------------ */

static void power_off_vm(void *context)
{
    vm_stop(context, VM_POWEROFF, 0);
}

static void reset_vm(void *context)
{
    vm_request_reset(context, VM_RESET);
}

/* Address line 20 has always been on since processors stopped having the pin. */
static void ignore_a20(void *context, bool enabled)
{
    (void)context;
    (void)enabled;
}

/* ---- The serial port ---------------------------------------------------------------------- */

/* With the device lock: moves what was typed into the UART. */
static void feed_uart(void *context)
{
    struct board *board = context;
    uint8_t byte;
    while (uart_can_receive(&board->com1) && mux_take_input(board->terminal, &byte))
        if (!uart_receive(&board->com1, byte))
            return;
}

void board_terminal_ready(void *context)
{
    struct board *board = context;
    vcpu_request(board->vm->vcpu[0], VCPU_REQUEST_WORK);
}

/* ---- Construction ------------------------------------------------------------------------- */

static INIT enum status init_interrupts(struct board *board, const struct board_config *config)
{
    struct bus *bus = &board->vm->bus;
    irq_router_init(&board->router, &board->fabric, &board->pic, &board->ioapic);
    pic_init(&board->pic, irq_router_intr(&board->router));
    enum status status = pic_attach(&board->pic, bus);
    if (status == STATUS_OK)
        status = ioapic_init(&board->ioapic, &board->fabric, 0);
    if (status == STATUS_OK)
        status = ioapic_attach(&board->ioapic, bus, PLATFORM_IOAPIC);
    for (uint32_t i = 0; status == STATUS_OK && i < board->vm->vcpu_count; i++)
        status = init_cpu(board, i, config);
    return status;
}

static INIT enum status init_time(struct board *board, const struct board_config *config)
{
    struct vm *vm = board->vm;
    struct timer_queue *timers = &vm->vcpu[0]->timers;
    struct irq_line timer = irq_router_line(&board->router, PLATFORM_IRQ_TIMER);
    struct rtc_config rtc = {
        .irq = irq_router_line(&board->router, PLATFORM_IRQ_RTC),
        .clock = &vm->clock,
        .timers = timers,
        .wall_seconds = config->wall_seconds,
        .memory_bytes = config->vm->memory,
    };
    pit_init(&board->pit, &timer, &vm->clock, timers);
    rtc_init(&board->rtc, &rtc);
    enum status status = pit_attach(&board->pit, &vm->bus);
    return status == STATUS_OK ? rtc_attach(&board->rtc, &vm->bus) : status;
}

static INIT enum status init_power(struct board *board)
{
    struct vm *vm = board->vm;
    struct acpi_pm_config pm = {
        .sci = irq_router_line(&board->router, PLATFORM_IRQ_SCI),
        .clock = &vm->clock,
        .timers = &vm->vcpu[0]->timers,
        .timer_32bit = true,
        .power_off = power_off_vm,
        .reset = reset_vm,
        .context = vm,
    };
    struct i8042_config i8042 = {
        .keyboard_irq = irq_router_line(&board->router, PLATFORM_IRQ_KEYBOARD),
        .aux_irq = irq_router_line(&board->router, PLATFORM_IRQ_MOUSE),
        .reset = reset_vm,
        .set_a20 = ignore_a20,
        .context = vm,
    };
    acpi_pm_init(&board->pm, &pm);
    i8042_init(&board->i8042, &i8042);
    enum status status = acpi_pm_attach(&board->pm, &vm->bus);
    return status == STATUS_OK ? i8042_attach(&board->i8042, &vm->bus) : status;
}

static INIT enum status init_serial(struct board *board)
{
    struct vm *vm = board->vm;
    struct uart_config uart = {
        .irq = irq_router_line(&board->router, PLATFORM_IRQ_COM1),
        .sink = board->said,
        .rx_room = feed_uart,
        .rx_context = board,
        .clock = &vm->clock,
        .timers = &vm->vcpu[0]->timers,
    };
    uart_init(&board->com1, &uart);
    return uart_attach(&board->com1, &vm->bus, PLATFORM_PORT_COM1);
}

static INIT enum status init_pci(struct board *board, const struct board_config *config)
{
    struct pci_bus_config pci = {
        .bus = &board->vm->bus,
        .mem = &board->vm->mem,
        .window_base = PLATFORM_PCI_MMIO,
        .window_size = PLATFORM_PCI_MMIO_SIZE,
        .ecam_base = PLATFORM_ECAM,
        .ecam_size = PLATFORM_ECAM_SIZE,
        .reset_control_ops = &reset_control_ops,
        .reset_control = &board->pm,
    };
    for (unsigned i = 0; i < PLATFORM_PCI_GSI_COUNT; i++)
        pci.intx[i] = irq_router_line(&board->router, PLATFORM_PCI_GSI_FIRST + i);
    bool is_pc = config->vm->firmware[0] != '\0';
    if (is_pc) {
        pci.decode_base = PLATFORM_PCI_LOW;
        pci.decode_size = BIT(config->physical_bits) - PLATFORM_PCI_LOW;
    }
    enum status status = pci_bus_init(&board->pci, &pci);
    if (status == STATUS_OK && is_pc)
        status = pc_chipset_init(&board->chipset, &board->pci, &board->pm);
    if (status == STATUS_OK && is_pc)
        status = flash_attach(&board->flash, &board->vm->bus, &board->vm->mem,
                              board->vm->mem.rom_base, board->vm->mem.rom_size, config->flash_size);
    return status;
}

static INIT struct virtio_pci_config slot_config(struct board *board, unsigned slot)
{
    return (struct virtio_pci_config){
        .bus = &board->pci,
        .slot = slot,
        .mem = &board->vm->mem,
        .msi = {apic_fabric_send_msi, &board->fabric},
        .log = &board->vm->log,
        .more_work = vm_ask_for_work,
        .context = board->vm,
    };
}

static INIT enum status init_rng(struct board *board, const struct board_config *config)
{
    struct virtio_pci_config pci =
        slot_config(board, config->vm->firmware[0] != '\0' ? BOARD_SLOT_RNG_PC : BOARD_SLOT_RNG);
    if (config->entropy.fill == NULL)
        return STATUS_OK;
    board->has_rng = true;
    return virtio_rng_init(&board->rng, &pci, &config->entropy);
}

/* Takes everything: what finds the loop full is dropped, as a real line would. */
static size_t write_loop(void *context, const uint8_t *bytes, size_t n)
{
    struct board_loop *loop = context;
    size_t taken = byte_stream_write(&loop->stream, bytes, n);
    if (taken < n && !loop->is_lossy)
        log_guest(&loop->board->vm->log, "an hvc's loop is full: from here on bytes are dropped");
    loop->is_lossy = loop->is_lossy || taken < n;
    return n;
}

static void loop_writable(void *context)
{
    struct board_loop *loop = context;
    byte_stream_writable(&loop->stream);
}

void board_connect_loop(struct board *board, unsigned port, uint8_t *ring)
{
    struct board_loop *loop = &board->loop[port];
    loop->board = board;
    loopback_init(&loop->loopback, ring, BOARD_LOOP_SIZE);
    loop->stream = loopback_connect(&loop->loopback, virtio_console_stream(&board->console, port));
    virtio_console_connect(&board->console, port,
                           (struct byte_stream){write_loop, loop_writable, loop});
}

static INIT enum status init_console(struct board *board, const struct board_config *config)
{
    const struct config_vm *vm = config->vm;
    struct virtio_console_port_config port[CONFIG_HVCS_MAX] = {0};
    struct virtio_console_config console = {
        .pci = slot_config(board, BOARD_SLOT_CONSOLE), .ports = vm->hvc_count, .port = port};
    for (unsigned i = 0; i < vm->hvc_count; i++) {
        port[i].is_console = true;
        port[i].peer = config->hvc[i];
    }
    if (vm->hvc_count == 0)
        return STATUS_OK;
    enum status status = virtio_console_init(&board->console, &console);
    board->has_console = status == STATUS_OK;
    for (unsigned i = 0; board->has_console && i < vm->hvc_count; i++)
        if (vm->hvc[i].loop)
            board_connect_loop(board, i, config->loop_ring[i]);
    return status;
}

static INIT enum status init_disk(struct board *board, unsigned index,
                                  const struct board_config *config)
{
    struct board_disk *disk = &board->disk[index];
    const struct config_disk *file = &config->vm->disk[index];
    struct virtio_blk_config blk = {
        .pci = slot_config(board, BOARD_SLOT_DISKS + index),
        .serial = file->file,
        .offers_discard = !file->read_only,
    };
    enum status status = block_memory_init(&disk->memory, &blk.backend, config->disk[index],
                                           config->disk_size[index], file->read_only);
    if (blk.backend.sectors == 0) {
        log_error("%s:%u: %s: disk %s holds not even one sector of 512 bytes; use a larger image",
                  config->config_name, file->line, board->vm->name, file->file);
        return ERR_INVALID;
    }
    if (status != STATUS_OK)
        log_warn("%s:%u: %s: disk %s: its size, %llu bytes, is no multiple of 512; the rest is "
                 "left out",
                 config->config_name, file->line, board->vm->name, file->file,
                 (unsigned long long)config->disk_size[index]);
    return virtio_blk_init(&disk->blk, &blk);
}

static INIT enum status init_disks(struct board *board, const struct board_config *config)
{
    enum status status = STATUS_OK;
    for (unsigned i = 0; status == STATUS_OK && i < config->vm->disk_count; i++) {
        status = init_disk(board, i, config);
        board->disks = i + 1;
    }
    return status;
}

static INIT enum status init_serial_and_power(struct board *board,
                                              const struct board_config *config, const char **what)
{
    *what = "power management and keyboard controller";
    enum status status = init_power(board);
    if (status != STATUS_OK)
        return status;
    *what = "serial port";
    status = init_serial(board);
    if (status != STATUS_OK)
        return status;
    return board_qemu_init(board, config, what);
}

static INIT enum status init_pci_devices(struct board *board, const struct board_config *config,
                                         const char **what)
{
    *what = "PCI host bridge";
    enum status status = init_pci(board, config);
    if (status != STATUS_OK)
        return status;
    *what = "virtio entropy device";
    status = init_rng(board, config);
    if (status != STATUS_OK)
        return status;
    *what = "virtio console";
    status = init_console(board, config);
    if (status != STATUS_OK)
        return status;
    *what = "virtio disk";
    return init_disks(board, config);
}

INIT enum status board_init(struct board *board, struct vm *vm, struct mux_guest *terminal,
                            const struct board_config *config, const char **what)
{
    board->vm = vm;
    board->terminal = terminal;
    board->said = config->said;
    *what = "interrupt controllers";
    enum status status = init_interrupts(board, config);
    if (status != STATUS_OK)
        return status;
    *what = "timers";
    status = init_time(board, config);
    if (status == STATUS_OK)
        status = init_serial_and_power(board, config, what);
    if (status == STATUS_OK)
        status = init_pci_devices(board, config, what);
    return status;
}

void board_reset(struct board *board)
{
    pci_bus_reset(&board->pci);
    for (unsigned i = 0; i < CONFIG_HVCS_MAX; i++)
        loopback_reset(&board->loop[i].loopback);
    pit_reset(&board->pit);
    rtc_reset(&board->rtc);
    acpi_pm_reset(&board->pm);
    i8042_reset(&board->i8042);
    uart_reset(&board->com1);
    board_qemu_reset(&board->qemu);
    flash_reset(&board->flash);
    pic_reset(&board->pic);
    ioapic_reset(&board->ioapic);
    for (uint32_t i = 0; i < board->vm->vcpu_count; i++) {
        lapic_reset(&board->cpu[i].lapic);
        place_page(&board->cpu[i]);
        hide_ram(&board->cpu[i], false);
    }
    lapic_set_virtual_wire(&board->cpu[0].lapic);
}

void board_continue(void *context)
{
    struct board *board = context;
    uart_sink_ready(&board->com1);
    feed_uart(board);
    fw_cfg_continue(&board->qemu.fw_cfg);
    if (board->has_rng)
        virtio_pci_continue(&board->rng.pci);
    if (board->has_console)
        virtio_pci_continue(&board->console.pci);
    for (unsigned i = 0; i < board->disks; i++)
        virtio_pci_continue(&board->disk[i].blk.pci);
}
