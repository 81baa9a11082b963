/*
 * What connects a VM's local APICs, I/O APICs and MSI sources: finds the targets of a message,
 * arbitrates lowest priority, and carries EOI broadcasts back to the I/O APICs.
 *
 * Locking: the caller holds the VM's device lock, as for every model.
 */
#pragma once

#include "drivers/model/apic_message.h"
#include "kernel/core/status.h"
#include "kernel/core/types.h"

#define APIC_FABRIC_LAPICS 64
#define APIC_FABRIC_IOAPICS 4

struct lapic;

/* Who hears that a local APIC has ended a level-triggered interrupt. */
struct eoi_listener {
    void (*eoi)(void *ioapic, uint8_t vector);
    void *ioapic;
};

/* Zero-initialise. */
struct apic_fabric {
    struct lapic *lapic[APIC_FABRIC_LAPICS];
    unsigned count;
    unsigned last; /* index of the last winner of an arbitration, for fairness among equals */
    struct eoi_listener listener[APIC_FABRIC_IOAPICS];
    unsigned listeners;
};

/* ERR_NO_SPACE: full; ERR_EXISTS: an APIC with that ID is there already. */
enum status MUST_CHECK apic_fabric_add(struct apic_fabric *fabric, struct lapic *lapic);
enum status MUST_CHECK apic_fabric_add_listener(struct apic_fabric *fabric,
                                                struct eoi_listener listener);

/* Sends message to all that it addresses, or to one of them (lowest priority). sender is the local
 * APIC that a shorthand is relative to, NULL for I/O APICs and MSI. Returns whether anyone accepted
 * it. SDM: Determining IPI Destination. */
bool apic_fabric_deliver(struct apic_fabric *fabric, const struct lapic *sender,
                         const struct apic_message *message);

/* A device's write of data to address, as struct msi_port sends it; what is not an interrupt
 * message is dropped. SDM: Message Signalled Interrupts. */
void apic_fabric_send_msi(void *fabric, uint64_t address, uint32_t data);

/* Drives LINT input (0 or 1) of every local APIC: the 8259A's INTR, or an NMI button. Matches
 * struct irq_line. */
void apic_fabric_set_lint(void *fabric, unsigned input, bool level);

/* A local APIC has ended the level-triggered interrupt vector. */
void apic_fabric_eoi(struct apic_fabric *fabric, uint8_t vector);
