#include "kernel/vm/load_common.h"

#include "kernel/core/bits.h"
#include "kernel/core/fmt.h"

#define LOW_MEMORY_FIRST 0x1000ull /* page 0 is a real-mode kernel's, and a null pointer's */
#define LOW_MEMORY_END 0xa0000ull

/* ---- Room ---- */

/* The first claim that [base, base + size) overlaps; -1: none. */
static int find_claim(const struct load_room *room, uint64_t base, uint64_t size)
{
    for (unsigned i = 0; i < room->count; i++)
        if (base < room->claim[i].base + room->claim[i].size && room->claim[i].base < base + size)
            return (int)i;
    return -1;
}

enum status load_room_claim(struct load_room *room, uint64_t base, uint64_t size)
{
    if (!guest_map_is_ram(room->map, base, size))
        return ERR_RANGE;
    if (find_claim(room, base, size) >= 0)
        return ERR_EXISTS;
    if (room->count == LOAD_CLAIMS_MAX)
        return ERR_NO_SPACE;
    room->claim[room->count].base = base;
    room->claim[room->count++].size = size;
    return STATUS_OK;
}

/* The lowest room in [low, high), which is RAM. Each step passes a claim, so the loop ends. */
static bool find_lowest(const struct load_room *room, uint64_t size, uint64_t alignment,
                        uint64_t low, uint64_t high, uint64_t *base)
{
    *base = align_up(low, alignment);
    while (*base < high && high - *base >= size) {
        int i = find_claim(room, *base, size);
        if (i < 0)
            return true;
        *base = align_up(room->claim[i].base + room->claim[i].size, alignment);
    }
    return false;
}

static bool find_highest(const struct load_room *room, uint64_t size, uint64_t alignment,
                         uint64_t low, uint64_t high, uint64_t *base)
{
    while (high > low && high - low >= size) {
        *base = align_down(high - size, alignment);
        if (*base < low)
            return false;
        int i = find_claim(room, *base, size);
        if (i < 0)
            return true;
        high = room->claim[i].base;
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

enum status load_room_lowest(struct load_room *room, uint64_t size, uint64_t alignment,
                             uint64_t min, uint64_t end, uint64_t *base)
{
    uint64_t low, high;
    for (unsigned i = 0; i < room->map->count; i++)
        if (clip(&room->map->entry[i], min, end, &low, &high) &&
            find_lowest(room, size, alignment, low, high, base))
            return load_room_claim(room, *base, size);
    return ERR_NO_SPACE;
}

enum status load_room_highest(struct load_room *room, uint64_t size, uint64_t alignment,
                              uint64_t min, uint64_t end, uint64_t *base)
{
    uint64_t low, high;
    for (unsigned i = room->map->count; i-- > 0;)
        if (clip(&room->map->entry[i], min, end, &low, &high) &&
            find_highest(room, size, alignment, low, high, base))
            return load_room_claim(room, *base, size);
    return ERR_NO_SPACE;
}

/* ---- Messages, command line, segments ---- */

enum status load_fail(struct load_error *error, enum status status, const char *file_name,
                      const char *format, ...)
{
    va_list args;
    error->file = file_name;
    int used = fmt_format(error->text, sizeof(error->text), "%.128s: ", file_name);
    va_start(args, format);
    fmt_vformat(error->text + used, sizeof(error->text) - (size_t)used, format, args);
    va_end(args);
    return status;
}

enum status load_cmdline(const struct load_request *request, struct load_room *room, uint64_t *base,
                         struct load_error *error)
{
    uint64_t size = strlen(request->cmdline) + 1;
    enum status status = load_room_lowest(room, size, 16, LOW_MEMORY_FIRST, LOW_MEMORY_END, base);
    if (status == STATUS_OK)
        status = guest_mem_write(request->mem, GPA(*base), request->cmdline, size);
    if (status != STATUS_OK)
        return load_fail(error, status, request->kernel_name,
                         "no room for the command line below 640 KiB");
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
