#include "kernel/vm/guest_map.h"

#include "kernel/core/bits.h"
#include "kernel/vm/platform.h"

STATIC_ASSERT(PLATFORM_ECAM + PLATFORM_ECAM_SIZE <= PLATFORM_HIGH_RAM, "the ECAM lies below 4 GiB");
STATIC_ASSERT(PLATFORM_LOW_RAM_END <= PLATFORM_ECAM, "RAM ends below the ECAM");
STATIC_ASSERT(GUEST_MEMORY_MIN > PLATFORM_LEGACY_HOLE_END, "there is RAM behind the hole");
STATIC_ASSERT(sizeof(struct guest_map_e820) == 20, "the E820 entry is 20 bytes");

#define VGA_END 0xc0000ull

static void add(struct guest_map *map, uint64_t base, uint64_t end, enum guest_map_type type)
{
    map->entry[map->count++] = (struct guest_map_entry){base, end - base, type};
}

static void back(struct guest_map *map, uint64_t base, uint64_t end)
{
    map->backed[map->backed_count++] = (struct guest_map_range){base, end - base};
}

enum status guest_map_make(struct guest_map *map, uint64_t memory)
{
    if (!is_aligned(memory, PAGE_SIZE))
        return ERR_INVALID;
    if (memory < GUEST_MEMORY_MIN || memory > GUEST_MEMORY_MAX)
        return ERR_RANGE;
    uint64_t low = memory < PLATFORM_LOW_RAM_END ? memory : PLATFORM_LOW_RAM_END;
    *map = (struct guest_map){.ram_below_4g = low, .ram_above_4g = memory - low};
    add(map, 0, GUEST_MAP_EBDA, GUEST_MAP_RAM);
    add(map, GUEST_MAP_EBDA, PLATFORM_LEGACY_HOLE, GUEST_MAP_RESERVED);
    add(map, VGA_END, GUEST_MAP_ACPI_BASE, GUEST_MAP_RESERVED);
    add(map, GUEST_MAP_ACPI_BASE, GUEST_MAP_FACS, GUEST_MAP_ACPI);
    add(map, GUEST_MAP_FACS, GUEST_MAP_BIOS, GUEST_MAP_ACPI_NVS);
    add(map, GUEST_MAP_BIOS, PLATFORM_LEGACY_HOLE_END, GUEST_MAP_RESERVED);
    add(map, PLATFORM_LEGACY_HOLE_END, low, GUEST_MAP_RAM);
    add(map, PLATFORM_ECAM, PLATFORM_ECAM + PLATFORM_ECAM_SIZE, GUEST_MAP_RESERVED);
    back(map, 0, PLATFORM_LEGACY_HOLE);
    back(map, VGA_END, low);
    if (map->ram_above_4g == 0)
        return STATUS_OK;
    add(map, PLATFORM_HIGH_RAM, PLATFORM_HIGH_RAM + map->ram_above_4g, GUEST_MAP_RAM);
    back(map, PLATFORM_HIGH_RAM, PLATFORM_HIGH_RAM + map->ram_above_4g);
    return STATUS_OK;
}

void guest_map_add_firmware(struct guest_map *map, uint64_t size)
{
    back(map, PLATFORM_HIGH_RAM - size, PLATFORM_HIGH_RAM);
}

INIT bool guest_map_reserve_top(struct guest_map *map, uint64_t size, uint64_t *base)
{
    unsigned i = 0;
    if (size == 0 || size > map->ram_below_4g / 2 || map->count == GUEST_MAP_ENTRIES_MAX)
        return false;
    size = align_up(size, PAGE_SIZE);
    while (map->entry[i].base != PLATFORM_LEGACY_HOLE_END)
        i++;
    if (size >= map->entry[i].size)
        return false;
    map->entry[i].size -= size;
    map->ram_below_4g -= size;
    *base = map->ram_below_4g;
    for (unsigned j = map->count++; j > i + 1; j--)
        map->entry[j] = map->entry[j - 1];
    map->entry[i + 1] = (struct guest_map_entry){*base, size, GUEST_MAP_RESERVED};
    return true;
}

INIT bool guest_map_is_ram(const struct guest_map *map, uint64_t base, uint64_t size)
{
    for (unsigned i = 0; i < map->count; i++) {
        const struct guest_map_entry *entry = &map->entry[i];
        if (entry->type == GUEST_MAP_RAM && base >= entry->base && base - entry->base < entry->size)
            return size != 0 && size <= entry->size - (base - entry->base);
    }
    return false;
}

static INIT const struct guest_map_entry *entry_at(const struct guest_map *map, uint64_t base)
{
    for (unsigned i = 0; i < map->count; i++)
        if (base >= map->entry[i].base && base - map->entry[i].base < map->entry[i].size)
            return &map->entry[i];
    return NULL;
}

INIT bool guest_map_takes_image(const struct guest_map *map, uint64_t base, uint64_t size)
{
    uint64_t end = base + size;
    while (base < end) {
        const struct guest_map_entry *entry = entry_at(map, base);
        if (entry == NULL || (entry->type != GUEST_MAP_RAM && (entry->type != GUEST_MAP_RESERVED ||
                                                               base >= PLATFORM_LEGACY_HOLE_END)))
            return false;
        base = entry->base + entry->size;
    }
    return size != 0 && end >= size;
}

INIT unsigned guest_map_e820(const struct guest_map *map, struct guest_map_e820 *e820)
{
    for (unsigned i = 0; i < map->count; i++) {
        const struct guest_map_entry *entry = &map->entry[i];
        e820[i] = (struct guest_map_e820){entry->base, entry->size, (uint32_t)entry->type};
    }
    return map->count;
}
