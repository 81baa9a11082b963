/* A guest with room for points, a VM's EPT of 4 MiB, and a machine whose memory may run out. */
#pragma once

#include <stdlib.h>

#include "kernel/core/mem.h"
#include "tests/unit/step_script.h"
#include "vmx/debug_internal.h"

#define READ BIT(0)
#define WRITE BIT(1)
#define FETCH BIT(2)
#define FINAL (BIT(7) | BIT(8))

/* Frames are where they are. */
static uint8_t frames[64][4096] ALIGNED(4096);
static unsigned used;
static struct debug_points points;
static uint64_t pages_left, pages_taken;

static enum status alloc(void *context, hpa_t *frame)
{
    (void)context;
    memset(frames[used], 0, 4096);
    *frame = HPA((uint64_t)(uintptr_t)frames[used++]);
    return STATUS_OK;
}

static void *map(void *context, hpa_t frame)
{
    (void)context;
    return (void *)(uintptr_t)frame.v;
}

static enum status take_pages(void *context, uint64_t pages, hpa_t *base)
{
    (void)context;
    if (pages > pages_left)
        return ERR_NO_MEMORY;
    void *memory = aligned_alloc(4096, pages * 4096);
    CHECK(memory != NULL);
    memset(memory, 0xa5, pages * 4096);
    *base = HPA((uint64_t)(uintptr_t)memory);
    pages_left -= pages;
    pages_taken += pages;
    return STATUS_OK;
}

static void give_pages(void *context, hpa_t base, uint64_t pages)
{
    (void)context;
    pages_left += pages;
    pages_taken -= pages;
    free((void *)(uintptr_t)base.v);
}

static void start(enum fake_mode mode)
{
    static const struct ept_ports ports = {alloc, map, NULL};
    struct ept *own = &fake_guest.vmx_vm.ept;
    if (points.memory.take != NULL)
        debug_use_points(&VCPU, &points); /* the last test's go */
    fake_guest_start(mode);
    /* A processor with the TRUE capability MSRs. */
    fake_guest.cpu.controls.word[CONTROL_PRIMARY] &= ~(uint32_t)CONTROL_CR3_LOAD_EXITING;
    fake_guest.vmx.primary &= ~(uint32_t)CONTROL_CR3_LOAD_EXITING;
    used = 0;
    CHECK_EQ(ept_init(own, &ports, BIT(16)), STATUS_OK);
    CHECK_EQ(ept_map(own, GPA(0), HPA(0x40000000), 4 << 20, EPT_READ | EPT_WRITE | EPT_EXECUTE),
             STATUS_OK);
    fake_guest.vmx_vm.used = *own;
    VMCS[VMCS_EPT_POINTER] = ept_pointer(own);
    CHECK_EQ(pages_taken, 0);
    pages_left = 1 << 20;
    memset(&points, 0, sizeof(points));
    points.memory = (struct debug_memory){take_pages, give_pages, map, NULL};
    debug_use_points(&VCPU, &points);
    VCPU.requests = 0;
}

static struct debug_point point_at(enum debug_point_kind kind, uint64_t address, uint64_t size)
{
    return (struct debug_point){.row.key = address, .kind = (uint8_t)kind, .type = 7, .size = size};
}

static enum status add(enum debug_point_kind kind, uint64_t address, uint64_t size)
{
    struct debug_point point = point_at(kind, address, size);
    return debug_add_point(&VCPU, &point);
}

__attribute__((unused)) static enum status add_physical(enum debug_point_kind kind,
                                                        uint64_t address, uint64_t size)
{
    struct debug_point point = point_at(kind, address, size);
    point.is_physical = true;
    return debug_add_point(&VCPU, &point);
}

static enum status take_away(enum debug_point_kind kind, uint64_t address, uint64_t size)
{
    struct debug_point point = point_at(kind, address, size);
    return debug_remove_point(&VCPU, &point);
}

/* Where the first piece of a point is in the guest's memory; 0: nowhere. */
__attribute__((unused)) static uint64_t place_of(uint32_t point)
{
    for (uint32_t i = 0; i < points.piece.count; i++) {
        const struct debug_piece *piece = debug_table_row(&points.piece, i);
        if (!(piece->row.key & DEBUG_PAGE_TABLE) && piece->point == point)
            return align_down(piece->row.key & ~DEBUG_BREAKPOINT, 4096) + piece->offset;
    }
    return 0;
}

/* The rights of the tree that the guest is entered with. */
static uint64_t rights(uint64_t gpa)
{
    struct ept ept = fake_guest.vmx_vm.ept;
    uint64_t entry, size;
    ept.root = HPA(VMCS[VMCS_EPT_POINTER] & EPT_ADDRESS);
    if (ept_walk(&ept, GPA(gpa), &entry, &size) != STATUS_OK)
        return 0;
    CHECK_EQ((entry & EPT_ADDRESS) + (gpa & (size - 1)), 0x40000000 + gpa);
    CHECK_EQ(entry & EPT_HOST_DECIDES, EPT_HOST_DECIDES);
    return entry & (EPT_READ | EPT_WRITE | EPT_EXECUTE);
}

static bool access_to(uint64_t gpa, uint64_t qualification, struct happening happening)
{
    script[0] = happening;
    entries = 0;
    fake_vmcs.once = play;
    VMCS[VMCS_GUEST_RIP] = FAKE_GUEST_RIP;
    VM.is_paused = DEBUG.has_stopped = false;
    bool taken = debug_take_violation(&VCPU, FAKE_GUEST_RIP, gpa, qualification);
    CHECK_EQ(DEBUG.has_stopped, VM.is_paused);
    return taken;
}
