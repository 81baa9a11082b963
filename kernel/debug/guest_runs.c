#include "kernel/debug/guest_runs.h"

#include "kernel/core/mem.h"

#define TABLES_MAX 16384u
#define ENTRY_P BIT(0)
#define ENTRY_PS BIT(7)

struct collection {
    struct guest_runs *runs;
    const struct paging *paging;
    const struct guest_mem *mem;
    unsigned levels, entry_size, index_bits;
};

static void add_piece(struct guest_runs *runs, uint64_t linear, uint64_t gpa, uint64_t size)
{
    struct guest_run *last = runs->count != 0 ? &runs->run[runs->count - 1] : NULL;
    if (last != NULL && last->linear + last->size == linear && last->gpa + last->size == gpa) {
        last->size += size;
    } else if (runs->count == GUEST_RUNS_MAX) {
        runs->is_cut = true;
    } else {
        runs->run[runs->count++] = (struct guest_run){linear, gpa, size};
    }
}

/* What of it is RAM. */
static void add(const struct collection *all, uint64_t linear, uint64_t gpa, uint64_t size)
{
    for (unsigned i = 0; i < all->mem->count; i++) {
        const struct guest_region *region = &all->mem->region[i];
        uint64_t from = gpa > region->base.v ? gpa : region->base.v;
        uint64_t region_end = region->base.v + region->size, end = gpa + size;
        end = end < region_end ? end : region_end;
        if (from < end)
            add_piece(all->runs, linear + (from - gpa), from, end - from);
    }
}

static bool is_page(const struct collection *all, unsigned level, uint64_t entry)
{
    if (level == 1)
        return true;
    if ((entry & ENTRY_PS) == 0)
        return false;
    if (all->entry_size == 4)
        return (all->paging->cr4 & CR4_PSE) != 0;
    return level == 2 || (level == 3 && all->levels == 4 && all->paging->one_gib_pages);
}

/* SDM: PSE-36: bits 20:13 of a 4-MByte page's entry are bits 39:32. */
static uint64_t page_base(const struct collection *all, unsigned level, uint64_t entry,
                          uint64_t size)
{
    if (all->entry_size == 4 && level == 2)
        return (entry & MASK(31, 22)) | bits_get(entry, 20, 13) << 32;
    return entry & MASK(51, 12) & ~(size - 1);
}

/* At most as deep as the paging has levels. */
static void collect_table(const struct collection *all, uint64_t table, unsigned level,
                          unsigned first, unsigned end, uint64_t linear)
{
    uint64_t available, size = BIT(PAGE_SHIFT + (level - 1) * all->index_bits);
    const uint8_t *host = guest_mem_span(all->mem, GPA(table), &available);
    if (host == NULL || available < (uint64_t)end * all->entry_size)
        return;
    if (all->runs->tables == TABLES_MAX) {
        all->runs->is_cut = true;
        return;
    }
    all->runs->tables++;
    for (unsigned i = first; i < end && !all->runs->is_cut; i++) {
        uint64_t entry = 0, here = linear + i * size;
        memcpy(&entry, host + i * all->entry_size, all->entry_size);
        if (all->levels == 4 && (here & BIT(47)) != 0)
            here |= MASK(63, 48);
        if ((entry & ENTRY_P) == 0)
            continue;
        if (is_page(all, level, entry))
            add(all, here, page_base(all, level, entry, size), size);
        else
            collect_table(all, entry & MASK(51, 12), level - 1, 0, 1u << all->index_bits, here);
    }
}

static void collect_paged(struct collection *all)
{
    const struct paging *paging = all->paging;
    if ((paging->efer & EFER_LMA) != 0) {
        all->levels = 4;
        collect_table(all, paging->cr3 & MASK(51, 12), 4, 256, 512, 0);
        collect_table(all, paging->cr3 & MASK(51, 12), 4, 0, 256, 0);
    } else if ((paging->cr4 & CR4_PAE) != 0) {
        all->levels = 3;
        collect_table(all, paging->cr3 & MASK(31, 5), 3, 0, 4, 0);
    } else {
        all->levels = 2;
        all->entry_size = 4;
        all->index_bits = 10;
        collect_table(all, paging->cr3 & MASK(31, 12), 2, 512, 1024, 0);
        collect_table(all, paging->cr3 & MASK(31, 12), 2, 0, 512, 0);
    }
}

void guest_runs_collect(struct guest_runs *runs, const struct paging *paging,
                        const struct guest_mem *mem)
{
    struct collection all = {runs, paging, mem, .entry_size = 8, .index_bits = 9};
    runs->count = runs->tables = 0;
    runs->is_cut = false;
    if ((paging->cr0 & CR0_PG) != 0)
        collect_paged(&all);
    else
        add(&all, 0, 0, UINT64_MAX);
}
