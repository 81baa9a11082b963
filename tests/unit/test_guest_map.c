/* The guest's memory map, for sizes around every border. */
#include "kernel/core/types.h"
#include "kernel/vm/guest_map.h"
#include "kernel/vm/platform.h"
#include "tests/check.h"

static const uint64_t sizes[] = {
    GUEST_MEMORY_MIN,     MIB(3) + 4096, MIB(256),         GIB(3) - 4096,
    PLATFORM_LOW_RAM_END, GIB(3) + 4096, GIB(64) + MIB(1), GUEST_MEMORY_MAX,
};

static void refuses_bad_sizes(void)
{
    struct guest_map map;
    CHECK_EQ(guest_map_make(&map, 0), ERR_RANGE);
    CHECK_EQ(guest_map_make(&map, MIB(4) + 1), ERR_INVALID);
    CHECK_EQ(guest_map_make(&map, GUEST_MEMORY_MIN - 4096), ERR_RANGE);
    CHECK_EQ(guest_map_make(&map, GUEST_MEMORY_MAX + 4096), ERR_RANGE);
    CHECK_EQ(guest_map_make(&map, ~0xfffull), ERR_RANGE);
}

static void entries_are_sorted_and_disjoint(void)
{
    for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
        struct guest_map map;
        CHECK_EQ(guest_map_make(&map, sizes[s]), STATUS_OK);
        CHECK(map.count <= GUEST_MAP_ENTRIES_MAX);
        CHECK_EQ(map.ram_below_4g + map.ram_above_4g, sizes[s]);
        for (unsigned i = 0; i < map.count; i++) {
            CHECK(map.entry[i].size != 0);
            if (i == 0)
                continue;
            const struct guest_map_entry *before = &map.entry[i - 1];
            CHECK(before->base + before->size <= map.entry[i].base);
            CHECK(before->type != map.entry[i].type ||
                  before->base + before->size < map.entry[i].base);
        }
    }
}

/* Bytes of the entry that lie in backed ranges. */
static uint64_t backed_bytes(const struct guest_map *map, const struct guest_map_entry *entry)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < map->backed_count; i++) {
        uint64_t low = map->backed[i].base, high = low + map->backed[i].size;
        low = low > entry->base ? low : entry->base;
        high = high < entry->base + entry->size ? high : entry->base + entry->size;
        sum += high > low ? high - low : 0;
    }
    return sum;
}

static void all_but_the_ecam_is_backed(void)
{
    for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
        struct guest_map map;
        CHECK_EQ(guest_map_make(&map, sizes[s]), STATUS_OK);
        uint64_t all = 0, ecam = 0;
        for (unsigned i = 0; i < map.count; i++) {
            bool is_ecam = map.entry[i].base == PLATFORM_ECAM;
            ecam += is_ecam;
            CHECK_EQ(backed_bytes(&map, &map.entry[i]), is_ecam ? 0 : map.entry[i].size);
            all += is_ecam ? 0 : map.entry[i].size;
        }
        CHECK_EQ(ecam, 1);
        for (unsigned i = 0; i < map.backed_count; i++) {
            CHECK_EQ(map.backed[i].base % 4096, 0);
            CHECK_EQ(map.backed[i].size % 4096, 0);
            all -= map.backed[i].size;
        }
        CHECK_EQ(all, 0);
    }
}

static void ram_is_where_it_is(void)
{
    struct guest_map map;
    CHECK_EQ(guest_map_make(&map, GIB(4)), STATUS_OK);
    CHECK(guest_map_is_ram(&map, 0, GUEST_MAP_EBDA));
    CHECK(!guest_map_is_ram(&map, 0, GUEST_MAP_EBDA + 1));
    CHECK(!guest_map_is_ram(&map, 0x9fc00, 1));
    CHECK(!guest_map_is_ram(&map, 0xa0000, 1));
    CHECK(!guest_map_is_ram(&map, GUEST_MAP_ACPI_BASE, 1));
    CHECK(guest_map_is_ram(&map, MIB(1), GIB(3) - MIB(1)));
    CHECK(!guest_map_is_ram(&map, MIB(1), GIB(3) - MIB(1) + 1));
    CHECK(guest_map_is_ram(&map, GIB(5) - 1, 1));
    CHECK(!guest_map_is_ram(&map, GIB(5) - 1, 2));
    CHECK(!guest_map_is_ram(&map, GIB(4), UINT64_MAX));
    CHECK(!guest_map_is_ram(&map, UINT64_MAX, 2));
    CHECK(!guest_map_is_ram(&map, MIB(1), 0));
}

static void images_may_lie_where_a_bios_would(void)
{
    struct guest_map map;
    CHECK_EQ(guest_map_make(&map, MIB(4)), STATUS_OK);
    static const struct {
        uint64_t base, size;
        bool takes;
    } cases[] = {
        {0, 0xa0000, true},     {0, 0xa0001, false},      {0xa0000, 1, false},
        {0xbffff, 2, false},    {0xc0000, 0x20000, true}, {0xc0000, 0x20001, false},
        {0xe0000, 1, false},    {0xef000, 1, false},      {0xf0000, MIB(4) - 0xf0000, true},
        {MIB(4) - 1, 1, true},  {MIB(4) - 1, 2, false},   {0xe0000000, 1, false},
        {~0ull, 1, false},      {~0ull, 2, false},        {MIB(1), 0, false},
        {MIB(1), ~0ull, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        CHECK_EQ(guest_map_takes_image(&map, cases[i].base, cases[i].size), cases[i].takes);
}

static void the_top_can_be_reserved(void)
{
    struct guest_map map;
    uint64_t base = 0;
    CHECK_EQ(guest_map_make(&map, GIB(4)), STATUS_OK);
    unsigned count = map.count;
    CHECK(!guest_map_reserve_top(&map, 0, &base) && !guest_map_reserve_top(&map, GIB(2), &base) &&
          !guest_map_reserve_top(&map, ~0ull, &base));
    CHECK_EQ(map.count, count);
    CHECK(guest_map_reserve_top(&map, 4097, &base));
    CHECK_EQ(base, PLATFORM_LOW_RAM_END - 8192);
    CHECK_EQ(map.ram_below_4g, base);
    CHECK_EQ(map.count, count + 1);
    CHECK(guest_map_is_ram(&map, base - 1, 1) && !guest_map_is_ram(&map, base, 1));
    CHECK(guest_map_is_ram(&map, GIB(4), GIB(1)));
    for (unsigned i = 1; i < map.count; i++)
        CHECK(map.entry[i - 1].base + map.entry[i - 1].size <= map.entry[i].base);
    CHECK_EQ(guest_map_make(&map, GUEST_MEMORY_MIN), STATUS_OK);
    CHECK(!guest_map_reserve_top(&map, MIB(1), &base)); /* all that is behind the hole */
    CHECK(guest_map_reserve_top(&map, MIB(1) - 4096, &base));
    CHECK_EQ(base, MIB(1) + 4096);
}

static void e820_is_the_same_map(void)
{
    struct guest_map map;
    struct guest_map_e820 e820[GUEST_MAP_ENTRIES_MAX];
    CHECK_EQ(guest_map_make(&map, MIB(256)), STATUS_OK);
    CHECK_EQ(guest_map_e820(&map, e820), map.count);
    CHECK_EQ(e820[0].base, 0);
    CHECK_EQ(e820[0].size, 0x9fc00);
    CHECK_EQ(e820[0].type, 1);
    CHECK_EQ(e820[map.count - 2].base, MIB(1));
    CHECK_EQ(e820[map.count - 2].size, MIB(255));
    CHECK_EQ(e820[map.count - 1].base, 0xe0000000);
    CHECK_EQ(e820[map.count - 1].type, 2);
}

TEST_MAIN({"refuses_bad_sizes", refuses_bad_sizes},
          {"entries_are_sorted_and_disjoint", entries_are_sorted_and_disjoint},
          {"all_but_the_ecam_is_backed", all_but_the_ecam_is_backed},
          {"ram_is_where_it_is", ram_is_where_it_is},
          {"images_may_lie_where_a_bios_would", images_may_lie_where_a_bios_would},
          {"e820_is_the_same_map", e820_is_the_same_map},
          {"the_top_can_be_reserved", the_top_can_be_reserved})
