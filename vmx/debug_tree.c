/* The tree of EPT that points are made of: see debug.h. */
#include "kernel/core/mem.h"
#include "vmx/debug_internal.h"

#define LEVELS 4
#define ENTRIES 512

static uint64_t *table_at(const struct ept *ept, hpa_t table)
{
    return ept->ports.map(ept->ports.context, table);
}

static unsigned shift_of(unsigned level)
{
    return PAGE_SHIFT + 9 * (level - 1);
}

static bool is_own(const struct debug_points *points, uint64_t frame)
{
    return frame - points->frames.v < DEBUG_FRAMES * PAGE_SIZE;
}

static enum status take_frame(struct debug_points *points, hpa_t *frame)
{
    if (points->used == DEBUG_FRAMES)
        return ERR_NO_MEMORY;
    *frame = HPA(points->frames.v + points->used++ * PAGE_SIZE);
    return STATUS_OK;
}

/* The table below an entry of this level becomes the tree's own: a copy, or a large page's pieces.
 */
static enum status make_own(struct debug_points *points, uint64_t *entry, unsigned level)
{
    hpa_t frame;
    enum status status = take_frame(points, &frame);
    if (status != STATUS_OK)
        return status;
    uint64_t *table = table_at(&points->ept, frame);
    if (!(*entry & EPT_LARGE)) {
        memcpy(table, table_at(&points->ept, HPA(*entry & EPT_ADDRESS)), PAGE_SIZE);
    } else {
        uint64_t piece = level == 2 ? *entry & ~EPT_LARGE : *entry;
        for (unsigned i = 0; i < ENTRIES; i++)
            table[i] = piece + ((uint64_t)i << shift_of(level - 1));
    }
    *entry = frame.v | EPT_READ | EPT_WRITE | EPT_EXECUTE;
    return STATUS_OK;
}

/* Without the flags that the processor would set: SDM: Accessed and Dirty Flags for EPT: with them
 * every walk through the guest's page tables counts as a write to them. */
static enum status begin(struct debug_points *points, struct ept *tree, const struct ept *own)
{
    *tree = *own;
    tree->has_ad = false;
    enum status status = take_frame(points, &tree->root);
    if (status == STATUS_OK)
        memcpy(table_at(own, tree->root), table_at(own, own->root), PAGE_SIZE);
    return status;
}

enum status debug_tree_begin(struct debug_points *points, const struct ept *own)
{
    points->used = 0;
    enum status status = begin(points, &points->ept, own);
    return status == STATUS_OK ? begin(points, &points->data, own) : status;
}

enum status debug_tree_deny(struct debug_points *points, struct ept *tree, uint64_t gpa,
                            uint64_t rights, bool *changed)
{
    hpa_t table = tree->root;
    for (unsigned level = LEVELS; level > 1; level--) {
        uint64_t *entry = &table_at(tree, table)[gpa >> shift_of(level) & (ENTRIES - 1)];
        if (*entry == 0)
            return ERR_RANGE;
        if (*entry & EPT_LARGE || !is_own(points, *entry & EPT_ADDRESS)) {
            enum status status = make_own(points, entry, level);
            if (status != STATUS_OK)
                return status;
        }
        table.v = *entry & EPT_ADDRESS;
    }
    uint64_t *leaf = &table_at(tree, table)[gpa >> PAGE_SHIFT & (ENTRIES - 1)];
    *changed = *changed || *leaf & rights;
    *leaf &= ~rights;
    return *leaf & EPT_ADDRESS ? STATUS_OK : ERR_RANGE;
}
