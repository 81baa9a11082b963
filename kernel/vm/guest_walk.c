#include "kernel/vm/guest_walk.h"

#define ENTRY_P BIT(0)
#define ENTRY_RW BIT(1)
#define ENTRY_US BIT(2)
#define ENTRY_A BIT(5)
#define ENTRY_D BIT(6)
#define ENTRY_PS BIT(7)
#define ENTRY_XD BIT(63)
#define ENTRY_ADDRESS MASK(51, 12)

/* Of one key in PKRU: no access, no writes. */
#define PKRU_AD BIT(0)
#define PKRU_WD BIT(1)

#define LEVELS_MAX 4
/* How often a walk begins again because another processor changed an entry under it. */
#define RESTARTS_MAX 16

/* A walk on its way down. */
struct walk {
    const struct paging *paging;
    const struct guest_mem *mem;
    uint64_t linear;
    uint64_t access;
    uint64_t reserved;    /* in every entry of this format */
    uint64_t large_pages; /* BIT(n): an entry that maps 2^n bytes may map a page */
    unsigned entry_size;  /* 4 or 8 bytes */
    unsigned shift;       /* log2 of what an entry maps; at the end, of the page's size */
    unsigned levels;      /* entries read so far */
    uint64_t all;         /* the AND of all entries */
    uint64_t any;         /* the OR of all entries */
    uint64_t slot[LEVELS_MAX];
    uint64_t entry[LEVELS_MAX];
};

static enum status page_fault(const struct walk *walk, uint64_t cause, struct exception *exception)
{
    const struct paging *paging = walk->paging;
    uint64_t code = cause;
    if ((walk->access & GUEST_WALK_WRITE) != 0)
        code |= PF_WRITE;
    if (paging->cpl == 3 && (walk->access & GUEST_WALK_IMPLICIT) == 0)
        code |= PF_USER;
    bool tells_fetch = (paging->cr4 & CR4_SMEP) != 0 ||
                       ((paging->cr4 & CR4_PAE) != 0 && (paging->efer & EFER_NXE) != 0);
    if ((walk->access & GUEST_WALK_FETCH) != 0 && tells_fetch)
        code |= PF_FETCH;
    *exception = (struct exception){.vector = VECTOR_PF,
                                    .has_error_code = true,
                                    .error_code = (uint32_t)code,
                                    .cr2 = walk->linear};
    return ERR_FAULT;
}

/* An entry that a device answers for, or nobody, which is all ones. */
static COLD bool read_bus(struct walk *walk, uint64_t slot, unsigned size, uint64_t *entry)
{
    if (walk->paging->bus == NULL)
        return false;
    *entry = bus_read(walk->paging->bus, BUS_MMIO, slot, size);
    return true;
}

/* Reads the entry at slot, once; false where there is neither RAM nor a bus. */
static inline bool read_entry(struct walk *walk, uint64_t slot, unsigned size, uint64_t *entry)
{
    const void *host = guest_walk_host(walk->mem, GPA(slot));
    if (host == NULL)
        return read_bus(walk, slot, size, entry);
    *entry = size == 8 ? __atomic_load_n((const uint64_t *)host, __ATOMIC_ACQUIRE)
                       : __atomic_load_n((const uint32_t *)host, __ATOMIC_ACQUIRE);
    return true;
}

/* An entry with PS above the level of 4-KByte pages: whether it maps a page, and which bits must
 * then be zero, or are for having PS at all. SDM: the formats' tables. */
static bool is_large_page(const struct walk *walk, unsigned shift, uint64_t *reserved)
{
    *reserved = 0;
    if ((walk->large_pages & BIT(shift)) == 0) {
        if (shift >= 30)
            *reserved = ENTRY_PS;
        return false;
    }
    if (shift == 22) {
        /* Bits 20:13 hold address bits 39:32 as far as the processor has them. */
        unsigned width = walk->paging->maxphyaddr < 40 ? walk->paging->maxphyaddr : 40;
        *reserved = MASK(21, width - 19);
    } else {
        *reserved = MASK(shift - 1, 13);
    }
    return true;
}

/* From the table at table, whose entries each map 2^shift bytes, down to a leaf. */
static enum status descend(struct walk *walk, uint64_t table, gpa_t *gpa,
                           struct exception *exception)
{
    const unsigned size = walk->entry_size, index_bits = size == 8 ? 9 : 10;
    const uint64_t linear = walk->linear, reserved_always = walk->reserved;
    uint64_t all = ~0ull, any = 0;
    unsigned shift = walk->shift, level = 0;
    for (;; shift -= index_bits) {
        uint64_t slot = table + ((linear >> shift) & (BIT(index_bits) - 1)) * size;
        uint64_t entry, reserved;
        if (!read_entry(walk, slot, size, &entry)) {
            *gpa = GPA(slot);
            return ERR_RANGE;
        }
        if ((entry & ENTRY_P) == 0)
            return page_fault(walk, 0, exception);
        if ((entry & reserved_always) != 0)
            return page_fault(walk, PF_PRESENT | PF_RESERVED, exception);
        all &= entry;
        any |= entry;
        walk->slot[level] = slot;
        walk->entry[level++] = entry;
        if (shift == PAGE_SHIFT)
            break;
        if ((entry & ENTRY_PS) != 0) {
            bool leaf = is_large_page(walk, shift, &reserved);
            if ((entry & reserved) != 0)
                return page_fault(walk, PF_PRESENT | PF_RESERVED, exception);
            if (leaf)
                break;
        }
        table = entry & ENTRY_ADDRESS;
    }
    walk->shift = shift;
    walk->levels = level;
    walk->all = all;
    walk->any = any;
    return STATUS_OK;
}

/* SDM: Determination of Access Rights; all and any are the AND and the OR of the entries. */
static inline bool is_permitted(const struct paging *paging, uint64_t access, uint64_t all,
                                uint64_t any)
{
    bool write = (access & GUEST_WALK_WRITE) != 0;
    bool fetch = (access & GUEST_WALK_FETCH) != 0;
    bool implicit = (access & GUEST_WALK_IMPLICIT) != 0;
    bool user_page = (all & ENTRY_US) != 0;
    bool read_only = (all & ENTRY_RW) == 0;
    if (fetch && (any & ENTRY_XD) != 0)
        return false;
    if (paging->cpl == 3 && !implicit)
        return user_page && !(write && read_only);
    if (write && read_only && (paging->cr0 & CR0_WP) != 0)
        return false;
    if (!user_page)
        return true;
    if (fetch)
        return (paging->cr4 & CR4_SMEP) == 0;
    return (paging->cr4 & CR4_SMAP) == 0 || (!implicit && (paging->rflags & RFLAGS_AC) != 0);
}

/* SDM: Protection Keys: of a user-mode address, for data. */
static COLD bool is_locked(const struct walk *walk)
{
    const struct paging *paging = walk->paging;
    uint64_t key = bits_get(walk->entry[walk->levels - 1], 62, 59);
    uint32_t rights = paging->pkru >> 2 * key;
    bool user = paging->cpl == 3 && !(walk->access & GUEST_WALK_IMPLICIT);
    if (walk->access & GUEST_WALK_FETCH || !(walk->all & ENTRY_US))
        return false;
    return rights & PKRU_AD ||
           (rights & PKRU_WD && walk->access & GUEST_WALK_WRITE && (user || paging->cr0 & CR0_WP));
}

/* SDM: Accessed and Dirty Flags. ERR_BUSY: an entry is no longer what the walk saw. */
static enum status set_flags(const struct walk *walk)
{
    if (walk->access & GUEST_WALK_PEEK)
        return STATUS_OK;
    for (unsigned i = 0; i < walk->levels; i++) {
        bool dirty = i + 1 == walk->levels && (walk->access & GUEST_WALK_WRITE) != 0;
        uint64_t wanted = walk->entry[i] | ENTRY_A | (dirty ? ENTRY_D : 0);
        uint64_t expected = walk->entry[i];
        bool swapped;
        if (wanted == expected)
            continue;
        enum status status = guest_mem_compare_exchange(
            walk->mem, GPA(walk->slot[i]), walk->entry_size, &expected, wanted, &swapped);
        if (status == ERR_RANGE && walk->paging->bus != NULL) {
            bus_write(walk->paging->bus, BUS_MMIO, walk->slot[i], walk->entry_size, wanted);
            continue;
        }
        if (status != STATUS_OK)
            return status;
        if (!swapped)
            return ERR_BUSY;
    }
    return STATUS_OK;
}

static inline gpa_t leaf_address(const struct walk *walk)
{
    uint64_t entry = walk->entry[walk->levels - 1];
    uint64_t offset_mask = BIT(walk->shift) - 1;
    uint64_t page = entry & ENTRY_ADDRESS & ~offset_mask;
    if (walk->shift == 22)
        page |= bits_get(entry, 20, 13) << 32;
    return GPA(page | (walk->linear & offset_mask));
}

/* Chooses the format; *table is the address of the first table. ERR_FAULT: an absent PDPTE. */
static inline enum status begin(struct walk *walk, uint64_t *table, struct exception *exception)
{
    const struct paging *paging = walk->paging;
    uint64_t too_high = ~(BIT(paging->maxphyaddr) - 1);
    *table = paging->cr3 & ENTRY_ADDRESS;
    if ((paging->cr4 & CR4_PAE) == 0) {
        walk->entry_size = 4;
        walk->reserved = 0;
        walk->large_pages = (paging->cr4 & CR4_PSE) != 0 ? BIT(22) : 0;
        walk->shift = 22;
        *table &= MASK(31, 12);
        return STATUS_OK;
    }
    walk->entry_size = 8;
    walk->reserved = (paging->efer & EFER_NXE) == 0 ? ENTRY_XD : 0;
    walk->large_pages = BIT(21);
    if ((paging->efer & EFER_LMA) != 0) {
        walk->reserved |= MASK(51, 12) & too_high;
        if (paging->one_gib_pages)
            walk->large_pages |= BIT(30);
        walk->shift = 39;
        return STATUS_OK;
    }
    uint64_t pdpte = paging->pdpte[walk->linear >> 30 & 3];
    if ((pdpte & ENTRY_P) == 0)
        return page_fault(walk, 0, exception);
    walk->reserved |= MASK(62, 12) & too_high;
    walk->shift = 21;
    *table = pdpte & ENTRY_ADDRESS;
    return STATUS_OK;
}

static inline enum status walk_once(struct walk *walk, gpa_t *gpa, struct exception *exception)
{
    const struct paging *paging = walk->paging;
    uint64_t table;
    enum status status = begin(walk, &table, exception);
    if (status == STATUS_OK)
        status = descend(walk, table, gpa, exception);
    if (status != STATUS_OK)
        return status;
    if (__builtin_expect(paging->pkru != 0, 0) && is_locked(walk))
        return page_fault(walk, PF_PRESENT | PF_KEY, exception);
    if (!is_permitted(paging, walk->access, walk->all, walk->any))
        return page_fault(walk, PF_PRESENT, exception);
    *gpa = leaf_address(walk);
    bool dirtied =
        (walk->access & GUEST_WALK_WRITE) != 0 && (walk->entry[walk->levels - 1] & ENTRY_D) == 0;
    return (walk->all & ENTRY_A) != 0 && !dirtied ? STATUS_OK : set_flags(walk);
}

/* What of the walk guest_walk_stands compares. Where fewer than four entries were read, the last
 * stands for the rest. */
static void note_path(const struct walk *walk, struct guest_walk_path *path)
{
    for (unsigned i = 0; i < LEVELS_MAX; i++) {
        unsigned level = i < walk->levels ? i : walk->levels - 1;
#ifdef PLANTED_BUG_GUEST_WALK
        level = walk->levels - 1;
#endif
        path->slot[i] =
            (const uint64_t *)(const void *)guest_walk_host(walk->mem, GPA(walk->slot[level]));
        path->entry[i] = walk->entry[level];
    }
}

enum status guest_walk_noting(const struct paging *paging, const struct guest_mem *mem,
                              gva_t linear, uint64_t access, gpa_t *gpa,
                              struct guest_walk_path *path, struct exception *exception)
{
    struct walk walk;
    enum status status = ERR_BUSY;
    path->slot[0] = NULL;
    if ((paging->cr0 & CR0_PG) == 0) {
        *gpa = GPA(linear.v);
        return STATUS_OK;
    }
    walk.paging = paging;
    walk.mem = mem;
    walk.linear = linear.v;
    walk.access = access;
    for (unsigned i = 0; i < RESTARTS_MAX && status == ERR_BUSY; i++)
        status = walk_once(&walk, gpa, exception);
    if (status == STATUS_OK && (paging->efer & EFER_LMA) != 0)
        note_path(&walk, path);
    return status;
}

enum status guest_walk(const struct paging *paging, const struct guest_mem *mem, gva_t linear,
                       uint64_t access, gpa_t *gpa, struct exception *exception)
{
    struct guest_walk_path path;
    return guest_walk_noting(paging, mem, linear, access, gpa, &path, exception);
}
