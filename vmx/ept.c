#include "vmx/ept.h"

#define ENTRIES 512
#define LEVELS 4

/* How many address bits lie below an entry of this level: 12 at level 1 up to 39 at level 4. */
static unsigned level_shift(unsigned level)
{
    return PAGE_SHIFT + 9 * (level - 1);
}

static uint64_t *entry_of(const struct ept *ept, hpa_t table, unsigned level, uint64_t gpa)
{
    uint64_t *entries = ept->ports.map(ept->ports.context, table);
    return &entries[gpa >> level_shift(level) & (ENTRIES - 1)];
}

static bool is_leaf(uint64_t entry, unsigned level)
{
    return level == 1 || entry & EPT_LARGE;
}

enum status ept_init(struct ept *ept, const struct ept_ports *ports, uint64_t capabilities)
{
    *ept = (struct ept){
        .ports = *ports,
        .has_2m = capabilities & BIT(16),
        .has_1g = capabilities & BIT(17),
        .has_ad = capabilities & BIT(21),
    };
    return ports->alloc(ports->context, &ept->root);
}

/* The highest level at which one leaf may begin here. */
static unsigned leaf_level(const struct ept *ept, uint64_t gpa, uint64_t hpa, uint64_t size)
{
    if (ept->has_1g && is_aligned(gpa | hpa, PAGE_SIZE_1G) && size >= PAGE_SIZE_1G)
        return 3;
    if (ept->has_2m && is_aligned(gpa | hpa, PAGE_SIZE_2M) && size >= PAGE_SIZE_2M)
        return 2;
    return 1;
}

static enum status map_leaf(struct ept *ept, uint64_t gpa, uint64_t hpa, unsigned leaf,
                            uint64_t access)
{
    hpa_t table = ept->root;
    for (unsigned level = LEVELS; level > leaf; level--) {
        uint64_t *entry = entry_of(ept, table, level, gpa);
        if (*entry == 0) {
            hpa_t frame;
            enum status status = ept->ports.alloc(ept->ports.context, &frame);
            if (status != STATUS_OK)
                return status;
            *entry = frame.v | EPT_READ | EPT_WRITE | EPT_EXECUTE;
        } else if (is_leaf(*entry, level)) {
            return ERR_EXISTS;
        }
        table.v = *entry & EPT_ADDRESS;
    }
    uint64_t *entry = entry_of(ept, table, leaf, gpa);
    if (*entry != 0)
        return ERR_EXISTS;
    *entry = hpa | access | EPT_MEMORY_TYPE_WB | (leaf > 1 ? EPT_LARGE : 0);
    return STATUS_OK;
}

enum status ept_map(struct ept *ept, gpa_t gpa, hpa_t hpa, uint64_t size, uint64_t access)
{
    if (size == 0 || !is_aligned(gpa.v | hpa.v | size, PAGE_SIZE) || gpa.v + size < gpa.v ||
        hpa.v + size < hpa.v || gpa.v + size > BIT(48))
        return ERR_INVALID;
    while (size > 0) {
        unsigned leaf = leaf_level(ept, gpa.v, hpa.v, size);
        enum status status = map_leaf(ept, gpa.v, hpa.v, leaf, access);
        if (status != STATUS_OK)
            return status;
        uint64_t step = 1ull << level_shift(leaf);
        gpa.v += step;
        hpa.v += step;
        size -= step;
    }
    return STATUS_OK;
}

enum status ept_walk(const struct ept *ept, gpa_t gpa, uint64_t *entry, uint64_t *size)
{
    hpa_t table = ept->root;
    if (gpa.v >= BIT(48))
        return ERR_NOT_FOUND;
    for (unsigned level = LEVELS; level > 0; level--) {
        *entry = *entry_of(ept, table, level, gpa.v);
        if ((*entry & (EPT_READ | EPT_WRITE | EPT_EXECUTE)) == 0)
            return ERR_NOT_FOUND;
        if (is_leaf(*entry, level)) {
            *size = 1ull << level_shift(level);
            return STATUS_OK;
        }
        table.v = *entry & EPT_ADDRESS;
    }
    return ERR_NOT_FOUND;
}

uint64_t ept_pointer(const struct ept *ept)
{
    uint64_t write_back = EPT_MEMORY_TYPE_WB >> EPT_MEMORY_TYPE_SHIFT;
    return ept->root.v | write_back | EPTP_WALK_4 | (ept->has_ad ? EPTP_AD : 0);
}
