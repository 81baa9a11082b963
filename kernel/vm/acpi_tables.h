/*
 * A guest's ACPI tables: RSDP, XSDT, RSDT, FADT, MADT, MCFG, DSDT and FACS. They say what
 * kernel/vm/platform.h says; they lie where kernel/vm/guest_map.h says.
 */
#pragma once

#include "kernel/core/status.h"
#include "kernel/core/types.h"
#include "kernel/vm/guest_map.h"
#include "kernel/vm/platform.h"

struct acpi_facts {
    uint32_t vcpu_count; /* vCPU i has APIC ID i; 1 to ACPI_VCPUS_MAX */
    bool has_keyboard;   /* an 8042 with a keyboard answers */
    bool has_pvpanic;
    bool has_fw_cfg;
    bool is_pc; /* firmware has placed BARs, and memory is its RAM in bytes */
    uint64_t memory;
};

#define ACPI_VCPUS_MAX 512

/* From the RSDP at GUEST_MAP_ACPI_BASE to the end of the FACS's page. */
#define ACPI_REGION_SIZE (GUEST_MAP_BIOS - GUEST_MAP_ACPI_BASE)

/* The I/O APIC's input for a PCI device's pin (0: INTA), as in _PRT. */
static inline uint32_t acpi_pci_gsi(uint32_t device, uint32_t pin)
{
    return PLATFORM_PCI_GSI_FIRST + (device + pin) % PLATFORM_PCI_GSI_COUNT;
}

/* Builds the tables as they lie in memory at GUEST_MAP_ACPI_BASE. ERR_INVALID: vcpu_count;
 * ERR_NO_SPACE: they do not fit. */
enum status MUST_CHECK acpi_tables_build(uint8_t region[ACPI_REGION_SIZE],
                                         const struct acpi_facts *facts);
