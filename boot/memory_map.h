/* The firmware's memory map, turned into boot_info's: pure, and without <efi.h>. */
#pragma once

#include "boot/boot_info.h"
#include "kernel/core/status.h"

/* UEFI: EFI_BOOT_SERVICES.GetMemoryMap(), EFI_MEMORY_DESCRIPTOR. The firmware's descriptors may be
 * longer than this: the map says how far apart they are. */
struct memory_descriptor {
    uint32_t type;
    uint32_t reserved;
    uint64_t physical_start; /* bytes */
    uint64_t virtual_start;
    uint64_t pages; /* of 4096 bytes */
    uint64_t attribute;
};

struct memory_map_source {
    const void *descriptors;
    size_t size;   /* bytes of all descriptors */
    size_t stride; /* bytes from one descriptor to the next */
};

/*
 * Sorts and merges the firmware's map into out[0..max), which becomes page aligned, sorted by base,
 * without overlap, and without neighbours of one type. Where descriptors overlap, the type that
 * allows less wins; what known[] says (the caller's own allocations) stands above all of them. Page
 * 0 is never usable, so that a physical address of zero means "none" to everyone later on.
 *
 * ERR_INVALID: the stride is shorter than a descriptor; ERR_NO_SPACE: more than max ranges.
 */
enum status MUST_CHECK memory_map_normalise(const struct memory_map_source *source,
                                            const struct boot_memory *known, size_t known_count,
                                            struct boot_memory *out, size_t max, uint32_t *count);

/* The bytes in the largest range of the given type. */
uint64_t memory_map_largest(const struct boot_memory *map, size_t count,
                            enum boot_memory_type type);
