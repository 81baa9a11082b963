/*
 * A dump of a guest whose memory, page tables and registers say anything: it ends, its blocks are
 * those of a file of the size that was told, and what is packed unpacks to what it was.
 */
#include <string.h>

#include "kernel/debug/core_dump.h"
#include "tests/fuzz/fuzz.h"
#include "tests/inflate.h"

#define MEMORY_SIZE (64u << 10)

static uint8_t memory[MEMORY_SIZE] ALIGNED(4096);
static struct core_dump dump;
static struct core_piece piece;
static uint8_t unpacked[CORE_BLOCK];
static struct deflate state;

static void check_packing(const uint8_t *data, size_t size)
{
    uint8_t *from = malloc(size + 1),
            *to = malloc(DEFLATE_ROOM(size)); /* with their ends watched */
    size_t length;
    memcpy(from, data, size);
    uint8_t *exact = realloc(from, size != 0 ? size : 1);
    size_t used = deflate_all(&state, exact, size, to);
    REQUIRE(used <= DEFLATE_ROOM(size));
    REQUIRE(inflate_all(to, used, unpacked, sizeof(unpacked), &length));
    REQUIRE(length == size && memcmp(unpacked, data, size) == 0);
    free(exact);
    free(to);
}

static void check_dump(void)
{
    uint32_t next = 0, last = 0;
    bool is_first = true;
    while (next < dump.blocks) {
        size_t length;
        if (!core_dump_next(&dump, &next, 2, &piece))
            continue;
        REQUIRE(is_first ? piece.block == 0 : piece.block > last);
        REQUIRE((uint64_t)piece.block * CORE_BLOCK + piece.size <= dump.size);
        REQUIRE(inflate_all(piece.bytes, piece.used, unpacked, sizeof(unpacked), &length));
        REQUIRE(length == piece.size && core_crc32(unpacked, length) == piece.crc);
        last = piece.block;
        is_first = false;
    }
    REQUIRE(!is_first);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, data + size};
    struct guest_mem mem = {0};
    struct paging paging = {.maxphyaddr = 40, .one_gib_pages = true};
    if (size > CORE_BLOCK)
        return 0;
    check_packing(data, size);
    memset(memory, 0, sizeof(memory));
    paging.cr0 = CR0_PE | (fuzz_take(&input, 1) & 3 ? CR0_PG : 0);
    paging.cr4 = fuzz_take(&input, 1) & 1 ? CR4_PAE : CR4_PSE;
    paging.efer = fuzz_take(&input, 1) & 1 ? EFER_LMA : 0;
    paging.cr3 = fuzz_take(&input, 2);
    dump.registers.rip = fuzz_take(&input, 8);
    REQUIRE(guest_mem_add(&mem, GPA(0), MEMORY_SIZE / 2, memory) == STATUS_OK);
    REQUIRE(guest_mem_add(&mem, GPA(MIB(1)), MEMORY_SIZE / 2, memory + MEMORY_SIZE / 2) ==
            STATUS_OK);
    while (input.next < input.end) { /* an entry of a table somewhere, or a repeated one */
        uint64_t at = fuzz_take(&input, 2) & ~7u, value = fuzz_take(&input, 4);
        unsigned times = (unsigned)fuzz_take(&input, 1) + 1;
        for (; times > 0 && at + 8 <= MEMORY_SIZE; times--, at += 8)
            memcpy(memory + at, &value, sizeof(value));
    }
    core_dump_begin(&dump, &paging, &mem);
    REQUIRE(dump.runs.count <= GUEST_RUNS_MAX);
    check_dump();
    return 0;
}
