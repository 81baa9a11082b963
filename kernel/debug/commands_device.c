/* Commands for the devices of a guest, which are looked at with its lock held, so that no access of
 * the guest comes between. Nothing here changes them. */
#include "kernel/core/mem.h"
#include "kernel/debug/debugger.h"

/* ---- pci ---- */

static uint32_t config_of(const struct pci_function *function, unsigned offset, unsigned size)
{
    uint32_t value = 0;
    memcpy(&value, function->config + offset, size);
    return value;
}

static void show_bars(struct shell *shell, const struct pci_function *function)
{
    for (unsigned i = 0; i < PCI_BARS; i++) {
        const struct pci_bar *bar = &function->bar[i];
        if (bar->size != 0)
            shell_print(shell, "        BAR %u: %s bits, 0x%lx-0x%lx%s\n", i,
                        bar->is_64 ? "64" : "32", pci_function_bar_address(function, i),
                        pci_function_bar_address(function, i) + bar->size - 1,
                        bar->is_decoded ? "" : ", not decoded");
    }
}

static void show_msix(struct shell *shell, const struct pci_msix *msix)
{
    shell_print(shell, "        MSI-X: %s%s, pending 0x%lx\n", msix->enabled ? "on" : "off",
                msix->function_masked ? ", masked" : "", msix->pending);
    for (unsigned i = 0; msix->enabled && i < msix->vectors && i < PCI_MSIX_VECTORS; i++) {
        const struct pci_msix_entry *entry = &msix->entry[i];
        if (entry->address != 0)
            shell_print(shell, "          %2u: address 0x%lx data 0x%x%s\n", i, entry->address,
                        entry->data, (entry->control & 1) != 0 ? ", masked" : "");
    }
}

static void show_function(struct shell *shell, const struct pci_function *function)
{
    uint16_t command = pci_function_command(function);
    shell_print(shell, "00:%02x.%u  %04x:%04x  class %06x  %s%s%s%s\n", function->slot,
                function->number, config_of(function, PCI_VENDOR_ID, 2),
                config_of(function, PCI_DEVICE_ID, 2), config_of(function, PCI_CLASS_CODE, 3),
                (command & PCI_COMMAND_MEMORY) != 0 ? "mem " : "",
                (command & PCI_COMMAND_MASTER) != 0 ? "master " : "",
                (command & PCI_COMMAND_INTX_DISABLE) != 0 ? "intx-off " : "",
                function->intx ? "intx-asserted" : "");
    show_bars(shell, function);
    if (function->msix.vectors != 0)
        show_msix(shell, &function->msix);
}

static void run_pci(struct shell *shell, unsigned count, char *const argument[])
{
    struct guest *guest = debug_guest(shell, count, argument, 1);
    if (guest == NULL)
        return;
    const struct pci_bus *pci = &guest->board.pci;
    spinlock_acquire(&guest->vm.lock);
    show_function(shell, &pci->bridge);
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++)
        for (const struct pci_function *function = pci->function[slot]; function != NULL;
             function = function->next)
            if (function != &pci->bridge)
                show_function(shell, function);
    spinlock_release(&guest->vm.lock);
}

/* ---- virtio ---- */

/* In the order in which they are set. Virtio: Device Status Field. */
static const struct {
    uint8_t bit;
    const char *name;
} status_bits[] = {
    {VIRTIO_STATUS_ACKNOWLEDGE, " ACKNOWLEDGE"}, {VIRTIO_STATUS_DRIVER, " DRIVER"},
    {VIRTIO_STATUS_FEATURES_OK, " FEATURES_OK"}, {VIRTIO_STATUS_DRIVER_OK, " DRIVER_OK"},
    {VIRTIO_STATUS_NEEDS_RESET, " NEEDS_RESET"}, {VIRTIO_STATUS_FAILED, " FAILED"}};

static void show_queue(struct shell *shell, const struct virtio_pci *virtio, unsigned index)
{
    const struct virtqueue *queue = &virtio->queue[index];
    if (!queue->enabled)
        return;
    shell_print(shell,
                "  queue %2u: size %u, taken %u, given back %u, in work %u%s; rings 0x%lx 0x%lx "
                "0x%lx",
                index, queue->size, queue->last_avail, queue->used,
                (uint16_t)(queue->last_avail - queue->used),
                (virtio->unfinished >> index & 1) != 0 ? ", has work left" : "", queue->descriptors,
                queue->driver, queue->device);
    if (virtio->queue_vector[index] != VIRTIO_NO_VECTOR)
        shell_print(shell, ", MSI-X vector %u", virtio->queue_vector[index]);
    shell_print(shell, "\n");
}

static void show_virtio(struct shell *shell, const struct virtio_pci *virtio)
{
    shell_print(shell, "%s at 00:%02x.%u: status 0x%02x", virtio->offer.type->name,
                virtio->function.slot, virtio->function.number, virtio->status);
    for (unsigned i = 0; i < ARRAY_SIZE(status_bits); i++)
        if ((virtio->status & status_bits[i].bit) != 0)
            shell_print(shell, "%s", status_bits[i].name);
    shell_print(shell, "\n  features: offered 0x%lx, driver 0x%lx; isr 0x%x, generation %u\n",
                virtio->features, virtio->driver_features, virtio->isr, virtio->generation);
    for (unsigned i = 0; i < virtio->offer.queues && i < VIRTIO_QUEUES_MAX; i++)
        show_queue(shell, virtio, i);
}

static void run_virtio(struct shell *shell, unsigned count, char *const argument[])
{
    struct guest *guest = debug_guest(shell, count, argument, 1);
    if (guest == NULL)
        return;
    const struct board *board = &guest->board;
    spinlock_acquire(&guest->vm.lock);
    if (board->has_rng)
        show_virtio(shell, &board->rng.pci);
    if (board->has_console)
        show_virtio(shell, &board->console.pci);
    for (unsigned i = 0; i < board->disks; i++)
        show_virtio(shell, &board->disk[i].blk.pci);
    spinlock_release(&guest->vm.lock);
    if (shell->used == 0)
        shell_print(shell, "%s has no virtio device\n", guest->vm.name);
}

/* ---- irq ---- */

static const char *const delivery_modes[] = {"fixed", "lowest", "smi",     "reserved",
                                             "nmi",   "init",   "startup", "extint"};

/* The vectors of a register of 256 bits. */
static void show_vectors(struct shell *shell, const char *name, const uint64_t word[4])
{
    shell_print(shell, "  %s:", name);
    bool has_any = false;
    for (unsigned vector = 0; vector < 256; vector++) {
        if ((word[vector / 64] >> (vector % 64) & 1) != 0) {
            shell_print(shell, " %02x", vector);
            has_any = true;
        }
    }
    shell_print(shell, has_any ? "\n" : " none\n");
}

static void show_lvt(struct shell *shell, const struct lapic *lapic)
{
    static const char *const names[LVT_COUNT] = {"timer", "thermal", "perf", "lint0",
                                                 "lint1", "error",   "cmci"};
    for (unsigned i = 0; i < LVT_COUNT; i++) {
        uint32_t lvt = lapic->lvt[i];
        if (i == LVT_CMCI && !lapic->config.cmci)
            continue;
        shell_print(shell, "  lvt %-8s 0x%05x  vector %02x %s%s\n", names[i], lvt, lvt & 0xff,
                    i == LVT_TIMER ? "" : delivery_modes[lvt >> 8 & 7],
                    (lvt & BIT(16)) != 0 ? " masked" : "");
    }
}

static void show_lapic(struct shell *shell, const struct lapic *lapic)
{
    static const char *const modes[] = {"one-shot", "periodic", "TSC-deadline", "reserved"};
    const struct lapic_timer *timer = &lapic->timer;
    shell_print(shell, "local APIC %u: %s at 0x%lx, %s\n", lapic->config.apic_id,
                !lapic_is_enabled(lapic) ? "off"
                : lapic_is_x2apic(lapic) ? "x2APIC"
                                         : "xAPIC",
                align_down(lapic->base & MASK(51, 0), LAPIC_PAGE_SIZE),
                lapic_is_software_enabled(lapic) ? "enabled" : "disabled by software");
    shell_print(shell, "  tpr %02x ppr %02x svr %03x ldr %08x dfr %08x esr %x icr %016lx%s\n",
                lapic->tpr, lapic->ppr, lapic->svr, lapic->ldr, lapic->dfr, lapic->esr, lapic->icr,
                lapic->pending ? ", an interrupt is pending" : "");
    show_vectors(shell, "irr", lapic->irr);
    show_vectors(shell, "isr", lapic->isr);
    show_vectors(shell, "tmr", lapic->tmr);
    show_lvt(shell, lapic);
    shell_print(shell, "  timer: %s, %s, initial count %u, divide %x, deadline 0x%lx\n",
                modes[lapic->lvt[LVT_TIMER] >> 17 & 3], timer->running ? "running" : "stopped",
                timer->initial, timer->divide, timer->deadline);
}

static void show_ioapic(struct shell *shell, const struct ioapic *ioapic)
{
    shell_print(shell, "I/O APIC: id %u, asserted pins 0x%06x\n", ioapic->id >> 24, ioapic->lines);
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t entry = ioapic->redirection[pin];
        if ((entry & BIT(16)) != 0 && (ioapic->lines >> pin & 1) == 0)
            continue;
        shell_print(
            shell, "  pin %2u: %016lx  vector %02x %s to %s %02x, %s, active %s%s%s\n", pin, entry,
            (unsigned)(entry & 0xff), delivery_modes[entry >> 8 & 7],
            (entry & BIT(11)) != 0 ? "logical" : "physical", (unsigned)(entry >> 56),
            (entry & BIT(15)) != 0 ? "level" : "edge", (entry & BIT(13)) != 0 ? "low" : "high",
            (entry & BIT(14)) != 0 ? ", remote IRR" : "", (entry & BIT(16)) != 0 ? ", masked" : "");
    }
}

static void show_pic(struct shell *shell, const struct pic *pic)
{
    for (unsigned i = 0; i < ARRAY_SIZE(pic->chip); i++) {
        const struct pic_chip *chip = &pic->chip[i];
        shell_print(shell,
                    "PIC %s: irr %02x imr %02x isr %02x, inputs %02x, level %02x, vectors from "
                    "%02x%s\n",
                    i == 0 ? "master" : "slave", chip->irr, chip->imr, chip->isr, chip->lines,
                    chip->elcr, chip->base, i == 0 && pic->output_level ? ", INTR asserted" : "");
    }
}

static void run_irq(struct shell *shell, unsigned count, char *const argument[])
{
    struct guest *guest = debug_guest(shell, count, argument, 1);
    if (guest == NULL)
        return;
    spinlock_acquire(&guest->vm.lock);
    for (uint32_t i = 0; i < guest->vm.vcpu_count; i++)
        show_lapic(shell, &guest->board.cpu[i].lapic);
    show_ioapic(shell, &guest->board.ioapic);
    show_pic(shell, &guest->board.pic);
    spinlock_release(&guest->vm.lock);
}

const struct shell_command commands_device[] = {
    {"pci", "[NAME]", "show a guest's PCI functions", "", run_pci, debug_complete_guests, 0, 1, 0},
    {"virtio", "[NAME]", "show a guest's virtio devices and their queues",
     "What a queue has taken and given back are counts of buffers, modulo 65536.\n", run_virtio,
     debug_complete_guests, 0, 1, 0},
    {"irq", "[NAME]", "show a guest's local APIC, I/O APIC and PICs",
     "Of the I/O APIC, the pins that are not masked, or asserted.\n", run_irq,
     debug_complete_guests, 0, 1, 0},
    {NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0},
};
