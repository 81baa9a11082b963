/*
 * A guest's ACPI tables as firmware takes them from QEMU: two files whose pointers are relative,
 * and a script that says what goes where, which pointers and checksums then follow. QEMU:
 * hw/acpi/bios-linker-loader.c; OVMF and SeaBIOS carry it out.
 */
#pragma once

#include "kernel/vm/acpi_tables.h"

#define ACPI_LOADER_RSDP "etc/acpi/rsdp"
#define ACPI_LOADER_TABLES "etc/acpi/tables"
#define ACPI_LOADER_SCRIPT "etc/table-loader"

#define ACPI_LOADER_COMMANDS_MAX 24

/* One command, 128 bytes; what is meant of fields depends on the first. */
struct acpi_loader_command {
    uint8_t byte[128];
};

struct acpi_loader {
    const uint8_t *rsdp;
    uint32_t rsdp_size;
    const uint8_t *tables;
    uint32_t tables_size;
    uint32_t commands;
    struct acpi_loader_command command[ACPI_LOADER_COMMANDS_MAX]; /* the script */
};

/* Makes it of a region as acpi_tables_build wrote it, which is changed and stays in use. */
void acpi_loader_make(struct acpi_loader *loader, uint8_t region[ACPI_REGION_SIZE]);
