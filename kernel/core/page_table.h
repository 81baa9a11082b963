/*
 * Four-level page tables of the processor's own long mode: build, walk, visit. Pure: frames come
 * from a port. The caller flushes TLBs. SDM: 4-Level Paging and 5-Level Paging.
 */
#pragma once

#include "kernel/core/bits.h"
#include "kernel/core/status.h"
#include "kernel/core/types.h"

#define PTE_P BIT(0)
#define PTE_RW BIT(1)
#define PTE_US BIT(2)
#define PTE_PWT BIT(3)
#define PTE_PCD BIT(4)
#define PTE_A BIT(5)
#define PTE_D BIT(6)
#define PTE_PS BIT(7)
#define PTE_G BIT(8)
#define PTE_NX BIT(63)
#define PTE_ADDRESS MASK(51, 12)

/* What a mapping allows; reading is always allowed. */
#define MAP_WRITE BIT(0)
#define MAP_EXECUTE BIT(1)
#define MAP_WC BIT(2)     /* write combining; without either: write back */
#define MAP_UC BIT(3)     /* uncacheable */
#define MAP_GLOBAL BIT(4) /* survives a change of CR3 */

struct page_table_ports {
    /* A frame for a table, which need not be cleared. */
    enum status (*alloc)(void *context, hpa_t *frame);
    /* Where the frame can be written. */
    void *(*map)(void *context, hpa_t frame);
    void *context;
};

struct page_table {
    hpa_t root;
    struct page_table_ports ports;
    bool has_1g; /* CPUID.80000001H:EDX[26] */
};

/* An empty table. Errors are the port's. */
enum status MUST_CHECK page_table_init(struct page_table *table,
                                       const struct page_table_ports *ports, bool has_1g);

/*
 * Maps [linear, linear + size) to [frame, frame + size), all page aligned, with the largest pages
 * that fit. ERR_INVALID: unaligned, empty, wrapping or not canonical; ERR_EXISTS: some of it is
 * mapped already; else what the port returns. After an error part of the range may be mapped.
 */
enum status MUST_CHECK page_table_map(struct page_table *table, uint64_t linear, hpa_t frame,
                                      uint64_t size, uint64_t flags);

/* Removes the 4 KiB mappings of [linear, linear + size); tables stay. ERR_INVALID: unaligned, or
 * inside a larger page. Holes are no error. */
enum status MUST_CHECK page_table_unmap(struct page_table *table, uint64_t linear, uint64_t size);

struct page_mapping {
    uint64_t linear; /* of the page's first byte */
    uint64_t size;   /* of the page */
    hpa_t frame;
    uint64_t flags; /* MAP_* */
};

/* The page that holds this address; ERR_NOT_FOUND: none. */
enum status MUST_CHECK page_table_walk(const struct page_table *table, uint64_t linear,
                                       struct page_mapping *mapping);

/* The entry that maps this address by 4 KiB, for a caller that changes it later. NULL: none. */
uint64_t *page_table_entry(const struct page_table *table, uint64_t linear);

/* Goes on with hash (kernel/core/hash.h) over all entries that lead to a page, without A and D. */
uint64_t page_table_hash(const struct page_table *table, uint64_t hash);

/* Calls visit for every mapped page in order of address, until it returns another status than
 * STATUS_OK, which is returned. ERR_INVALID: an entry has a reserved or user bit. */
enum status MUST_CHECK page_table_visit(const struct page_table *table,
                                        enum status (*visit)(void *context,
                                                             const struct page_mapping *mapping),
                                        void *context);
