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

/* An entry that leads to a table of the tree's own: a bit that the processor does not look at.
 * SDM: EPT Paging-Structure Entries. */
#define ENTRY_OWN BIT(52)

/* Frames of trees that are no more come first. */
static enum status take_frame(struct debug_points *points, hpa_t *frame)
{
    const struct debug_memory *memory = &points->memory;
    const struct debug_row *row;
    if (points->used == points->frames.count) {
        if (debug_table_reserve(memory, &points->frames, points->used + 1u) != STATUS_OK ||
            memory->take(memory->context, 1, frame) != STATUS_OK)
            return ERR_NO_MEMORY;
        row = debug_table_add(memory, &points->frames, frame->v);
    } else {
        row = debug_table_row(&points->frames, points->used);
    }
    *frame = HPA(row->key);
    points->used++;
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
    *entry = frame.v | EPT_READ | EPT_WRITE | EPT_EXECUTE | ENTRY_OWN;
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
    points->used = points->replacements = 0;
    points->generation++;
    enum status status = begin(points, &points->ept, own);
    if (status == STATUS_OK)
        status = begin(points, &points->data, own);
    if (status != STATUS_OK)
        points->used = 0;
    return status;
}

enum status debug_tree_deny(struct debug_points *points, struct ept *tree, uint64_t gpa,
                            uint64_t rights, bool *changed)
{
    hpa_t table = tree->root;
    for (unsigned level = LEVELS; level > 1; level--) {
        uint64_t *entry = &table_at(tree, table)[gpa >> shift_of(level) & (ENTRIES - 1)];
        if (*entry == 0)
            return ERR_RANGE;
        if (!(*entry & ENTRY_OWN)) {
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

uint64_t *debug_tree_leaf(const struct ept *tree, uint64_t gpa)
{
    hpa_t table = tree->root;
    for (unsigned level = LEVELS; level > 1; level--) {
        uint64_t entry = table_at(tree, table)[gpa >> shift_of(level) & (ENTRIES - 1)];
        if (!(entry & ENTRY_OWN))
            return NULL;
        table.v = entry & EPT_ADDRESS;
    }
    return &table_at(tree, table)[gpa >> PAGE_SHIFT & (ENTRIES - 1)];
}
