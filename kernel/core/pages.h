/*
 * The owner table of physical memory: every page that boot_info names has one kind and one owner
 * at any time. A sorted table of extents, so that gigabytes of one kind cost one entry. Pure.
 *
 * Locking: each function takes pages->lock; nothing is called with it held.
 */
#pragma once

#include "kernel/core/spinlock.h"
#include "kernel/core/status.h"
#include "kernel/core/types.h"

/* X(enumerator, name in the memory report) */
#define PAGE_KINDS(X)                                                                              \
    X(PAGE_NONE, "unknown") /* boot_info does not name it */                                       \
    X(PAGE_FREE, "free")                                                                           \
    X(PAGE_LOW, "below 1 MiB")   /* usable, but only taken by pages_set_kind */                    \
    X(PAGE_FIRMWARE, "firmware") /* never touched */                                               \
    X(PAGE_ACPI, "ACPI tables")  /* never written */                                               \
    X(PAGE_IMAGE, "monitor image")                                                                 \
    X(PAGE_LOADER, "boot program") /* given back once the monitor runs by itself */                \
    X(PAGE_SYMBOLS, "monitor symbols")                                                             \
    X(PAGE_CONFIG, "configuration")                                                                \
    X(PAGE_FILE, "loaded file")                                                                    \
    X(PAGE_TABLE, "page table")                                                                    \
    X(PAGE_STACK, "stack")                                                                         \
    X(PAGE_CPU, "per-processor data")                                                              \
    X(PAGE_HEAP, "monitor data")                                                                   \
    X(PAGE_VMX, "VMX structures")                                                                  \
    X(PAGE_EPT, "EPT")                                                                             \
    X(PAGE_VM, "virtual machine state")                                                            \
    X(PAGE_GUEST, "guest memory")

enum page_kind {
#define X(enumerator, name) enumerator,
    PAGE_KINDS(X)
#undef X
        PAGE_KIND_COUNT
};

#define PAGE_OWNER_MONITOR 0 /* a VM's owner number is its index + 1 */

#define PAGES_EXTENTS_MAX 4096

struct page_extent {
    uint64_t base;  /* physical, page aligned */
    uint64_t pages; /* non-zero */
    uint8_t kind;   /* enum page_kind, never PAGE_NONE */
    uint16_t owner;
};

struct pages {
    struct spinlock lock;
    unsigned count;
    struct page_extent extent[PAGES_EXTENTS_MAX]; /* sorted by base; equal neighbours are merged */
};

/* Empties the table. */
void pages_init(struct pages *pages);

/* Adds memory that the table does not know yet. ERR_INVALID: unaligned, empty or wrapping;
 * ERR_EXISTS: overlaps what is there; ERR_NO_SPACE: table full. PAGE_FREE below 1 MiB becomes
 * PAGE_LOW. */
enum status MUST_CHECK pages_add(struct pages *pages, hpa_t base, uint64_t count,
                                 enum page_kind kind);

/* The lowest run of count free pages at a multiple of alignment (bytes, a power of two, at least
 * PAGE_SIZE). The pages are not cleared. ERR_NO_MEMORY; ERR_NO_SPACE: table full. */
enum status MUST_CHECK pages_alloc(struct pages *pages, uint64_t count, uint64_t alignment,
                                   enum page_kind kind, uint16_t owner, hpa_t *base);

/* As pages_alloc, but the run ends at or below limit (physical; for what a 32-bit register must
 * reach). */
enum status MUST_CHECK pages_alloc_below(struct pages *pages, uint64_t count, uint64_t alignment,
                                         uint64_t limit, enum page_kind kind, uint16_t owner,
                                         hpa_t *base);

/*
 * One piece of at most max_bytes (page aligned) for a guest's memory, from the top of the machine's
 * memory: a run of aligned 1 GiB pages where max_bytes and the memory have one, else of aligned
 * 2 MiB pages, else of 4 KiB pages; as long as one run goes. *bytes is its size. Call again for the
 * rest. ERR_NO_MEMORY: nothing is free.
 */
enum status MUST_CHECK pages_alloc_chunk(struct pages *pages, uint64_t max_bytes,
                                         enum page_kind kind, uint16_t owner, hpa_t *base,
                                         uint64_t *bytes);

/* Gives pages back. ERR_INVALID: some are unknown, free already, firmware's, ACPI's or the image;
 * then none was freed. */
enum status MUST_CHECK pages_free(struct pages *pages, hpa_t base, uint64_t count);

/* Frees everything of an owner that is not PAGE_OWNER_MONITOR; returns how many pages. */
uint64_t pages_free_owner(struct pages *pages, uint16_t owner);

/* Changes kind and owner of known pages. ERR_INVALID: some are unknown, or kind is PAGE_NONE. */
enum status MUST_CHECK pages_set_kind(struct pages *pages, hpa_t base, uint64_t count,
                                      enum page_kind kind, uint16_t owner);

/* The kind of the page that holds this address, PAGE_NONE where the table has none. */
enum page_kind pages_kind(struct pages *pages, hpa_t address);
/* The extent that holds this address; false: none. */
bool pages_lookup(struct pages *pages, hpa_t address, struct page_extent *extent);

/* Whether the table is what it has to be: extents in order, not empty, without overlap, equal
 * neighbours merged, and nobody's memory (free, firmware's, the image's) without another owner than
 * the monitor. */
bool pages_check(struct pages *pages);

/* For reports: the index-th extent in order of address; false past the end. */
bool pages_extent(struct pages *pages, unsigned index, struct page_extent *extent);
/* How many pages are of this kind, and how many are an owner's. */
uint64_t pages_total(struct pages *pages, enum page_kind kind);
uint64_t pages_owned(struct pages *pages, uint16_t owner);
const char *pages_kind_name(enum page_kind kind);
