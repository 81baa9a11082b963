/* A guest as a core file: page tables as runs, the file's parts, blocks, and what compresses them.
 */
#include <stdlib.h>

#include "kernel/debug/core_dump.h"
#include "tests/check.h"
#include "tests/inflate.h"

#define MEMORY_SIZE MIB(4)
#define ROOT 0x1000u

static uint8_t memory[MEMORY_SIZE] ALIGNED(4096);
static struct guest_mem mem;
static struct paging paging;
static struct core_dump dump;
static struct core_piece piece;

static void store(uint64_t at, uint64_t value, unsigned size)
{
    memcpy(memory + at, &value, size);
}

/* Two regions with a hole of a page between. */
static void start(uint64_t cr4, uint64_t efer)
{
    memset(memory, 0, sizeof(memory));
    memset(&dump, 0, sizeof(dump));
    mem = (struct guest_mem){0};
    CHECK_EQ(guest_mem_add(&mem, GPA(0), MIB(2), memory), STATUS_OK);
    CHECK_EQ(guest_mem_add(&mem, GPA(MIB(2) + PAGE_SIZE), MIB(2) - PAGE_SIZE,
                           memory + MIB(2) + PAGE_SIZE),
             STATUS_OK);
    paging = (struct paging){
        .cr0 = CR0_PE | CR0_PG, .cr3 = ROOT, .cr4 = cr4, .efer = efer, .one_gib_pages = true};
}

static void run_is(unsigned i, uint64_t linear, uint64_t gpa, uint64_t size)
{
    CHECK(i < dump.runs.count);
    CHECK_EQ(dump.runs.run[i].linear, linear);
    CHECK_EQ(dump.runs.run[i].gpa, gpa);
    CHECK_EQ(dump.runs.run[i].size, size);
}

/* ---- Runs ---------------------------------------------------------------------------------- */

static void long_mode(void)
{
    start(CR4_PAE, EFER_LMA | EFER_LME);
    store(ROOT + 8 * 511, 0x2003, 8);
    store(ROOT, 0x5003, 8);
    store(0x2000, 0x3003, 8);
    store(0x3000, 0x4003, 8);
    store(0x4000 + 8 * 1, 0x9003, 8);
    store(0x4000 + 8 * 2, 0xa003 | BIT(63), 8); /* follows it */
    store(0x4000 + 8 * 3, 0x8003, 8);
    store(0x4000 + 8 * 4, 0xfee00003, 8); /* a device */
    store(0x4000 + 8 * 5, 0xb002, 8);     /* not present */
    store(0x5000, 0x6003, 8);
    store(0x6000, 0x83, 8);           /* 2 MiB */
    store(0x6000 + 8, 0x200083, 8);   /* with the hole in it, and no more memory behind */
    store(0x5000 + 8, 0x40000083, 8); /* 1 GiB of nothing */
    guest_runs_collect(&dump.runs, &paging, &mem);
    run_is(0, 0xffffff8000001000, 0x9000, 0x2000);
    run_is(1, 0xffffff8000003000, 0x8000, 0x1000);
    run_is(2, 0, 0, MIB(2));
    run_is(3, MIB(2) + PAGE_SIZE, MIB(2) + PAGE_SIZE, MIB(2) - PAGE_SIZE);
    CHECK_EQ(dump.runs.count, 4);
    CHECK(!dump.runs.is_cut);
}

static void other_paging(void)
{
    start(CR4_PAE, 0);
    paging.cr3 = 0x1020;
    store(0x1020 + 8 * 3, 0x2001, 8);
    store(0x2000 + 8 * 511, 0x3003, 8);
    store(0x3000 + 8 * 511, 0x7003, 8);
    guest_runs_collect(&dump.runs, &paging, &mem);
    CHECK_EQ(dump.runs.count, 1);
    run_is(0, 0xfffff000, 0x7000, 0x1000);
    start(CR4_PSE, 0);
    store(ROOT + 4 * 1023, 0x2003, 4);
    store(0x2000 + 4 * 1023, 0x7003, 4);
    store(ROOT, 0x83, 4); /* 4 MiB */
    guest_runs_collect(&dump.runs, &paging, &mem);
    CHECK_EQ(dump.runs.count, 3);
    run_is(0, 0xfffff000, 0x7000, 0x1000);
    run_is(1, 0, 0, MIB(2));
    run_is(2, MIB(2) + PAGE_SIZE, MIB(2) + PAGE_SIZE, MIB(2) - PAGE_SIZE);
    paging.cr0 = CR0_PE;
    guest_runs_collect(&dump.runs, &paging, &mem);
    CHECK_EQ(dump.runs.count, 2);
    run_is(0, 0, 0, MIB(2));
}

/* Tables that lead to themselves are looked through for a bounded time. */
static void hostile_tables(void)
{
    start(CR4_PAE, EFER_LMA | EFER_LME);
    for (unsigned i = 0; i < 512; i++)
        store(ROOT + 8 * i, ROOT | 3, 8);
    guest_runs_collect(&dump.runs, &paging, &mem);
    CHECK(dump.runs.is_cut);
    CHECK(dump.runs.count <= GUEST_RUNS_MAX && dump.runs.tables <= 16384);
    paging.cr3 = MEMORY_SIZE;
    guest_runs_collect(&dump.runs, &paging, &mem);
    CHECK_EQ(dump.runs.count, 0);
}

/* ---- Compression --------------------------------------------------------------------------- */

static struct deflate state;
static uint8_t from[DEFLATE_MAX], packed[DEFLATE_ROOM(DEFLATE_MAX)], unpacked[DEFLATE_MAX];

static size_t pack(size_t size)
{
    size_t used = deflate_all(&state, from, size, packed), length = 0;
    CHECK(used <= DEFLATE_ROOM(size));
    CHECK(inflate_all(packed, used, unpacked, sizeof(unpacked), &length));
    CHECK_EQ(length, size);
    CHECK_EQ(memcmp(from, unpacked, size), 0);
    return used;
}

static void compresses(void)
{
    srand(1);
    memset(from, 0, sizeof(from));
    CHECK(pack(DEFLATE_MAX) < 800);
    for (size_t i = 0; i < sizeof(from); i++)
        from[i] = (uint8_t)rand();
    CHECK(pack(DEFLATE_MAX) > DEFLATE_MAX); /* stored, in two blocks */
    for (size_t size = 0; size < 600; size++)
        pack(size);
    pack(65535);
    for (size_t i = 0; i < sizeof(from); i++)
        from[i] = "the same words again and again, "[i % 32 + (i % 4999 == 0)];
    CHECK(pack(DEFLATE_MAX) < DEFLATE_MAX / 20);
    for (size_t i = 0; i < sizeof(from); i++) /* all lengths and distances */
        from[i] = (uint8_t)(i % (1 + (i >> 7)) * 37);
    pack(DEFLATE_MAX);
    memset(from, 0x55, sizeof(from));
    for (unsigned i = 0; i < 4; i++) {
        from[10 + i] = from[10 + 32768 + i] = (uint8_t)i; /* the farthest that may be */
        from[20 + i] = from[20 + 32769 + i] = (uint8_t)(i + 100);
    }
    pack(DEFLATE_MAX);
}

static void checks_sums(void)
{
    CHECK_EQ(core_crc32("123456789", 9), 0xcbf43926);
    CHECK_EQ(core_crc32("", 0), 0);
}

/* ---- The file ------------------------------------------------------------------------------ */

static uint8_t file[MIB(5)];

/* All blocks put together, as a host does it. */
static uint64_t assemble(void)
{
    uint32_t next = 0;
    memset(file, 0, sizeof(file));
    CHECK(dump.size <= sizeof(file));
    while (next < dump.blocks) {
        size_t length;
        if (!core_dump_next(&dump, &next, 3, &piece))
            continue;
        CHECK(piece.block < dump.blocks);
        CHECK(inflate_all(piece.bytes, piece.used, unpacked, sizeof(unpacked), &length));
        CHECK_EQ(length, piece.size);
        CHECK_EQ(core_crc32(unpacked, length), piece.crc);
        memcpy(file + (uint64_t)piece.block * CORE_BLOCK, unpacked, length);
    }
    return dump.size;
}

static uint64_t load(uint64_t at, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, file + at, size);
    return value;
}

/* The bytes at a linear address, by the segments of the file. */
static const uint8_t *at_linear(uint64_t linear)
{
    unsigned count = (unsigned)load(56, 2);
    for (unsigned i = 0; i < count; i++) {
        uint64_t at = 64 + 56 * i, base = load(at + 16, 8);
        if (load(at, 4) == 1 && linear - base < load(at + 32, 8))
            return file + load(at + 8, 8) + (linear - base);
    }
    return NULL;
}

static void makes_the_file(void)
{
    start(CR4_PAE, EFER_LMA | EFER_LME);
    store(ROOT + 8 * 511, 0x2003, 8);
    store(0x2000, 0x3003, 8);
    store(0x3000, 0x4003, 8);
    store(0x4000 + 8 * 1, 0x9003, 8);
    store(0x4000 + 8 * 2, (MIB(2) + 0x5000) | 3, 8);
    memcpy(memory + 0x9123, "first", 6);
    memcpy(memory + MIB(2) + 0x5456, "second", 7);
    memcpy(memory + MEMORY_SIZE - 8, "the end", 8);
    dump.registers.rip = 0x1234;
    dump.registers.gpr[GPR_R15] = 15;
    dump.registers.cr3 = ROOT;
    dump.registers.segment[SEG_CS] = (struct segment){.selector = 8, .access = 0xa09b};
    dump.fpu[24] = 0x80;
    core_dump_begin(&dump, &paging, &mem);
    uint64_t size = assemble();
    CHECK_EQ(memcmp(file,
                    "\x7f"
                    "ELF\2\1\1",
                    7),
             0);
    CHECK_EQ(load(16, 4), 4 | 62 << 16);
    CHECK_EQ(size, dump.head + MEMORY_SIZE - PAGE_SIZE);
    CHECK_STR((const char *)at_linear(0xffffff8000001123), "first");
    CHECK_STR((const char *)at_linear(0xffffff8000002456), "second");
    CHECK_STR((const char *)at_linear(CORE_PHYSICAL + 0x9123), "first");
    CHECK_STR((const char *)at_linear(CORE_PHYSICAL + MEMORY_SIZE - 8), "the end");
    CHECK(at_linear(CORE_PHYSICAL + MIB(2)) == NULL);
    CHECK(at_linear(0x9123) == NULL);
    uint64_t notes = load(64 + 8, 8);
    CHECK_EQ(load(64, 4), 4);
    CHECK_STR((const char *)file + notes + 12, "CORE");
    CHECK_EQ(load(notes + 20 + 112, 8), 15);              /* R15 is the first */
    CHECK_EQ(load(notes + 20 + 112 + 8 * 16, 8), 0x1234); /* RIP */
    CHECK_EQ(load(notes + 20 + 336 + 20 + 24, 1), 0x80);
    uint64_t qemu = notes + 20 + 336 + 20 + 512;
    CHECK_STR((const char *)file + qemu + 12, "QEMU");
    CHECK_EQ(load(qemu + 20 + 136, 8), 0x1234);
    CHECK_EQ(load(qemu + 20 + 152 + 8, 4), 0xa09b00);
    CHECK_EQ(load(qemu + 20 + 392 + 24, 8), ROOT);
    CHECK_EQ(qemu + 20 + 440, notes + load(64 + 32, 8));
}

/* Any block can be asked for again, and the same state gives the same file. */
static void goes_on_anywhere(void)
{
    start(0, 0);
    paging.cr0 = CR0_PE;
    memory[MEMORY_SIZE - 1] = 1;
    core_dump_begin(&dump, &paging, &mem);
    uint32_t next = 0, id = dump.id, seen = 0;
    while (next < dump.blocks)
        seen += core_dump_next(&dump, &next, UINT32_MAX, &piece);
    CHECK_EQ(seen, 2); /* the head, and the last byte's */
    CHECK_EQ(piece.block, dump.blocks - 1);
    next = 1;
    CHECK(!core_dump_next(&dump, &next, 5, &piece));
    CHECK_EQ(next, 6);
    CHECK(core_dump_next(&dump, &next, UINT32_MAX, &piece));
    CHECK_EQ(piece.block, dump.blocks - 1);
    CHECK(!core_dump_next(&dump, &next, UINT32_MAX, &piece));
    core_dump_begin(&dump, &paging, &mem);
    CHECK_EQ(dump.id, id);
    dump.registers.rip++;
    core_dump_begin(&dump, &paging, &mem);
    CHECK(dump.id != id);
}

TEST_MAIN({"long_mode", long_mode}, {"other_paging", other_paging},
          {"hostile_tables", hostile_tables}, {"compresses", compresses},
          {"checks_sums", checks_sums}, {"makes_the_file", makes_the_file},
          {"goes_on_anywhere", goes_on_anywhere})
