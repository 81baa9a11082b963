#include "vmx/ept.h"

#include "kernel/core/hash.h"
#include "kernel/core/mem.h"

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

/* Fills leaves of one table, up to its end or as long as size lasts; *done is the bytes mapped. */
static enum status map_run(struct ept *ept, uint64_t gpa, uint64_t leaf_entry, unsigned leaf,
                           uint64_t size, uint64_t *done)
{
    hpa_t table = ept->root;
    uint64_t step = 1ull << level_shift(leaf);
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
    uint64_t room = ENTRIES - (gpa >> level_shift(leaf) & (ENTRIES - 1));
    uint64_t count = size / step < room ? size / step : room;
    for (uint64_t i = 0; i < count; i++) {
        if (entry[i] != 0)
            return ERR_EXISTS;
        entry[i] = leaf_entry + i * step;
    }
    *done = count * step;
    return STATUS_OK;
}

enum status ept_map(struct ept *ept, gpa_t gpa, hpa_t hpa, uint64_t size, uint64_t access)
{
    if (size == 0 || !is_aligned(gpa.v | hpa.v | size, PAGE_SIZE) || gpa.v + size < gpa.v ||
        hpa.v + size < hpa.v || gpa.v + size > BIT(48))
        return ERR_INVALID;
    bool is_small = ept->small_executable && access & EPT_EXECUTE;
    while (size > 0) {
        unsigned leaf = is_small ? 1 : leaf_level(ept, gpa.v, hpa.v, size);
        uint64_t entry = hpa.v | access | EPT_HOST_DECIDES | (leaf > 1 ? EPT_LARGE : 0);
        uint64_t done = 0;
        enum status status = map_run(ept, gpa.v, entry, leaf, size, &done);
        if (status != STATUS_OK)
            return status;
        ept->leaves[leaf - 1] += done >> level_shift(leaf);
        gpa.v += done;
        hpa.v += done;
        size -= done;
    }
    return STATUS_OK;
}

enum status ept_overlay_init(const struct ept *ept, struct ept *overlay)
{
    enum status status = overlay->ports.alloc(overlay->ports.context, &overlay->root);
    if (status == STATUS_OK)
        memcpy(overlay->ports.map(overlay->ports.context, overlay->root),
               ept->ports.map(ept->ports.context, ept->root), PAGE_SIZE);
    return status;
}

enum status ept_overlay_map(const struct ept *ept, struct ept *overlay, gpa_t gpa, hpa_t hpa,
                            uint64_t access)
{
    hpa_t from = ept->root, table = overlay->root;
    for (unsigned level = LEVELS; level > 1; level--) {
        uint64_t below = from.v != 0 ? *entry_of(ept, from, level, gpa.v) : 0;
        uint64_t *entry = entry_of(overlay, table, level, gpa.v);
        if (below != 0 && is_leaf(below, level))
            return ERR_EXISTS;
        from.v = below & EPT_ADDRESS;
        if ((*entry & EPT_ADDRESS) == from.v) { /* not a copy yet */
            enum status status = overlay->ports.alloc(overlay->ports.context, &table);
            if (status != STATUS_OK)
                return status;
            if (from.v != 0)
                memcpy(overlay->ports.map(overlay->ports.context, table),
                       ept->ports.map(ept->ports.context, from), PAGE_SIZE);
            *entry = table.v | EPT_READ | EPT_WRITE | EPT_EXECUTE;
        }
        table.v = *entry & EPT_ADDRESS;
    }
    uint64_t *entry = entry_of(overlay, table, 1, gpa.v);
    if (*entry != 0)
        return ERR_EXISTS;
    *entry = hpa.v | access | EPT_HOST_DECIDES;
    return STATUS_OK;
}

/* What an entry of this level leads to, as a table: that itself, or the pieces of a large page. */
static void copy_below(const struct ept *ept, uint64_t *to, uint64_t entry, unsigned level)
{
    const uint64_t *from = ept->ports.map(ept->ports.context, HPA(entry & EPT_ADDRESS));
    uint64_t piece = level == 2 ? entry & ~EPT_LARGE : entry;
    for (uint64_t i = 0; i < ENTRIES; i++)
        to[i] = entry & EPT_LARGE ? piece + (i << level_shift(level - 1)) : from[i];
}

enum status ept_overlay_hide(const struct ept *ept, struct ept *overlay, gpa_t gpa)
{
    hpa_t table = overlay->root;
    for (unsigned level = LEVELS; level > 1; level--) {
        uint64_t *entry = entry_of(overlay, table, level, gpa.v);
        enum status status = overlay->ports.alloc(overlay->ports.context, &table);
        if (status != STATUS_OK)
            return status;
        copy_below(ept, overlay->ports.map(overlay->ports.context, table), *entry, level);
        *entry = table.v | EPT_READ | EPT_WRITE | EPT_EXECUTE;
    }
    *entry_of(overlay, table, 1, gpa.v) = 0;
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

struct check {
    const struct ept *ept;
    const struct ept_owner *owner;
    uint64_t own, own_end; /* memory that is known to be the VM's */
    uint64_t gpa;          /* of what is wrong */
};

#define EPT_MEMORY_TYPE (7ull << EPT_MEMORY_TYPE_SHIFT)

static const char *check_leaf(struct check *check, uint64_t entry, unsigned level)
{
    uint64_t size = 1ull << level_shift(level), frame = entry & EPT_ADDRESS;
    if ((entry & (EPT_MEMORY_TYPE | EPT_IGNORE_PAT)) != EPT_HOST_DECIDES)
        return "a memory type other than write-back, or the guest's choice";
    if (level > 1 && check->ept->small_executable && entry & EPT_EXECUTE)
        return "a large executable page";
    if (frame < check->own || frame >= check->own_end) {
        check->own = frame;
        check->own_end = check->owner->end(check->owner->context, HPA(frame));
    }
    return frame & (size - 1) || check->own_end < frame + size ? "memory that is not the guest's"
                                                               : NULL;
}

/* One table of this level, which begins at gpa, and what is below it; at most four deep. */
static const char *check_table(struct check *check, hpa_t table, unsigned level, uint64_t gpa)
{
    const uint64_t *entries = check->ept->ports.map(check->ept->ports.context, table);
    const char *wrong = NULL;
    for (unsigned i = 0; i < ENTRIES && wrong == NULL; i++) {
        uint64_t entry = entries[i];
        if (entry == 0)
            continue;
        check->gpa = gpa + ((uint64_t)i << level_shift(level));
        wrong = is_leaf(entry, level)
                    ? check_leaf(check, entry, level)
                    : check_table(check, HPA(entry & EPT_ADDRESS), level - 1, check->gpa);
    }
    return wrong;
}

const char *ept_check(const struct ept *ept, const struct ept_owner *owner, gpa_t *where)
{
    struct check check = {.ept = ept, .owner = owner};
    const char *wrong = check_table(&check, ept->root, LEVELS, 0);
    where->v = check.gpa;
    return wrong;
}

static uint64_t hash_table(const struct ept *ept, hpa_t table, unsigned level, uint64_t hash)
{
    const uint64_t *entries = ept->ports.map(ept->ports.context, table);
    hash = hash_masked(hash, entries, PAGE_SIZE, ~(EPT_ACCESSED | EPT_DIRTY));
    for (unsigned i = 0; level > 1 && i < ENTRIES; i++)
        if (entries[i] != 0 && !is_leaf(entries[i], level))
            hash = hash_table(ept, HPA(entries[i] & EPT_ADDRESS), level - 1, hash);
    return hash;
}

uint64_t ept_hash(const struct ept *ept, uint64_t hash)
{
    return hash_table(ept, ept->root, LEVELS, hash);
}

/* Atoms and Xeon Phis keep one size; newer cores say so. Whatever else there is counts as affected.
 * SDM: CPUID, Version Information; IA32_ARCH_CAPABILITIES, IF_PSCHANGE_MC_NO. */
#define IF_PSCHANGE_MC_NO BIT(6)

bool ept_multihit_affects(uint32_t signature, uint64_t arch_capabilities)
{
    static const uint8_t safe[] = {0x1c, 0x26, 0x27, 0x35, 0x36, 0x37, 0x4a, 0x4c, 0x4d, 0x57,
                                   0x5a, 0x5c, 0x5d, 0x5f, 0x75, 0x7a, 0x85, 0x86, 0x96, 0x9c};
    uint64_t model = bits_get(signature, 19, 16) << 4 | bits_get(signature, 7, 4);
    if (arch_capabilities & IF_PSCHANGE_MC_NO)
        return false;
    for (unsigned i = 0; i < ARRAY_SIZE(safe); i++)
        if (bits_get(signature, 11, 8) == 6 && model == safe[i])
            return false;
    return true;
}

uint64_t ept_pointer(const struct ept *ept)
{
    uint64_t write_back = EPT_MEMORY_TYPE_WB >> EPT_MEMORY_TYPE_SHIFT;
    return ept->root.v | write_back | EPTP_WALK_4 | (ept->has_ad ? EPTP_AD : 0);
}
