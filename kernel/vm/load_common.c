#include "kernel/vm/load_common.h"

#include "kernel/core/bits.h"
#include "kernel/core/fmt.h"

#define LOW_MEMORY_FIRST PAGE_SIZE /* page 0 is a real-mode kernel's, and a null pointer's */

/* ---- Room ---- */

/* The first claim that [base, base + size) overlaps; -1: none. */
static int find_claim(const struct loader *loader, uint64_t base, uint64_t size)
{
    for (unsigned i = 0; i < loader->claims; i++)
        if (base < loader->claim[i].base + loader->claim[i].size &&
            loader->claim[i].base < base + size)
            return (int)i;
    return -1;
}

enum status load_claim(struct loader *loader, uint64_t base, uint64_t size)
{
    if (!guest_map_is_ram(loader->request->map, base, size))
        return ERR_RANGE;
    if (find_claim(loader, base, size) >= 0)
        return ERR_EXISTS;
    if (loader->claims == LOAD_CLAIMS_MAX)
        return ERR_NO_SPACE;
    loader->claim[loader->claims].base = base;
    loader->claim[loader->claims++].size = size;
    return STATUS_OK;
}

/* The lowest room in [low, high), which is RAM. Each step passes a claim, so the loop ends. */
static bool find_lowest(const struct loader *loader, uint64_t size, uint64_t alignment,
                        uint64_t low, uint64_t high, uint64_t *base)
{
    *base = align_up(low, alignment);
    while (*base < high && high - *base >= size) {
        int i = find_claim(loader, *base, size);
        if (i < 0)
            return true;
        *base = align_up(loader->claim[i].base + loader->claim[i].size, alignment);
    }
    return false;
}

static bool find_highest(const struct loader *loader, uint64_t size, uint64_t alignment,
                         uint64_t low, uint64_t high, uint64_t *base)
{
    while (high > low && high - low >= size) {
        *base = align_down(high - size, alignment);
        if (*base < low)
            return false;
        int i = find_claim(loader, *base, size);
        if (i < 0)
            return true;
        high = loader->claim[i].base;
    }
    return false;
}

/* The part of a RAM entry in [min, end); false: none. */
static bool clip(const struct guest_map_entry *entry, uint64_t min, uint64_t end, uint64_t *low,
                 uint64_t *high)
{
    *low = entry->base > min ? entry->base : min;
    *high = entry->base + entry->size < end ? entry->base + entry->size : end;
    return entry->type == GUEST_MAP_RAM && *low < *high;
}

enum status load_claim_lowest(struct loader *loader, uint64_t size, uint64_t alignment,
                              uint64_t min, uint64_t end, uint64_t *base)
{
    uint64_t low, high;
    for (unsigned i = 0; i < loader->request->map->count; i++)
        if (clip(&loader->request->map->entry[i], min, end, &low, &high) &&
            find_lowest(loader, size, alignment, low, high, base))
            return load_claim(loader, *base, size);
    return ERR_NO_SPACE;
}

enum status load_claim_highest(struct loader *loader, uint64_t size, uint64_t alignment,
                               uint64_t min, uint64_t end, uint64_t *base)
{
    uint64_t low, high;
    for (unsigned i = loader->request->map->count; i-- > 0;)
        if (clip(&loader->request->map->entry[i], min, end, &low, &high) &&
            find_highest(loader, size, alignment, low, high, base))
            return load_claim(loader, *base, size);
    return ERR_NO_SPACE;
}

/* ---- Pieces ---- */

static enum status add_piece(struct loader *loader, const struct load_piece *piece)
{
    struct load_plan *plan = loader->plan;
    if (piece->size == 0)
        return STATUS_OK;
    if (plan->pieces == LOAD_PIECES_MAX)
        return ERR_NO_SPACE;
    plan->piece[plan->pieces++] = *piece;
    return STATUS_OK;
}

enum status load_add(struct loader *loader, uint64_t at, const void *from, uint64_t size)
{
    return add_piece(loader, &(struct load_piece){.at = at, .size = size, .from = from});
}

enum status load_add_numbers(struct loader *loader, uint64_t at, uint64_t count, uint64_t first,
                             uint64_t step)
{
    return add_piece(loader, &(struct load_piece){at, count * 8, NULL, first, step});
}

void *load_make(struct loader *loader, uint64_t size)
{
    struct load_plan *plan = loader->plan;
    if (size > plan->size - plan->used)
        return NULL;
    void *made = (uint8_t *)plan + plan->used;
    plan->used = (uint32_t)align_up(plan->used + size, 8);
    return memset(made, 0, size);
}

void *load_make_low(struct loader *loader, uint64_t size, uint64_t alignment, uint64_t *base)
{
    void *made = load_make(loader, size);
    if (made == NULL ||
        load_claim_highest(loader, size, alignment, LOW_MEMORY_FIRST, LOAD_LOW_END, base) !=
            STATUS_OK ||
        load_add(loader, *base, made, size) != STATUS_OK)
        return NULL;
    return made;
}

/* ---- Messages, command line, segments ---- */

enum status load_fail(const struct loader *loader, enum status status, const struct load_file *file,
                      const char *format, ...)
{
    struct load_error *error = loader->error;
    va_list args;
    error->line = file->line;
    int used = fmt_format(error->text, sizeof(error->text), "%.128s: ", file->name);
    va_start(args, format);
    fmt_vformat(error->text + used, sizeof(error->text) - (size_t)used, format, args);
    va_end(args);
    return status;
}

enum status load_cmdline(struct loader *loader, uint64_t *base)
{
    const struct load_request *request = loader->request;
    uint64_t size = strlen(request->cmdline) + 1;
    void *text = load_make_low(loader, size, 16, base);
    if (text == NULL)
        return load_fail(loader, ERR_NO_SPACE, &request->kernel,
                         "no room for the command line below 640 KiB");
    memcpy(text, request->cmdline, size);
    return STATUS_OK;
}

void load_flat_segments(struct guest_entry *entry, uint32_t code_access, uint16_t code_selector,
                        uint16_t data_selector)
{
    for (unsigned i = 0; i < SEG_COUNT; i++)
        entry->segment[i] =
            (struct segment){0, 0xffffffff, LOAD_ACCESS_DATA | (uint32_t)SEGMENT_DB, data_selector};
    entry->segment[SEG_CS] = (struct segment){0, 0xffffffff, code_access, code_selector};
    entry->segment[SEG_LDTR] = (struct segment){0, 0, (uint32_t)SEGMENT_UNUSABLE, 0};
    /* SDM: Checks on Guest Segment Registers: TR is always usable, a busy TSS. */
    entry->segment[SEG_TR] = (struct segment){0, 0x67, 0x8b, 0};
}
