#include "drivers/model/pci_msix.h"

#include "kernel/core/bits.h"
#include "kernel/core/mem.h"

#define ENTRY_MASKED BIT(0)

STATIC_ASSERT(sizeof(struct pci_msix_entry) == 16, "an entry is four doublewords");
STATIC_ASSERT(PCI_MSIX_VECTORS * sizeof(struct pci_msix_entry) <= PCI_MSIX_PBA_OFFSET,
              "the table ends before the pending bits");
STATIC_ASSERT(PCI_MSIX_VECTORS <= 64, "the pending bits are one quadword");

void pci_msix_reset(struct pci_msix *msix)
{
    for (unsigned i = 0; i < PCI_MSIX_VECTORS; i++)
        msix->entry[i] = (struct pci_msix_entry){.control = ENTRY_MASKED};
    msix->pending = 0;
    msix->enabled = msix->function_masked = msix->can_master = false;
}

static bool is_sendable(const struct pci_msix *msix, unsigned vector)
{
    return !msix->function_masked && msix->can_master &&
           (msix->entry[vector].control & ENTRY_MASKED) == 0;
}

static void send(const struct pci_msix *msix, unsigned vector)
{
    msi_send(&msix->port, msix->entry[vector].address, msix->entry[vector].data);
}

static void send_pending(struct pci_msix *msix)
{
    if (!msix->enabled || msix->pending == 0)
        return;
    for (unsigned i = 0; i < msix->vectors; i++) {
        if ((msix->pending & BIT(i)) == 0 || !is_sendable(msix, i))
            continue;
        msix->pending &= ~BIT(i);
        send(msix, i);
    }
}

void pci_msix_update(struct pci_msix *msix, bool enabled, bool function_masked, bool can_master)
{
    msix->enabled = enabled;
    msix->function_masked = function_masked;
    msix->can_master = can_master;
    if (!enabled)
        msix->pending = 0;
    send_pending(msix);
}

void pci_msix_raise(struct pci_msix *msix, unsigned vector)
{
    if (!msix->enabled || vector >= msix->vectors)
        return;
    if (is_sendable(msix, vector))
        send(msix, vector);
    else
        msix->pending |= BIT(vector);
}

static uint64_t read_bytes(const void *from, uint64_t total, uint64_t offset, unsigned size)
{
    uint64_t value = 0;
    if (offset >= total || size > total - offset)
        return 0;
    memcpy(&value, (const uint8_t *)from + offset, size);
    return value;
}

static uint64_t bar_read(void *device, uint64_t offset, unsigned size)
{
    const struct pci_msix *msix = device;
    if (offset >= PCI_MSIX_PBA_OFFSET)
        return read_bytes(&msix->pending, sizeof(msix->pending), offset - PCI_MSIX_PBA_OFFSET,
                          size);
    return read_bytes(msix->entry, msix->vectors * sizeof(msix->entry[0]), offset, size);
}

/* The pending bits are read-only. Software has to use whole doublewords or quadwords; what does
 * not is ignored. */
static void bar_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct pci_msix *msix = device;
    if (size < 4 || !is_aligned(offset, size) || offset >= msix->vectors * sizeof(msix->entry[0]))
        return;
    struct pci_msix_entry *entry = &msix->entry[offset / sizeof(*entry)];
    memcpy((uint8_t *)entry + offset % sizeof(*entry), &value, size);
    entry->address &= ~MASK(1, 0);
    entry->control &= ENTRY_MASKED;
    send_pending(msix);
}

const struct bus_ops pci_msix_bar_ops = {bar_read, bar_write};
