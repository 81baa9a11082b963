#include "kernel/core/page_table.h"

#include "kernel/core/hash.h"
#include "kernel/core/mem.h"

#define LEVELS 4
#define ENTRIES 512
#define PTE_CACHE (PTE_PWT | PTE_PCD)

/* Bytes that an entry of this level (1: page table, 4: PML4) covers. */
static uint64_t span_of(unsigned level)
{
    return 1ull << (PAGE_SHIFT + 9 * (level - 1));
}

static unsigned index_of(uint64_t linear, unsigned level)
{
    return (linear >> (PAGE_SHIFT + 9 * (level - 1))) & (ENTRIES - 1);
}

static uint64_t *entries_at(const struct page_table *table, uint64_t entry)
{
    return table->ports.map(table->ports.context, HPA(entry & PTE_ADDRESS));
}

static bool is_leaf(uint64_t entry, unsigned level)
{
    return level == 1 || (entry & PTE_PS) != 0;
}

static INIT enum status new_table(const struct page_table *table, hpa_t *frame)
{
    enum status status = table->ports.alloc(table->ports.context, frame);
    if (status == STATUS_OK)
        memset(table->ports.map(table->ports.context, *frame), 0, PAGE_SIZE);
    return status;
}

INIT enum status page_table_init(struct page_table *table, const struct page_table_ports *ports,
                                 bool has_1g)
{
    *table = (struct page_table){.ports = *ports, .has_1g = has_1g};
    return new_table(table, &table->root);
}

/* Index into IA32_PAT: 0 WB, 1 WC, 3 UC, as CPU_PAT has them. */
static INIT uint64_t entry_flags(uint64_t flags)
{
    uint64_t entry = PTE_P | PTE_A;
    entry |= flags & MAP_WRITE ? PTE_RW | PTE_D : 0;
    entry |= flags & MAP_EXECUTE ? 0 : PTE_NX;
    entry |= flags & MAP_WC ? PTE_PWT : 0;
    entry |= flags & MAP_UC ? PTE_PWT | PTE_PCD : 0;
    entry |= flags & MAP_GLOBAL ? PTE_G : 0;
    return entry;
}

static uint64_t flags_of(uint64_t entry)
{
    uint64_t flags = entry & PTE_RW ? MAP_WRITE : 0;
    flags |= entry & PTE_NX ? 0 : MAP_EXECUTE;
    flags |= entry & PTE_G ? MAP_GLOBAL : 0;
    if (entry & PTE_PCD)
        flags |= MAP_UC;
    else if (entry & PTE_PWT)
        flags |= MAP_WC;
    return flags;
}

/* The largest level whose page fits at linear and frame. */
static INIT unsigned leaf_level(const struct page_table *table, uint64_t linear, uint64_t frame,
                                uint64_t size)
{
    unsigned level = table->has_1g ? 3 : 2;
    while (level > 1 && (!is_aligned(linear | frame, span_of(level)) || size < span_of(level)))
        level--;
    return level;
}

/* The entry for linear at a level, with the tables above it; those allow everything, the leaf
 * decides. */
static INIT enum status make_entry(struct page_table *table, uint64_t linear, unsigned level,
                                   uint64_t **entry)
{
    uint64_t *entries = entries_at(table, table->root.v);
    for (unsigned upper = LEVELS; upper > level; upper--) {
        uint64_t *next = &entries[index_of(linear, upper)];
        if (!(*next & PTE_P)) {
            hpa_t frame;
            enum status status = new_table(table, &frame);
            if (status != STATUS_OK)
                return status;
            *next = frame.v | PTE_P | PTE_RW | PTE_A;
        } else if (is_leaf(*next, upper)) {
            return ERR_EXISTS;
        }
        entries = entries_at(table, *next);
    }
    *entry = &entries[index_of(linear, level)];
    return STATUS_OK;
}

static INIT bool is_range(uint64_t linear, uint64_t size)
{
    return size != 0 && is_aligned(linear | size, PAGE_SIZE) && linear + (size - 1) >= linear &&
           is_canonical(linear) && is_canonical(linear + (size - 1)) &&
           (linear >> 63) == ((linear + (size - 1)) >> 63);
}

INIT enum status page_table_map(struct page_table *table, uint64_t linear, hpa_t frame,
                                uint64_t size, uint64_t flags)
{
    if (!is_range(linear, size) || !is_aligned(frame.v, PAGE_SIZE) ||
        (frame.v & ~PTE_ADDRESS) != 0 || ((frame.v + (size - 1)) & ~MASK(51, 0)) != 0)
        return ERR_INVALID;
    while (size > 0) {
        unsigned level = leaf_level(table, linear, frame.v, size);
        uint64_t *entry;
        enum status status = make_entry(table, linear, level, &entry);
        if (status != STATUS_OK)
            return status;
        if (*entry & PTE_P)
            return ERR_EXISTS;
        *entry = frame.v | entry_flags(flags) | (level > 1 ? PTE_PS : 0);
        linear += span_of(level);
        frame.v += span_of(level);
        size -= span_of(level);
    }
    return STATUS_OK;
}

/* The lowest present entry for linear and its level; NULL: a table on the way is absent. */
static uint64_t *find_entry(const struct page_table *table, uint64_t linear, unsigned *level)
{
    uint64_t entry = table->root.v;
    for (*level = LEVELS;; --*level) {
        uint64_t *found = &entries_at(table, entry)[index_of(linear, *level)];
        if (!(*found & PTE_P))
            return NULL;
        if (is_leaf(*found, *level))
            return found;
        entry = *found;
    }
}

INIT enum status page_table_unmap(struct page_table *table, uint64_t linear, uint64_t size)
{
    if (!is_range(linear, size))
        return ERR_INVALID;
    for (uint64_t done = 0; done < size; done += PAGE_SIZE) {
        unsigned level;
        uint64_t *entry = find_entry(table, linear + done, &level);
        if (entry != NULL && level > 1)
            return ERR_INVALID;
        if (entry != NULL)
            *entry = 0;
    }
    return STATUS_OK;
}

/* Bits 20:13 or 29:13 of a large page's entry are reserved, bit 12 is its PAT. */
static struct page_mapping mapping_of(uint64_t entry, uint64_t linear, unsigned level)
{
    return (struct page_mapping){.linear = align_down(linear, span_of(level)),
                                 .size = span_of(level),
                                 .frame = HPA(align_down(entry & PTE_ADDRESS, span_of(level))),
                                 .flags = flags_of(entry)};
}

enum status page_table_walk(const struct page_table *table, uint64_t linear,
                            struct page_mapping *mapping)
{
    unsigned level;
    if (!is_canonical(linear))
        return ERR_NOT_FOUND;
    const uint64_t *entry = find_entry(table, linear, &level);
    if (entry == NULL)
        return ERR_NOT_FOUND;
    *mapping = mapping_of(*entry, linear, level);
    return STATUS_OK;
}

INIT uint64_t *page_table_entry(const struct page_table *table, uint64_t linear)
{
    unsigned level;
    uint64_t *entry = find_entry(table, linear, &level);
    return entry != NULL && level == 1 ? entry : NULL;
}

/* Whether the entry is one that page_table_map and make_entry could have made. */
static INIT bool is_sound(const struct page_table *table, uint64_t entry, unsigned level)
{
    if (entry & PTE_US)
        return false;
    if (!is_leaf(entry, level))
        return (entry & (PTE_CACHE | PTE_NX)) == 0;
    if (level > 3 || (level == 3 && !table->has_1g))
        return false;
    if (level > 1 && !is_aligned(entry & PTE_ADDRESS, span_of(level)))
        return false;
    return level > 1 || (entry & PTE_PS) == 0;
}

/* Visits what one table of this level maps from linear on; at most four deep. */
static INIT enum status visit_table(
    const struct page_table *table, uint64_t entry, unsigned level, uint64_t linear,
    enum status (*visit)(void *context, const struct page_mapping *mapping), void *context)
{
    const uint64_t *entries = entries_at(table, entry);
    for (unsigned i = 0; i < ENTRIES; i++) {
        if (!(entries[i] & PTE_P))
            continue;
        uint64_t address = linear + i * span_of(level);
        if (level == LEVELS && i >= ENTRIES / 2)
            address |= ~MASK(47, 0);
        if (!is_sound(table, entries[i], level))
            return ERR_INVALID;
        struct page_mapping mapping = mapping_of(entries[i], address, level);
        enum status status = is_leaf(entries[i], level) ? visit(context, &mapping)
                                                        : visit_table(table, entries[i], level - 1,
                                                                      address, visit, context);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* Every entry that leads to a page, and where it stands: empty tables, which stay where something
 * was unmapped, make no difference. */
static uint64_t hash_table(const struct page_table *table, uint64_t entry, unsigned level,
                           uint64_t linear, uint64_t hash)
{
    const uint64_t *entries = entries_at(table, entry);
    for (unsigned i = 0; i < ENTRIES; i++) {
        if (!(entries[i] & PTE_P))
            continue;
        uint64_t address = linear + i * span_of(level), below = hash;
        if (is_leaf(entries[i], level))
            below = hash_word(hash, address);
        else
            below = hash_table(table, entries[i], level - 1, address, hash);
        if (below != hash)
            hash = hash_word(below, entries[i] & ~(PTE_A | PTE_D));
    }
    return hash;
}

uint64_t page_table_hash(const struct page_table *table, uint64_t hash)
{
    return hash_table(table, table->root.v, LEVELS, 0, hash);
}

INIT enum status page_table_visit(const struct page_table *table,
                                  enum status (*visit)(void *context,
                                                       const struct page_mapping *mapping),
                                  void *context)
{
    return visit_table(table, table->root.v, LEVELS, 0, visit, context);
}
