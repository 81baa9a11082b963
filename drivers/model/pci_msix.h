/* The MSI-X table and pending bit array of one PCI function. PCI Express Base Specification: MSI-X
 * Capability and Table Structure. */
#pragma once

#include "kernel/vm/bus.h"
#include "kernel/vm/irq_line.h"

#define PCI_MSIX_VECTORS 64
#define PCI_MSIX_BAR_SIZE 0x1000u
#define PCI_MSIX_PBA_OFFSET 0x800u

struct pci_msix_entry {
    uint64_t address;
    uint32_t data;
    uint32_t control; /* bit 0: masked */
};

struct pci_msix {
    struct pci_msix_entry entry[PCI_MSIX_VECTORS];
    uint64_t pending; /* one bit a vector */
    unsigned vectors; /* 0: the function has no MSI-X */
    unsigned capability;
    bool enabled, function_masked, can_master;
    struct msi_port port;
};

/* The BAR that holds table and pending bits; the device is a struct pci_msix. */
extern const struct bus_ops pci_msix_bar_ops;

/* All vectors masked, nothing pending, MSI-X off. */
void pci_msix_reset(struct pci_msix *msix);

/* Takes over the capability's enable and mask bits and COMMAND's bus master bit; sends what was
 * pending and no longer has to wait. */
void pci_msix_update(struct pci_msix *msix, bool enabled, bool function_masked, bool can_master);

/* The device wants to interrupt with this vector: sent, or kept pending while masked. Nothing
 * happens while MSI-X is off or where there is no such vector. */
void pci_msix_raise(struct pci_msix *msix, unsigned vector);
