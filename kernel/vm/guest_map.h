/*
 * The map of a guest's physical memory, made from nothing but the size of its RAM. Every statement
 * about it comes from here: the E820 map of a bzImage, the memory map of a PVH kernel, the sizes in
 * the CMOS, and what the back end maps.
 *
 *     0            RAM
 *     0x9fc00      reserved: the extended BIOS data area of a PC (RAM)
 *     0xa0000      nothing: VGA memory of a PC
 *     0xc0000      reserved: option ROMs of a PC (RAM)
 *     0xe0000      ACPI tables, RSDP first (RAM)
 *     0xef000      ACPI NVS: the FACS (RAM)
 *     0xf0000      reserved: the BIOS of a PC (RAM)
 *     1 MiB        RAM
 *     3 GiB        PCI BARs, ECAM (reserved), interrupt controllers
 *     4 GiB        RAM, if there is more than 3 GiB
 *
 * The reserved areas below 1 MiB are RAM so that a kernel that scans them for firmware tables reads
 * zeros at the speed of memory.
 */
#pragma once

#include "kernel/core/status.h"
#include "kernel/core/types.h"

/* Numbered as in the E820 map and in the PVH memory map. ACPI: System Address Map Interfaces. */
enum guest_map_type {
    GUEST_MAP_RAM = 1,
    GUEST_MAP_RESERVED = 2,
    GUEST_MAP_ACPI = 3,     /* tables that the guest may overwrite when it has read them */
    GUEST_MAP_ACPI_NVS = 4, /* must be left alone */
};

#define GUEST_MEMORY_MIN MIB(2)
#define GUEST_MEMORY_MAX GIB(1024)

#define GUEST_MAP_EBDA 0x9fc00ull
#define GUEST_MAP_ACPI_BASE 0xe0000ull
#define GUEST_MAP_ACPI_SIZE 0xf000ull
#define GUEST_MAP_FACS 0xef000ull
#define GUEST_MAP_BIOS 0xf0000ull

#define GUEST_MAP_ENTRIES_MAX 12
#define GUEST_MAP_BACKED_MAX 4

struct guest_map_entry {
    uint64_t base;
    uint64_t size; /* bytes, never 0 */
    enum guest_map_type type;
};

struct guest_map_range {
    uint64_t base; /* page aligned, as the size */
    uint64_t size;
};

struct guest_map {
    /* What a guest is told; sorted by base, without overlap, neighbours differ in type. */
    struct guest_map_entry entry[GUEST_MAP_ENTRIES_MAX];
    unsigned count;
    /* Where memory must be: covers every entry but the ECAM, and firmware; without overlap. */
    struct guest_map_range backed[GUEST_MAP_BACKED_MAX];
    unsigned backed_count;
    uint64_t ram_below_4g; /* end of the RAM that begins at 0 */
    uint64_t ram_above_4g; /* size of the RAM that begins at 4 GiB; 0: none */
};

/* memory is in bytes and counts the legacy hole, as a PC does. ERR_INVALID: not in whole pages;
 * ERR_RANGE: outside GUEST_MEMORY_MIN and GUEST_MEMORY_MAX. */
enum status MUST_CHECK guest_map_make(struct guest_map *map, uint64_t memory);

/* Puts memory for firmware of size bytes, whole pages and less than 1 GiB, below 4 GiB. */
void guest_map_add_firmware(struct guest_map *map, uint64_t size);

/* Takes size bytes, rounded up to pages, from the end of the RAM below 4 GiB, as a PC's graphics
 * adapter does that has no memory of its own: they are reserved from then on. *base is where they
 * begin. False: they are more than half of that RAM, and nothing has changed. */
bool guest_map_reserve_top(struct guest_map *map, uint64_t size, uint64_t *base);

/* Whether [base, base + size) is all usable RAM of the map; false when size is 0 or wraps. */
bool guest_map_is_ram(const struct guest_map *map, uint64_t base, uint64_t size);

/* Whether a kernel's own file may be loaded to [base, base + size): RAM, and below 1 MiB what is
 * reserved for a BIOS, whose memory a kernel may take, but neither video memory nor ACPI tables. */
bool guest_map_takes_image(const struct guest_map *map, uint64_t base, uint64_t size);

/* An entry of the E820 map as it lies in memory. ACPI: Address Range Descriptor Structure. */
struct PACKED guest_map_e820 {
    uint64_t base;
    uint64_t size;
    uint32_t type;
};

/* Writes the map in E820 form, GUEST_MAP_ENTRIES_MAX entries at most; returns how many. */
unsigned guest_map_e820(const struct guest_map *map, struct guest_map_e820 *e820);
