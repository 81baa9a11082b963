#include "kernel/vm/page_walk.h"

#include "kernel/core/mem.h"

#define ENTRY_P BIT(0)
#define ENTRY_PS BIT(7)

/* One kind of paging: its tables from the root down. */
struct kind {
    const char *mode;
    uint8_t levels, entry_size, index_bits;
    uint8_t root_bits; /* of the root's index */
    uint64_t root;     /* the bits of CR3 that are its address */
};

static const struct kind four_level = {"4-level paging", 4, 8, 9, 9, MASK(51, 12)};
static const struct kind pae = {"PAE paging", 3, 8, 9, 2, MASK(31, 5)};
static const struct kind two_level = {"32-bit paging", 2, 4, 10, 10, MASK(31, 12)};

static const struct kind *kind_of(const struct paging *paging)
{
    if ((paging->efer & EFER_LMA) != 0)
        return &four_level;
    return (paging->cr4 & CR4_PAE) != 0 ? &pae : &two_level;
}

/* Whether an entry of this level, 1 being that of the PTEs, may map a page by itself. */
static bool may_be_large(const struct paging *paging, const struct kind *kind, unsigned level)
{
    if (kind == &two_level)
        return level == 2 && (paging->cr4 & CR4_PSE) != 0;
    return level == 2 || (level == 3 && kind == &four_level && paging->one_gib_pages);
}

/* Where a page begins. SDM: PSE-36: bits 20:13 of a 4-MByte page's entry are bits 39:32. */
static uint64_t page_base(const struct kind *kind, unsigned level, uint64_t value, uint64_t page)
{
    if (kind == &two_level && level == 2)
        return (value & MASK(31, 22)) | bits_get(value, 20, 13) << 32;
    return value & MASK(51, 12) & ~(page - 1);
}

static const char *name_of(unsigned level)
{
    static const char *const names[] = {"PTE", "PDE", "PDPTE", "PML4E"};
    return names[level - 1];
}

static void walk_tables(const struct paging *paging, const struct guest_mem *mem, uint64_t linear,
                        const struct kind *kind, struct page_walk *walk)
{
    uint64_t table = paging->cr3 & kind->root;
    for (unsigned level = kind->levels; level > 0; level--) {
        unsigned shift = PAGE_SHIFT + (level - 1) * kind->index_bits;
        unsigned bits = level == kind->levels ? kind->root_bits : kind->index_bits;
        struct page_walk_entry *entry = &walk->entry[walk->count];
        *entry = (struct page_walk_entry){
            .name = name_of(level), .index = (unsigned)bits_get(linear, shift + bits - 1, shift)};
        entry->at = GPA(table + entry->index * kind->entry_size);
        if (guest_mem_load(mem, entry->at, kind->entry_size, &entry->value) != STATUS_OK) {
            walk->why = "the next table is not in the guest's memory";
            return;
        }
        walk->count++;
        if ((entry->value & ENTRY_P) == 0) {
            walk->why = "not present";
            return;
        }
        bool is_page =
            level == 1 || ((entry->value & ENTRY_PS) != 0 && may_be_large(paging, kind, level));
        if (is_page) {
            walk->page = BIT(shift);
            walk->gpa =
                GPA(page_base(kind, level, entry->value, walk->page) + (linear & (walk->page - 1)));
            return;
        }
        table = entry->value & MASK(51, 12);
    }
}

void page_walk(const struct paging *paging, const struct guest_mem *mem, uint64_t linear,
               struct page_walk *walk)
{
    const struct kind *kind = kind_of(paging);
    *walk = (struct page_walk){.mode = "paging is off", .page = PAGE_SIZE};
    bool is_long = kind == &four_level;
    if (!is_long)
        linear &= UINT32_MAX;
    walk->gpa = GPA(linear);
    if ((paging->cr0 & CR0_PG) == 0)
        return;
    walk->mode = kind->mode;
    if (is_long && !is_canonical(linear))
        walk->why = "the address is not canonical";
    else
        walk_tables(paging, mem, linear, kind, walk);
}

/* The piece of at most size bytes that lies in one page and one region of memory; 0: none. */
static size_t find_piece(const struct paging *paging, const struct guest_mem *mem, uint64_t linear,
                         size_t size, uint8_t **host)
{
    struct page_walk walk;
    uint64_t available;
    page_walk(paging, mem, linear, &walk);
    *host = walk.why == NULL ? guest_mem_span(mem, walk.gpa, &available) : NULL;
    if (*host == NULL)
        return 0;
    uint64_t in_page = PAGE_SIZE - linear % PAGE_SIZE;
    size = size < in_page ? size : in_page;
    return size < available ? size : available;
}

size_t page_walk_read(const struct paging *paging, const struct guest_mem *mem, uint64_t linear,
                      void *to, size_t size)
{
    size_t done = 0;
    while (done < size) {
        uint8_t *host;
        size_t piece = find_piece(paging, mem, linear + done, size - done, &host);
        if (piece == 0)
            break;
        memcpy((uint8_t *)to + done, host, piece);
        done += piece;
    }
    return done;
}

size_t page_walk_write(const struct paging *paging, const struct guest_mem *mem, uint64_t linear,
                       const void *from, size_t size)
{
    size_t done = 0;
    while (done < size) {
        uint8_t *host;
        size_t piece = find_piece(paging, mem, linear + done, size - done, &host);
        if (piece == 0)
            break;
        memcpy(host, (const uint8_t *)from + done, piece);
        done += piece;
    }
    return done;
}
