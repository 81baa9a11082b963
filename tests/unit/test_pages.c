/* kernel/core/pages.c: the owner table of physical memory. */
#include "kernel/core/bits.h"
#include "kernel/core/pages.h"
#include "tests/check.h"

static struct pages pages;

#define ADD(base, count, kind) CHECK_EQ(pages_add(&pages, HPA(base), count, kind), STATUS_OK)

/* The table's own check, and the same again as a reader sees it. */
static void check_invariants(void)
{
    struct page_extent last = {0}, extent;
    CHECK(pages_check(&pages));
    for (unsigned i = 0; pages_extent(&pages, i, &extent); i++) {
        uint64_t last_end = last.base + last.pages * PAGE_SIZE;
        CHECK(extent.pages > 0);
        CHECK(extent.kind != PAGE_NONE && extent.kind < PAGE_KIND_COUNT);
        CHECK(i == 0 || extent.base >= last_end);
        CHECK(i == 0 || extent.base != last_end || extent.kind != last.kind ||
              extent.owner != last.owner || extent.base == MIB(1));
        last = extent;
    }
}

/* 16 MiB: 1 MiB low, 1 MiB image, 4 MiB free, 2 MiB firmware, 8 MiB free. */
static void small_machine(void)
{
    pages_init(&pages);
    ADD(MIB(1), 256, PAGE_IMAGE);
    ADD(MIB(8), 2048, PAGE_FREE);
    ADD(MIB(2), 1024, PAGE_FREE);
    ADD(MIB(6), 512, PAGE_FIRMWARE);
    ADD(0, 256, PAGE_FREE);
    check_invariants();
}

/* What breaks the invariant is seen, whatever it is. */
static void the_check_sees_each_breach(void)
{
    static const struct page_extent sound[] = {{MIB(1), 16, PAGE_IMAGE, 0},
                                               {MIB(2), 16, PAGE_FREE, 0},
                                               {MIB(2) + 16 * PAGE_SIZE, 4, PAGE_GUEST, 1},
                                               {MIB(3), 4, PAGE_GUEST, 2}};
    static const struct {
        unsigned index;
        struct page_extent extent;
    } breach[] = {
        {1, {MIB(2), 0, PAGE_FREE, 0}},                       /* empty */
        {1, {MIB(2), 17, PAGE_FREE, 0}},                      /* overlaps the next */
        {1, {MIB(4), 16, PAGE_FREE, 0}},                      /* out of order */
        {1, {MIB(2), 16, PAGE_FREE, 1}},                      /* free, and somebody's */
        {1, {MIB(2), 16, PAGE_NONE, 0}},                      /* no kind */
        {1, {MIB(2), 16, PAGE_KIND_COUNT, 0}},                /* no kind either */
        {1, {MIB(2), 16, PAGE_GUEST, 1}},                     /* not merged */
        {3, {MIB(3), UINT64_MAX / PAGE_SIZE, PAGE_GUEST, 2}}, /* wraps */
        {0, {MIB(1), 16, PAGE_IMAGE, 1}},                     /* a guest's image of the monitor */
    };
    pages_init(&pages);
    memcpy(pages.extent, sound, sizeof(sound));
    pages.count = ARRAY_SIZE(sound);
    CHECK(pages_check(&pages));
    for (unsigned i = 0; i < ARRAY_SIZE(breach); i++) {
        memcpy(pages.extent, sound, sizeof(sound));
        pages.extent[breach[i].index] = breach[i].extent;
        CHECK(!pages_check(&pages));
    }
}

static void knows_every_page(void)
{
    small_machine();
    CHECK_EQ(pages_kind(&pages, HPA(0)), PAGE_LOW);
    CHECK_EQ(pages_kind(&pages, HPA(MIB(1) - 1)), PAGE_LOW);
    CHECK_EQ(pages_kind(&pages, HPA(MIB(1))), PAGE_IMAGE);
    CHECK_EQ(pages_kind(&pages, HPA(MIB(2) + 5)), PAGE_FREE);
    CHECK_EQ(pages_kind(&pages, HPA(MIB(7))), PAGE_FIRMWARE);
    CHECK_EQ(pages_kind(&pages, HPA(MIB(16) - 1)), PAGE_FREE);
    CHECK_EQ(pages_kind(&pages, HPA(MIB(16))), PAGE_NONE);
    CHECK_EQ(pages_kind(&pages, HPA(UINT64_MAX)), PAGE_NONE);
    CHECK_EQ(pages_total(&pages, PAGE_FREE), 3072);
    CHECK_EQ(pages_total(&pages, PAGE_LOW), 256);
    CHECK_STR(pages_kind_name(PAGE_GUEST), "guest memory");
}

static void refuses_bad_memory(void)
{
    small_machine();
    CHECK_EQ(pages_add(&pages, HPA(MIB(3)), 1, PAGE_FREE), ERR_EXISTS);
    CHECK_EQ(pages_add(&pages, HPA(MIB(15)), 512, PAGE_FREE), ERR_EXISTS);
    CHECK_EQ(pages_add(&pages, HPA(MIB(16) + 1), 1, PAGE_FREE), ERR_INVALID);
    CHECK_EQ(pages_add(&pages, HPA(MIB(16)), 0, PAGE_FREE), ERR_INVALID);
    CHECK_EQ(pages_add(&pages, HPA(MIB(16)), UINT64_MAX, PAGE_FREE), ERR_INVALID);
    CHECK_EQ(pages_add(&pages, HPA(MIB(16)), UINT64_MAX / PAGE_SIZE, PAGE_FREE), ERR_INVALID);
    CHECK_EQ(pages_add(&pages, HPA(MIB(16)), 1, PAGE_NONE), ERR_INVALID);
    CHECK_EQ(pages_total(&pages, PAGE_FREE), 3072);
}

static void memory_around_one_mebibyte_is_split(void)
{
    pages_init(&pages);
    ADD(KIB(512), 512, PAGE_FREE);
    check_invariants();
    CHECK_EQ(pages_total(&pages, PAGE_LOW), 128);
    CHECK_EQ(pages_total(&pages, PAGE_FREE), 384);
    CHECK_EQ(pages_set_kind(&pages, HPA(KIB(512)), 512, PAGE_LOADER, 0), STATUS_OK);
    CHECK_EQ(pages_free(&pages, HPA(KIB(512)), 512), STATUS_OK);
    CHECK_EQ(pages_total(&pages, PAGE_LOW), 128);
    CHECK_EQ(pages_total(&pages, PAGE_FREE), 384);
}

static void allocates_the_lowest_that_fits(void)
{
    hpa_t at;
    small_machine();
    CHECK_EQ(pages_alloc(&pages, 1, PAGE_SIZE, PAGE_TABLE, 0, &at), STATUS_OK);
    CHECK_EQ(at.v, MIB(2));
    CHECK_EQ(pages_alloc(&pages, 1, PAGE_SIZE_2M, PAGE_HEAP, 0, &at), STATUS_OK);
    CHECK_EQ(at.v, MIB(4));
    CHECK_EQ(pages_alloc(&pages, 1024, PAGE_SIZE, PAGE_GUEST, 3, &at), STATUS_OK);
    CHECK_EQ(at.v, MIB(8));
    CHECK_EQ(pages_alloc(&pages, 2, PAGE_SIZE, PAGE_TABLE, 0, &at), STATUS_OK);
    CHECK_EQ(at.v, MIB(2) + PAGE_SIZE);
    check_invariants();
    struct page_extent extent;
    CHECK(pages_lookup(&pages, HPA(MIB(9)), &extent));
    CHECK_EQ(extent.owner, 3);
    CHECK_EQ(extent.kind, PAGE_GUEST);
    CHECK_EQ(extent.pages, 1024);
}

static void never_hands_out_low_or_too_much(void)
{
    hpa_t at = HPA(7);
    small_machine();
    CHECK_EQ(pages_alloc(&pages, 2049, PAGE_SIZE, PAGE_HEAP, 0, &at), ERR_NO_MEMORY);
    CHECK_EQ(pages_alloc(&pages, UINT64_MAX, PAGE_SIZE, PAGE_HEAP, 0, &at), ERR_NO_MEMORY);
    CHECK_EQ(pages_alloc(&pages, UINT64_MAX / PAGE_SIZE, PAGE_SIZE, PAGE_HEAP, 0, &at),
             ERR_NO_MEMORY);
    CHECK_EQ(pages_alloc(&pages, 1, PAGE_SIZE_1G, PAGE_HEAP, 0, &at), ERR_NO_MEMORY);
    CHECK_EQ(pages_alloc(&pages, 1, 1ull << 63, PAGE_HEAP, 0, &at), ERR_NO_MEMORY);
    CHECK_EQ(pages_alloc(&pages, 0, PAGE_SIZE, PAGE_HEAP, 0, &at), ERR_INVALID);
    CHECK_EQ(pages_alloc(&pages, 1, 3 * PAGE_SIZE, PAGE_HEAP, 0, &at), ERR_INVALID);
    CHECK_EQ(pages_alloc(&pages, 1, 512, PAGE_HEAP, 0, &at), ERR_INVALID);
    CHECK_EQ(pages_alloc(&pages, 1, PAGE_SIZE, PAGE_FREE, 0, &at), ERR_INVALID);
    CHECK_EQ(at.v, 7);
    for (unsigned i = 0; i < 3072; i++) {
        CHECK_EQ(pages_alloc(&pages, 1, PAGE_SIZE, PAGE_HEAP, 0, &at), STATUS_OK);
        CHECK(at.v >= MIB(1));
    }
    CHECK_EQ(pages_alloc(&pages, 1, PAGE_SIZE, PAGE_HEAP, 0, &at), ERR_NO_MEMORY);
    check_invariants();
}

static void limit_is_kept(void)
{
    hpa_t at;
    small_machine();
    CHECK_EQ(pages_alloc_below(&pages, 1, PAGE_SIZE, MIB(2), PAGE_TABLE, 0, &at), ERR_NO_MEMORY);
    CHECK_EQ(pages_alloc_below(&pages, 1, PAGE_SIZE, MIB(2) + PAGE_SIZE, PAGE_TABLE, 0, &at),
             STATUS_OK);
    CHECK_EQ(at.v, MIB(2));
    CHECK_EQ(pages_alloc_below(&pages, 1024, PAGE_SIZE, MIB(11), PAGE_TABLE, 0, &at),
             ERR_NO_MEMORY);
    CHECK_EQ(pages_alloc_below(&pages, 1024, PAGE_SIZE, MIB(12), PAGE_TABLE, 0, &at), STATUS_OK);
    CHECK_EQ(at.v, MIB(8));
}

static void frees_only_what_was_given(void)
{
    hpa_t at;
    small_machine();
    CHECK_EQ(pages_alloc(&pages, 16, PAGE_SIZE, PAGE_HEAP, 0, &at), STATUS_OK);
    CHECK_EQ(pages_free(&pages, HPA(at.v), 17), ERR_INVALID);
    CHECK_EQ(pages_free(&pages, HPA(MIB(1)), 1), ERR_INVALID);
    CHECK_EQ(pages_free(&pages, HPA(MIB(6)), 1), ERR_INVALID);
    CHECK_EQ(pages_free(&pages, HPA(MIB(16)), 1), ERR_INVALID);
    CHECK_EQ(pages_free(&pages, HPA(0), 1), ERR_INVALID);
    CHECK_EQ(pages_free(&pages, HPA(at.v + 1), 1), ERR_INVALID);
    CHECK_EQ(pages_free(&pages, HPA(at.v + 4 * PAGE_SIZE), 8), STATUS_OK);
    CHECK_EQ(pages_total(&pages, PAGE_HEAP), 8);
    CHECK_EQ(pages_free(&pages, at, 16), ERR_INVALID);
    CHECK_EQ(pages_free(&pages, at, 4), STATUS_OK);
    CHECK_EQ(pages_free(&pages, HPA(at.v + 12 * PAGE_SIZE), 4), STATUS_OK);
    CHECK_EQ(pages_total(&pages, PAGE_FREE), 3072);
    check_invariants();
}

static void a_vm_is_freed_whole(void)
{
    hpa_t at;
    uint64_t bytes;
    small_machine();
    for (unsigned i = 0; i < 20; i++) {
        CHECK_EQ(pages_alloc(&pages, 3, PAGE_SIZE, PAGE_EPT, 1, &at), STATUS_OK);
        CHECK_EQ(pages_alloc(&pages, 1, PAGE_SIZE, PAGE_VM, 2, &at), STATUS_OK);
    }
    CHECK_EQ(pages_alloc_chunk(&pages, MIB(4), PAGE_GUEST, 1, &at, &bytes), STATUS_OK);
    CHECK_EQ(pages_free_owner(&pages, PAGE_OWNER_MONITOR), 0);
    CHECK_EQ(pages_owned(&pages, 1), 60 + bytes / PAGE_SIZE);
    CHECK_EQ(pages_free_owner(&pages, 1), 60 + bytes / PAGE_SIZE);
    CHECK_EQ(pages_owned(&pages, 1), 0);
    CHECK_EQ(pages_free_owner(&pages, 1), 0);
    check_invariants();
    CHECK_EQ(pages_total(&pages, PAGE_VM), 20);
    CHECK_EQ(pages_free_owner(&pages, 2), 20);
    CHECK_EQ(pages_total(&pages, PAGE_FREE), 3072);
    check_invariants();
}

static void guests_get_the_largest_pages(void)
{
    hpa_t at;
    uint64_t bytes;
    pages_init(&pages);
    ADD(MIB(1), 255 * 256, PAGE_FREE);               /* to 256 MiB */
    ADD(MIB(512), MIB(3072) / PAGE_SIZE, PAGE_FREE); /* 0.5 to 3.5 GiB: two whole GiB */
    ADD(GIB(4) - PAGE_SIZE, 2, PAGE_FREE);           /* a crumb above */
    CHECK_EQ(pages_alloc_chunk(&pages, GIB(2) + MIB(300), PAGE_GUEST, 1, &at, &bytes), STATUS_OK);
    CHECK_EQ(at.v, GIB(1));
    CHECK_EQ(bytes, GIB(2));
    CHECK_EQ(pages_alloc_chunk(&pages, MIB(300), PAGE_GUEST, 1, &at, &bytes), STATUS_OK);
    CHECK_EQ(bytes, MIB(300));
    CHECK_EQ(at.v, GIB(3) + MIB(212));
    /* Not whole in one piece any more: the longest first. */
    CHECK_EQ(pages_alloc_chunk(&pages, MIB(900), PAGE_GUEST, 1, &at, &bytes), STATUS_OK);
    CHECK_EQ(bytes, MIB(512));
    CHECK_EQ(at.v, MIB(512));
    CHECK_EQ(pages_alloc_chunk(&pages, MIB(388), PAGE_GUEST, 1, &at, &bytes), STATUS_OK);
    CHECK_EQ(bytes, MIB(254));
    CHECK_EQ(at.v, MIB(2));
    CHECK_EQ(pages_alloc_chunk(&pages, MIB(512) + KIB(4), PAGE_GUEST, 1, &at, &bytes), STATUS_OK);
    CHECK_EQ(bytes, MIB(212));
    CHECK_EQ(pages_alloc_chunk(&pages, MIB(2), PAGE_GUEST, 1, &at, &bytes), STATUS_OK);
    CHECK_EQ(bytes, MIB(1));
    CHECK_EQ(at.v, MIB(1));
    CHECK_EQ(pages_alloc_chunk(&pages, KIB(4), PAGE_GUEST, 1, &at, &bytes), STATUS_OK);
    CHECK_EQ(at.v, GIB(4));
    CHECK_EQ(pages_alloc_chunk(&pages, KIB(40), PAGE_GUEST, 1, &at, &bytes), STATUS_OK);
    CHECK_EQ(bytes, KIB(4));
    CHECK_EQ(pages_alloc_chunk(&pages, KIB(4), PAGE_GUEST, 1, &at, &bytes), ERR_NO_MEMORY);
    CHECK_EQ(pages_alloc_chunk(&pages, 0, PAGE_GUEST, 1, &at, &bytes), ERR_INVALID);
    CHECK_EQ(pages_alloc_chunk(&pages, 5, PAGE_GUEST, 1, &at, &bytes), ERR_INVALID);
    check_invariants();
}

static void full_table_is_no_disaster(void)
{
    hpa_t at;
    pages_init(&pages);
    ADD(MIB(1), 4 * PAGES_EXTENTS_MAX, PAGE_FREE);
    enum status status = STATUS_OK;
    unsigned i;
    for (i = 0; status == STATUS_OK; i++)
        status = pages_alloc(&pages, 1, PAGE_SIZE, PAGE_HEAP, (uint16_t)(i % 2 + 1), &at);
    CHECK_EQ(status, ERR_NO_SPACE);
    CHECK(i > PAGES_EXTENTS_MAX - 4);
    CHECK_EQ(pages_add(&pages, HPA(GIB(1)), 1, PAGE_FREE), ERR_NO_SPACE);
    CHECK_EQ(pages_free_owner(&pages, 1), (i - 1 + 1) / 2);
    CHECK_EQ(pages_free_owner(&pages, 2), (i - 1) / 2);
    CHECK_EQ(pages_total(&pages, PAGE_FREE), 4 * PAGES_EXTENTS_MAX);
    check_invariants();
}

/* Against a plain array with a cell for each page. */
static void agrees_with_a_model(void)
{
    enum { PAGES = 4096 };
    static struct {
        uint8_t kind;
        uint16_t owner;
    } model[PAGES];
    uint64_t seed = 1;
    pages_init(&pages);
    ADD(GIB(1), PAGES, PAGE_FREE);
    for (unsigned i = 0; i < PAGES; i++) {
        model[i].kind = PAGE_FREE;
        model[i].owner = 0;
    }
    for (unsigned step = 0; step < 20000; step++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        uint64_t start = (seed >> 33) % PAGES, count = (seed >> 20) % 64 + 1;
        uint16_t owner = (seed >> 50) % 4;
        uint8_t kind = (seed >> 53) % 2 ? PAGE_GUEST : PAGE_HEAP;
        count = start + count > PAGES ? PAGES - start : count;
        if (seed >> 63) {
            CHECK_EQ(pages_set_kind(&pages, HPA(GIB(1) + start * PAGE_SIZE), count, kind, owner),
                     STATUS_OK);
        } else {
            bool can = true;
            for (uint64_t i = start; i < start + count; i++)
                can = can && model[i].kind != PAGE_FREE;
            CHECK_EQ(pages_free(&pages, HPA(GIB(1) + start * PAGE_SIZE), count),
                     can ? STATUS_OK : ERR_INVALID);
            if (!can)
                continue;
            kind = PAGE_FREE;
            owner = 0;
        }
        CHECK(pages_check(&pages));
        for (uint64_t i = start; i < start + count; i++) {
            model[i].kind = kind;
            model[i].owner = owner;
        }
    }
    check_invariants();
    for (unsigned i = 0; i < PAGES; i++) {
        struct page_extent extent;
        CHECK(pages_lookup(&pages, HPA(GIB(1) + i * PAGE_SIZE), &extent));
        CHECK_EQ(extent.kind, model[i].kind);
        CHECK_EQ(extent.owner, model[i].owner);
    }
}

TEST_MAIN({"knows_every_page", knows_every_page}, {"refuses_bad_memory", refuses_bad_memory},
          {"memory_around_one_mebibyte_is_split", memory_around_one_mebibyte_is_split},
          {"allocates_the_lowest_that_fits", allocates_the_lowest_that_fits},
          {"never_hands_out_low_or_too_much", never_hands_out_low_or_too_much},
          {"limit_is_kept", limit_is_kept},
          {"frees_only_what_was_given", frees_only_what_was_given},
          {"a_vm_is_freed_whole", a_vm_is_freed_whole},
          {"guests_get_the_largest_pages", guests_get_the_largest_pages},
          {"full_table_is_no_disaster", full_table_is_no_disaster},
          {"agrees_with_a_model", agrees_with_a_model},
          {"the_check_sees_each_breach", the_check_sees_each_breach})
