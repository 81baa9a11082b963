/*
 * The I/O APIC: 24 pins, version 20H (with an EOI register). 82093AA I/O Advanced Programmable
 * Interrupt Controller (IOAPIC); Intel ICH datasheets: APIC Memory Map.
 *
 * Locking: the caller holds the VM's device lock.
 */
#pragma once

#include "drivers/model/apic_fabric.h"
#include "kernel/core/status.h"
#include "kernel/core/types.h"
#include "kernel/vm/bus.h"

#define IOAPIC_DEFAULT_BASE 0xfec00000ull
#define IOAPIC_SIZE 0x1000ull
#define IOAPIC_PINS 24

struct ioapic {
    struct apic_fabric *fabric;
    uint64_t redirection[IOAPIC_PINS]; /* as software sees them, but for the delivery status */
    uint32_t lines;                    /* asserted pins */
    uint32_t id;                       /* bits 27:24 */
    uint8_t select;
};

/* Brings *ioapic to its state after reset, and makes it hear the fabric's EOIs. ERR_NO_SPACE: the
 * fabric has too many I/O APICs. */
enum status MUST_CHECK ioapic_init(struct ioapic *ioapic, struct apic_fabric *fabric, uint8_t id);

/* The machine's reset; the levels of the pins are their drivers' and stay. */
void ioapic_reset(struct ioapic *ioapic);

/* Puts it on the bus at base. Errors: those of bus_add. */
enum status MUST_CHECK ioapic_attach(struct ioapic *ioapic, struct bus *bus, uint64_t base);

/* Drives a pin; level means asserted, whatever polarity the guest programs, since the wires of a
 * virtual machine have none. Matches struct irq_line. */
void ioapic_set_line(void *controller, unsigned pin, bool level);

/* A local APIC has ended a level-triggered interrupt. Matches struct eoi_listener. */
void ioapic_eoi(void *ioapic, uint8_t vector);

extern const struct bus_ops ioapic_bus_ops;
