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

static void largest_leaves_are_used(void)
{
    struct ept ept = start(CAPS_ALL, 16);
    CHECK_EQ(ept_map(&ept, GPA(GIB(1)), HPA(GIB(4)), GIB(1) + MIB(2) + KIB(4), 7), STATUS_OK);
    CHECK_EQ(leaf_size(&ept, GIB(1)), PAGE_SIZE_1G);
    CHECK_EQ(leaf_size(&ept, GIB(2)), PAGE_SIZE_2M);
    CHECK_EQ(leaf_size(&ept, GIB(2) + MIB(2)), PAGE_SIZE);
    CHECK_EQ(leaf_size(&ept, GIB(2) + MIB(2) + KIB(4)), 0);
    CHECK_EQ(leaf_size(&ept, GIB(1) - 1), 0);
    uint64_t entry, size;
    CHECK_EQ(ept_walk(&ept, GPA(GIB(2) + 123), &entry, &size), STATUS_OK);
    CHECK_EQ(entry, GIB(5) | 7 | EPT_MEMORY_TYPE_WB | EPT_LARGE);
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

TEST_MAIN({"largest_leaves_are_used", largest_leaves_are_used},
          {"smaller_leaves_where_the_processor_has_no_others",
           smaller_leaves_where_the_processor_has_no_others},
          {"misaligned_frames_split", misaligned_frames_split},
          {"overlaps_and_bad_ranges_are_refused", overlaps_and_bad_ranges_are_refused},
          {"running_out_of_frames_is_reported", running_out_of_frames_is_reported})
