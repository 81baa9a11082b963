/*
 * What the monitor itself needs from the machine's ACPI tables. Pure: memory is read through a
 * port, and every length in a table is checked. ACPI Specification: ACPI Software Programming
 * Model.
 */
#pragma once

#include "kernel/core/status.h"
#include "kernel/core/types.h"

#define ACPI_IOAPICS_MAX 16
#define ACPI_ISA_IRQS 16

/* Reads physical memory: where size bytes from address can be read, NULL: cannot. */
struct acpi_memory {
    const void *(*map)(void *context, hpa_t address, uint64_t size);
    void *context;
};

struct acpi_ioapic {
    uint64_t address;
    uint32_t gsi_base;
};

struct acpi_override {
    uint32_t gsi;
    bool active_low;
    bool level;
};

/* Generic Address Structure, and ports where the old 32-bit fields name them. */
struct acpi_register {
    uint8_t space; /* 0 memory, 1 port, 2 PCI configuration */
    uint8_t bits;
    uint64_t address; /* 0: there is none */
};

#define ACPI_SPACE_MEMORY 0
#define ACPI_SPACE_PORT 1
#define ACPI_SPACE_PCI 2

struct acpi {
    bool present; /* an RSDP and an XSDT or RSDT were found */
    bool has_madt, has_fadt, has_s5;
    uint64_t lapic_address; /* 0: not said */
    unsigned ioapic_count;
    struct acpi_ioapic ioapic[ACPI_IOAPICS_MAX];
    struct acpi_override isa[ACPI_ISA_IRQS]; /* identity, edge, active high where not overridden */
    struct acpi_register pm1a_control, pm1b_control;
    uint8_t s5_typ_a, s5_typ_b;
    uint32_t smi_command; /* port; 0: ACPI mode needs no switch */
    uint8_t acpi_enable;
    struct acpi_register reset;
    uint8_t reset_value;
    struct acpi_register pm_timer;
    bool pm_timer_is_32bit;
    struct acpi_register sleep_control; /* of hardware-reduced machines, instead of PM1 */
    uint64_t hpet_address;              /* 0: none */
};

/* Reads the tables from the RSDP on (0: none; then only *acpi's defaults are set). ERR_NOT_FOUND:
 * no RSDP; ERR_INVALID: RSDP or root table broken. A broken table below that is left out, with a
 * line in the log. */
enum status MUST_CHECK acpi_read(struct acpi *acpi, uint64_t rsdp,
                                 const struct acpi_memory *memory);

/* Finds \_S5_'s first two numbers in AML. ERR_NOT_FOUND. */
enum status MUST_CHECK acpi_find_s5(const void *aml, size_t size, uint8_t *typ_a, uint8_t *typ_b);
