/*
 * Any bytes as a kernel. The input is a file as it stands, or (first byte 1 or 2) a list of changes
 * to a bzImage or ELF file that loads, so that the fuzzer gets past the first checks. Whatever it
 * is, only the guest's RAM is written, and an entry that is accepted lies in it.
 */
#include <stdlib.h>
#include <string.h>

#include "kernel/vm/load.h"
#include "tests/fuzz/fuzz.h"

#define MEMORY MIB(4)
#define TEMPLATE_SIZE 4096
#define KERNEL_AT MIB(1)
#define CANARY 0xa5
#define LOW_END 0xa0000
#define RESERVED_LOW 0x9fc00
#define HIGH_BEGIN 0xc0000
#define RESERVED_HIGH_SIZE (MIB(1) - HIGH_BEGIN)

static uint64_t plan_room[LOAD_PLAN_SIZE / 8];
static uint8_t low[LOW_END], high[MEMORY - HIGH_BEGIN];

static void put(uint8_t *file, unsigned offset, uint64_t value, unsigned size)
{
    memcpy(file + offset, &value, size);
}

static void make_linux(uint8_t *file)
{
    put(file, 0x1f1, 1, 1);
    put(file, 0x1f4, (TEMPLATE_SIZE - 1024) / 16, 4);
    put(file, 0x1fe, 0xaa55, 2);
    put(file, 0x200, 0x6aeb, 2);
    put(file, 0x202, 0x53726448, 4);
    put(file, 0x206, 0x020f, 2);
    put(file, 0x211, 1, 1);
    put(file, 0x22c, 0x7fffffff, 4);
    put(file, 0x230, 0x1000, 4);
    put(file, 0x234, 1, 1);
    put(file, 0x236, 3, 2);
    put(file, 0x238, 2047, 4);
    put(file, 0x258, KERNEL_AT, 8);
    put(file, 0x260, MIB(1), 4);
}

static void make_elf(uint8_t *file)
{
    memcpy(file, "\x7f\x45\x4c\x46\x02\x01", 6);
    put(file, 16, 2, 2);
    put(file, 18, 62, 2);
    put(file, 32, 64, 8);
    put(file, 54, 56, 2);
    put(file, 56, 3, 2);
    for (unsigned i = 0; i < 2; i++) {
        put(file, 64 + 56 * i, 1, 4);
        put(file, 64 + 56 * i + 8, 1024, 8);
        put(file, 64 + 56 * i + 24, KERNEL_AT + 0x10000 * i, 8);
        put(file, 64 + 56 * i + 32, 1024, 8);
        put(file, 64 + 56 * i + 40, 2048, 8);
    }
    put(file, 64 + 112, 4, 4);
    put(file, 64 + 112 + 8, 512, 8);
    put(file, 64 + 112 + 32, 24, 8);
    put(file, 512, 4, 4);
    put(file, 516, 8, 4);
    put(file, 520, 18, 4);
    memcpy(file + 524, "Xen", 4);
    put(file, 528, KERNEL_AT, 8);
}

/* Changes: an offset (2 bytes), how many bytes (1 byte), the bytes. */
static void change(uint8_t *file, const uint8_t *data, size_t size)
{
    while (size > 3) {
        size_t offset = (data[0] | data[1] << 8) % TEMPLATE_SIZE, length = data[2] % 16;
        data += 3;
        size -= 3;
        length = length < size ? length : size;
        length = length < TEMPLATE_SIZE - offset ? length : TEMPLATE_SIZE - offset;
        memcpy(file + offset, data, length);
        data += length;
        size -= length;
    }
}

static void require_canaries(void)
{
    static uint8_t canaries[RESERVED_HIGH_SIZE];
    memset(canaries, CANARY, sizeof(canaries));
    REQUIRE(memcmp(low + RESERVED_LOW, canaries, LOW_END - RESERVED_LOW) == 0);
    REQUIRE(memcmp(high, canaries, GUEST_MAP_ACPI_BASE - HIGH_BEGIN) == 0);
    REQUIRE(memcmp(high + (GUEST_MAP_BIOS - HIGH_BEGIN), canaries, MIB(1) - GUEST_MAP_BIOS) == 0);
}

static void require_entry(const struct guest_map *map, const struct guest_entry *entry)
{
    bool is_long = entry->efer != 0;
    REQUIRE(guest_map_is_ram(map, entry->rip, 1));
    REQUIRE((entry->cr0 & CR0_PE) != 0 && entry->rflags == RFLAGS_FIXED);
    REQUIRE(guest_map_is_ram(map, entry->gpr[is_long ? GPR_RSI : GPR_RBX], is_long ? 4096 : 56));
    if (is_long)
        REQUIRE(guest_map_is_ram(map, entry->cr3, 6 * 4096) && entry->cr3 % 4096 == 0);
    REQUIRE(is_long == ((entry->segment[SEG_CS].access & SEGMENT_L) != 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t initrd[3000];
    struct guest_map map;
    struct guest_mem mem = {0};
    struct load_plan *plan = (struct load_plan *)plan_room;
    struct load_error error;
    memset(low + RESERVED_LOW, CANARY, LOW_END - RESERVED_LOW);
    memset(high, CANARY, RESERVED_HIGH_SIZE);
    REQUIRE(guest_map_make(&map, MEMORY) == STATUS_OK);
    REQUIRE(guest_mem_add(&mem, GPA(0), sizeof(low), low) == STATUS_OK);
    REQUIRE(guest_mem_add(&mem, GPA(HIGH_BEGIN), sizeof(high), high) == STATUS_OK);
    bool is_template = size != 0 && (data[0] == 1 || data[0] == 2);
    size_t file_size = is_template ? TEMPLATE_SIZE : size;
    uint8_t *file = calloc(1, file_size == 0 ? 1 : file_size);
    if (is_template) {
        (data[0] == 1 ? make_linux : make_elf)(file);
        change(file, data + 1, size - 1);
    } else {
        memcpy(file, data, size);
    }
    struct load_request request = {
        .map = &map,
        .acpi = {.vcpu_count = 1},
        .kernel = {"k", file, file_size, 1},
        .initrd = {"i", size % 2 != 0 ? initrd : NULL, sizeof(initrd), 2},
        .cmdline = "a b"};
    enum status status = load_kernel(&request, plan, LOAD_PLAN_SIZE, &error);
    if (status == STATUS_OK)
        REQUIRE(load_plan_replay(plan, &mem) == STATUS_OK);
    free(file);
    REQUIRE(memchr(error.text, '\0', sizeof(error.text)) != NULL);
    REQUIRE((status == STATUS_OK) == (error.text[0] == '\0'));
    require_canaries();
    if (status == STATUS_OK)
        require_entry(&map, &plan->entry);
    return 0;
}
