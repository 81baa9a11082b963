/*
 * The page walk on hostile tables in every paging mode: it ends, changes nothing but accessed and
 * dirty flags, finds the same when made again, and by a memo of an earlier walk.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/vm/guest_walk.h"
#include "tests/fuzz/fuzz.h"

#define PAGES 4
#define RAM_SIZE (PAGES * PAGE_SIZE)
#define FLAGS 0x60u /* accessed and dirty, in the first byte of every entry */

static uint8_t ram[RAM_SIZE] ALIGNED(4096), before[RAM_SIZE];

/* The input's header; the entries follow. */
struct header {
    uint64_t linear;
    uint32_t cr0, cr4, efer, rflags;
    uint8_t cr3_page, cpl, maxphyaddr, one_gib_pages, access, change;
    uint16_t unused;
};

/* One entry of the input, put where the walk may meet it. */
struct item {
    uint16_t place;
    uint8_t flags;
    uint8_t page;
    uint32_t high;
};

static uint64_t entry_of(const struct item *item)
{
    return item->flags | (uint64_t)(item->page % 8) << 12 | (uint64_t)item->high << 32;
}

/* Fills the tables: every slot gets the same entry, so that any index meets one; items differ. */
static void fill(const uint8_t *data, size_t size)
{
    struct item item = {0};
    for (size_t at = 0; at + sizeof(item) <= size; at += sizeof(item)) {
        memcpy(&item, data + at, sizeof(item));
        uint64_t entry = entry_of(&item);
        if (at < PAGES * sizeof(item)) {
            uint8_t *page = ram + at / sizeof(item) * PAGE_SIZE;
            memcpy(page, &entry, 8);
            for (unsigned done = 8; done < PAGE_SIZE; done *= 2)
                memcpy(page + done, page, done);
        } else {
            memcpy(ram + item.place % (RAM_SIZE / 8) * 8, &entry, 8);
        }
    }
}

static void require_flags_only(const uint8_t *old, const uint8_t *new, unsigned entry_size)
{
    const uint64_t allowed = entry_size == 8 ? FLAGS : FLAGS | (uint64_t)FLAGS << 32;
    for (unsigned i = 0; i < RAM_SIZE; i += 8) {
        uint64_t from, to;
        memcpy(&from, old + i, 8);
        memcpy(&to, new + i, 8);
        REQUIRE(((from ^ to) & ~allowed) == 0 && (from & ~to) == 0);
    }
}

static void require_sane(enum status status, const struct exception *exception, uint64_t linear)
{
    REQUIRE(status == STATUS_OK || status == ERR_FAULT || status == ERR_RANGE);
    if (status != ERR_FAULT)
        return;
    REQUIRE(exception->vector == VECTOR_PF && exception->has_error_code);
    REQUIRE(exception->cr2 == linear && exception->error_code < 0x20);
    REQUIRE((exception->error_code & PF_RESERVED) == 0 ||
            (exception->error_code & PF_PRESENT) != 0);
}

/* Walks; a path that was noted before and still stands must lead to the same place. */
static void walk_and_compare(struct guest_walk_path *path, gpa_t *last, const struct paging *paging,
                             const struct guest_mem *mem, uint64_t linear, uint64_t access)
{
    struct exception exception = {0};
    bool stands = path->slot[0] != NULL && guest_walk_stands(path);
    gpa_t gpa = {0};
    memcpy(before, ram, RAM_SIZE);
    enum status status =
        guest_walk_noting(paging, mem, GVA(linear), access, &gpa, path, &exception);
    require_sane(status, &exception, linear);
    if (memcmp(before, ram, RAM_SIZE) != 0)
        require_flags_only(before, ram, (paging->cr4 & CR4_PAE) != 0 ? 8 : 4);
    REQUIRE(!stands || status != STATUS_OK || gpa.v == last->v);
    *last = gpa;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct guest_mem mem = {0};
    struct guest_walk_path path = {0};
    gpa_t last = {0};
    struct header header;
    if (size < sizeof(header))
        return 0;
    memcpy(&header, data, sizeof(header));
    memset(ram, 0, sizeof(ram));
    fill(data + sizeof(header), size - sizeof(header));
    /* Two regions, and page 0 is not RAM. */
    if (guest_mem_add(&mem, GPA(PAGE_SIZE), 2 * PAGE_SIZE, ram) != STATUS_OK ||
        guest_mem_add(&mem, GPA(4 * PAGE_SIZE), 2 * PAGE_SIZE, ram + 2 * PAGE_SIZE) != STATUS_OK)
        abort();
    struct paging paging = {.cr0 = header.cr0 | CR0_PG,
                            .cr3 = header.cr3_page % 8 * PAGE_SIZE,
                            .cr4 = header.cr4,
                            .efer = header.efer,
                            .rflags = header.rflags,
                            .cpl = header.cpl & 3,
                            .maxphyaddr = (uint8_t)(32 + header.maxphyaddr % 21),
                            .one_gib_pages = (header.one_gib_pages & 1) != 0};
    if ((paging.efer & EFER_LMA) != 0)
        paging.cr4 |= CR4_PAE;
    for (unsigned i = 0; i < 4; i++)
        paging.pdpte[i] = (header.cr3_page + i) % 8 * PAGE_SIZE | (header.one_gib_pages >> i & 1);
    uint64_t linear = (paging.efer & EFER_LMA) != 0 ? header.linear : (uint32_t)header.linear;
    uint64_t access = header.access & (GUEST_WALK_WRITE | GUEST_WALK_FETCH | GUEST_WALK_IMPLICIT);
    walk_and_compare(&path, &last, &paging, &mem, linear, access);
    walk_and_compare(&path, &last, &paging, &mem, linear, access);
    /* Something changes between two walks. */
    if (header.change != 0)
        ram[header.linear % RAM_SIZE] ^= header.change;
    for (unsigned i = 0; (header.change & 0x80) != 0 && i < RAM_SIZE; i += 8)
        ram[i] ^= header.change;
    if ((header.unused & 1) != 0)
        paging.cr4 ^= CR4_SMAP;
    if ((header.unused & 2) != 0)
        paging.cpl ^= 3;
    walk_and_compare(&path, &last, &paging, &mem, linear, access);
    return 0;
}
