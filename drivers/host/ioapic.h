/* The machine's I/O APICs: routes of ISA interrupts. Intel: 82093AA I/O Advanced Programmable
 * Interrupt Controller (IOAPIC). */
#pragma once

#include "drivers/host/acpi.h"
#include "kernel/core/status.h"

#define IOAPIC_MAX ACPI_IOAPICS_MAX

struct host_ioapic_unit {
    volatile uint32_t *registers;
    uint32_t gsi_base;
    uint32_t inputs;
};

struct host_ioapic {
    struct host_ioapic_unit unit[IOAPIC_MAX];
    unsigned count;
    struct acpi_override isa[ACPI_ISA_IRQS]; /* where each ISA interrupt arrives */
};

/* Finds them from the MADT's facts (without a MADT: one at 0xfec00000, identity routed) and masks
 * every input. */
void host_ioapic_init(struct host_ioapic *ioapic, const struct acpi *acpi);

/* Sends ISA interrupt irq (0 to 15) to vector on the processor with this APIC id (at most 255).
 * ERR_NOT_FOUND: no I/O APIC has that input. */
enum status MUST_CHECK host_ioapic_route_isa(struct host_ioapic *ioapic, uint8_t irq,
                                             uint8_t vector, uint32_t apic_id);
