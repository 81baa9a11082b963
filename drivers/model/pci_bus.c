#include "drivers/model/pci_bus.h"

#include "kernel/core/mem.h"

#define ADDRESS_ENABLE BIT(31)
#define ADDRESS_WRITABLE (MASK(31, 31) | MASK(23, 2))
#define ABSENT 0xffffffffu

/* A host bridge that no operating system has a special driver or workaround for. */
#define BRIDGE_VENDOR 0x1b36
#define BRIDGE_DEVICE 0x0008
#define BRIDGE_CLASS 0x060000

static struct pci_function *find(const struct pci_bus *pci, unsigned bdf)
{
    struct pci_function *function = pci->function[bdf >> 3 & (PCI_SLOTS - 1)];
    while (function != NULL && function->number != (bdf & 7))
        function = function->next;
    return bdf >> 8 == 0 ? function : NULL;
}

uint32_t pci_bus_config_read(struct pci_bus *pci, unsigned bdf, unsigned offset, unsigned size)
{
    struct pci_function *function = find(pci, bdf);
    return function != NULL ? pci_function_read(function, offset, size)
                            : ABSENT & (uint32_t)bits_size_mask(size);
}

void pci_bus_config_write(struct pci_bus *pci, unsigned bdf, unsigned offset, unsigned size,
                          uint32_t value)
{
    struct pci_function *function = find(pci, bdf);
    if (function != NULL)
        pci_function_write(function, offset, size, value);
}

/* ---- Configuration mechanism #1 ---- */

static bool is_reset_control(const struct pci_bus *pci, uint64_t offset, unsigned size)
{
    return offset == PLATFORM_PORT_RESET_CONTROL - PLATFORM_PORT_PCI_ADDRESS && size == 1 &&
           pci->config.reset_control_ops != NULL;
}

static uint64_t address_read(void *device, uint64_t offset, unsigned size)
{
    struct pci_bus *pci = device;
    if (size == 4)
        return pci->address;
    if (is_reset_control(pci, offset, size))
        return pci->config.reset_control_ops->read(pci->config.reset_control, 0, 1);
    return ABSENT;
}

static void address_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct pci_bus *pci = device;
    if (size == 4)
        pci->address = (uint32_t)value & ADDRESS_WRITABLE;
    else if (is_reset_control(pci, offset, size))
        pci->config.reset_control_ops->write(pci->config.reset_control, 0, 1, value);
}

static uint64_t data_read(void *device, uint64_t offset, unsigned size)
{
    struct pci_bus *pci = device;
    if ((pci->address & ADDRESS_ENABLE) == 0)
        return ABSENT;
    return pci_bus_config_read(pci, (unsigned)bits_get(pci->address, 23, 8),
                               (unsigned)((pci->address & 0xfc) + offset), size);
}

static void data_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct pci_bus *pci = device;
    if ((pci->address & ADDRESS_ENABLE) != 0)
        pci_bus_config_write(pci, (unsigned)bits_get(pci->address, 23, 8),
                             (unsigned)((pci->address & 0xfc) + offset), size, (uint32_t)value);
}

static const struct bus_ops address_ops = {address_read, address_write};
static const struct bus_ops data_ops = {data_read, data_write};

/* ---- ECAM ---- */

/* Quadwords are two doublewords, and what crosses into the next function goes byte by byte. */
static unsigned ecam_piece(uint64_t offset, unsigned size)
{
    if (offset % PCI_CONFIG_SPACE + size > PCI_CONFIG_SPACE)
        return 1;
    return size > 4 ? 4 : size;
}

static uint64_t ecam_read(void *device, uint64_t offset, unsigned size)
{
    uint64_t value = 0;
    unsigned piece = ecam_piece(offset, size);
    for (unsigned done = 0; done < size; done += piece, offset += piece)
        value |= (uint64_t)pci_bus_config_read(device, (unsigned)(offset / PCI_CONFIG_SPACE),
                                               offset % PCI_CONFIG_SPACE, piece)
                 << (8 * done);
    return value;
}

static void ecam_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    unsigned piece = ecam_piece(offset, size);
    for (unsigned done = 0; done < size; done += piece, offset += piece)
        pci_bus_config_write(device, (unsigned)(offset / PCI_CONFIG_SPACE),
                             offset % PCI_CONFIG_SPACE, piece,
                             (uint32_t)(value >> (8 * done) & bits_size_mask(piece)));
}

static const struct bus_ops ecam_ops = {ecam_read, ecam_write};

/* ---- Decoding ---- */

static bool overlaps_ram(const struct guest_mem *mem, uint64_t base, uint64_t last)
{
#ifdef PLANTED_BUG_PCI_BUS /* for the fuzzer's own test */
    return guest_mem_span(mem, GPA(base), &last) != NULL;
#endif
    for (unsigned i = 0; i < mem->count; i++) {
        uint64_t ram = mem->region[i].base.v;
        if (base <= ram + mem->region[i].size - 1 && ram <= last)
            return true;
    }
    return false;
}

/* Whether a BAR at address may be decoded; base and size are powers of two apart, so nothing in
 * the window wraps. */
static bool is_allowed(const struct pci_bus *pci, uint64_t address, uint64_t size)
{
    uint64_t offset = address - pci->config.decode_base;
    return address >= pci->config.decode_base && size <= pci->config.decode_size &&
           offset <= pci->config.decode_size - size &&
           !overlaps_ram(pci->config.mem, address, address + size - 1);
}

static bool is_wanted(const struct pci_bus *pci, const struct pci_function *function,
                      unsigned index)
{
    return (pci_function_command(function) & PCI_COMMAND_MEMORY) != 0 &&
           is_allowed(pci, pci_function_bar_address(function, index), function->bar[index].size);
}

static void undecode(struct pci_bus *pci, struct pci_function *function, unsigned index)
{
    struct pci_bar *bar = &function->bar[index];
    bool stays = is_wanted(pci, function, index) &&
                 pci_function_bar_address(function, index) == bar->decoded;
    if (!bar->is_decoded || stays)
        return;
    bus_remove(pci->config.bus, BUS_MMIO, bar->decoded, bar->device);
    bar->is_decoded = false;
}

static void decode(struct pci_bus *pci, struct pci_function *function, unsigned index)
{
    struct pci_bar *bar = &function->bar[index];
    if (bar->is_decoded || !is_wanted(pci, function, index))
        return;
    bar->decoded = pci_function_bar_address(function, index);
    bar->is_decoded = bus_add(pci->config.bus, BUS_MMIO, bar->decoded, bar->size, bar->ops,
                              bar->device) == STATUS_OK;
}

static void for_each_bar(struct pci_bus *pci,
                         void (*act)(struct pci_bus *, struct pci_function *, unsigned))
{
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++)
        for (unsigned i = 0; pci->function[slot] != NULL && i < PCI_BARS; i++)
            if (pci->function[slot]->bar[i].size != 0)
                act(pci, pci->function[slot], i);
}

/* First everything that moved away, then everything that waits for a free place: two BARs may swap
 * their addresses in any order of writes. */
void pci_bus_update_decoding(struct pci_bus *pci)
{
    for_each_bar(pci, undecode);
    for_each_bar(pci, decode);
}

/* ---- Interrupts ---- */

void pci_bus_set_intx(struct pci_bus *pci, unsigned slot, bool level)
{
    unsigned wire = pci_bus_intx_wire(slot, 0);
    uint32_t before = pci->asserted[wire], bit = (uint32_t)BIT(slot);
    uint32_t after = level ? before | bit : before & ~bit;
    pci->asserted[wire] = after;
    if ((before != 0) != (after != 0))
        irq_line_set(&pci->config.intx[wire], after != 0);
}

/* ---- Construction ---- */

static const struct pci_function_ops bridge_ops = {0};

static INIT void init_bridge(struct pci_bus *pci)
{
    static const struct pci_identity identity = {.vendor = BRIDGE_VENDOR,
                                                 .device = BRIDGE_DEVICE,
                                                 .subsystem_vendor = BRIDGE_VENDOR,
                                                 .subsystem = BRIDGE_DEVICE,
                                                 .class_code = BRIDGE_CLASS};
    pci_function_init(&pci->bridge, &identity, &bridge_ops);
    pci->bridge.bus = pci;
    pci->bridge.config[PCI_COMMAND] = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
    memcpy(pci->bridge.initial, pci->bridge.config, sizeof(pci->bridge.initial));
    pci->function[0] = &pci->bridge;
}

INIT enum status pci_bus_init(struct pci_bus *pci, const struct pci_bus_config *config)
{
    *pci = (struct pci_bus){.config = *config, .next_address = config->window_base};
    if (config->window_size == 0 ||
        config->window_base + config->window_size - 1 < config->window_base)
        return ERR_INVALID;
    if (config->decode_size == 0) {
        pci->config.decode_base = config->window_base;
        pci->config.decode_size = config->window_size;
    }
    init_bridge(pci);
    enum status status =
        bus_add(config->bus, BUS_PORT, PLATFORM_PORT_PCI_ADDRESS, 4, &address_ops, pci);
    if (status == STATUS_OK)
        status = bus_add(config->bus, BUS_PORT, PLATFORM_PORT_PCI_DATA, 4, &data_ops, pci);
    if (status == STATUS_OK)
        status =
            bus_add(config->bus, BUS_MMIO, config->ecam_base, config->ecam_size, &ecam_ops, pci);
    return status;
}

/* Addresses rise from the window's base, each BAR aligned to its size. */
static INIT enum status assign_bar(struct pci_bus *pci, struct pci_function *function,
                                   unsigned index)
{
    struct pci_bar *bar = &function->bar[index];
    uint64_t end = pci->config.window_base + pci->config.window_size;
    uint64_t address = align_up(pci->next_address, bar->size);
    if (bar->size > pci->config.window_size || address > end - bar->size)
        return ERR_NO_SPACE;
    uint32_t low = (uint32_t)address, high = (uint32_t)(address >> 32);
    if (!bar->is_64 && high != 0)
        return ERR_NO_SPACE;
    function->config[PCI_BAR(index)] |= (uint8_t)low;
    memcpy(function->config + PCI_BAR(index) + 1, (uint8_t *)&low + 1, 3);
    if (bar->is_64)
        memcpy(function->config + PCI_BAR(index + 1), &high, 4);
    bar->initial = address;
    pci->next_address = address + bar->size;
    return STATUS_OK;
}

INIT enum status pci_bus_add(struct pci_bus *pci, unsigned slot, struct pci_function *function)
{
    if (slot >= PCI_SLOTS)
        return ERR_RANGE;
    if (pci->function[slot] != NULL)
        return ERR_EXISTS;
    for (unsigned i = 0; i < PCI_BARS; i++) {
        enum status status = function->bar[i].size != 0 ? assign_bar(pci, function, i) : STATUS_OK;
        if (status != STATUS_OK)
            return status;
    }
    function->bus = pci;
    function->slot = slot;
    function->config[PCI_COMMAND] |= PCI_COMMAND_MEMORY;
    if (function->config[PCI_INTERRUPT_PIN] != 0)
        function->config[PCI_INTERRUPT_LINE] =
            (uint8_t)(PLATFORM_PCI_GSI_FIRST + pci_bus_intx_wire(slot, 0));
    memcpy(function->initial, function->config, sizeof(function->initial));
    pci->function[slot] = function;
    pci_bus_update_decoding(pci);
    for (unsigned i = 0; i < PCI_BARS; i++)
        if (function->bar[i].size != 0 && !function->bar[i].is_decoded)
            return ERR_NO_SPACE;
    return STATUS_OK;
}

void pci_bus_add_function(struct pci_bus *pci, struct pci_function *first, unsigned number,
                          struct pci_function *function)
{
    first->config[PCI_HEADER_TYPE] |= PCI_HEADER_MULTI_FUNCTION;
    first->initial[PCI_HEADER_TYPE] |= PCI_HEADER_MULTI_FUNCTION;
    function->bus = pci;
    function->slot = first->slot;
    function->number = number;
    memcpy(function->initial, function->config, sizeof(function->initial));
    while (first->next != NULL)
        first = first->next;
    first->next = function;
}

void pci_bus_reset(struct pci_bus *pci)
{
    pci->address = 0;
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++)
        for (struct pci_function *each = pci->function[slot]; each != NULL; each = each->next)
            pci_function_reset(each);
    pci_bus_update_decoding(pci);
}
