/* The guest's memory by its physical addresses: every size of access, its borders, and what a
 * refused access leaves alone. */
#include "kernel/vm/guest_mem.h"
#include "kernel/vm/guest_walk.h"

#include "tests/check.h"

static uint8_t low[PAGE_SIZE] ALIGNED(4096), high[PAGE_SIZE] ALIGNED(4096);

/* RAM from 0 to 0xfff and from 0x2000 to 0x2fff. */
static struct guest_mem start(void)
{
    struct guest_mem mem = {0};
    for (unsigned i = 0; i < PAGE_SIZE; i++) {
        low[i] = (uint8_t)i;
        high[i] = (uint8_t)~i;
    }
    CHECK_EQ(guest_mem_add(&mem, GPA(0x2000), sizeof(high), high), STATUS_OK);
    CHECK_EQ(guest_mem_add(&mem, GPA(0), sizeof(low), low), STATUS_OK);
    return mem;
}

static uint64_t mask(unsigned size)
{
    return size == 8 ? UINT64_MAX : (1ull << 8 * size) - 1;
}

static void every_size_is_loaded_and_stored(void)
{
    static const unsigned sizes[] = {1, 2, 4, 8};
    const uint64_t value = 0x8877665544332211;
    struct guest_mem mem = start();
    for (unsigned i = 0; i < 4; i++) {
        uint64_t back = UINT64_MAX, at = 0x2010 + 8 * i;
        unsigned size = sizes[i];
        CHECK_EQ(guest_mem_store(&mem, GPA(at), size, value), STATUS_OK);
        CHECK_EQ(guest_mem_load(&mem, GPA(at), size, &back), STATUS_OK);
        CHECK_EQ(back, value & mask(size));
        if (size < 8) /* the byte behind it stays */
            CHECK_EQ(high[at - 0x2000 + size], (uint8_t) ~(at + size));
    }
}

static void every_size_is_exchanged(void)
{
    static const unsigned sizes[] = {1, 2, 4, 8};
    struct guest_mem mem = start();
    for (unsigned i = 0; i < 4; i++) {
        uint64_t expected = 5, back = 0;
        bool swapped = true;
        unsigned size = sizes[i];
        CHECK_EQ(guest_mem_store(&mem, GPA(0x2000), 8, UINT64_MAX), STATUS_OK);
        CHECK_EQ(guest_mem_compare_exchange(&mem, GPA(0x2000), size, &expected, 7, &swapped),
                 STATUS_OK);
        CHECK(!swapped);
        CHECK_EQ(expected, mask(size)); /* what stands there */
        CHECK_EQ(guest_mem_compare_exchange(&mem, GPA(0x2000), size, &expected, 7, &swapped),
                 STATUS_OK);
        CHECK(swapped);
        CHECK_EQ(guest_mem_load(&mem, GPA(0x2000), 8, &back), STATUS_OK);
        CHECK_EQ(back, (UINT64_MAX & ~mask(size)) | 7);
    }
}

/* Every refusal, with the same answer from all three kinds of access. */
static void refused_accesses_change_nothing(void)
{
    static const struct {
        uint64_t gpa;
        unsigned size;
        enum status expected;
    } rows[] = {
        {0x2001, 2, ERR_INVALID},   {0x2002, 4, ERR_INVALID},       {0x2004, 8, ERR_INVALID},
        {0x2000, 3, ERR_INVALID},   {0x2000, 0, ERR_INVALID},       {0x2000, 16, ERR_INVALID},
        {0x1000, 1, ERR_RANGE},     {0x1ff8, 8, ERR_RANGE},         {0x3000, 8, ERR_RANGE},
        {1ull << 63, 8, ERR_RANGE}, {UINT64_MAX - 7, 8, ERR_RANGE},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct guest_mem mem = start();
        uint64_t value = 0x1234, expected = 0;
        bool swapped = false;
        gpa_t gpa = GPA(rows[i].gpa);
        CHECK_EQ(guest_mem_load(&mem, gpa, rows[i].size, &value), rows[i].expected);
        CHECK_EQ(value, 0x1234);
        CHECK_EQ(guest_mem_store(&mem, gpa, rows[i].size, 0), rows[i].expected);
        CHECK_EQ(guest_mem_compare_exchange(&mem, gpa, rows[i].size, &expected, 1, &swapped),
                 rows[i].expected);
        CHECK(!swapped && expected == 0);
        for (unsigned j = 0; j < PAGE_SIZE; j++)
            CHECK(low[j] == (uint8_t)j && high[j] == (uint8_t)~j);
    }
}

/* A copy that reaches into a hole is refused whole: the first part is not written either. */
static void copies_are_whole_or_not_at_all(void)
{
    struct guest_mem mem = start();
    uint8_t bytes[16] = {0};
    CHECK_EQ(guest_mem_write(&mem, GPA(0xff8), bytes, 16), ERR_RANGE);
    CHECK_EQ(guest_mem_write(&mem, GPA(0x1ff8), bytes, 16), ERR_RANGE);
    CHECK_EQ(low[0xff8], 0xf8);
    CHECK_EQ(high[0], 0xff);
    CHECK_EQ(guest_mem_write(&mem, GPA(0xff8), bytes, UINT64_MAX), ERR_RANGE);
    CHECK_EQ(guest_mem_write(&mem, GPA(0xff8), bytes, 8), STATUS_OK);
    CHECK_EQ(low[0xfff], 0);
    CHECK_EQ(guest_mem_write(&mem, GPA(0x5000), bytes, 0), STATUS_OK);
}

static void regions_that_cannot_be_are_refused(void)
{
    static uint8_t page[PAGE_SIZE] ALIGNED(4096);
    struct guest_mem mem = {0};
    CHECK_EQ(guest_mem_add(&mem, GPA(0x1000), 0, page), ERR_INVALID);
    CHECK_EQ(guest_mem_add(&mem, GPA(0x1800), PAGE_SIZE, page), ERR_INVALID);
    CHECK_EQ(guest_mem_add(&mem, GPA(0x1000), 100, page), ERR_INVALID);
    CHECK_EQ(guest_mem_add(&mem, GPA(UINT64_MAX & ~0xfffull), 2 * PAGE_SIZE, page), ERR_INVALID);
    for (unsigned i = 0; i < GUEST_REGIONS_MAX; i++)
        CHECK_EQ(guest_mem_add(&mem, GPA(2ull * i * PAGE_SIZE), PAGE_SIZE, page), STATUS_OK);
    CHECK_EQ(guest_mem_add(&mem, GPA(GIB(1)), PAGE_SIZE, page), ERR_NO_SPACE);
    CHECK_EQ(guest_mem_add(&mem, GPA(0), PAGE_SIZE, page), ERR_EXISTS);
}

/* What a device hides is no RAM, whatever is beside it. */
static void hidden_pages_are_no_ram(void)
{
    static uint8_t ram[4 * PAGE_SIZE], bytes[4 * PAGE_SIZE];
    struct guest_mem guest = {.count = 0};
    uint64_t available, value;
    CHECK_EQ(guest_mem_add(&guest, GPA(MIB(1)), sizeof(ram), ram), STATUS_OK);
    guest.hidden_end = MIB(1) + 3 * PAGE_SIZE;
    CHECK(guest_mem_span(&guest, GPA(MIB(1) + 8), &available) == ram + 8);
    CHECK_EQ(available, 2 * PAGE_SIZE - 8);
    CHECK(guest_mem_span(&guest, GPA(MIB(1) + 2 * PAGE_SIZE), &available) == NULL);
    CHECK_EQ(guest_mem_load(&guest, GPA(MIB(1) + 3 * PAGE_SIZE - 8), 8, &value), ERR_RANGE);
    CHECK(guest_mem_span(&guest, GPA(MIB(1) + 3 * PAGE_SIZE), &available) == ram + 3 * PAGE_SIZE);
    CHECK_EQ(available, PAGE_SIZE);
    CHECK_EQ(guest_mem_read(&guest, GPA(MIB(1)), bytes, 2 * PAGE_SIZE), STATUS_OK);
    CHECK_EQ(guest_mem_read(&guest, GPA(MIB(1)), bytes, 2 * PAGE_SIZE + 1), ERR_RANGE);
    CHECK(guest_walk_host(&guest, GPA(MIB(1) + 2 * PAGE_SIZE + 16)) == NULL);
    CHECK(guest_walk_host(&guest, GPA(MIB(1) + 3 * PAGE_SIZE)) == ram + 3 * PAGE_SIZE);
    guest.hidden_end = 0;
    CHECK_EQ(guest_mem_read(&guest, GPA(MIB(1)), bytes, 4 * PAGE_SIZE), STATUS_OK);
}

TEST_MAIN({"hidden_pages_are_no_ram", hidden_pages_are_no_ram},
          {"every_size_is_loaded_and_stored", every_size_is_loaded_and_stored},
          {"every_size_is_exchanged", every_size_is_exchanged},
          {"refused_accesses_change_nothing", refused_accesses_change_nothing},
          {"copies_are_whole_or_not_at_all", copies_are_whole_or_not_at_all},
          {"regions_that_cannot_be_are_refused", regions_that_cannot_be_are_refused})
