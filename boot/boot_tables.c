/* SDM: 4-Level Paging and 5-Level Paging. */
#include "boot/boot_tables.h"

#include "kernel/core/bits.h"
#include "kernel/core/mem.h"

#define ENTRY_PRESENT BIT(0)
#define ENTRY_WRITABLE BIT(1)
#define ENTRY_LARGE BIT(7)
#define ENTRY_ADDRESS MASK(51, 12)
#define ENTRIES 512

#define LOW_GIBS 4
#define IDENTITY_END BIT(47) /* the lower half of the canonical addresses */

static unsigned index_at(uint64_t linear, unsigned level)
{
    return (linear >> (PAGE_SHIFT + 9 * (level - 1))) & (ENTRIES - 1);
}

static uint64_t *table_new(struct boot_tables *tables)
{
    if (tables->used == tables->max)
        return NULL;
    return tables->page + ENTRIES * tables->used++;
}

/* The entry for linear at level (4: PML4 ... 1: PT), with the tables above it made as needed. */
static uint64_t *table_entry(struct boot_tables *tables, uint64_t linear, unsigned level)
{
    uint64_t *table = tables->page;

    for (unsigned at = 4; at > level; at--) {
        uint64_t *entry = &table[index_at(linear, at)];

        if ((*entry & ENTRY_PRESENT) == 0) {
            uint64_t *next = table_new(tables);

            if (next == NULL)
                return NULL;
            *entry = (uintptr_t)next | ENTRY_PRESENT | ENTRY_WRITABLE;
        }
        table = (uint64_t *)(uintptr_t)(*entry & ENTRY_ADDRESS);
    }
    return &table[index_at(linear, level)];
}

static enum status map_gib(struct boot_tables *tables, uint64_t gib)
{
    unsigned level = tables->has_1g_pages ? 3 : 2;
    uint64_t step = tables->has_1g_pages ? PAGE_SIZE_1G : PAGE_SIZE_2M;

    for (uint64_t at = gib * PAGE_SIZE_1G; at < (gib + 1) * PAGE_SIZE_1G; at += step) {
        uint64_t *entry = table_entry(tables, at, level);

        if (entry == NULL)
            return ERR_NO_SPACE;
        *entry = at | ENTRY_PRESENT | ENTRY_WRITABLE | ENTRY_LARGE;
    }
    return STATUS_OK;
}

static enum status map_range(struct boot_tables *tables, uint64_t base, uint64_t size)
{
    enum status status = STATUS_OK;

    if (size == 0)
        return STATUS_OK;
    if (base >= IDENTITY_END || size > IDENTITY_END - base)
        return ERR_RANGE;
    for (uint64_t gib = base / PAGE_SIZE_1G; gib <= (base + size - 1) / PAGE_SIZE_1G; gib++) {
        status = map_gib(tables, gib);
        if (status != STATUS_OK)
            break;
    }
    return status;
}

static enum status map_image(struct boot_tables *tables, const struct boot_tables_request *request)
{
    for (uint64_t at = 0; at < request->image_size; at += PAGE_SIZE) {
        uint64_t *entry = table_entry(tables, request->image_linear + at, 1);

        if (entry == NULL)
            return ERR_NO_SPACE;
        *entry = (request->image_physical + at) | ENTRY_PRESENT | ENTRY_WRITABLE;
    }
    return STATUS_OK;
}

/* GiBs that a range touches, and the tables above them if none is shared. */
static size_t range_bound(uint64_t size, bool has_1g_pages)
{
    size_t gibs = size / PAGE_SIZE_1G + 2;

    return (has_1g_pages ? 0 : gibs) + gibs / ENTRIES + 2;
}

static bool is_mapped(const struct boot_memory *memory)
{
    return memory->type != BOOT_MEMORY_FIRMWARE;
}

size_t boot_tables_bound(const struct boot_tables_request *request, bool has_1g_pages)
{
    uint64_t last_gib = LOW_GIBS - 1;
    /* The PML4 table, the image's tables, and what the fixed parts of the identity map take. */
    size_t bound = 1 + 4 + request->image_size / PAGE_SIZE_2M;

    bound += range_bound(LOW_GIBS * PAGE_SIZE_1G, has_1g_pages);
    bound += range_bound(request->framebuffer_size, has_1g_pages);
    for (size_t i = 0; i < request->map_count; i++) {
        const struct boot_memory *memory = &request->map[i];
        uint64_t end = memory->base + memory->pages * PAGE_SIZE;

        /* The map is sorted: a GiB is counted with the first range that needs it. */
        if (!is_mapped(memory) || end <= (last_gib + 1) * PAGE_SIZE_1G)
            continue;
        bound += range_bound(memory->pages * PAGE_SIZE, has_1g_pages);
        last_gib = (end - 1) / PAGE_SIZE_1G;
    }
    return bound;
}

enum status boot_tables_build(struct boot_tables *tables, const struct boot_tables_request *request)
{
    enum status status;

    memset(tables->page, 0, tables->max * PAGE_SIZE);
    tables->used = 0;
    if (table_new(tables) == NULL)
        return ERR_NO_SPACE;
    status = map_range(tables, 0, LOW_GIBS * PAGE_SIZE_1G);
    for (size_t i = 0; i < request->map_count && status == STATUS_OK; i++)
        if (is_mapped(&request->map[i]))
            status = map_range(tables, request->map[i].base, request->map[i].pages * PAGE_SIZE);
    if (status == STATUS_OK)
        status = map_range(tables, request->framebuffer, request->framebuffer_size);
    if (status == STATUS_OK &&
        (tables->page[index_at(request->image_linear, 4)] & ENTRY_PRESENT) != 0)
        return ERR_EXISTS;
    return status == STATUS_OK ? map_image(tables, request) : status;
}
