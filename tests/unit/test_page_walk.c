/* A look at paging structures finds what the processor's walk finds, and changes nothing. */
#include "kernel/vm/page_walk.h"
#include "tests/check.h"

#define MEMORY_SIZE (64u << 12)
#define ROOT 0x1000u
#define DATA 0x20000u

static uint8_t memory[MEMORY_SIZE] ALIGNED(4096);
static struct guest_mem mem;
static struct paging paging;

static void start(uint64_t cr4, uint64_t efer)
{
    memset(memory, 0, sizeof(memory));
    mem = (struct guest_mem){0};
    CHECK_EQ(guest_mem_add(&mem, GPA(0), MEMORY_SIZE, memory), STATUS_OK);
    paging = (struct paging){.cr0 = CR0_PE | CR0_PG,
                             .cr3 = ROOT,
                             .cr4 = cr4,
                             .efer = efer,
                             .maxphyaddr = 40,
                             .one_gib_pages = true,
                             .rflags = RFLAGS_AC};
}

static void put(uint64_t table, unsigned index, unsigned size, uint64_t value)
{
    memcpy(memory + table + index * size, &value, size);
}

/* What the walk says and, where guest_walk translates, that it says the same. */
static struct page_walk look(uint64_t linear)
{
    static uint8_t before[MEMORY_SIZE];
    struct page_walk walk;
    struct exception exception;
    gpa_t gpa;
    memcpy(before, memory, sizeof(before));
    page_walk(&paging, &mem, linear, &walk);
    CHECK_EQ(memcmp(before, memory, sizeof(before)), 0);
    for (unsigned i = 0; i < 4; i++) /* as the load of CR3 does */
        memcpy(&paging.pdpte[i], memory + (paging.cr3 & MASK(31, 5)) + i * 8, 8);
    enum status status = guest_walk(&paging, &mem, GVA(linear), 0, &gpa, &exception);
    CHECK_EQ(status == STATUS_OK, walk.why == NULL);
    if (status == STATUS_OK)
        CHECK_EQ(walk.gpa.v, gpa.v);
    memcpy(memory, before, sizeof(before));
    return walk;
}

static void long_mode(void)
{
    start(CR4_PAE, EFER_LME | EFER_LMA | EFER_NXE);
    put(ROOT, 511, 8, 0x2003);
    put(0x2000, 510, 8, 0x3003);
    put(0x3000, 5, 8, 0x4003);
    put(0x4000, 6, 8, DATA | BIT(63) | 0x63);
    put(0x3000, 7, 8, 0x600000 | 0x83);
    put(0x2000, 1, 8, 0x80000083);
    uint64_t base = 0xffffff8000000000 | 510ull << 30;
    struct page_walk walk = look(base | 5 << 21 | 6 << 12 | 0x123);
    CHECK_EQ(walk.count, 4);
    CHECK_EQ(walk.gpa.v, DATA | 0x123);
    CHECK_EQ(walk.page, 4096);
    CHECK_STR(walk.entry[0].name, "PML4E");
    CHECK_EQ(walk.entry[0].index, 511);
    CHECK_EQ(walk.entry[3].at.v, 0x4030);
    CHECK_EQ(walk.entry[3].value, DATA | BIT(63) | 0x63);
    walk = look(base | 7 << 21 | 0x12345);
    CHECK_EQ(walk.gpa.v, 0x612345);
    CHECK_EQ(walk.page, 2 << 20);
    walk = look(0xffffff8000000000 | 1ull << 30 | 0x1234567);
    CHECK_EQ(walk.gpa.v, 0x81234567);
    CHECK_EQ(walk.page, 1 << 30);
    CHECK_STR(look(base | 8 << 21).why, "not present");
    CHECK_STR(look(0).why, "not present");
    page_walk(&paging, &mem, 0x800000000000, &walk);
    CHECK_STR(walk.why, "the address is not canonical");
    put(ROOT, 0, 8, 0x7fff000003);
    page_walk(&paging, &mem, 0, &walk);
    CHECK_STR(walk.why, "the next table is not in the guest's memory");
    CHECK_EQ(walk.count, 1);
}

static void pae(void)
{
    start(CR4_PAE, 0);
    paging.cr3 = ROOT + 0x20;
    put(ROOT + 0x20, 2, 8, 0x2001);
    put(0x2000, 3, 8, 0x3003);
    put(0x3000, 4, 8, DATA | 3);
    put(0x2000, 9, 8, 0x400083);
    struct page_walk walk = look(2u << 30 | 3 << 21 | 4 << 12 | 5);
    CHECK_EQ(walk.count, 3);
    CHECK_STR(walk.mode, "PAE paging");
    CHECK_EQ(walk.gpa.v, DATA | 5);
    CHECK_EQ(look(2u << 30 | 9 << 21 | 0x54321).gpa.v, 0x454321);
    CHECK_STR(look(0).why, "not present");
}

static void two_levels(void)
{
    start(CR4_PSE, 0);
    put(ROOT, 5, 4, 0x2003);
    put(0x2000, 6, 4, DATA | 3);
    put(ROOT, 9, 4, 0x00c00083 | 0x12 << 13); /* PSE-36 */
    CHECK_EQ(look(5 << 22 | 6 << 12 | 7).gpa.v, DATA | 7);
    CHECK_EQ(look(9 << 22 | 0x3abcd).gpa.v, 0x1200c3abcd);
    struct page_walk walk;
    page_walk(&paging, &mem, 0xffffffff00000000 | 5 << 22 | 6 << 12, &walk);
    CHECK_EQ(walk.gpa.v, DATA);
    paging.cr4 = 0; /* then PS means nothing */
    put(ROOT, 10, 4, 0x2083);
    CHECK_EQ(look(10 << 22 | 6 << 12).gpa.v, DATA);
}

static void no_paging(void)
{
    start(0, 0);
    paging.cr0 = CR0_PE;
    struct page_walk walk = look(0x12345);
    CHECK_EQ(walk.count, 0);
    CHECK_EQ(walk.gpa.v, 0x12345);
    CHECK_STR(walk.mode, "paging is off");
}

/* Over a border of pages that lie elsewhere, to where nothing is mapped. */
static void reads_and_writes(void)
{
    uint8_t bytes[64];
    start(CR4_PSE, 0);
    put(ROOT, 0, 4, 0x2003);
    put(0x2000, 1, 4, DATA | 3);
    put(0x2000, 2, 4, (DATA + 0x5000) | 3);
    memcpy(memory + DATA + 0xff8, "abcdefgh", 8);
    memcpy(memory + DATA + 0x5000, "ijkl", 4);
    CHECK_EQ(page_walk_read(&paging, &mem, 0x1ff8, bytes, 12), 12);
    CHECK_EQ(memcmp(bytes, "abcdefghijkl", 12), 0);
    CHECK_EQ(page_walk_read(&paging, &mem, 0x2ff0, bytes, 64), 16);
    CHECK_EQ(page_walk_read(&paging, &mem, 0x3000, bytes, 64), 0);
    CHECK_EQ(page_walk_write(&paging, &mem, 0x1ffe, "1234", 4), 4);
    CHECK_EQ(memcmp(memory + DATA + 0xffe, "12", 2), 0);
    CHECK_EQ(memcmp(memory + DATA + 0x5000, "34kl", 4), 0);
    CHECK_EQ(page_walk_write(&paging, &mem, 0x2ffe, "5678", 4), 2);
    paging = (struct paging){.efer = EFER_LMA}; /* physical addresses */
    CHECK_EQ(page_walk_read(&paging, &mem, MEMORY_SIZE - 4, bytes, 8), 4);
    CHECK_EQ(page_walk_read(&paging, &mem, UINT64_MAX - 3, bytes, 8), 0);
}

TEST_MAIN({"long_mode", long_mode}, {"pae", pae}, {"two_levels", two_levels},
          {"no_paging", no_paging}, {"reads_and_writes", reads_and_writes})
