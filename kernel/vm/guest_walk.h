/*
 * The walk of a guest's own paging structures, as its processor makes it: no paging, 32-bit, PAE
 * and 4-level. SDM: Paging. 5-level paging, protection keys for supervisor pages and shadow stacks
 * are not offered to guests and not known here.
 */
#pragma once

#include "kernel/vm/bus.h"
#include "kernel/vm/cpu_mode.h"
#include "kernel/vm/guest_mem.h"

/* What of the guest's registers the walk depends on. */
struct paging {
    uint64_t cr0;
    uint64_t cr3;
    uint64_t cr4;
    uint64_t efer;
    uint64_t rflags;    /* AC overrides SMAP */
    uint32_t pkru;      /* PKRU where protection keys are on (CR4.PKE in IA-32e mode), else 0 */
    uint64_t pdpte[4];  /* the PDPTE registers, of PAE paging only */
    uint8_t cpl;        /* 3 in virtual-8086 mode */
    uint8_t maxphyaddr; /* the guest's CPUID leaf 80000008: 32 to 52 */
    bool one_gib_pages; /* its CPUID leaf 80000001 offers 1-GByte pages */
    struct bus *bus;    /* where paging structures are that are not in RAM; NULL: nowhere */
};

#define GUEST_WALK_WRITE BIT(0)
#define GUEST_WALK_FETCH BIT(1)
/* A supervisor access whatever the CPL: of descriptor tables and task-state segments. */
#define GUEST_WALK_IMPLICIT BIT(2)
/* A debugger's: the accessed and dirty flags stay as they are. */
#define GUEST_WALK_PEEK BIT(3)

/*
 * Translates linear (canonical, or of 32 bits outside IA-32e mode; the bytes that follow it belong
 * to its page only) for one access, GUEST_WALK_* (0: a data read), and sets the accessed and dirty
 * flags that the translation uses.
 *
 * ERR_FAULT: *exception is the page fault. ERR_RANGE: a paging structure is not in RAM, and there
 * is no bus; *gpa is where its entry would be. ERR_BUSY: other processors kept changing the
 * entries; try again.
 */
enum status MUST_CHECK guest_walk(const struct paging *paging, const struct guest_mem *mem,
                                  gva_t linear, uint64_t access, gpa_t *gpa,
                                  struct exception *exception);

/* Every entry of 4-level paging that a walk read, and where. slot[0] is NULL where the walk has
 * none: it failed, or the paging is another. */
struct guest_walk_path {
    const uint64_t *slot[4];
    uint64_t entry[4];
};

/* guest_walk, noting the path. */
enum status MUST_CHECK guest_walk_noting(const struct paging *paging, const struct guest_mem *mem,
                                         gva_t linear, uint64_t access, gpa_t *gpa,
                                         struct guest_walk_path *path, struct exception *exception);

/* Whether a path that was noted still leads, under the same CR3, to the same place. It is not a
 * TLB: it says nothing where an entry changed, and nothing about rights. */
static inline bool guest_walk_stands(const struct guest_walk_path *path)
{
    uint64_t changed = 0;
    for (unsigned i = 0; i < 4; i++)
        changed |= __atomic_load_n(path->slot[i], __ATOMIC_ACQUIRE) ^ path->entry[i];
    return changed == 0;
}

/* The host address of gpa up to its page's end, NULL where there is no RAM: guest_mem_span for
 * those who look once per exit. */
static inline uint8_t *guest_walk_host(const struct guest_mem *mem, gpa_t gpa)
{
    const struct guest_region *end = mem->region + mem->count;
    for (const struct guest_region *region = mem->region; region < end; region++)
        if (gpa.v - region->base.v < region->size)
            return guest_mem_is_hidden(mem, gpa.v) ? NULL : region->host + (gpa.v - region->base.v);
    return NULL;
}
