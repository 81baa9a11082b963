/* Multiboot Specification 0.6.96 and Multiboot2 Specification 2.0. */
#pragma once

#include "kernel/vm/load_common.h"

/* Whether there is a header; load_multiboot_recognises_32: and not one of a 64-bit ELF file without
 * address fields, which may be good for another format. */
bool load_multiboot_recognises(struct loader *loader);
bool load_multiboot_recognises_32(struct loader *loader);
bool load_multiboot2_recognises(struct loader *loader);

enum status MUST_CHECK load_multiboot(struct loader *loader);
enum status MUST_CHECK load_multiboot2(struct loader *loader);

/* A header of either version: where it may begin, and how long its fixed part is, all of whose
 * words, the magic number first, have the sum 0. */
struct load_search {
    uint32_t magic;
    unsigned alignment, size;
    uint64_t limit; /* it ends there at the latest */
};

/* The first header in the kernel's file, and its place there; NULL: none. */
const uint8_t *load_find_header(const struct loader *loader, const struct load_search *search,
                                uint64_t *offset);

/* The address fields, which both versions have: a file that is loaded in one piece. */
struct load_addresses {
    uint64_t offset; /* of the header in the file */
    uint64_t header, load, load_end, bss_end;
    bool from_start; /* load says only where the file's first byte goes */
};

/* Places the file, and *end is where it ends in memory. */
enum status MUST_CHECK load_by_addresses(struct loader *loader, const struct load_addresses *fields,
                                         uint64_t entry, uint64_t *end);

/* The RAM from 0 on, and from 1 MiB on, in KiB. */
void load_meminfo(const struct loader *loader, uint32_t *lower, uint32_t *upper);

#define LOAD_BOOT_LOADER "Traprock"
