/* What the boot program needs of ACPI: the processors that the MADT lists. Pure. */
#pragma once

#include "boot/boot_info.h"
#include "kernel/core/status.h"

/* How to look at physical memory. */
struct acpi_reader {
    /* size bytes at address, or NULL where they cannot be read. */
    const void *(*map)(void *context, uint64_t address, uint64_t size);
    void *context;
};

/*
 * Finds the table of the given signature through the XSDT, or the RSDT where there is none, of the
 * RSDP at physical address rsdp. *table is then mapped whole, *length bytes, checksum verified.
 * ACPI: Root System Description Pointer (RSDP).
 *
 * ERR_NOT_FOUND: the firmware has no such table; ERR_INVALID: a signature, length or checksum on
 * the way is wrong, or memory cannot be read.
 */
enum status MUST_CHECK acpi_find_table(const struct acpi_reader *reader, uint64_t rsdp,
                                       const char *signature, const uint8_t **table,
                                       uint32_t *length);

struct acpi_cpus {
    uint32_t count;   /* entries of apic_id */
    uint32_t dropped; /* usable processors that did not fit */
    uint32_t apic_id[BOOT_CPUS_MAX];
};

/* Adds a processor, once; counts it as dropped where the table is full. */
void acpi_cpus_add(struct acpi_cpus *cpus, uint32_t apic_id);

/*
 * Fills cpus, each APIC ID once, with the processors of the MADT that are enabled or can be brought
 * online. ACPI: Multiple APIC Description Table (MADT).
 *
 * ERR_TRUNCATED: an entry is shorter than its kind, or reaches over the table's end; cpus then
 * holds those before it. ERR_NOT_FOUND: no usable processor.
 */
enum status MUST_CHECK acpi_madt_cpus(const uint8_t *madt, uint32_t length, struct acpi_cpus *cpus);

/* Moves the boot processor to the front, adding it where it is missing (then the last one falls out
 * of a full table). The order of the others stays. */
void acpi_cpus_put_first(struct acpi_cpus *cpus, uint32_t bsp_apic_id);
