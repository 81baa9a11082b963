/*
 * Normalisation by painting: the ranges of the type that allows most are laid down first, and each
 * later one covers what lies under it. The array stays sorted and merged all the time, so no
 * scratch memory is needed between the last look at the firmware's map and the end of its services.
 */
#include "boot/memory_map.h"

#include "kernel/core/bits.h"
#include "kernel/core/mem.h"

/* No physical address is wider (SDM: Physical-Address Extension). */
#define PHYSICAL_END BIT(52)

/* UEFI: Memory Attribute Definitions. */
#define EFI_ATTRIBUTE_SPECIFIC_PURPOSE BIT(18)
#define EFI_ATTRIBUTE_RUNTIME BIT(63)

/* Indexed by UEFI's EFI_MEMORY_TYPE; what the table does not know is the firmware's. ACPI tables
 * are found in EfiACPIMemoryNVS too (the FACS always, on some machines all of them). */
static const uint8_t type_of_efi[] = {
    BOOT_MEMORY_FIRMWARE, /* EfiReservedMemoryType */
    BOOT_MEMORY_LOADER,   /* EfiLoaderCode */
    BOOT_MEMORY_LOADER,   /* EfiLoaderData */
    BOOT_MEMORY_USABLE,   /* EfiBootServicesCode */
    BOOT_MEMORY_USABLE,   /* EfiBootServicesData */
    BOOT_MEMORY_FIRMWARE, /* EfiRuntimeServicesCode */
    BOOT_MEMORY_FIRMWARE, /* EfiRuntimeServicesData */
    BOOT_MEMORY_USABLE,   /* EfiConventionalMemory */
    BOOT_MEMORY_FIRMWARE, /* EfiUnusableMemory */
    BOOT_MEMORY_ACPI,     /* EfiACPIReclaimMemory */
    BOOT_MEMORY_ACPI,     /* EfiACPIMemoryNVS */
};

/* From the type that allows most to the one that allows least. */
static const uint8_t paint_order[] = {
    BOOT_MEMORY_USABLE,
    BOOT_MEMORY_LOADER,
    BOOT_MEMORY_ACPI,
    BOOT_MEMORY_FIRMWARE,
};

struct map {
    struct boot_memory *entry;
    size_t count;
    size_t max;
};

static uint64_t entry_end(const struct boot_memory *entry)
{
    return entry->base + entry->pages * PAGE_SIZE;
}

static struct boot_memory entry_make(uint64_t base, uint64_t end, uint32_t type)
{
    return (struct boot_memory){.base = base, .pages = (end - base) / PAGE_SIZE, .type = type};
}

/* Puts pieces[0..n) in place of the entries first to last - 1. */
static enum status map_replace(struct map *map, size_t first, size_t last,
                               const struct boot_memory *pieces, size_t n)
{
    size_t after = map->count - last;

    if (first + n + after > map->max)
        return ERR_NO_SPACE;
    memmove(&map->entry[first + n], &map->entry[last], after * sizeof(map->entry[0]));
    memcpy(&map->entry[first], pieces, n * sizeof(pieces[0]));
    map->count = first + n + after;
    return STATUS_OK;
}

/* Gives [base, end), page aligned, the type, whatever it had before. */
static enum status map_paint(struct map *map, uint64_t base, uint64_t end, uint32_t type)
{
    struct boot_memory pieces[3];
    size_t n = 0, first = 0, last;

    if (base >= end)
        return STATUS_OK;
    /* The entries that overlap or touch the range are first to last - 1. */
    while (first < map->count && entry_end(&map->entry[first]) < base)
        first++;
    last = first;
    while (last < map->count && map->entry[last].base <= end)
        last++;

    if (first < last) {
        struct boot_memory left = map->entry[first], right = map->entry[last - 1];

        if (left.base < base && left.type == type)
            base = left.base;
        else if (left.base < base)
            pieces[n++] = entry_make(left.base, base, left.type);
#ifdef PLANTED_BUG_MEMORY_MAP /* for the fuzzer's own test */
        if (entry_end(&right) > end)
            end = entry_end(&right);
#endif
        if (entry_end(&right) > end && right.type == type)
            end = entry_end(&right);
        pieces[n++] = entry_make(base, end, type);
        if (entry_end(&right) > end)
            pieces[n++] = entry_make(end, entry_end(&right), right.type);
    } else {
        pieces[n++] = entry_make(base, end, type);
    }
    return map_replace(map, first, last, pieces, n);
}

static uint32_t descriptor_type(const struct memory_descriptor *descriptor)
{
    if (descriptor->type >= ARRAY_SIZE(type_of_efi) ||
        (descriptor->attribute & (EFI_ATTRIBUTE_RUNTIME | EFI_ATTRIBUTE_SPECIFIC_PURPOSE)) != 0)
        return BOOT_MEMORY_FIRMWARE;
    return type_of_efi[descriptor->type];
}

/* The descriptor's range in [*base, *end), cut to what a processor can address and rounded to
 * pages: usable memory shrinks, everything else grows. */
static void descriptor_range(const struct memory_descriptor *descriptor, bool shrink,
                             uint64_t *base, uint64_t *end)
{
    uint64_t start = descriptor->physical_start;
    uint64_t room = start < PHYSICAL_END ? PHYSICAL_END - start : 0;
    uint64_t length = descriptor->pages < room / PAGE_SIZE ? descriptor->pages * PAGE_SIZE : room;

    *base = *end = 0;
    if (length == 0)
        return;
    *base = shrink ? align_up(start, PAGE_SIZE) : align_down(start, PAGE_SIZE);
    *end = shrink ? align_down(start + length, PAGE_SIZE) : align_up(start + length, PAGE_SIZE);
}

static enum status map_paint_type(struct map *map, const struct memory_map_source *source,
                                  uint32_t type)
{
    for (size_t at = 0; source->size - at >= source->stride; at += source->stride) {
        struct memory_descriptor descriptor;
        uint64_t base, end;
        enum status status;

        memcpy(&descriptor, (const uint8_t *)source->descriptors + at, sizeof(descriptor));
        if (descriptor_type(&descriptor) != type)
            continue;
        descriptor_range(&descriptor, type == BOOT_MEMORY_USABLE, &base, &end);
        status = map_paint(map, base, end, type);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

enum status memory_map_normalise(const struct memory_map_source *source,
                                 const struct boot_memory *known, size_t known_count,
                                 struct boot_memory *out, size_t max, uint32_t *count)
{
    struct map map = {.entry = out, .count = 0, .max = max};
    enum status status = STATUS_OK;

    if (source->stride < sizeof(struct memory_descriptor))
        return ERR_INVALID;
    for (size_t i = 0; i < ARRAY_SIZE(paint_order) && status == STATUS_OK; i++)
        status = map_paint_type(&map, source, paint_order[i]);
    for (size_t i = 0; i < known_count && status == STATUS_OK; i++)
        status = map_paint(&map, known[i].base, entry_end(&known[i]), known[i].type);
    if (status == STATUS_OK)
        status = map_paint(&map, 0, PAGE_SIZE, BOOT_MEMORY_FIRMWARE);
    *count = (uint32_t)map.count;
    return status;
}

uint64_t memory_map_largest(const struct boot_memory *map, size_t count, enum boot_memory_type type)
{
    uint64_t largest = 0;

    for (size_t i = 0; i < count; i++)
        if (map[i].type == type && map[i].pages > largest)
            largest = map[i].pages;
    return largest * PAGE_SIZE;
}
