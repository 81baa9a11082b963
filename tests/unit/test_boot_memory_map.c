/* The firmware's memory map, turned into the monitor's. */
#include "boot/memory_map.h"
#include "tests/check.h"

enum {
    RESERVED = 0,
    LOADER_CODE = 1,
    LOADER_DATA = 2,
    BOOT_CODE = 3,
    BOOT_DATA = 4,
    RUNTIME_CODE = 5,
    RUNTIME_DATA = 6,
    CONVENTIONAL = 7,
    UNUSABLE = 8,
    ACPI_RECLAIM = 9,
    ACPI_NVS = 10,
    MMIO = 11,
    PERSISTENT = 14,
    UNACCEPTED = 15,
};

#define STRIDE 48 /* as EDK II has it: 8 bytes more than a descriptor */
#define MAX 64

struct fixture {
    uint8_t bytes[MAX * STRIDE];
    size_t descriptors;
    struct boot_memory known[8];
    size_t known_count;
    struct boot_memory out[MAX];
    uint32_t count;
};

static void add_with(struct fixture *f, uint32_t type, uint64_t base, uint64_t pages,
                     uint64_t attribute)
{
    struct memory_descriptor descriptor = {
        .type = type, .physical_start = base, .pages = pages, .attribute = attribute};

    memset(f->bytes + f->descriptors * STRIDE, 0xee, STRIDE);
    memcpy(f->bytes + f->descriptors++ * STRIDE, &descriptor, sizeof(descriptor));
}

static void add(struct fixture *f, uint32_t type, uint64_t base, uint64_t pages)
{
    add_with(f, type, base, pages, 0xf);
}

static enum status normalise_into(struct fixture *f, size_t max)
{
    struct memory_map_source source = {f->bytes, f->descriptors * STRIDE, STRIDE};

    return memory_map_normalise(&source, f->known, f->known_count, f->out, max, &f->count);
}

/* What every result must be, whatever the input. */
static void check_invariants(const struct fixture *f)
{
    uint64_t end = 0;

    for (uint32_t i = 0; i < f->count; i++) {
        CHECK(f->out[i].pages > 0);
        CHECK_EQ(f->out[i].base % PAGE_SIZE, 0);
        CHECK(f->out[i].base >= end);
        CHECK(i == 0 || f->out[i].base > end || f->out[i].type != f->out[i - 1].type);
        CHECK(f->out[i].type <= BOOT_MEMORY_FIRMWARE);
        end = f->out[i].base + f->out[i].pages * PAGE_SIZE;
        CHECK(end > f->out[i].base);
        CHECK(end <= 1ull << 52);
    }
}

static void normalise(struct fixture *f)
{
    CHECK_EQ(normalise_into(f, MAX), STATUS_OK);
    check_invariants(f);
}

static void check_entry(const struct fixture *f, uint32_t i, uint64_t base, uint64_t end,
                        uint32_t type)
{
    CHECK(i < f->count);
    CHECK_EQ(f->out[i].base, base);
    CHECK_EQ(f->out[i].base + f->out[i].pages * PAGE_SIZE, end);
    CHECK_EQ(f->out[i].type, type);
}

static void sorts_and_merges(void)
{
    struct fixture f = {0};

    add(&f, CONVENTIONAL, 0x300000, 0x100);
    add(&f, BOOT_DATA, 0x100000, 0x100);
    add(&f, BOOT_CODE, 0x200000, 0x100);
    add(&f, CONVENTIONAL, 0x500000, 1);
    normalise(&f);
    CHECK_EQ(f.count, 3);
    check_entry(&f, 0, 0, 0x1000, BOOT_MEMORY_FIRMWARE);
    check_entry(&f, 1, 0x100000, 0x400000, BOOT_MEMORY_USABLE);
    check_entry(&f, 2, 0x500000, 0x501000, BOOT_MEMORY_USABLE);
}

static void keeps_page_zero_away(void)
{
    struct fixture f = {0};

    add(&f, CONVENTIONAL, 0, 0xa0);
    normalise(&f);
    CHECK_EQ(f.count, 2);
    check_entry(&f, 0, 0, 0x1000, BOOT_MEMORY_FIRMWARE);
    check_entry(&f, 1, 0x1000, 0xa0000, BOOT_MEMORY_USABLE);
}

static void maps_every_type(void)
{
    static const struct {
        uint32_t efi, expected;
    } rows[] = {
        {RESERVED, BOOT_MEMORY_FIRMWARE},     {LOADER_CODE, BOOT_MEMORY_LOADER},
        {LOADER_DATA, BOOT_MEMORY_LOADER},    {BOOT_CODE, BOOT_MEMORY_USABLE},
        {BOOT_DATA, BOOT_MEMORY_USABLE},      {RUNTIME_CODE, BOOT_MEMORY_FIRMWARE},
        {RUNTIME_DATA, BOOT_MEMORY_FIRMWARE}, {CONVENTIONAL, BOOT_MEMORY_USABLE},
        {UNUSABLE, BOOT_MEMORY_FIRMWARE},     {ACPI_RECLAIM, BOOT_MEMORY_ACPI},
        {ACPI_NVS, BOOT_MEMORY_ACPI},         {MMIO, BOOT_MEMORY_FIRMWARE},
        {PERSISTENT, BOOT_MEMORY_FIRMWARE},   {UNACCEPTED, BOOT_MEMORY_FIRMWARE},
        {0x70000000, BOOT_MEMORY_FIRMWARE},   {UINT32_MAX, BOOT_MEMORY_FIRMWARE},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct fixture f = {0};

        add(&f, rows[i].efi, 0x100000, 1);
        normalise(&f);
        check_entry(&f, 1, 0x100000, 0x101000, rows[i].expected);
    }
}

static void attributes_take_memory_away(void)
{
    struct fixture f = {0};

    add_with(&f, CONVENTIONAL, 0x100000, 1, 1ull << 63); /* needed at run time */
    add_with(&f, CONVENTIONAL, 0x200000, 1, 1ull << 18); /* for a special purpose */
    normalise(&f);
    CHECK_EQ(memory_map_largest(f.out, f.count, BOOT_MEMORY_USABLE), 0);
}

static void the_stricter_type_wins_an_overlap(void)
{
    struct fixture f = {0};

    add(&f, RESERVED, 0x110000, 0x10);
    add(&f, CONVENTIONAL, 0x100000, 0x100);
    add(&f, ACPI_RECLAIM, 0x118000, 0x10);
    normalise(&f);
    CHECK_EQ(f.count, 5);
    check_entry(&f, 1, 0x100000, 0x110000, BOOT_MEMORY_USABLE);
    check_entry(&f, 2, 0x110000, 0x120000, BOOT_MEMORY_FIRMWARE);
    check_entry(&f, 3, 0x120000, 0x128000, BOOT_MEMORY_ACPI);
    check_entry(&f, 4, 0x128000, 0x200000, BOOT_MEMORY_USABLE);
}

static void known_allocations_stand_out(void)
{
    struct fixture f = {0};

    add(&f, LOADER_DATA, 0x100000, 0x100);
    f.known[0] = (struct boot_memory){.base = 0x110000, .pages = 4, .type = BOOT_MEMORY_FILE};
    f.known[1] = (struct boot_memory){.base = 0x114000, .pages = 4, .type = BOOT_MEMORY_IMAGE};
    f.known_count = 2;
    normalise(&f);
    CHECK_EQ(f.count, 5);
    check_entry(&f, 1, 0x100000, 0x110000, BOOT_MEMORY_LOADER);
    check_entry(&f, 2, 0x110000, 0x114000, BOOT_MEMORY_FILE);
    check_entry(&f, 3, 0x114000, 0x118000, BOOT_MEMORY_IMAGE);
    check_entry(&f, 4, 0x118000, 0x200000, BOOT_MEMORY_LOADER);
}

/* A range over several others, one inside, one at each edge. */
static void paints_over_many(void)
{
    struct fixture f = {0};

    for (unsigned i = 0; i < 8; i++)
        add(&f, CONVENTIONAL, 0x100000 + i * 0x10000, 8);
    add(&f, RESERVED, 0x104000, 0x60);
    normalise(&f);
    check_entry(&f, 1, 0x100000, 0x104000, BOOT_MEMORY_USABLE);
    check_entry(&f, 2, 0x104000, 0x164000, BOOT_MEMORY_FIRMWARE);
    check_entry(&f, 3, 0x164000, 0x168000, BOOT_MEMORY_USABLE);
    CHECK_EQ(f.count, 5);
}

static void survives_absurd_descriptors(void)
{
    struct fixture f = {0};

    add(&f, CONVENTIONAL, 0x100000, 0);             /* empty */
    add(&f, CONVENTIONAL, UINT64_MAX - 0xfff, 1);   /* beyond every address */
    add(&f, CONVENTIONAL, 0x200000, UINT64_MAX);    /* wraps */
    add(&f, RESERVED, (1ull << 52) - 0x1000, 0x10); /* over the end */
    add(&f, CONVENTIONAL, 1ull << 52, 5);           /* just past it */
    normalise(&f);
    CHECK_EQ(f.count, 3);
    check_entry(&f, 1, 0x200000, (1ull << 52) - 0x1000, BOOT_MEMORY_USABLE);
    check_entry(&f, 2, (1ull << 52) - 0x1000, 1ull << 52, BOOT_MEMORY_FIRMWARE);
}

/* Nothing that is only partly usable is used; nothing that is partly reserved is. */
static void rounds_to_the_safe_side(void)
{
    struct fixture f = {0};

    add(&f, CONVENTIONAL, 0x100800, 2);
    add(&f, CONVENTIONAL, 0x300800, 1);
    add(&f, RESERVED, 0x200800, 1);
    normalise(&f);
    CHECK_EQ(f.count, 3);
    check_entry(&f, 1, 0x101000, 0x102000, BOOT_MEMORY_USABLE);
    check_entry(&f, 2, 0x200000, 0x202000, BOOT_MEMORY_FIRMWARE);
}

static void says_when_there_is_no_room(void)
{
    struct fixture f = {0};

    for (unsigned i = 0; i < 10; i++)
        add(&f, CONVENTIONAL, 0x100000 + i * 0x2000, 1);
    CHECK_EQ(normalise_into(&f, 10), ERR_NO_SPACE); /* page 0 is the eleventh */
    CHECK_EQ(normalise_into(&f, 11), STATUS_OK);
    CHECK_EQ(f.count, 11);
    CHECK_EQ(normalise_into(&f, 0), ERR_NO_SPACE);
}

static void refuses_a_short_stride(void)
{
    struct fixture f = {0};
    struct memory_map_source source = {f.bytes, 100, 39};

    CHECK_EQ(memory_map_normalise(&source, NULL, 0, f.out, MAX, &f.count), ERR_INVALID);
    source.stride = 40;
    source.size = 0;
    CHECK_EQ(memory_map_normalise(&source, NULL, 0, f.out, MAX, &f.count), STATUS_OK);
    CHECK_EQ(f.count, 1);
    source.size = 39; /* half a descriptor at the end is none */
    CHECK_EQ(memory_map_normalise(&source, NULL, 0, f.out, MAX, &f.count), STATUS_OK);
    CHECK_EQ(f.count, 1);
}

static void finds_the_largest_of_a_type(void)
{
    struct fixture f = {0};

    add(&f, CONVENTIONAL, 0x100000, 3);
    add(&f, CONVENTIONAL, 0x200000, 5);
    add(&f, RESERVED, 0x300000, 50);
    normalise(&f);
    CHECK_EQ(memory_map_largest(f.out, f.count, BOOT_MEMORY_USABLE), 5 * PAGE_SIZE);
    CHECK_EQ(memory_map_largest(f.out, f.count, BOOT_MEMORY_ACPI), 0);
}

/* Random maps against a plain table with one cell for each page. */
static void agrees_with_a_page_table(void)
{
    static const uint8_t rank[] = {[BOOT_MEMORY_USABLE] = 1,
                                   [BOOT_MEMORY_LOADER] = 2,
                                   [BOOT_MEMORY_ACPI] = 3,
                                   [BOOT_MEMORY_FIRMWARE] = 4};
    static const uint8_t types[][2] = {{CONVENTIONAL, BOOT_MEMORY_USABLE},
                                       {LOADER_CODE, BOOT_MEMORY_LOADER},
                                       {ACPI_RECLAIM, BOOT_MEMORY_ACPI},
                                       {RESERVED, BOOT_MEMORY_FIRMWARE}};
    uint64_t random = 88172645463325252ull;

    for (unsigned round = 0; round < 500; round++) {
        struct fixture f = {0};
        uint8_t cell[64] = {0}; /* a boot_memory_type + 1; 0: nothing there */

        for (unsigned i = 0; i < 12; i++) {
            unsigned start, pages, kind;

            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            start = 1 + random % 50;
            pages = (random >> 8) % 13;
            kind = (random >> 16) % 4;
            add(&f, types[kind][0], start * PAGE_SIZE, pages);
            for (unsigned at = start; at < start + pages; at++)
                if (cell[at] == 0 || rank[types[kind][1]] > rank[cell[at] - 1])
                    cell[at] = types[kind][1] + 1;
        }
        cell[0] = BOOT_MEMORY_FIRMWARE + 1;
        normalise(&f);
        for (uint32_t i = 0; i < f.count; i++)
            for (uint64_t page = 0; page < f.out[i].pages; page++) {
                uint64_t at = f.out[i].base / PAGE_SIZE + page;

                CHECK(at < ARRAY_SIZE(cell));
                CHECK_EQ(cell[at], f.out[i].type + 1);
                cell[at] = 0;
            }
        for (unsigned at = 0; at < ARRAY_SIZE(cell); at++)
            CHECK_EQ(cell[at], 0);
    }
}

TEST_MAIN({"sorts_and_merges", sorts_and_merges}, {"keeps_page_zero_away", keeps_page_zero_away},
          {"maps_every_type", maps_every_type},
          {"attributes_take_memory_away", attributes_take_memory_away},
          {"the_stricter_type_wins_an_overlap", the_stricter_type_wins_an_overlap},
          {"known_allocations_stand_out", known_allocations_stand_out},
          {"paints_over_many", paints_over_many},
          {"survives_absurd_descriptors", survives_absurd_descriptors},
          {"rounds_to_the_safe_side", rounds_to_the_safe_side},
          {"says_when_there_is_no_room", says_when_there_is_no_room},
          {"refuses_a_short_stride", refuses_a_short_stride},
          {"finds_the_largest_of_a_type", finds_the_largest_of_a_type},
          {"agrees_with_a_page_table", agrees_with_a_page_table})
