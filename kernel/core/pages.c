#include "kernel/core/pages.h"

#include "kernel/core/bits.h"
#include "kernel/core/mem.h"

#define LOW_END MIB(1)

static uint64_t end_of(const struct page_extent *extent)
{
    return extent->base + extent->pages * PAGE_SIZE;
}

/* A page-aligned, non-empty range that does not wrap; *end is the address behind it. */
static bool range_end(hpa_t base, uint64_t count, uint64_t *end)
{
    if (!is_aligned(base.v, PAGE_SIZE) || count == 0 || count > UINT64_MAX / PAGE_SIZE)
        return false;
    *end = base.v + count * PAGE_SIZE;
    return *end > base.v;
}

/* Index of the first extent that ends behind address. */
static unsigned find(const struct pages *pages, uint64_t address)
{
    unsigned low = 0, high = pages->count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (end_of(&pages->extent[middle]) <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void remove_at(struct pages *pages, unsigned i, unsigned count)
{
    pages->count -= count;
    memmove(&pages->extent[i], &pages->extent[i + count],
            (pages->count - i) * sizeof(pages->extent[0]));
}

static void insert_at(struct pages *pages, unsigned i, struct page_extent extent)
{
    memmove(&pages->extent[i + 1], &pages->extent[i],
            (pages->count - i) * sizeof(pages->extent[0]));
    pages->extent[i] = extent;
    pages->count++;
}

static bool can_merge(const struct page_extent *low, const struct page_extent *high)
{
    return end_of(low) == high->base && low->kind == high->kind && low->owner == high->owner &&
           high->base != LOW_END;
}

/* Merges extent i with its neighbours where they are alike. */
static void merge_around(struct pages *pages, unsigned i)
{
    if (i + 1 < pages->count && can_merge(&pages->extent[i], &pages->extent[i + 1])) {
        pages->extent[i].pages += pages->extent[i + 1].pages;
        remove_at(pages, i + 1, 1);
    }
    if (i > 0 && can_merge(&pages->extent[i - 1], &pages->extent[i])) {
        pages->extent[i - 1].pages += pages->extent[i].pages;
        remove_at(pages, i, 1);
    }
}

/* Makes address, inside or at the edge of an extent, a border. The caller saw to the room. */
static void split_at(struct pages *pages, uint64_t address)
{
    unsigned i = find(pages, address);
    if (i == pages->count || pages->extent[i].base >= address)
        return;
    struct page_extent high = pages->extent[i];
    high.pages = (end_of(&high) - address) / PAGE_SIZE;
    high.base = address;
    pages->extent[i].pages -= high.pages;
    insert_at(pages, i + 1, high);
}

/* Whether all of [base, end) is known. */
static bool is_known(const struct pages *pages, uint64_t base, uint64_t end)
{
    for (unsigned i = find(pages, base); i < pages->count; i++) {
        if (pages->extent[i].base > base)
            return false;
        base = end_of(&pages->extent[i]);
        if (base >= end)
            return true;
    }
    return false;
}

/* Gives all of [base, end), which is known, to kind and owner. */
static enum status assign(struct pages *pages, uint64_t base, uint64_t end, enum page_kind kind,
                          uint16_t owner)
{
    if (pages->count + 2 > PAGES_EXTENTS_MAX)
        return ERR_NO_SPACE;
    split_at(pages, base);
    split_at(pages, end);
    unsigned i = find(pages, base), last = i;
    while (end_of(&pages->extent[last]) < end)
        last++;
    remove_at(pages, i + 1, last - i);
    pages->extent[i] = (struct page_extent){base, (end - base) / PAGE_SIZE, (uint8_t)kind, owner};
    merge_around(pages, i);
    return STATUS_OK;
}

INIT void pages_init(struct pages *pages)
{
    spinlock_release(&pages->lock);
    pages->count = 0;
}

static INIT enum status add(struct pages *pages, uint64_t base, uint64_t end, enum page_kind kind)
{
    unsigned i = find(pages, base);
    if (i < pages->count && pages->extent[i].base < end)
        return ERR_EXISTS;
    if (pages->count + 2 > PAGES_EXTENTS_MAX)
        return ERR_NO_SPACE;
    insert_at(pages, i, (struct page_extent){base, (end - base) / PAGE_SIZE, (uint8_t)kind, 0});
    merge_around(pages, i);
    return STATUS_OK;
}

INIT enum status pages_add(struct pages *pages, hpa_t base, uint64_t count, enum page_kind kind)
{
    uint64_t end;
    if (!range_end(base, count, &end) || kind == PAGE_NONE)
        return ERR_INVALID;
    spinlock_acquire(&pages->lock);
    enum status status = STATUS_OK;
    uint64_t next = base.v;
    if (kind == PAGE_FREE && next < LOW_END) {
        uint64_t low_end = end < LOW_END ? end : LOW_END;
        status = add(pages, next, low_end, PAGE_LOW);
        next = low_end;
    }
    if (status == STATUS_OK && next < end)
        status = add(pages, next, end, kind);
    spinlock_release(&pages->lock);
    return status;
}

static enum status alloc_below(struct pages *pages, uint64_t bytes, uint64_t alignment,
                               uint64_t limit, enum page_kind kind, uint16_t owner, hpa_t *base)
{
    for (unsigned i = 0; i < pages->count; i++) {
        const struct page_extent *extent = &pages->extent[i];
        if (extent->kind != PAGE_FREE)
            continue;
        uint64_t start = align_up(extent->base, alignment);
        uint64_t end = end_of(extent) < limit ? end_of(extent) : limit;
        if (start < extent->base || start >= end || end - start < bytes)
            continue;
        *base = HPA(start);
        return assign(pages, start, start + bytes, kind, owner);
    }
    return ERR_NO_MEMORY;
}

enum status pages_alloc_below(struct pages *pages, uint64_t count, uint64_t alignment,
                              uint64_t limit, enum page_kind kind, uint16_t owner, hpa_t *base)
{
    if (count == 0 || kind == PAGE_NONE || kind == PAGE_FREE || alignment < PAGE_SIZE ||
        (alignment & (alignment - 1)) != 0)
        return ERR_INVALID;
    if (count > UINT64_MAX / PAGE_SIZE)
        return ERR_NO_MEMORY;
    spinlock_acquire(&pages->lock);
    enum status status = alloc_below(pages, count * PAGE_SIZE, alignment, limit, kind, owner, base);
    spinlock_release(&pages->lock);
    return status;
}

enum status pages_alloc(struct pages *pages, uint64_t count, uint64_t alignment,
                        enum page_kind kind, uint16_t owner, hpa_t *base)
{
    return pages_alloc_below(pages, count, alignment, UINT64_MAX, kind, owner, base);
}

/* The highest run of aligned units that has max_bytes, or else the longest there is. */
static bool find_chunk(const struct pages *pages, uint64_t unit, uint64_t max_bytes, uint64_t *base,
                       uint64_t *bytes)
{
    uint64_t wanted = align_down(max_bytes, unit), best = 0;
    for (unsigned i = pages->count; best < wanted && i-- > 0;) {
        const struct page_extent *extent = &pages->extent[i];
        uint64_t start = align_up(extent->base, unit), end = align_down(end_of(extent), unit);
        if (extent->kind != PAGE_FREE || start < extent->base || start >= end ||
            end - start <= best)
            continue;
        best = end - start < wanted ? end - start : wanted;
        *base = end - best;
    }
    *bytes = best;
    return best > 0;
}

enum status pages_alloc_chunk(struct pages *pages, uint64_t max_bytes, enum page_kind kind,
                              uint16_t owner, hpa_t *base, uint64_t *bytes)
{
    static const uint64_t units[] = {PAGE_SIZE_1G, PAGE_SIZE_2M, PAGE_SIZE};
    if (!is_aligned(max_bytes, PAGE_SIZE) || max_bytes == 0 || kind == PAGE_NONE ||
        kind == PAGE_FREE)
        return ERR_INVALID;
    enum status status = ERR_NO_MEMORY;
    spinlock_acquire(&pages->lock);
    for (unsigned i = 0; i < ARRAY_SIZE(units); i++) {
        if (find_chunk(pages, units[i], max_bytes, &base->v, bytes)) {
            status = assign(pages, base->v, base->v + *bytes, kind, owner);
            break;
        }
    }
    spinlock_release(&pages->lock);
    return status;
}

static bool may_be_freed(enum page_kind kind)
{
    return kind != PAGE_FREE && kind != PAGE_LOW && kind != PAGE_FIRMWARE && kind != PAGE_ACPI &&
           kind != PAGE_IMAGE;
}

/* Frees known pages; what lies below 1 MiB becomes PAGE_LOW again. */
static enum status release(struct pages *pages, uint64_t base, uint64_t end)
{
    uint64_t low_end = end < LOW_END ? end : LOW_END;
    enum status status = STATUS_OK;
    if (base < low_end)
        status = assign(pages, base, low_end, PAGE_LOW, PAGE_OWNER_MONITOR);
    base = base < low_end ? low_end : base;
    if (status == STATUS_OK && base < end)
        status = assign(pages, base, end, PAGE_FREE, PAGE_OWNER_MONITOR);
    return status;
}

enum status pages_free(struct pages *pages, hpa_t base, uint64_t count)
{
    uint64_t end;
    if (!range_end(base, count, &end))
        return ERR_INVALID;
    spinlock_acquire(&pages->lock);
    enum status status = is_known(pages, base.v, end) ? STATUS_OK : ERR_INVALID;
    for (unsigned i = find(pages, base.v);
         status == STATUS_OK && i < pages->count && pages->extent[i].base < end; i++)
        if (!may_be_freed(pages->extent[i].kind))
            status = ERR_INVALID;
    if (status == STATUS_OK)
        status = release(pages, base.v, end);
    spinlock_release(&pages->lock);
    return status;
}

uint64_t pages_free_owner(struct pages *pages, uint16_t owner)
{
    uint64_t freed = 0;
    if (owner == PAGE_OWNER_MONITOR)
        return 0;
    spinlock_acquire(&pages->lock);
    for (unsigned i = 0; i < pages->count;) {
        struct page_extent extent = pages->extent[i];
        if (extent.owner != owner || !may_be_freed(extent.kind)) {
            i++;
            continue;
        }
        /* A whole extent changes in place, so that a full table cannot stop it. */
        pages->extent[i].kind = extent.base < LOW_END ? PAGE_LOW : PAGE_FREE;
        pages->extent[i].owner = PAGE_OWNER_MONITOR;
        merge_around(pages, i);
        freed += extent.pages;
        i = find(pages, end_of(&extent) - 1) + 1;
    }
    spinlock_release(&pages->lock);
    return freed;
}

INIT enum status pages_set_kind(struct pages *pages, hpa_t base, uint64_t count,
                                enum page_kind kind, uint16_t owner)
{
    uint64_t end;
    if (!range_end(base, count, &end) || kind == PAGE_NONE)
        return ERR_INVALID;
    spinlock_acquire(&pages->lock);
    enum status status = ERR_INVALID;
    if (is_known(pages, base.v, end))
        status = assign(pages, base.v, end, kind, owner);
    spinlock_release(&pages->lock);
    return status;
}

bool pages_lookup(struct pages *pages, hpa_t address, struct page_extent *extent)
{
    spinlock_acquire(&pages->lock);
    unsigned i = find(pages, address.v);
    bool found = i < pages->count && pages->extent[i].base <= address.v;
    if (found)
        *extent = pages->extent[i];
    spinlock_release(&pages->lock);
    return found;
}

INIT enum page_kind pages_kind(struct pages *pages, hpa_t address)
{
    struct page_extent extent;
    return pages_lookup(pages, address, &extent) ? (enum page_kind)extent.kind : PAGE_NONE;
}

bool pages_extent(struct pages *pages, unsigned index, struct page_extent *extent)
{
    spinlock_acquire(&pages->lock);
    bool found = index < pages->count;
    if (found)
        *extent = pages->extent[index];
    spinlock_release(&pages->lock);
    return found;
}

uint64_t pages_total(struct pages *pages, enum page_kind kind)
{
    uint64_t total = 0;
    spinlock_acquire(&pages->lock);
    for (unsigned i = 0; i < pages->count; i++)
        if (pages->extent[i].kind == kind)
            total += pages->extent[i].pages;
    spinlock_release(&pages->lock);
    return total;
}

uint64_t pages_owned(struct pages *pages, uint16_t owner)
{
    uint64_t total = 0;
    spinlock_acquire(&pages->lock);
    for (unsigned i = 0; i < pages->count; i++)
        if (pages->extent[i].owner == owner)
            total += pages->extent[i].pages;
    spinlock_release(&pages->lock);
    return total;
}

static bool is_sound(const struct page_extent *extent)
{
    return extent->pages > 0 && end_of(extent) > extent->base && extent->kind != PAGE_NONE &&
           extent->kind < PAGE_KIND_COUNT &&
           (may_be_freed((enum page_kind)extent->kind) || extent->owner == PAGE_OWNER_MONITOR);
}

bool pages_check(struct pages *pages)
{
    spinlock_acquire(&pages->lock);
    bool ok = pages->count <= PAGES_EXTENTS_MAX;
    for (unsigned i = 0; ok && i < pages->count; i++) {
        const struct page_extent *extent = &pages->extent[i];
        ok = is_sound(extent) &&
             (i == 0 || (end_of(extent - 1) <= extent->base && !can_merge(extent - 1, extent)));
    }
    spinlock_release(&pages->lock);
    return ok;
}

const char *pages_kind_name(enum page_kind kind)
{
    static const char *const names[PAGE_KIND_COUNT] = {
#define X(enumerator, name) [enumerator] = name,
        PAGE_KINDS(X)
#undef X
    };
    return kind < PAGE_KIND_COUNT ? names[kind] : "?";
}
