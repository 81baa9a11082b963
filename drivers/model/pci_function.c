#include "drivers/model/pci_function.h"

#include "drivers/model/pci_bus.h"
#include "kernel/core/mem.h"
#include "kernel/core/panic.h"

static INIT void put(uint8_t *at, uint32_t value, unsigned size)
{
    memcpy(at, &value, size);
}

static uint32_t get(const uint8_t *at, unsigned size)
{
    uint32_t value = 0;
    memcpy(&value, at, size);
    return value;
}

INIT void pci_function_init(struct pci_function *function, const struct pci_identity *identity,
                            const struct pci_function_ops *ops)
{
    *function = (struct pci_function){.ops = ops, .capability_end = PCI_FIRST_CAPABILITY};
    function->capability_link = PCI_CAPABILITIES;
    uint8_t *config = function->config;
    put(config + PCI_VENDOR_ID, identity->vendor, 2);
    put(config + PCI_DEVICE_ID, identity->device, 2);
    put(config + PCI_REVISION_ID, identity->revision, 1);
    put(config + PCI_CLASS_CODE, identity->class_code, 3);
    put(config + PCI_SUBSYSTEM_VENDOR_ID, identity->subsystem_vendor, 2);
    put(config + PCI_SUBSYSTEM_ID, identity->subsystem, 2);
    put(function->writable + PCI_COMMAND,
        PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR, 2);
    put(function->writable + PCI_INTERRUPT_LINE, 0xff, 1);
}

INIT void pci_function_use_intx(struct pci_function *function)
{
    function->config[PCI_INTERRUPT_PIN] = 1;
    function->writable[PCI_COMMAND + 1] |= PCI_COMMAND_INTX_DISABLE >> 8;
}

INIT void pci_function_set_bar(struct pci_function *function, unsigned index, uint64_t size,
                               bool is_64, const struct bus_ops *ops, void *device)
{
    ASSERT(index + is_64 < PCI_BARS && size > PCI_BAR_FLAGS && is_aligned(size, size));
    uint64_t mask = ~(size - 1);
    function->bar[index] =
        (struct pci_bar){.size = size, .is_64 = is_64, .ops = ops, .device = device};
    put(function->config + PCI_BAR(index), is_64 ? PCI_BAR_TYPE_64 : 0, 4);
    put(function->writable + PCI_BAR(index), (uint32_t)mask, 4);
    if (is_64)
        put(function->writable + PCI_BAR(index + 1), (uint32_t)(mask >> 32), 4);
}

INIT unsigned pci_function_add_capability(struct pci_function *function, uint8_t id,
                                          const void *body, const void *writable, unsigned size)
{
    unsigned at = function->capability_end;
    ASSERT(size >= 2 && size <= PCI_CONFIG_SIZE - at);
    function->config[function->capability_link] = (uint8_t)at;
    function->config[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
    function->config[at] = id;
    memcpy(function->config + at + 2, body, size - 2);
    if (writable != NULL)
        memcpy(function->writable + at + 2, writable, size - 2);
    function->capability_link = at + 1;
    function->capability_end = (unsigned)align_up(at + size, 4);
    return at;
}

INIT void pci_function_add_msix(struct pci_function *function, unsigned bar_index, unsigned vectors,
                                const struct msi_port *port)
{
    ASSERT(vectors >= 1 && vectors <= PCI_MSIX_VECTORS);
    uint8_t body[PCI_MSIX_CAPABILITY_SIZE - 2] = {0}, writable[sizeof(body)] = {0};
    put(body + PCI_MSIX_CONTROL - 2, vectors - 1, 2);
    put(body + PCI_MSIX_TABLE - 2, bar_index, 4);
    put(body + PCI_MSIX_PBA - 2, PCI_MSIX_PBA_OFFSET | bar_index, 4);
    put(writable + PCI_MSIX_CONTROL - 2, PCI_MSIX_CONTROL_ENABLE | PCI_MSIX_CONTROL_FUNCTION_MASK,
        2);
    pci_msix_reset(&function->msix);
    function->msix.vectors = vectors;
    function->msix.port = *port;
    function->msix.capability = pci_function_add_capability(function, PCI_CAPABILITY_MSIX, body,
                                                            writable, PCI_MSIX_CAPABILITY_SIZE);
    pci_function_set_bar(function, bar_index, PCI_MSIX_BAR_SIZE, false, &pci_msix_bar_ops,
                         &function->msix);
}

uint64_t pci_function_bar_address(const struct pci_function *function, unsigned index)
{
    uint64_t address = get(function->config + PCI_BAR(index), 4) & ~PCI_BAR_FLAGS;
    if (function->bar[index].is_64)
        address |= (uint64_t)get(function->config + PCI_BAR(index + 1), 4) << 32;
    return address;
}

/* The wire: STATUS shows what the device asks for, COMMAND and MSI-X cut it off. */
static void update_intx(struct pci_function *function)
{
    bool is_cut = (pci_function_command(function) & PCI_COMMAND_INTX_DISABLE) != 0 ||
                  function->msix.enabled || function->config[PCI_INTERRUPT_PIN] == 0;
    function->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
    if (function->intx)
        function->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
    if (function->bus != NULL)
        pci_bus_set_intx(function->bus, function->slot, function->intx && !is_cut);
}

void pci_function_set_intx(struct pci_function *function, bool level)
{
    function->intx = level;
    update_intx(function);
}

static void update_interrupts(struct pci_function *function)
{
    struct pci_msix *msix = &function->msix;
    if (msix->vectors != 0) {
        unsigned control = get(function->config + msix->capability + PCI_MSIX_CONTROL, 2);
        pci_msix_update(msix, (control & PCI_MSIX_CONTROL_ENABLE) != 0,
                        (control & PCI_MSIX_CONTROL_FUNCTION_MASK) != 0,
                        pci_function_is_master(function));
    }
    update_intx(function);
}

static bool touches(unsigned offset, unsigned size, unsigned first, unsigned length)
{
    return offset < first + length && first < offset + size;
}

uint32_t pci_function_read(struct pci_function *function, unsigned offset, unsigned size)
{
    if (function->ops->config_reads != NULL)
        function->ops->config_reads(function, offset, size);
    uint32_t value = 0;
    for (unsigned i = 0; i < size && offset + i < PCI_CONFIG_SIZE; i++)
        value |= (uint32_t)function->config[offset + i] << (8 * i);
    return value;
}

void pci_function_write(struct pci_function *function, unsigned offset, unsigned size,
                        uint32_t value)
{
    for (unsigned i = 0; i < size && offset + i < PCI_CONFIG_SIZE; i++) {
        uint8_t writable = function->writable[offset + i], *byte = &function->config[offset + i];
        *byte = (uint8_t)((*byte & ~writable) | ((value >> (8 * i)) & writable));
    }
    bool touches_command = touches(offset, size, PCI_COMMAND, 2);
    if (touches_command || touches(offset, size, PCI_BAR(0), 4 * PCI_BARS))
        pci_bus_update_decoding(function->bus);
    if (touches_command ||
        touches(offset, size, function->msix.capability, PCI_MSIX_CAPABILITY_SIZE))
        update_interrupts(function);
    if (function->ops->config_written != NULL)
        function->ops->config_written(function, offset, size);
}

void pci_function_reset(struct pci_function *function)
{
    memcpy(function->config, function->initial, sizeof(function->config));
    function->intx = false;
    pci_msix_reset(&function->msix);
    update_interrupts(function);
    if (function->ops->reset != NULL)
        function->ops->reset(function);
}
