/*
 * A look at a guest's own paging structures, entry by entry, for a person to read. Unlike
 * guest_walk it changes nothing, not even accessed flags, and looks at no rights. Pure. SDM:
 * Paging.
 */
#pragma once

#include "kernel/vm/guest_walk.h"

#define PAGE_WALK_LEVELS 4u

struct page_walk_entry {
    const char *name; /* "PML4E", "PDPTE", "PDE", "PTE" */
    unsigned index;   /* in its table */
    gpa_t at;
    uint64_t value;
};

struct page_walk {
    unsigned count; /* of entries read; 0: paging is off */
    struct page_walk_entry entry[PAGE_WALK_LEVELS];
    const char *mode; /* in words */
    const char *why;  /* it leads nowhere; NULL: it leads to gpa */
    gpa_t gpa;
    uint64_t page; /* bytes of the page that gpa is in */
};

/* PAE paging is walked from CR3, as its next load would be, not from the PDPTE registers. */
void page_walk(const struct paging *paging, const struct guest_mem *mem, uint64_t linear,
               struct page_walk *walk);

/* Copies what lies at a linear address, over page borders too. Returns how many bytes could be
 * read, from the first on. */
size_t page_walk_read(const struct paging *paging, const struct guest_mem *mem, uint64_t linear,
                      void *to, size_t size);
size_t page_walk_write(const struct paging *paging, const struct guest_mem *mem, uint64_t linear,
                       const void *from, size_t size);
