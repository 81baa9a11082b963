/*
 * Any bytes as a kernel of any format. The input is a file as it stands, or (first byte 1 to 6) a
 * list of changes to a bzImage or an ELF file that loads, with a PVH note or a header of either
 * Multiboot, so that the fuzzer gets past the first checks. The second byte chooses what the
 * configuration would say. Whatever it is, only the guest's RAM and its ACPI tables are written,
 * and by the file itself, what is reserved for a BIOS; no piece overlaps another, and an entry that
 * is accepted lies in RAM, or there.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernel/vm/load_bios.h"
#include "tests/fuzz/load_fuzz.h"

#define MEMORY MIB(4)
#define MUCH_MEMORY (GIB(3) + MIB(64)) /* of which the last part lies above 4 GiB */
#define KERNEL_AT MIB(1)
#define CANARY 0xa5
#define LOW_END 0xa0000
#define RESERVED_LOW 0x9fc00
#define HIGH_BEGIN 0xc0000
#define BIOS_SIZE 1000
#define BIOS_END (GUEST_MAP_BIOS + BIOS_SIZE)
#define RESERVED_HIGH_SIZE (MIB(1) - HIGH_BEGIN)

static uint64_t plan_room[LOAD_PLAN_SIZE / 8];
static uint8_t low[LOW_END], small[MEMORY - HIGH_BEGIN];
static uint8_t *high; /* from HIGH_BEGIN on: small, or what is mapped for one input */

static void make_linux(uint8_t *file)
{
    load_fuzz_make_linux(file);
    load_fuzz_put(file, 0x200, 0x6aeb, 2);
    load_fuzz_put(file, 0x236, 3, 2);
    load_fuzz_put(file, 0x258, KERNEL_AT, 8);
    load_fuzz_put(file, 0x260, MIB(1), 4);
}

static void make_elf(uint8_t *file)
{
    memcpy(file, "\x7f\x45\x4c\x46\x02\x01", 6);
    load_fuzz_put(file, 16, 2, 2);
    load_fuzz_put(file, 18, 62, 2);
    load_fuzz_put(file, 24, KERNEL_AT, 8);
    load_fuzz_put(file, 32, 64, 8);
    load_fuzz_put(file, 54, 56, 2);
    load_fuzz_put(file, 56, 3, 2);
    for (unsigned i = 0; i < 2; i++) {
        load_fuzz_put(file, 64 + 56 * i, 1, 4);
        load_fuzz_put(file, 64 + 56 * i + 8, 1024, 8);
        load_fuzz_put(file, 64 + 56 * i + 24, KERNEL_AT + 0x10000 * i, 8);
        load_fuzz_put(file, 64 + 56 * i + 32, 1024, 8);
        load_fuzz_put(file, 64 + 56 * i + 40, 2048, 8);
    }
    load_fuzz_put(file, 64 + 112, 4, 4);
    load_fuzz_put(file, 64 + 112 + 8, 512, 8);
    load_fuzz_put(file, 64 + 112 + 32, 24, 8);
}

static void make_pvh(uint8_t *file)
{
    make_elf(file);
    load_fuzz_put(file, 512, 4, 4);
    load_fuzz_put(file, 516, 8, 4);
    load_fuzz_put(file, 520, 18, 4);
    memcpy(file + 524, "Xen", 4);
    load_fuzz_put(file, 528, KERNEL_AT, 8);
}

/* With a PVH note as well, for the formats that take an ELF file of 32 bits. */
static void make_elf32(uint8_t *file)
{
    memcpy(file, "\x7f\x45\x4c\x46\x01\x01", 6);
    load_fuzz_put(file, 16, 2, 2);
    load_fuzz_put(file, 18, 3, 2);
    load_fuzz_put(file, 24, KERNEL_AT, 4);
    load_fuzz_put(file, 28, 52, 4);
    load_fuzz_put(file, 42, 32, 2);
    load_fuzz_put(file, 44, 3, 2);
    for (unsigned i = 0; i < 2; i++) {
        load_fuzz_put(file, 52 + 32 * i, 1, 4);
        load_fuzz_put(file, 52 + 32 * i + 4, 1024, 4);
        load_fuzz_put(file, 52 + 32 * i + 12, KERNEL_AT + 0x10000 * i, 4);
        load_fuzz_put(file, 52 + 32 * i + 16, 1024, 4);
        load_fuzz_put(file, 52 + 32 * i + 20, 2048, 4);
    }
    load_fuzz_put(file, 52 + 64, 4, 4);
    load_fuzz_put(file, 52 + 64 + 4, 512, 4);
    load_fuzz_put(file, 52 + 64 + 16, 20, 4);
    load_fuzz_put(file, 512, 4, 4);
    load_fuzz_put(file, 516, 4, 4);
    load_fuzz_put(file, 520, 18, 4);
    memcpy(file + 524, "Xen", 4);
    load_fuzz_put(file, 528, KERNEL_AT, 4);
}

/* Without address fields: the ELF file's segments say where it goes. */
static void make_multiboot_elf(uint8_t *file)
{
    make_elf32(file);
    load_fuzz_put(file, 768, 0x1badb002, 4);
    load_fuzz_put(file, 772, 3, 4);
    load_fuzz_put(file, 776, 0u - (0x1badb002 + 3), 4);
}

static void make_multiboot(uint8_t *file)
{
    make_linux(file);
    load_fuzz_put(file, 0x202, 0, 4);
    load_fuzz_put(file, 512, 0x1badb002, 4);
    load_fuzz_put(file, 516, 0x10003, 4);
    load_fuzz_put(file, 520, 0u - (0x1badb002 + 0x10003), 4);
    load_fuzz_put(file, 524, KERNEL_AT + 512, 4);
    load_fuzz_put(file, 528, KERNEL_AT, 4);
    load_fuzz_put(file, 532, KERNEL_AT + 2048, 4);
    load_fuzz_put(file, 536, KERNEL_AT + 8192, 4);
    load_fuzz_put(file, 540, KERNEL_AT, 4);
}

static void make_multiboot2(uint8_t *file)
{
    make_elf(file);
    load_fuzz_put(file, 768, 0xe85250d6, 4);
    load_fuzz_put(file, 776, 104, 4);
    load_fuzz_put(file, 780, 0u - (0xe85250d6 + 104), 4);
    load_fuzz_put(file, 784, 1, 4);
    load_fuzz_put(file, 788, 16, 4);
    load_fuzz_put(file, 792, 4, 4);
    load_fuzz_put(file, 796, 6, 4);
    load_fuzz_put(file, 800, 10, 4);
    load_fuzz_put(file, 804, 24, 4);
    load_fuzz_put(file, 808, KERNEL_AT, 4);
    load_fuzz_put(file, 812, 0xffffffff, 4);
    load_fuzz_put(file, 816, 4096, 4);
    load_fuzz_put(file, 820, 2, 4);
    load_fuzz_put(file, 824, 3, 4);
    load_fuzz_put(file, 828, 12, 4);
    load_fuzz_put(file, 832, KERNEL_AT, 4);
    load_fuzz_put(file, 840, 5, 2);
    load_fuzz_put(file, 842, 1, 2);
    load_fuzz_put(file, 844, 20, 4);
    load_fuzz_put(file, 848, 320, 4);
    load_fuzz_put(file, 852, 200, 4);
    load_fuzz_put(file, 868, 8, 4);
}

/* What the file was loaded to is no canary's place any more: it is put back. */
static void forgive_image(const struct load_request *request, const struct load_plan *plan,
                          const struct guest_mem *mem)
{
    static uint8_t canaries[LOAD_FUZZ_FILE];
    memset(canaries, CANARY, sizeof(canaries));
    for (uint32_t i = 0; i < plan->pieces; i++) {
        const struct load_piece *piece = &plan->piece[i];
        const uint8_t *from = piece->from;
        if (from == NULL || from < request->kernel.at ||
            from >= request->kernel.at + request->kernel.size)
            continue;
        REQUIRE(guest_map_takes_image(request->map, piece->at, piece->size));
        for (uint64_t at = 0, size; at < piece->size; at += size) {
            size = piece->size - at < LOAD_FUZZ_FILE ? piece->size - at : LOAD_FUZZ_FILE;
            REQUIRE(guest_mem_write(mem, GPA(piece->at + at), canaries, size) == STATUS_OK);
        }
    }
}

static void require_canaries(void)
{
    static uint8_t canaries[RESERVED_HIGH_SIZE];
    memset(canaries, CANARY, sizeof(canaries));
    REQUIRE(memcmp(low + RESERVED_LOW, canaries, LOW_END - RESERVED_LOW) == 0);
    REQUIRE(memcmp(high, canaries, GUEST_MAP_ACPI_BASE - HIGH_BEGIN) == 0);
    REQUIRE(memcmp(high + (BIOS_END - HIGH_BEGIN), canaries, LOAD_BIOS_RESET - BIOS_END) == 0);
}

static void require_entry(const struct guest_map *map, const struct guest_entry *entry)
{
    bool is_long = entry->efer != 0, is_protected = (entry->cr0 & CR0_PE) != 0;
    uint64_t start = entry->segment[SEG_CS].base + entry->rip;
    REQUIRE(guest_map_takes_image(map, start, 1) || (!is_protected && start == GUEST_MAP_BIOS));
    REQUIRE(entry->rflags == RFLAGS_FIXED && is_long == ((entry->cr0 & CR0_PG) != 0));
    if (is_long)
        REQUIRE(guest_map_is_ram(map, entry->cr3, 6 * 4096) && entry->cr3 % 4096 == 0);
    if (entry->gpr[GPR_RBX] != 0)
        REQUIRE(guest_map_is_ram(map, entry->gpr[GPR_RBX], 32) && entry->gpr[GPR_RBX] >= 4096);
    if (entry->gpr[GPR_RSI] != 0)
        REQUIRE(guest_map_is_ram(map, entry->gpr[GPR_RSI], 4096) && entry->gpr[GPR_RSI] >= 4096);
    REQUIRE(is_protected || entry->idtr.limit == 0x3ff);
    REQUIRE(is_long == ((entry->segment[SEG_CS].access & SEGMENT_L) != 0));
}

static void require_pieces(const struct load_plan *plan)
{
    for (uint32_t i = 0; i < plan->pieces; i++)
        for (uint32_t j = 0; j < i; j++)
            REQUIRE(plan->piece[i].at + plan->piece[i].size <= plan->piece[j].at ||
                    plan->piece[j].at + plan->piece[j].size <= plan->piece[i].at);
}

static void require_error(const struct load_request *request, enum status status,
                          const struct load_error *error)
{
    const struct load_file *files[] = {&request->kernel, &request->initrd, &request->module[0],
                                       &request->module[1]};
    load_fuzz_require_text(status, error, files, 2 + request->modules);
}

/* Loads into a guest whose unusable memory holds canaries. */
static void load_into(const struct load_request *request, struct guest_mem *mem)
{
    struct load_plan *plan = (struct load_plan *)plan_room;
    struct load_error error;
    memset(low + RESERVED_LOW, CANARY, LOW_END - RESERVED_LOW);
    memset(high, CANARY, RESERVED_HIGH_SIZE);
    REQUIRE(guest_mem_add(mem, GPA(0), sizeof(low), low) == STATUS_OK);
    REQUIRE(guest_mem_add(mem, GPA(HIGH_BEGIN), request->map->backed[1].size, high) == STATUS_OK);
    enum status status = load_kernel(request, plan, LOAD_PLAN_SIZE, &error);
    require_error(request, status, &error);
    if (status != STATUS_OK)
        return;
    REQUIRE(load_plan_replay(plan, mem, false) == STATUS_OK);
    require_pieces(plan);
    forgive_image(request, plan, mem);
    require_canaries();
    require_entry(request->map, &plan->entry);
}

/* Memory that nobody has touched is not there, and after an input, none is. */
static uint8_t *map_memory(uint64_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1, 0);
    REQUIRE(at != MAP_FAILED);
    return at;
}

static void load(const struct load_request *request)
{
    struct guest_mem mem = {0};
    const struct guest_map_range *backed = request->map->backed;
    REQUIRE(backed[0].size == LOW_END && backed[1].base == HIGH_BEGIN);
    if (request->map->ram_above_4g == 0) {
        high = small;
        load_into(request, &mem);
        return;
    }
    uint8_t *above = map_memory(backed[2].size);
    high = map_memory(backed[1].size);
    REQUIRE(guest_mem_add(&mem, GPA(backed[2].base), backed[2].size, above) == STATUS_OK);
    load_into(request, &mem);
    munmap(high, backed[1].size);
    munmap(above, backed[2].size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const makers[])(uint8_t * file) = {
        make_linux, make_pvh, make_multiboot, make_multiboot2, make_elf32, make_multiboot_elf};
    static const uint8_t bytes[3000];
    static const uint8_t bits[] = {0, 16, 32, 64};
    const struct load_file modules[] = {
        {.name = "m", .at = bytes, .size = sizeof(bytes), .line = 3, .arguments = {"x y", 3}},
        {.name = "n", .at = bytes, .size = 1, .line = 4}};
    static const char bios[BIOS_SIZE];
    struct guest_map map;
    REQUIRE(guest_map_make(&map, size / 8 % 4 == 3 ? MUCH_MEMORY : MEMORY) == STATUS_OK);
    bool is_template = size > 1 && data[0] >= 1 && data[0] <= ARRAY_SIZE(makers);
    unsigned choice = size > 1 ? data[1] : 0;
    size_t file_size = is_template ? LOAD_FUZZ_FILE : size;
    uint8_t *file = calloc(1, file_size == 0 ? 1 : file_size);
    if (is_template) {
        makers[data[0] - 1](file);
        load_fuzz_change(file, data + 2, size - 2);
    } else if (size != 0) {
        memcpy(file, data, size);
    }
    struct load_request request = {
        .map = &map,
        .acpi = {.vcpu_count = 1},
        .kernel = {.name = "k", .at = file, .size = file_size, .line = 1},
        .initrd = {.name = "i",
                   .at = size % 2 != 0 ? bytes : NULL,
                   .size = sizeof(bytes),
                   .line = 2},
        .module = modules,
        .modules = is_template && data[0] != 1 ? (choice & 1) << (size / 4 % 2) : 0,
        .bios = {bios, size % 4 < 2 ? sizeof(bios) : 0},
        .cmdline = "a b",
        .format = (choice >> 5) % LOAD_FORMATS,
        .entry = (choice >> 5) <= LOAD_LINUX ? bits[choice >> 1 & 3] : 0,
        .mode = bits[choice >> 1 & 3],
        .address = (uint64_t)(choice >> 3 & 3) << 14,
    };
    load(&request);
    free(file);
    return 0;
}
