/* The page tables under which the monitor starts: pure, in memory that the caller gives. */
#pragma once

#include "boot/boot_info.h"
#include "kernel/core/status.h"

/* Zeroed pages for tables; a table's address is its physical one. */
struct boot_tables {
    uint64_t *page; /* the first is the PML4 table */
    size_t used;    /* pages; 0 at first */
    size_t max;
    bool has_1g_pages;
};

/* What the identity map covers, besides the first 4 GiB: every range of map that is not
 * BOOT_MEMORY_FIRMWARE, and the framebuffer. */
struct boot_tables_request {
    const struct boot_memory *map;
    size_t map_count;
    uint64_t framebuffer;
    uint64_t framebuffer_size; /* bytes; 0: none */
    uint64_t image_linear;     /* page aligned, as image_physical and image_size */
    uint64_t image_physical;
    uint64_t image_size; /* bytes */
};

/* The most pages that boot_tables_build can need for the request. */
size_t boot_tables_bound(const struct boot_tables_request *request, bool has_1g_pages);

/* Builds 4-level tables, everything writable and executable: the identity map with the largest
 * pages, the image with pages of 4 KiB. ERR_NO_SPACE: more pages than max; ERR_RANGE: memory at
 * 2^47 or above; ERR_EXISTS: the image's linear addresses are inside the identity map. */
enum status MUST_CHECK boot_tables_build(struct boot_tables *tables,
                                         const struct boot_tables_request *request);
