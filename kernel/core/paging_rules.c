#include "kernel/core/paging_rules.h"

bool paging_is_guard(uint64_t address, uint32_t *processor, enum cpu_stack *stack)
{
    uint64_t lane = (address - PAGING_STACKS) / PAGING_LANE_SIZE, number = lane % PAGING_LANES;
    uint64_t slot = lane / PAGING_LANES;
    if (address < PAGING_STACKS || slot == 0 || slot >= PAGING_SLOTS || number >= CPU_STACKS)
        return false;
    *processor = (uint32_t)slot - 1;
    *stack = (enum cpu_stack)number;
    return address - paging_lane_base(slot, (unsigned)number) >= PAGING_STACK_SIZE;
}

static INIT bool overlaps(uint64_t base, uint64_t size, uint64_t other, uint64_t other_size)
{
    return base < other + other_size && other < base + size;
}

static INIT const char *broken_in_image(const struct paging_rules *rules,
                                        const struct page_mapping *map)
{
    uint64_t offset = map->linear - PAGING_IMAGE, end = offset + map->size;
    uint64_t init = rules->text_size + rules->rodata_size;
    uint64_t init_text_end = init + rules->init_text_size;
    if (end > rules->image_size || map->frame.v != rules->image_hpa + offset)
        return "not where the image is";
    if (map->flags & MAP_EXECUTE && end > rules->text_size &&
        (offset < init || end > init_text_end))
        return "executable, but not text";
    if (map->flags & MAP_WRITE && offset < init_text_end + rules->init_rodata_size)
        return "writable text or constants";
    return NULL;
}

/* A page of the physmap is of one type: its ends tell. */
static INIT const char *broken_in_physmap(const struct paging_rules *rules,
                                          const struct page_mapping *map)
{
    enum page_kind first = rules->kind(rules->context, map->frame);
    enum page_kind last = first;
    if (map->size > PAGE_SIZE)
        last = rules->kind(rules->context, HPA(map->frame.v + map->size - PAGE_SIZE));
    if (map->linear - PAGING_PHYSMAP != map->frame.v)
        return "at another distance in the physmap";
    if (first == PAGE_FIRMWARE || first == PAGE_NONE || last == PAGE_FIRMWARE || last == PAGE_NONE)
        return "firmware's memory in the physmap";
    if ((first == PAGE_ACPI || last == PAGE_ACPI) && map->flags & MAP_WRITE)
        return "a writable ACPI table";
    return NULL;
}

/* Only the middle of a lane, and of a lane that has a use. */
static INIT const char *broken_in_stacks(const struct page_mapping *map)
{
    uint64_t lane = (map->linear - PAGING_STACKS) / PAGING_LANE_SIZE;
    uint64_t slot = lane / PAGING_LANES, number = lane % PAGING_LANES;
    uint64_t offset = map->linear - paging_lane_base(slot, (unsigned)number);
    uint64_t room = slot != 0 && number < CPU_STACKS ? PAGING_STACK_SIZE : PAGE_SIZE;
    if (slot >= PAGING_SLOTS || number > (slot == 0 ? 0 : PAGING_LANE_TABLES))
        return "in a lane without a use";
    if (offset >= room || offset + map->size > room)
        return "a guard page that is there";
    return NULL;
}

/* Registers, and tables to read: memory of the monitor's own has its place elsewhere. */
static INIT const char *broken_in_devices(const struct paging_rules *rules,
                                          const struct page_mapping *map)
{
    for (uint64_t i = 0; map->flags & MAP_WRITE && i < map->size; i += PAGE_SIZE) {
        enum page_kind kind = rules->kind(rules->context, HPA(map->frame.v + i));
        if (kind != PAGE_NONE && kind != PAGE_FIRMWARE)
            return "a second writable mapping of memory";
    }
    return NULL;
}

INIT const char *paging_rule_broken(const struct paging_rules *rules,
                                    const struct page_mapping *map)
{
    bool is_idt = map->linear == paging_lane_base(0, 0) && !(map->flags & MAP_WRITE);
    if (map->flags & MAP_WRITE && map->flags & MAP_EXECUTE)
        return "writable and executable";
    if (map->linear >= PAGING_IMAGE)
        return broken_in_image(rules, map);
    if (map->flags & MAP_EXECUTE)
        return "executable outside the image";
    if (!(map->linear >> 63))
        return "in the lower half";
    if (!is_idt && overlaps(map->frame.v, map->size, rules->image_hpa, rules->image_size))
        return "a second mapping of the image";
    if (map->linear >= PAGING_DEVICES)
        return broken_in_devices(rules, map);
    if (map->linear >= PAGING_STACKS)
        return broken_in_stacks(map);
    return broken_in_physmap(rules, map);
}
