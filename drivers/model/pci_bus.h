/*
 * A PCI host bridge with one bus, number 0. Configuration mechanism #1 (ports 0xCF8 and 0xCFC to
 * 0xCFF) and ECAM reach the same configuration spaces; absent functions read as all ones. The
 * bridge forwards one window of memory addresses to the bus: a BAR that points elsewhere, into
 * RAM or onto another device is not decoded until it is moved or the other one leaves.
 *
 * PCI Firmware Specification: PCI Express Enhanced Configuration Access Mechanism; PCI Local Bus
 * Specification: Configuration Mechanism #1, Base Addresses.
 *
 * Locking: none; every caller holds the VM's device lock.
 */
#pragma once

#include "drivers/model/pci_function.h"
#include "kernel/vm/guest_mem.h"
#include "kernel/vm/platform.h"

#define PCI_SLOTS 32

struct pci_bus_config {
    struct bus *bus;
    const struct guest_mem *mem; /* RAM, which wins over every BAR; read at each BAR change */
    uint64_t window_base;        /* memory addresses for BARs */
    uint64_t window_size;
    /* Where BARs may be moved: decode_size 0 stands for the window. */
    uint64_t decode_base;
    uint64_t decode_size;
    uint64_t ecam_base; /* of bus 0, 1 MiB aligned */
    uint64_t ecam_size; /* bytes, 1 MiB for each bus number; numbers above 0 have no devices */
    /* The wires of INTx, all level-triggered, true while asserted: see pci_bus_intx_wire. */
    struct irq_line intx[PLATFORM_PCI_GSI_COUNT];
    /* Port 0xCF9 lies inside the address register, which answers to doublewords only: accesses of
     * one byte there go to this device, at offset 0. NULL: reads as ones. */
    const struct bus_ops *reset_control_ops;
    void *reset_control;
};

struct pci_bus {
    struct pci_bus_config config;
    struct pci_function bridge;
    struct pci_function *function[PCI_SLOTS];  /* by device number: function 0 */
    uint32_t address;                          /* the register at 0xCF8 */
    uint64_t next_address;                     /* first unassigned address of the window */
    uint32_t asserted[PLATFORM_PCI_GSI_COUNT]; /* by wire: the slots that pull it */
};

/* Starts a bus with its host bridge at 00:00.0 and claims the ports and ECAM. Errors are those of
 * bus_add, and ERR_INVALID for a window or ECAM that is empty or wraps. */
enum status MUST_CHECK pci_bus_init(struct pci_bus *pci, const struct pci_bus_config *config);

/* Puts a described function at device number slot (1 to 31), gives its BARs addresses and enables
 * memory decoding, as firmware leaves a machine. ERR_RANGE: no such slot; ERR_EXISTS: the slot is
 * taken; ERR_NO_SPACE: the window or the bus's table of ranges is full. */
enum status MUST_CHECK pci_bus_add(struct pci_bus *pci, unsigned slot,
                                   struct pci_function *function);

/* Makes function one more of the device whose function 0 is on the bus: number is 1 to 7, in the
 * order of calls. Neither has BARs. */
void pci_bus_add_function(struct pci_bus *pci, struct pci_function *first, unsigned number,
                          struct pci_function *function);

/* The machine's reset: every function as pci_bus_add left it. */
void pci_bus_reset(struct pci_bus *pci);

/* The wire, from 0, that the pin (0: INTA) of a device pulls; wire n is GSI PLATFORM_PCI_GSI_FIRST
 * + n. The routing table in the DSDT states the same. */
static inline unsigned pci_bus_intx_wire(unsigned slot, unsigned pin)
{
    return (slot + pin) % PLATFORM_PCI_GSI_COUNT;
}

/* One access of 1, 2 or 4 bytes to the configuration space of bus/device/function bdf (bus 15:8,
 * device 7:3, function 2:0); offset + size is at most PCI_CONFIG_SPACE. */
uint32_t pci_bus_config_read(struct pci_bus *pci, unsigned bdf, unsigned offset, unsigned size);
void pci_bus_config_write(struct pci_bus *pci, unsigned bdf, unsigned offset, unsigned size,
                          uint32_t value);

/* For pci_function.c: BARs or COMMAND changed; an INTx pin changed. */
void pci_bus_update_decoding(struct pci_bus *pci);
void pci_bus_set_intx(struct pci_bus *pci, unsigned slot, bool level);
