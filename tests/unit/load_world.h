/* A guest to load into, and files made by the tests. */
#pragma once

#include <stdlib.h>

#include "kernel/core/bits.h"
#include "kernel/vm/load.h"
#include "tests/check.h"

static struct guest_map map;
static struct guest_mem mem;
static uint8_t image[0x3000];
static uint64_t plan_room[LOAD_PLAN_SIZE / 8];
static struct load_plan *const plan = (struct load_plan *)plan_room;
static struct guest_entry *const entry = &((struct load_plan *)plan_room)->entry;
static struct load_error error;
static struct load_request request;

static inline void put(unsigned offset, uint64_t value, unsigned size)
{
    memcpy(image + offset, &value, size);
}

/* A guest of 8 MiB, and an empty kernel file of all of image. */
static inline void make_guest(void)
{
    static uint8_t *low, *high;
    free(low);
    free(high);
    memset(&mem, 0, sizeof(mem));
    memset(image, 0, sizeof(image));
    CHECK_EQ(guest_map_make(&map, MIB(8)), STATUS_OK);
    low = malloc(map.backed[0].size);
    high = malloc(map.backed[1].size);
    CHECK_EQ(guest_mem_add(&mem, GPA(map.backed[0].base), map.backed[0].size, low), STATUS_OK);
    CHECK_EQ(guest_mem_add(&mem, GPA(map.backed[1].base), map.backed[1].size, high), STATUS_OK);
    request = (struct load_request){
        .map = &map,
        .acpi = {.vcpu_count = 1},
        .kernel = {.name = "kernel", .at = image, .size = sizeof(image), .line = 1},
        .initrd = {.name = "initrd", .line = 2},
        .cmdline = "one two",
    };
}

static inline uint64_t guest_get(uint64_t gpa, unsigned size)
{
    uint64_t value = 0;
    CHECK_EQ(guest_mem_read(&mem, GPA(gpa), &value, size), STATUS_OK);
    return value;
}

static inline void is_text(uint64_t gpa, const char *text)
{
    char found[64] = "";
    CHECK(gpa >= 0x1000 && guest_map_is_ram(&map, gpa, strlen(text) + 1));
    CHECK_EQ(guest_mem_read(&mem, GPA(gpa), found, strlen(text) + 1), STATUS_OK);
    found[sizeof(found) - 1] = '\0';
    CHECK_STR(found, text);
}

static inline void fails(enum status status, const char *text)
{
    memset(&error, 'x', sizeof(error));
    CHECK_EQ(load_kernel(&request, plan, LOAD_PLAN_SIZE, &error), status);
    CHECK(memchr(error.text, '\0', sizeof(error.text)) != NULL);
    CHECK_STR(error.text, text);
}

static inline void starts(void)
{
    for (unsigned j = 0; j < mem.count; j++)
        memset(mem.region[j].host, 0, mem.region[j].size);
    CHECK_EQ(load_plan_replay(plan, &mem, false), STATUS_OK);
    for (uint32_t i = 0; i < plan->pieces; i++)
        for (uint32_t j = 0; j < i; j++)
            CHECK(plan->piece[i].at + plan->piece[i].size <= plan->piece[j].at ||
                  plan->piece[j].at + plan->piece[j].size <= plan->piece[i].at);
}

static inline void succeeds(void)
{
    enum status status = load_kernel(&request, plan, LOAD_PLAN_SIZE, &error);
    CHECK_STR(error.text, "");
    CHECK_EQ(status, STATUS_OK);
    starts();
}

/* An ELF file with one segment: 0x100 bytes at offset 0x1000, at paddr, entered at virtual entry.
 */
static inline void make_elf(bool is_64, uint64_t vaddr, uint64_t paddr, uint64_t start)
{
    memcpy(image, "\x7f\x45\x4c\x46", 4);
    image[4] = is_64 ? 2 : 1;
    image[5] = 1;
    put(16, 2, 2);
    put(18, is_64 ? 62 : 3, 2);
    unsigned at = is_64 ? 64 : 52;
    put(24, start, is_64 ? 8 : 4);
    put(is_64 ? 32 : 28, at, is_64 ? 8 : 4);
    put(is_64 ? 54 : 42, is_64 ? 56 : 32, 2);
    put(is_64 ? 56 : 44, 1, 2);
    put(at, 1, 4);
    if (is_64) {
        put(at + 8, 0x1000, 8);
        put(at + 16, vaddr, 8);
        put(at + 24, paddr, 8);
        put(at + 32, 0x100, 8);
        put(at + 40, 0x2000, 8);
    } else {
        put(at + 4, 0x1000, 4);
        put(at + 8, vaddr, 4);
        put(at + 12, paddr, 4);
        put(at + 16, 0x100, 4);
        put(at + 20, 0x2000, 4);
    }
    for (unsigned i = 0; i < 0x100; i++)
        image[0x1000 + i] = (uint8_t)(i + 1);
}

/* Flat 32-bit protected mode without paging, interrupts off. */
static inline void is_flat_32(void)
{
    CHECK_EQ(entry->cr0, CR0_PE | CR0_ET);
    CHECK_EQ(entry->cr4 | entry->efer, 0);
    CHECK_EQ(entry->rflags, 2);
    CHECK_EQ(entry->segment[SEG_CS].access, 0xc09b);
    CHECK_EQ(entry->segment[SEG_CS].limit, 0xffffffff);
    for (unsigned i = 0; i < SEG_LDTR; i++)
        if (i != SEG_CS)
            CHECK(entry->segment[i].access == 0xc093 && entry->segment[i].base == 0);
}
