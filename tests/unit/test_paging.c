/* kernel/core/page_table.c: the processor's four-level tables. */
#include "kernel/core/mem.h"
#include "kernel/core/page_table.h"
#include "tests/check.h"

#define FRAMES 64
#define FIRST_FRAME 0x100000ull

struct frames {
    uint8_t page[FRAMES][PAGE_SIZE] ALIGNED(4096);
    unsigned used;
    unsigned limit;
};

static struct frames frames;

static enum status alloc_frame(void *context, hpa_t *frame)
{
    struct frames *f = context;
    if (f->used == f->limit)
        return ERR_NO_MEMORY;
    memset(f->page[f->used], 0xa5, PAGE_SIZE);
    *frame = HPA(FIRST_FRAME + f->used++ * PAGE_SIZE);
    return STATUS_OK;
}

static void *map_frame(void *context, hpa_t frame)
{
    struct frames *f = context;
    uint64_t index = (frame.v - FIRST_FRAME) / PAGE_SIZE;
    if (frame.v < FIRST_FRAME || index >= f->used || frame.v % PAGE_SIZE != 0)
        __builtin_trap();
    return f->page[index];
}

static struct page_table make(bool has_1g)
{
    const struct page_table_ports ports = {alloc_frame, map_frame, &frames};
    struct page_table table;
    frames.used = 0;
    frames.limit = FRAMES;
    CHECK_EQ(page_table_init(&table, &ports, has_1g), STATUS_OK);
    return table;
}

/* The walk of SDM: 4-Level Paging, written a second time. */
static uint64_t raw_entry(const struct page_table *table, uint64_t linear, unsigned *level)
{
    uint64_t entry = table->root.v;
    for (*level = 4; *level > 0; --*level) {
        const uint64_t *entries = map_frame(&frames, HPA(entry & 0xffffffffff000));
        entry = entries[linear >> (3 + 9 * *level) & 511];
        if (!(entry & 1) || *level == 1 || (entry & 0x80))
            return entry;
    }
    return 0;
}

static void maps_a_page_with_its_rights(void)
{
    static const struct {
        uint64_t flags, present, absent;
    } rows[] = {
        {0, PTE_P | PTE_NX, PTE_RW | PTE_US | PTE_PWT | PTE_PCD | PTE_G},
        {MAP_WRITE, PTE_P | PTE_RW | PTE_NX, PTE_US | PTE_PWT | PTE_PCD},
        {MAP_EXECUTE, PTE_P, PTE_RW | PTE_NX},
        {MAP_WRITE | MAP_UC, PTE_P | PTE_RW | PTE_PWT | PTE_PCD | PTE_NX, PTE_G},
        {MAP_WRITE | MAP_WC, PTE_P | PTE_RW | PTE_PWT | PTE_NX, PTE_PCD},
        {MAP_GLOBAL, PTE_P | PTE_G | PTE_NX, PTE_RW},
    };
    struct page_table table = make(true);
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t linear = 0xffffffff80000000 + i * PAGE_SIZE;
        struct page_mapping mapping;
        unsigned level;
        CHECK_EQ(page_table_map(&table, linear, HPA(0x1234567000), PAGE_SIZE, rows[i].flags),
                 STATUS_OK);
        uint64_t entry = raw_entry(&table, linear + 0xabc, &level);
        CHECK_EQ(level, 1);
        CHECK_EQ(entry & rows[i].present, rows[i].present);
        CHECK_EQ(entry & rows[i].absent, 0);
        CHECK_EQ(entry & PTE_ADDRESS, 0x1234567000);
        CHECK_EQ(page_table_walk(&table, linear + 0xabc, &mapping), STATUS_OK);
        CHECK_EQ(mapping.linear, linear);
        CHECK_EQ(mapping.frame.v, 0x1234567000);
        CHECK_EQ(mapping.size, PAGE_SIZE);
        CHECK_EQ(mapping.flags, rows[i].flags);
    }
    CHECK_EQ(frames.used, 4);
}

static void takes_the_largest_pages(void)
{
    struct page_table table = make(true);
    struct page_mapping mapping;
    /* From the last 4 KiB before a 2 MiB border over 1 GiB to 4 KiB behind one. */
    uint64_t linear = 0xffff800000000000 + MIB(1022) + MIB(2) - PAGE_SIZE;
    uint64_t size = PAGE_SIZE + GIB(1) + MIB(2) + PAGE_SIZE;
    CHECK_EQ(page_table_map(&table, linear, HPA(GIB(4) - PAGE_SIZE), size, MAP_WRITE), STATUS_OK);
    static const struct {
        uint64_t offset, size;
    } rows[] = {{0, PAGE_SIZE},
                {PAGE_SIZE, PAGE_SIZE_1G},
                {PAGE_SIZE + GIB(1) - 1, PAGE_SIZE_1G},
                {PAGE_SIZE + GIB(1), PAGE_SIZE_2M},
                {PAGE_SIZE + GIB(1) + MIB(2), PAGE_SIZE}};
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        CHECK_EQ(page_table_walk(&table, linear + rows[i].offset, &mapping), STATUS_OK);
        CHECK_EQ(mapping.size, rows[i].size);
        CHECK_EQ(mapping.frame.v - mapping.linear, GIB(4) - PAGE_SIZE - linear);
    }
    CHECK_EQ(page_table_walk(&table, linear + size, &mapping), ERR_NOT_FOUND);
    CHECK_EQ(page_table_walk(&table, linear - 1, &mapping), ERR_NOT_FOUND);
    table = make(false);
    CHECK_EQ(page_table_map(&table, GIB(1), HPA(GIB(1)), GIB(1), MAP_WRITE), STATUS_OK);
    CHECK_EQ(page_table_walk(&table, GIB(1), &mapping), STATUS_OK);
    CHECK_EQ(mapping.size, PAGE_SIZE_2M);
    /* The frame decides too. */
    table = make(true);
    CHECK_EQ(page_table_map(&table, MIB(2), HPA(MIB(1)), MIB(2), MAP_WRITE), STATUS_OK);
    CHECK_EQ(page_table_walk(&table, MIB(2), &mapping), STATUS_OK);
    CHECK_EQ(mapping.size, PAGE_SIZE);
}

static void refuses_bad_ranges(void)
{
    struct page_table table = make(true);
    CHECK_EQ(page_table_map(&table, 1, HPA(0), PAGE_SIZE, 0), ERR_INVALID);
    CHECK_EQ(page_table_map(&table, 0, HPA(1), PAGE_SIZE, 0), ERR_INVALID);
    CHECK_EQ(page_table_map(&table, 0, HPA(0), 0, 0), ERR_INVALID);
    CHECK_EQ(page_table_map(&table, 0, HPA(0), 17, 0), ERR_INVALID);
    CHECK_EQ(page_table_map(&table, 1ull << 47, HPA(0), PAGE_SIZE, 0), ERR_INVALID);
    CHECK_EQ(page_table_map(&table, (1ull << 47) - PAGE_SIZE, HPA(0), 2 * PAGE_SIZE, 0),
             ERR_INVALID);
    CHECK_EQ(page_table_map(&table, PAGE_SIZE, HPA(0), align_down(UINT64_MAX, PAGE_SIZE), 0),
             ERR_INVALID);
    CHECK_EQ(page_table_map(&table, 0, HPA(1ull << 52), PAGE_SIZE, 0), ERR_INVALID);
    CHECK_EQ(page_table_map(&table, 0, HPA((1ull << 52) - PAGE_SIZE), 2 * PAGE_SIZE, 0),
             ERR_INVALID);
    CHECK_EQ(page_table_map(&table, align_down(UINT64_MAX, PAGE_SIZE), HPA(0), PAGE_SIZE, 0),
             STATUS_OK);
    struct page_mapping mapping;
    CHECK_EQ(page_table_walk(&table, UINT64_MAX, &mapping), STATUS_OK);
    CHECK_EQ(page_table_walk(&table, 1ull << 47, &mapping), ERR_NOT_FOUND);
}

static void never_maps_over_something(void)
{
    struct page_table table = make(true);
    CHECK_EQ(page_table_map(&table, MIB(2), HPA(0), PAGE_SIZE, 0), STATUS_OK);
    CHECK_EQ(page_table_map(&table, MIB(2), HPA(0), PAGE_SIZE, 0), ERR_EXISTS);
    CHECK_EQ(page_table_map(&table, MIB(2), HPA(0), MIB(2), 0), ERR_EXISTS);
    CHECK_EQ(page_table_map(&table, 0, HPA(0), GIB(1), 0), ERR_EXISTS);
    CHECK_EQ(page_table_map(&table, MIB(4), HPA(0), MIB(2), 0), STATUS_OK);
    CHECK_EQ(page_table_map(&table, MIB(5), HPA(0), PAGE_SIZE, 0), ERR_EXISTS);
    CHECK_EQ(page_table_map(&table, GIB(1), HPA(0), GIB(1), 0), STATUS_OK);
    CHECK_EQ(page_table_map(&table, GIB(1) + MIB(6), HPA(0), PAGE_SIZE, 0), ERR_EXISTS);
}

/* Whoever has the entry of a small page can change its mapping later. */
static void gives_the_entry_of_a_small_page(void)
{
    struct page_table table = make(true);
    struct page_mapping mapping;
    CHECK_EQ(page_table_map(&table, MIB(2), HPA(MIB(9)), 2 * PAGE_SIZE, 0), STATUS_OK);
    CHECK_EQ(page_table_map(&table, MIB(4), HPA(0), MIB(2), 0), STATUS_OK);
    uint64_t *entry = page_table_entry(&table, MIB(2));
    CHECK(entry != NULL && entry[1] == (entry[0] | PAGE_SIZE));
    entry[0] = 0;
    entry[1] |= PTE_RW;
    CHECK_EQ(page_table_walk(&table, MIB(2), &mapping), ERR_NOT_FOUND);
    CHECK_EQ(page_table_walk(&table, MIB(2) + PAGE_SIZE, &mapping), STATUS_OK);
    CHECK_EQ(mapping.flags, MAP_WRITE);
    CHECK(page_table_entry(&table, MIB(4)) == NULL);
    CHECK(page_table_entry(&table, MIB(2) + 2 * PAGE_SIZE) == NULL);
}

static void unmaps_small_pages(void)
{
    struct page_table table = make(true);
    struct page_mapping mapping;
    CHECK_EQ(page_table_map(&table, MIB(2), HPA(0), 4 * PAGE_SIZE, 0), STATUS_OK);
    CHECK_EQ(page_table_map(&table, MIB(4), HPA(0), MIB(2), 0), STATUS_OK);
    CHECK_EQ(page_table_unmap(&table, MIB(2) + PAGE_SIZE, 2 * PAGE_SIZE), STATUS_OK);
    CHECK_EQ(page_table_walk(&table, MIB(2), &mapping), STATUS_OK);
    CHECK_EQ(page_table_walk(&table, MIB(2) + PAGE_SIZE, &mapping), ERR_NOT_FOUND);
    CHECK_EQ(page_table_walk(&table, MIB(2) + 2 * PAGE_SIZE, &mapping), ERR_NOT_FOUND);
    CHECK_EQ(page_table_walk(&table, MIB(2) + 3 * PAGE_SIZE, &mapping), STATUS_OK);
    CHECK_EQ(page_table_unmap(&table, GIB(7), PAGE_SIZE), STATUS_OK);
    CHECK_EQ(page_table_unmap(&table, MIB(4), PAGE_SIZE), ERR_INVALID);
    CHECK_EQ(page_table_unmap(&table, 5, PAGE_SIZE), ERR_INVALID);
    CHECK_EQ(page_table_map(&table, MIB(2) + PAGE_SIZE, HPA(MIB(9)), PAGE_SIZE, 0), STATUS_OK);
}

static void runs_out_of_frames(void)
{
    const struct page_table_ports ports = {alloc_frame, map_frame, &frames};
    struct page_table table = make(true);
    frames.limit = 3;
    CHECK_EQ(page_table_map(&table, 0, HPA(0), PAGE_SIZE, 0), ERR_NO_MEMORY);
    frames.limit = 4;
    CHECK_EQ(page_table_map(&table, 0, HPA(0), PAGE_SIZE, 0), STATUS_OK);
    CHECK_EQ(page_table_init(&table, &ports, true), ERR_NO_MEMORY);
}

struct visited {
    unsigned count;
    struct page_mapping mapping[8];
    unsigned stop_at;
};

static enum status remember(void *context, const struct page_mapping *mapping)
{
    struct visited *visited = context;
    CHECK(visited->count < ARRAY_SIZE(visited->mapping));
    visited->mapping[visited->count++] = *mapping;
    return visited->count == visited->stop_at ? ERR_BUSY : STATUS_OK;
}

static void visits_everything_in_order(void)
{
    struct page_table table = make(true);
    struct visited visited = {0};
    CHECK_EQ(page_table_map(&table, 0xffffffff80000000, HPA(0x5000), PAGE_SIZE, MAP_EXECUTE),
             STATUS_OK);
    CHECK_EQ(page_table_map(&table, 0xffff800000000000, HPA(0), GIB(1), MAP_WRITE), STATUS_OK);
    CHECK_EQ(page_table_map(&table, 0x3000, HPA(0x7000), PAGE_SIZE, MAP_UC), STATUS_OK);
    CHECK_EQ(page_table_visit(&table, remember, &visited), STATUS_OK);
    CHECK_EQ(visited.count, 3);
    CHECK_EQ(visited.mapping[0].linear, 0x3000);
    CHECK_EQ(visited.mapping[0].flags, MAP_UC);
    CHECK_EQ(visited.mapping[1].linear, 0xffff800000000000);
    CHECK_EQ(visited.mapping[1].size, GIB(1));
    CHECK_EQ(visited.mapping[1].flags, MAP_WRITE);
    CHECK_EQ(visited.mapping[2].linear, 0xffffffff80000000);
    CHECK_EQ(visited.mapping[2].frame.v, 0x5000);
    CHECK_EQ(visited.mapping[2].flags, MAP_EXECUTE);
    visited = (struct visited){.stop_at = 2};
    CHECK_EQ(page_table_visit(&table, remember, &visited), ERR_BUSY);
    CHECK_EQ(visited.count, 2);
}

static uint64_t *leaf_of(const struct page_table *table, uint64_t linear, unsigned target)
{
    uint64_t entry = table->root.v;
    for (unsigned level = 4;; level--) {
        uint64_t *entries = map_frame(&frames, HPA(entry & 0xffffffffff000));
        uint64_t *found = &entries[linear >> (3 + 9 * level) & 511];
        if (level == target)
            return found;
        entry = *found;
    }
}

static void a_tampered_table_is_found(void)
{
    struct page_table table = make(true);
    struct visited visited;
    CHECK_EQ(page_table_map(&table, MIB(2), HPA(0), PAGE_SIZE, 0), STATUS_OK);
    CHECK_EQ(page_table_map(&table, MIB(4), HPA(0), MIB(2), 0), STATUS_OK);
    static const struct {
        uint64_t linear, bits;
        unsigned level;
    } rows[] = {
        {MIB(2), PTE_US, 1},  {MIB(2), PTE_US, 3},  {MIB(2), PTE_PS, 1}, {MIB(2), PTE_NX, 2},
        {MIB(2), PTE_PCD, 3}, {MIB(4), BIT(13), 2}, {MIB(4), PTE_US, 2}, {MIB(2), PTE_PS, 4},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t *entry = leaf_of(&table, rows[i].linear, rows[i].level), old = *entry;
        *entry |= rows[i].bits;
        visited = (struct visited){0};
        CHECK_EQ(page_table_visit(&table, remember, &visited), ERR_INVALID);
        *entry = old;
    }
    visited = (struct visited){0};
    CHECK_EQ(page_table_visit(&table, remember, &visited), STATUS_OK);
}

TEST_MAIN({"maps_a_page_with_its_rights", maps_a_page_with_its_rights},
          {"takes_the_largest_pages", takes_the_largest_pages},
          {"refuses_bad_ranges", refuses_bad_ranges},
          {"never_maps_over_something", never_maps_over_something},
          {"gives_the_entry_of_a_small_page", gives_the_entry_of_a_small_page},
          {"runs_out_of_frames", runs_out_of_frames}, {"unmaps_small_pages", unmaps_small_pages},
          {"runs_out_of_frames", runs_out_of_frames},
          {"visits_everything_in_order", visits_everything_in_order},
          {"a_tampered_table_is_found", a_tampered_table_is_found})
