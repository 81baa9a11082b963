/*
 * Any memory map of a firmware, overlapping and unsorted: what comes out is sorted, page aligned
 * and merged, and every page of it has the type that a slow look at all descriptors gives it.
 */
#include <string.h>

#include "boot/memory_map.h"
#include "kernel/core/bits.h"
#include "tests/fuzz/fuzz.h"

#define DESCRIPTORS_MAX 24u
#define STRIDE 48u
#define OUT_MAX 40u
#define PAGES 64u /* where most descriptors lie; the model looks at these */
#define NONE 0xffu

struct descriptors {
    uint8_t bytes[DESCRIPTORS_MAX * STRIDE];
    unsigned count;
};

static uint8_t type_of(const struct memory_descriptor *descriptor)
{
    static const uint8_t types[] = {5, 2, 2, 0, 0, 5, 5, 0, 5, 4, 4};
    bool is_kept = (descriptor->attribute & (BIT(63) | BIT(18))) != 0;
    return is_kept || descriptor->type >= sizeof(types) ? BOOT_MEMORY_FIRMWARE
                                                        : types[descriptor->type];
}

/* Whether the descriptor says something of page; usable memory shrinks to whole pages. */
static bool covers(const struct memory_descriptor *descriptor, uint64_t page, bool shrink)
{
    uint64_t base = descriptor->physical_start;
    uint64_t end = descriptor->pages > PAGES ? UINT64_MAX : base + descriptor->pages * PAGE_SIZE;
    uint64_t first = page * PAGE_SIZE, last = first + PAGE_SIZE;
    if (descriptor->pages == 0 || base >= PAGES * PAGE_SIZE)
        return false;
    return shrink ? base <= first && end >= last : base < last && end > first;
}

/* The type of a page by the rule: the more is forbidden, the stronger; page 0 is the firmware's. */
static uint8_t model(const struct descriptors *all, const struct boot_memory *known, uint64_t page)
{
    static const uint8_t order[] = {BOOT_MEMORY_USABLE, BOOT_MEMORY_LOADER, BOOT_MEMORY_ACPI,
                                    BOOT_MEMORY_FIRMWARE};
    uint8_t type = NONE;
    if (page == 0)
        return BOOT_MEMORY_FIRMWARE;
    if (page >= known->base / PAGE_SIZE && page < known->base / PAGE_SIZE + known->pages)
        return (uint8_t)known->type;
    for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
        for (unsigned j = 0; j < all->count; j++) {
            struct memory_descriptor descriptor;
            memcpy(&descriptor, all->bytes + j * STRIDE, sizeof(descriptor));
            if (type_of(&descriptor) == order[i] && covers(&descriptor, page, i == 0))
                type = order[i];
        }
    return type;
}

static uint8_t found(const struct boot_memory *map, uint32_t count, uint64_t page)
{
    for (uint32_t i = 0; i < count; i++)
        if (page >= map[i].base / PAGE_SIZE && page - map[i].base / PAGE_SIZE < map[i].pages)
            return (uint8_t)map[i].type;
    return NONE;
}

static void read_descriptors(struct descriptors *all, struct fuzz_input *input)
{
    memset(all, 0, sizeof(*all));
    while (all->count < DESCRIPTORS_MAX && !fuzz_is_done(input)) {
        uint64_t choice = fuzz_take(input, 1);
        struct memory_descriptor descriptor = {
            .type = (uint32_t)(choice & 15),
            .physical_start = fuzz_take(input, 1) % PAGES * PAGE_SIZE,
            .pages = fuzz_take(input, 1) % 32,
            .attribute = (choice & 0x10) != 0   ? BIT(63)
                         : (choice & 0x20) != 0 ? BIT(18)
                                                : 0xf,
        };
        if ((choice & 0xc0) == 0x40)
            descriptor.physical_start += fuzz_take(input, 2) % PAGE_SIZE;
        if ((choice & 0xc0) == 0x80) { /* anything */
            descriptor.physical_start = fuzz_take(input, 8);
            descriptor.pages = fuzz_take(input, 8);
        }
        memcpy(all->bytes + all->count++ * STRIDE, &descriptor, sizeof(descriptor));
    }
}

static void require_normal(const struct boot_memory *map, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        REQUIRE(is_aligned(map[i].base, PAGE_SIZE) && map[i].pages != 0);
        REQUIRE(map[i].base + map[i].pages * PAGE_SIZE <= BIT(52));
        if (i == 0)
            continue;
        uint64_t end = map[i - 1].base + map[i - 1].pages * PAGE_SIZE;
        REQUIRE(end <= map[i].base && (end != map[i].base || map[i - 1].type != map[i].type));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct descriptors all;
    struct boot_memory *out = calloc(OUT_MAX, sizeof(*out));
    struct fuzz_input input = {data, data + size};
    uint64_t choice = fuzz_take(&input, 1);
    struct boot_memory known = {
        .base = (1 + choice % 40) * PAGE_SIZE, .pages = choice >> 6, .type = BOOT_MEMORY_IMAGE};
    uint32_t count = 0;
    size_t max = (choice & 0x20) != 0 ? OUT_MAX : 4 + choice % 8;
    REQUIRE(out != NULL);
    read_descriptors(&all, &input);
    struct memory_map_source source = {all.bytes, all.count * STRIDE, STRIDE};
    enum status status = memory_map_normalise(&source, &known, 1, out, max, &count);
    REQUIRE(status == STATUS_OK || status == ERR_NO_SPACE);
    REQUIRE(count <= max);
    if (status == STATUS_OK) {
        require_normal(out, count);
        for (uint64_t page = 0; page < PAGES; page++)
            REQUIRE(found(out, count, page) == model(&all, &known, page));
        REQUIRE(memory_map_largest(out, count, BOOT_MEMORY_USABLE) % PAGE_SIZE == 0);
    }
    source.stride = sizeof(struct memory_descriptor) - 1;
    REQUIRE(memory_map_normalise(&source, &known, 1, out, max, &count) == ERR_INVALID);
    free(out);
    return 0;
}
