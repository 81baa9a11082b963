/* The EPT mapper, with frames from the host's allocator so that the sanitiser sees each. */
#include <stdlib.h>

#include "tests/check.h"
#include "vmx/ept.h"

#define CAPS_ALL (BIT(16) | BIT(17) | BIT(21))

static unsigned frames_left;
static void *frames[64];
static unsigned frame_count;

static enum status alloc_frame(void *context, hpa_t *frame)
{
    (void)context;
    if (frames_left == 0)
        return ERR_NO_MEMORY;
    frames_left--;
    void *page = aligned_alloc(PAGE_SIZE, PAGE_SIZE);
    memset(page, 0, PAGE_SIZE);
    frames[frame_count++] = page;
    frame->v = (uintptr_t)page;
    return STATUS_OK;
}

static void *map_frame(void *context, hpa_t frame)
{
    (void)context;
    return (void *)(uintptr_t)frame.v;
}

static struct ept start(uint64_t capabilities, unsigned frames_allowed)
{
    struct ept_ports ports = {alloc_frame, map_frame, NULL};
    struct ept ept;
    frames_left = frames_allowed;
    CHECK_EQ(ept_init(&ept, &ports, capabilities), STATUS_OK);
    return ept;
}

static void finish(void)
{
    while (frame_count > 0)
        free(frames[--frame_count]);
}

static uint64_t leaf_size(const struct ept *ept, uint64_t gpa)
{
    uint64_t entry, size;
    return ept_walk(ept, GPA(gpa), &entry, &size) == STATUS_OK ? size : 0;
}

/* Out of pages of every size one is taken, and nothing else changes, nor does the tree below. */
static void one_page_is_hidden(void)
{
    static const uint64_t places[] = {GIB(1) + MIB(6) + KIB(12), GIB(2) + KIB(8),
                                      GIB(2) + MIB(2) + KIB(4)};
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        struct ept ept = start(CAPS_ALL, 16), overlay = ept;
        uint64_t entry, below, size;
        CHECK_EQ(ept_map(&ept, GPA(GIB(1)), HPA(GIB(4)), GIB(1) + MIB(2) + KIB(16), 7), STATUS_OK);
        uint64_t hash = ept_hash(&ept, 0);
        frames_left = EPT_HIDE_FRAMES;
        CHECK_EQ(ept_overlay_init(&ept, &overlay), STATUS_OK);
        CHECK_EQ(ept_overlay_hide(&ept, &overlay, GPA(places[i])), STATUS_OK);
        CHECK_EQ(ept_walk(&overlay, GPA(places[i]), &entry, &size), ERR_NOT_FOUND);
        CHECK_EQ(ept_hash(&ept, 0), hash);
        for (uint64_t gpa = GIB(1); gpa < GIB(2) + MIB(2) + KIB(16); gpa += KIB(4)) {
            uint64_t at, end;
            if (gpa == places[i])
                continue;
            CHECK_EQ(ept_walk(&overlay, GPA(gpa), &entry, &size), STATUS_OK);
            CHECK_EQ(ept_walk(&ept, GPA(gpa), &below, &end), STATUS_OK);
            at = (entry & EPT_ADDRESS) + (gpa & (size - 1));
            CHECK_EQ(at, (below & EPT_ADDRESS) + (gpa & (end - 1)));
            CHECK_EQ(entry & 0x7f, below & 0x7f);
        }
        finish();
    }
}

static void largest_leaves_are_used(void)
{
    struct ept ept = start(CAPS_ALL, 16);
    CHECK_EQ(ept_map(&ept, GPA(GIB(1)), HPA(GIB(4)), GIB(1) + MIB(2) + KIB(4), 7), STATUS_OK);
    CHECK_EQ(leaf_size(&ept, GIB(1)), PAGE_SIZE_1G);
    CHECK_EQ(leaf_size(&ept, GIB(2)), PAGE_SIZE_2M);
    CHECK_EQ(leaf_size(&ept, GIB(2) + MIB(2)), PAGE_SIZE);
    CHECK_EQ(leaf_size(&ept, GIB(2) + MIB(2) + KIB(4)), 0);
    CHECK(ept.leaves[2] == 1 && ept.leaves[1] == 1 && ept.leaves[0] == 1);
    CHECK_EQ(leaf_size(&ept, GIB(1) - 1), 0);
    uint64_t entry, size;
    CHECK_EQ(ept_walk(&ept, GPA(GIB(2) + 123), &entry, &size), STATUS_OK);
    CHECK_EQ(entry, GIB(5) | 7 | EPT_HOST_DECIDES | EPT_LARGE);
    finish();
}

static void smaller_leaves_where_the_processor_has_no_others(void)
{
    struct ept ept = start(BIT(16), 16);
    CHECK_EQ(ept_map(&ept, GPA(0), HPA(0x40000000), GIB(1), 7), STATUS_OK);
    CHECK_EQ(leaf_size(&ept, MIB(100)), PAGE_SIZE_2M);
    finish();
    ept = start(0, 16);
    CHECK_EQ(ept_map(&ept, GPA(0), HPA(0x40000000), MIB(2), 7), STATUS_OK);
    CHECK_EQ(leaf_size(&ept, MIB(1)), PAGE_SIZE);
    CHECK_EQ(ept_pointer(&ept), ept.root.v | 6 | 3 << 3);
    finish();
}

static void misaligned_frames_split(void)
{
    struct ept ept = start(CAPS_ALL, 32);
    CHECK_EQ(ept_map(&ept, GPA(0), HPA(GIB(1) + KIB(4)), MIB(4), 7), STATUS_OK);
    CHECK_EQ(leaf_size(&ept, MIB(3)), PAGE_SIZE);
    finish();
}

static void overlaps_and_bad_ranges_are_refused(void)
{
    struct ept ept = start(CAPS_ALL, 32);
    CHECK_EQ(ept_map(&ept, GPA(0), HPA(0), MIB(2), 7), STATUS_OK);
    CHECK_EQ(ept_map(&ept, GPA(KIB(4)), HPA(0), KIB(4), 7), ERR_EXISTS);
    CHECK_EQ(ept_map(&ept, GPA(0), HPA(0), MIB(2), 7), ERR_EXISTS);
    CHECK_EQ(ept_map(&ept, GPA(KIB(4) + 1), HPA(0), KIB(4), 7), ERR_INVALID);
    CHECK_EQ(ept_map(&ept, GPA(MIB(8)), HPA(0), 0, 7), ERR_INVALID);
    CHECK_EQ(ept_map(&ept, GPA(0 - KIB(4)), HPA(0), KIB(8), 7), ERR_INVALID);
    CHECK_EQ(ept_map(&ept, GPA(BIT(48)), HPA(0), KIB(4), 7), ERR_INVALID);
    uint64_t entry, size;
    CHECK_EQ(ept_walk(&ept, GPA(BIT(48)), &entry, &size), ERR_NOT_FOUND);
    finish();
}

static void running_out_of_frames_is_reported(void)
{
    struct ept ept = start(CAPS_ALL, 3);
    CHECK_EQ(ept_map(&ept, GPA(0), HPA(0), KIB(4), 7), ERR_NO_MEMORY);
    finish();
}

static void executable_memory_is_small_where_that_is_wanted(void)
{
    struct ept ept = start(CAPS_ALL, 16);
    ept.small_executable = true;
    CHECK_EQ(ept_map(&ept, GPA(MIB(2) - KIB(8)), HPA(MIB(4) - KIB(8)), MIB(2) + KIB(12), 7),
             STATUS_OK);
    uint64_t entry, size;
    for (uint64_t gpa = MIB(2) - KIB(8); gpa < MIB(4) + KIB(4); gpa += KIB(4)) {
        CHECK_EQ(ept_walk(&ept, GPA(gpa), &entry, &size), STATUS_OK);
        CHECK_EQ(size, PAGE_SIZE);
        CHECK_EQ(entry, (gpa + MIB(2)) | 7 | EPT_HOST_DECIDES);
    }
    CHECK_EQ(leaf_size(&ept, MIB(4) + KIB(4)), 0);
    CHECK_EQ(ept_map(&ept, GPA(MIB(8)), HPA(MIB(8)), MIB(2), EPT_READ | EPT_WRITE), STATUS_OK);
    CHECK_EQ(leaf_size(&ept, MIB(8)), PAGE_SIZE_2M);
    finish();
}

/* The guest owns [4 MiB, 16 MiB) of the machine's memory. */
static uint64_t end_of_own(void *context, hpa_t frame)
{
    (void)context;
    return frame.v >= MIB(4) && frame.v < MIB(16) ? MIB(16) : 0;
}

static const struct ept_owner owner = {end_of_own, NULL};

static const char *checked(const struct ept *ept, uint64_t *hash, uint64_t *where)
{
    gpa_t at;
    *hash = 1;
    const char *wrong = ept_check(ept, &owner, &at);
    *hash = ept_hash(ept, *hash);
    *where = at.v;
    return wrong != NULL ? wrong : "nothing";
}

/* The leaf for gpa, to be tampered with. */
static uint64_t *leaf_of(const struct ept *ept, uint64_t gpa)
{
    uint64_t entry = ept->root.v;
    for (unsigned level = 4;; level--) {
        uint64_t *table = (uint64_t *)(uintptr_t)(entry & EPT_ADDRESS);
        uint64_t *at = &table[gpa >> (3 + 9 * level) & 511];
        if (level == 1 || *at & EPT_LARGE)
            return at;
        entry = *at;
    }
}

static void a_tree_is_checked_and_hashed(void)
{
    struct ept ept = start(CAPS_ALL, 16);
    uint64_t before, hash, where;
    CHECK_EQ(ept_map(&ept, GPA(MIB(2)), HPA(MIB(4)), MIB(4) + KIB(8), 7), STATUS_OK);
    CHECK_STR(checked(&ept, &before, &where), "nothing");
    *leaf_of(&ept, MIB(2)) |= EPT_ACCESSED | EPT_DIRTY;
    CHECK_STR(checked(&ept, &hash, &where), "nothing");
    CHECK_EQ(hash, before);
    static const struct {
        uint64_t gpa, flip;
        const char *wrong;
    } rows[] = {
        {MIB(2), EPT_WRITE, "nothing"},
        {MIB(4), MIB(16), "memory that is not the guest's"},
        {MIB(6), MIB(32), "memory that is not the guest's"},
        {MIB(6) + KIB(4), EPT_IGNORE_PAT,
         "a memory type other than write-back, or the guest's choice"},
        {MIB(4), EPT_MEMORY_TYPE_WB, "a memory type other than write-back, or the guest's choice"},
        {MIB(4), KIB(4), "memory that is not the guest's"}, /* a reserved bit of a large page */
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        *leaf_of(&ept, rows[i].gpa) ^= rows[i].flip;
        CHECK_STR(checked(&ept, &hash, &where), rows[i].wrong);
        CHECK(hash != before);
        if (strcmp(rows[i].wrong, "nothing") != 0)
            CHECK_EQ(where, rows[i].gpa);
        *leaf_of(&ept, rows[i].gpa) ^= rows[i].flip;
    }
    ept.small_executable = true;
    CHECK_STR(checked(&ept, &hash, &where), "a large executable page");
    CHECK_EQ(where, MIB(2));
    finish();
}

static void a_large_leaf_beyond_its_owner_is_found(void)
{
    struct ept ept = start(CAPS_ALL, 16);
    uint64_t hash, where;
    CHECK_EQ(ept_map(&ept, GPA(0), HPA(MIB(14)), MIB(4), 7), STATUS_OK);
    CHECK_STR(checked(&ept, &hash, &where), "memory that is not the guest's");
    CHECK_EQ(where, MIB(2));
    finish();
}

static void multihit_goes_by_model_and_capability(void)
{
    static const struct {
        uint32_t signature;
        uint64_t capabilities;
        bool affected;
    } rows[] = {
        {0x00050654, 0, true}, /* Skylake X */
        {0x00050654, BIT(6), false}, {0x00050654, ~BIT(6), true},
        {0x000106a5, 0, true},       /* Nehalem */
        {0x000206c2, 0, true},       /* Westmere */
        {0x000806ec, 0, true},       /* Comet Lake */
        {0x000706e5, BIT(6), false}, /* Ice Lake says so */
        {0x000506c9, 0, false},      /* Goldmont */
        {0x00080650, 0, false},      /* Knights Mill */
        {0x000106c2, 0, false},      /* Bonnell */
        {0x00090660, 0, false},      /* Elkhart Lake */
        {0x00000f41, 0, true},       /* another family: not known to be safe */
        {0x00010fc0, 0, true},       /* nor is one whose model is an Atom's number */
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        CHECK_EQ(ept_multihit_affects(rows[i].signature, rows[i].capabilities), rows[i].affected);
}

TEST_MAIN({"one_page_is_hidden", one_page_is_hidden},
          {"largest_leaves_are_used", largest_leaves_are_used},
          {"smaller_leaves_where_the_processor_has_no_others",
           smaller_leaves_where_the_processor_has_no_others},
          {"misaligned_frames_split", misaligned_frames_split},
          {"overlaps_and_bad_ranges_are_refused", overlaps_and_bad_ranges_are_refused},
          {"running_out_of_frames_is_reported", running_out_of_frames_is_reported},
          {"executable_memory_is_small_where_that_is_wanted",
           executable_memory_is_small_where_that_is_wanted},
          {"a_tree_is_checked_and_hashed", a_tree_is_checked_and_hashed},
          {"a_large_leaf_beyond_its_owner_is_found", a_large_leaf_beyond_its_owner_is_found},
          {"multihit_goes_by_model_and_capability", multihit_goes_by_model_and_capability})
