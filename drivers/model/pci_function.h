/*
 * One PCI function: its configuration space, BARs, capability list, INTx pin and MSI-X table. A
 * device model embeds one, describes itself with the calls below and is then put on a bus with
 * pci_bus_add (drivers/model/pci_bus.h).
 *
 * Locking: none; every caller holds the VM's device lock.
 */
#pragma once

#include "drivers/model/pci_msix.h"
#include "drivers/model/pci_regs.h"
#include "kernel/vm/bus.h"

/* What a function stores. Above it, up to PCI_CONFIG_SPACE, everything reads as zero: there is no
 * extended capability. */
#define PCI_CONFIG_SIZE 256
#define PCI_CONFIG_SPACE 4096
#define PCI_BARS 6

struct pci_bus;
struct pci_function;

struct pci_function_ops {
    /* Any of these may be NULL. Before a read of size bytes at offset: brings bytes of config that
     * are not mere storage up to date. */
    void (*config_reads)(struct pci_function *function, unsigned offset, unsigned size);
    /* After a write has been stored, masked by what is writable. */
    void (*config_written)(struct pci_function *function, unsigned offset, unsigned size);
    /* The whole machine was reset; configuration space has its initial contents already. */
    void (*reset)(struct pci_function *function);
};

struct pci_bar {
    uint64_t size; /* bytes, a power of two; 0: there is no such BAR */
    bool is_64;    /* takes the next BAR register as well */
    const struct bus_ops *ops;
    void *device;
    uint64_t initial; /* where pci_bus_add put it, as firmware would */
    uint64_t decoded; /* where the bus knows it now */
    bool is_decoded;
};

struct pci_function {
    uint8_t config[PCI_CONFIG_SIZE];
    uint8_t writable[PCI_CONFIG_SIZE]; /* one bits can be written */
    uint8_t initial[PCI_CONFIG_SIZE];  /* what a reset restores */
    struct pci_bar bar[PCI_BARS];
    struct pci_msix msix;
    const struct pci_function_ops *ops;
    struct pci_bus *bus;
    unsigned slot;
    unsigned number;           /* of the function in its device */
    struct pci_function *next; /* of the same device; NULL: the last */
    unsigned capability_end;   /* first free byte of the capability area */
    unsigned capability_link;  /* the byte that will point to the next capability */
    bool intx;                 /* what the device asks of its pin */
};

struct pci_identity {
    uint16_t vendor, device;
    uint16_t subsystem_vendor, subsystem;
    uint8_t revision;
    uint32_t class_code; /* base class 23:16, sub-class 15:8, programming interface 7:0 */
};

/* Starts a function over: identity, header type 0, no BARs, no capabilities, no interrupt pin. */
void pci_function_init(struct pci_function *function, const struct pci_identity *identity,
                       const struct pci_function_ops *ops);

/* Gives the function the INTA pin. */
void pci_function_use_intx(struct pci_function *function);

/* Defines memory BAR index of size bytes (a power of two, at least 16; the caller's own constant),
 * which ops serve. A 64-bit BAR takes index + 1 as well. */
void pci_function_set_bar(struct pci_function *function, unsigned index, uint64_t size, bool is_64,
                          const struct bus_ops *ops, void *device);

/* Appends a capability of size bytes in all; body is what follows the two-byte header, and
 * writable (may be NULL) its writable bits. Returns its offset. The caller's capabilities fit. */
unsigned pci_function_add_capability(struct pci_function *function, uint8_t id, const void *body,
                                     const void *writable, unsigned size);

/* Gives the function an MSI-X capability of 1 to PCI_MSIX_VECTORS vectors; table and pending bits
 * take BAR bar_index, which this defines, 32 bits wide. */
void pci_function_add_msix(struct pci_function *function, unsigned bar_index, unsigned vectors,
                           const struct msi_port *port);

/* Accesses to [offset, offset + size) below PCI_CONFIG_SPACE, of 1, 2 or 4 bytes, at any offset. */
uint32_t pci_function_read(struct pci_function *function, unsigned offset, unsigned size);
void pci_function_write(struct pci_function *function, unsigned offset, unsigned size,
                        uint32_t value);

/* Back to what the firmware left: initial configuration, interrupts quiet, then ops->reset. */
void pci_function_reset(struct pci_function *function);

/* What the device asks of its INTx pin. The wire follows unless COMMAND or MSI-X disable it. */
void pci_function_set_intx(struct pci_function *function, bool level);

/* Where BAR index points now, enabled or not. */
uint64_t pci_function_bar_address(const struct pci_function *function, unsigned index);

static inline uint16_t pci_function_command(const struct pci_function *function)
{
    return (uint16_t)(function->config[PCI_COMMAND] | function->config[PCI_COMMAND + 1] << 8);
}

/* Whether the function may reach memory: data and message-signalled interrupts. */
static inline bool pci_function_is_master(const struct pci_function *function)
{
    return (function->config[PCI_COMMAND] & PCI_COMMAND_MASTER) != 0;
}
