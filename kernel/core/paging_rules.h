/*
 * How the monitor's address space is laid out, and what no mapping in it may be. Pure: what is
 * known of a frame comes from a port.
 *
 *     PAGING_PHYSMAP  all memory that is not firmware's and not the monitor's image, at a fixed
 *                     distance; writable, never executable; ACPI tables read-only
 *     PAGING_STACKS   per processor: stacks and tables, each below and above unmapped pages
 *     PAGING_DEVICES  device registers, mapped on request
 *     PAGING_IMAGE    the image, by section: text executable, constants read-only, data writable;
 *                     what only the start needs is unmapped before guests run
 *
 * Nothing lies in the lower half, but for the trampoline page while processors start.
 */
#pragma once

#include "kernel/core/cpu.h"
#include "kernel/core/page_table.h"
#include "kernel/core/pages.h"

#define PAGING_PHYSMAP 0xffff800000000000ull
#define PAGING_PHYSMAP_SIZE (1ull << 46)
#define PAGING_STACKS 0xffffc00000000000ull
#define PAGING_DEVICES 0xffffe00000000000ull
#define PAGING_IMAGE 0xffffffff80000000ull

#define PAGING_STACK_SIZE 32768ul

/*
 * The layout from PAGING_STACKS on: slot 0 holds the alias of the IDT, slot 1 + n belongs to
 * processor n. A slot has a lane for each stack and one for the tables; what is mapped lies in the
 * middle of its lane, so that a whole unmapped quarter lies on each side.
 */
#define PAGING_LANE_SIZE 65536ul
#define PAGING_LANE_OFFSET 16384ul
#define PAGING_LANES 8u
#define PAGING_LANE_TABLES CPU_STACKS
#define PAGING_SLOTS (CPU_MAX + 1)
STATIC_ASSERT(PAGING_LANE_OFFSET + PAGING_STACK_SIZE < PAGING_LANE_SIZE, "guards on both sides");
STATIC_ASSERT(PAGING_LANE_TABLES < PAGING_LANES, "a lane for each");

/* Where a lane's first page is. */
static inline uint64_t paging_lane_base(uint64_t slot, unsigned lane)
{
    return PAGING_STACKS + (slot * PAGING_LANES + lane) * PAGING_LANE_SIZE + PAGING_LANE_OFFSET;
}

/* Whether address is a guard of a stack, below it or above; then whose. Pure arithmetic. */
bool paging_is_guard(uint64_t address, uint32_t *processor, enum cpu_stack *stack);

struct paging_rules {
    /* The image: text, constants, then the same for the start only, then data. */
    uint64_t text_size, rodata_size, init_text_size, init_rodata_size, image_size;
    uint64_t image_hpa;
    enum page_kind (*kind)(void *context, hpa_t frame);
    void *context;
};

/* What is wrong with a mapping of the monitor's own tables, in words; NULL: nothing. */
const char *paging_rule_broken(const struct paging_rules *rules,
                               const struct page_mapping *mapping);
