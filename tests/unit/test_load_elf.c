/* Loading ELF files with a PVH entry, of both classes, made here. */
#include <stdlib.h>

#include "kernel/core/bits.h"
#include "kernel/vm/load.h"
#include "tests/check.h"

#define SEGMENT_AT 0x200
#define SEGMENT_SIZE 0x100
#define NOTE_AT 0x180

static struct guest_map map;
static struct guest_mem mem;
static uint8_t *low, *high;
static uint8_t image[0x1000];
static bool is_64;
static uint64_t plan_room[LOAD_PLAN_SIZE / 8];
static struct load_plan *const plan = (struct load_plan *)plan_room;
static struct guest_entry *const entry = &((struct load_plan *)plan_room)->entry;
static struct load_error error;
static struct load_request request;

static void put(unsigned offset, uint64_t value, unsigned size)
{
    memcpy(image + offset, &value, size);
}

/* Program header i; fields are 4 or 8 bytes wide, by class. */
static void put_segment(unsigned i, uint32_t type, uint64_t offset, uint64_t paddr, uint64_t filesz,
                        uint64_t memsz)
{
    if (is_64) {
        unsigned at = 64 + 56 * i;
        put(at, type, 4);
        put(at + 8, offset, 8);
        put(at + 16, 0xffffffff80000000ull + paddr, 8);
        put(at + 24, paddr, 8);
        put(at + 32, filesz, 8);
        put(at + 40, memsz, 8);
        put(at + 48, 4, 8);
    } else {
        unsigned at = 52 + 32 * i;
        put(at, type, 4);
        put(at + 4, offset, 4);
        put(at + 8, 0xc0000000 + paddr, 4);
        put(at + 12, paddr, 4);
        put(at + 16, filesz, 4);
        put(at + 20, memsz, 4);
        put(at + 28, 4, 4);
    }
}

static void make_image(bool wants_64, uint64_t pvh_entry)
{
    memset(image, 0, sizeof(image));
    is_64 = wants_64;
    memcpy(image,
           "\x7f"
           "ELF",
           4);
    image[4] = is_64 ? 2 : 1;
    image[5] = 1;
    put(16, 2, 2);
    put(18, is_64 ? 62 : 3, 2);
    if (is_64) {
        put(32, 64, 8);
        put(54, 56, 2);
        put(56, 3, 2);
    } else {
        put(28, 52, 4);
        put(42, 32, 2);
        put(44, 3, 2);
    }
    /* Another note first, whose name and content need padding. */
    put(NOTE_AT, 5, 4);
    put(NOTE_AT + 4, 6, 4);
    put(NOTE_AT + 8, 18, 4);
    memcpy(image + NOTE_AT + 12, "Xeno", 5);
    put(NOTE_AT + 28, 4, 4);
    put(NOTE_AT + 32, is_64 ? 8 : 4, 4);
    put(NOTE_AT + 36, 18, 4);
    memcpy(image + NOTE_AT + 40, "Xen", 4);
    put(NOTE_AT + 44, pvh_entry, is_64 ? 8 : 4);
    for (unsigned i = 0; i < SEGMENT_SIZE; i++)
        image[SEGMENT_AT + i] = (uint8_t)(i + 1);
    put_segment(0, 1, SEGMENT_AT, MIB(1), SEGMENT_SIZE, 0x3000);
    put_segment(1, 1, SEGMENT_AT + SEGMENT_SIZE, MIB(2), 0, 0x1000);
    put_segment(2, 4, NOTE_AT, 0, 52, 52);
}

static void make_guest(bool wants_64)
{
    free(low);
    free(high);
    memset(&mem, 0, sizeof(mem));
    CHECK_EQ(guest_map_make(&map, MIB(4)), STATUS_OK);
    low = malloc(map.backed[0].size);
    high = malloc(map.backed[1].size);
    CHECK_EQ(guest_mem_add(&mem, GPA(map.backed[0].base), map.backed[0].size, low), STATUS_OK);
    CHECK_EQ(guest_mem_add(&mem, GPA(map.backed[1].base), map.backed[1].size, high), STATUS_OK);
    request = (struct load_request){
        .map = &map,
        .kernel = {.name = "vmlinux", .at = image, .size = sizeof(image), .line = 1},
        .initrd = {.name = "initrd", .line = 2},
        .acpi = {.vcpu_count = 1},
        .cmdline = "quiet",
    };
    make_image(wants_64, MIB(1) + 0x40);
}

static uint64_t guest_get(uint64_t gpa, unsigned size)
{
    uint64_t value = 0;
    CHECK_EQ(guest_mem_read(&mem, GPA(gpa), &value, size), STATUS_OK);
    return value;
}

static void fails(enum status status, const char *text)
{
    memset(&error, 'x', sizeof(error));
    CHECK_EQ(load_kernel(&request, plan, LOAD_PLAN_SIZE, &error), status);
    CHECK_STR(error.text, text);
}

/* Loads, and starts: twice, since a start must not use the plan up. */
static void succeeds(void)
{
    enum status status = load_kernel(&request, plan, LOAD_PLAN_SIZE, &error);
    CHECK_STR(error.text, "");
    CHECK_EQ(status, STATUS_OK);
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned j = 0; j < mem.count; j++)
            memset(mem.region[j].host, 0, mem.region[j].size);
        CHECK_EQ(load_plan_replay(plan, &mem, false), STATUS_OK);
    }
}

static void segments_lie_at_their_physical_addresses(void)
{
    for (int wants_64 = 0; wants_64 < 2; wants_64++) {
        make_guest(wants_64);
        succeeds();
        CHECK_EQ(entry->rip, MIB(1) + 0x40);
        CHECK_EQ(guest_get(MIB(1), 8), 0x0807060504030201ull);
        CHECK_EQ(guest_get(MIB(1) + 0xf8, 8), 0x00fffefdfcfbfaf9ull);
        CHECK_EQ(guest_get(MIB(1) + 0x100, 8), 0);
        CHECK_EQ(guest_get(MIB(1) + 0x2ff8, 8), 0);
        CHECK_EQ(guest_get(MIB(1) + 0x3000, 8), 0);
        CHECK_EQ(guest_get(MIB(2) + 0xff8, 8), 0);
    }
}

static void the_entry_is_32_bit_without_paging(void)
{
    make_guest(true);
    succeeds();
    CHECK_EQ(entry->cr0, CR0_PE | CR0_ET);
    CHECK_EQ(entry->cr4, 0);
    CHECK_EQ(entry->efer, 0);
    CHECK_EQ(entry->rflags, 2);
    CHECK_EQ(entry->segment[SEG_CS].access, 0xc09b);
    CHECK_EQ(entry->segment[SEG_ES].access, 0xc093);
    CHECK_EQ(entry->segment[SEG_CS].limit, 0xffffffff);
    CHECK_EQ(entry->segment[SEG_TR].access, 0x8b);
    CHECK_EQ(entry->segment[SEG_TR].limit, 0x67);
}

static void the_start_information_is_complete(void)
{
    static const uint8_t initrd[5000] = {9, 8, 7};
    make_guest(true);
    request.initrd.at = initrd;
    request.initrd.size = sizeof(initrd);
    succeeds();
    uint64_t info = entry->gpr[GPR_RBX];
    CHECK(guest_map_is_ram(&map, info, 56) && info >= 0x1000);
    CHECK_EQ(guest_get(info, 4), 0x336ec578);
    CHECK_EQ(guest_get(info + 4, 4), 1);
    CHECK_EQ(guest_get(info + 8, 4), 0);
    CHECK_EQ(guest_get(info + 12, 4), 1);
    CHECK_EQ(guest_get(info + 32, 8), GUEST_MAP_ACPI_BASE);
    uint64_t module = guest_get(info + 16, 8), cmdline = guest_get(info + 24, 8);
    CHECK_EQ(guest_get(cmdline, 6), 0x007465697571ull);
    CHECK_EQ(guest_get(module, 8), MIB(4) - 8192);
    CHECK_EQ(guest_get(module + 8, 8), sizeof(initrd));
    CHECK_EQ(guest_get(module + 16, 8), 0);
    CHECK_EQ(guest_get(MIB(4) - 8192, 2), 0x0809);
    uint64_t memmap = guest_get(info + 40, 8);
    CHECK_EQ(guest_get(info + 48, 4), map.count);
    for (unsigned i = 0; i < map.count; i++) {
        CHECK_EQ(guest_get(memmap + 24 * i, 8), map.entry[i].base);
        CHECK_EQ(guest_get(memmap + 24 * i + 8, 8), map.entry[i].size);
        CHECK_EQ(guest_get(memmap + 24 * i + 16, 4), map.entry[i].type);
        CHECK_EQ(guest_get(memmap + 24 * i + 20, 4), 0);
    }
    request.initrd.at = NULL;
    succeeds();
    CHECK_EQ(guest_get(entry->gpr[GPR_RBX] + 12, 4), 0);
    CHECK_EQ(guest_get(entry->gpr[GPR_RBX] + 16, 8), 0);
}

/* A kernel that lies below 640 KiB keeps its place: what it is handed goes around it. */
static void low_kernels_are_not_overwritten(void)
{
    make_guest(false);
    make_image(false, 0x1000);
    put_segment(0, 1, SEGMENT_AT, 0x1000, SEGMENT_SIZE, 0x2000);
    put_segment(1, 1, SEGMENT_AT, 0x8000, SEGMENT_SIZE, 0x1000);
    succeeds();
    CHECK_EQ(guest_get(0x1000, 8), 0x0807060504030201ull);
    CHECK_EQ(guest_get(0x8000, 8), 0x0807060504030201ull);
    uint64_t info = entry->gpr[GPR_RBX];
    CHECK(info >= 0x3000 && (info + 4096 <= 0x8000 || info >= 0x9000));
    CHECK(info < 0x9fc00);
    uint64_t cmdline = guest_get(info + 24, 8);
    CHECK(cmdline >= 0x3000 && (cmdline + 6 <= 0x8000 || cmdline >= 0x9000));
}

/* As QEMU has it; and as a linker does that puts the headers into the first segment, a page before
 * what the kernel calls its first address. */
static void segments_may_lie_where_a_bios_would(void)
{
    static const uint64_t bases[] = {0x9f000, 0xc0000, 0xdf000, 0xf0000, 0xff000};
    for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
        make_guest(true);
        put_segment(1, 1, SEGMENT_AT, bases[i], SEGMENT_SIZE, SEGMENT_SIZE);
        succeeds();
        CHECK_EQ(guest_get(bases[i], 8), 0x0807060504030201ull);
    }
}

static void bad_segments_are_refused(void)
{
    make_guest(true);
    put_segment(1, 1, SEGMENT_AT, MIB(4) - 0x1000, 0x10, 0x1001);
    fails(ERR_RANGE, "vmlinux: segment 1 (0x3ff000, 5 KiB) lies outside the guest's RAM of 4 MiB: "
                     "raise `memory`");
    put_segment(1, 1, SEGMENT_AT, ~0ull, 0x10, 0x1000);
    fails(ERR_RANGE, "vmlinux: segment 1 (0xffffffffffffffff, 4 KiB) lies outside the guest's RAM "
                     "of 4 MiB: raise `memory`");
    static const struct {
        uint64_t base, size;
        const char *text;
    } below[] = {{0x9f000, 0x1001, "vmlinux: segment 1 (0x9f000, 5 KiB)"},
                 {0xa0000, 1, "vmlinux: segment 1 (0xa0000, 1 KiB)"},
                 {0xdffff, 2, "vmlinux: segment 1 (0xdffff, 1 KiB)"},
                 {0xeffff, 2, "vmlinux: segment 1 (0xeffff, 1 KiB)"}};
    for (size_t i = 0; i < ARRAY_SIZE(below); i++) {
        char text[256];
        snprintf(text, sizeof(text),
                 "%s reaches into video memory or the ACPI tables, 0xa0000 to "
                 "0xbffff and 0xe0000 to 0xeffff: link it elsewhere",
                 below[i].text);
        put_segment(1, 1, SEGMENT_AT, below[i].base, 1, below[i].size);
        fails(ERR_RANGE, text);
    }
    put_segment(1, 1, SEGMENT_AT, MIB(2), 0x10, ~0ull);
    CHECK_EQ(load_kernel(&request, plan, LOAD_PLAN_SIZE, &error), ERR_RANGE);
    put_segment(1, 1, SEGMENT_AT, MIB(1) + 0x2fff, 0x10, 0x10);
    fails(ERR_EXISTS, "vmlinux: malformed: segment 1 (0x102fff, 16 bytes) overlaps another");
    put_segment(1, 1, SEGMENT_AT, MIB(2), 0x11, 0x10);
    fails(ERR_INVALID, "vmlinux: malformed: segment 1 has more bytes in the file than in memory");
    put_segment(1, 1, sizeof(image) - 1, MIB(2), 2, 2);
    fails(ERR_TRUNCATED, "vmlinux: truncated: segment 1 lies past the end of the file");
    put_segment(1, 1, ~0ull, MIB(2), 2, 2);
    fails(ERR_TRUNCATED, "vmlinux: truncated: segment 1 lies past the end of the file");
    put_segment(1, 1, 1, MIB(2), ~0ull, ~0ull);
    CHECK_EQ(load_kernel(&request, plan, LOAD_PLAN_SIZE, &error), ERR_TRUNCATED);
}

static void too_many_segments(void)
{
    make_guest(false);
    put(44, 34, 2);
    put(28, 0x400, 4);
    for (unsigned i = 0; i < 34; i++) {
        memcpy(image + 0x400 + 32 * i, image + 52, 32);
        put(0x400 + 32 * i + 12, MIB(1) + 0x10000 * i, 4);
    }
    memcpy(image + 0x400 + 32 * 33, image + 52 + 64, 32);
    fails(ERR_UNSUPPORTED, "vmlinux: has more than 32 segments");
    put(0x400, 0, 4);
    CHECK_EQ(load_kernel(&request, plan, LOAD_PLAN_SIZE, &error),
             ERR_INVALID); /* the entry's is gone */
}

static void bad_headers_are_refused(void)
{
    make_guest(true);
    image[5] = 2;
    fails(ERR_UNSUPPORTED, "vmlinux: an ELF file for another processor; x86 is needed");
    make_image(true, MIB(1));
    put(18, 183, 2);
    fails(ERR_UNSUPPORTED, "vmlinux: an ELF file for another processor; x86 is needed");
    make_image(true, MIB(1));
    put(16, 1, 2);
    fails(ERR_UNSUPPORTED, "vmlinux: an ELF file of type 1; an executable (type 2) is needed");
    make_image(true, MIB(1));
    put(56, 0, 2);
    fails(ERR_INVALID, "vmlinux: malformed: no program headers");
    put(56, 3, 2);
    put(54, 55, 2);
    fails(ERR_INVALID, "vmlinux: malformed: no program headers");
    put(54, 56, 2);
    put(32, ~0ull, 8);
    fails(ERR_TRUNCATED, "vmlinux: truncated: its program headers lie past the end of the file");
    put(32, sizeof(image) - 167, 8);
    fails(ERR_TRUNCATED, "vmlinux: truncated: its program headers lie past the end of the file");
    make_image(true, MIB(3));
    fails(ERR_INVALID, "vmlinux: malformed: its PVH entry 0x300000 lies in no segment below 4 GiB");
}

static void notes_are_walked_with_care(void)
{
    static const char none[] = "vmlinux: an ELF file without a PVH entry (a note of type 18 by "
                               "Xen); Linux has one when built with CONFIG_PVH=y";
    make_guest(true);
    request.format = LOAD_PVH;
    put(NOTE_AT + 36, 17, 4);
    fails(ERR_UNSUPPORTED, none);
    put(NOTE_AT + 36, 18, 4);
    put(NOTE_AT + 28, 0xffffffff, 4);
    fails(ERR_UNSUPPORTED, none);
    put(NOTE_AT + 28, 4, 4);
    put(NOTE_AT + 32, 0xffffffff, 4);
    fails(ERR_UNSUPPORTED, none);
    put(NOTE_AT + 32, 2, 4);
    fails(ERR_UNSUPPORTED, none);
    put(NOTE_AT + 32, 4, 4); /* four bytes do in a 64-bit file, too */
    succeeds();
    put_segment(2, 4, NOTE_AT, 0, 47, 52);
    fails(ERR_UNSUPPORTED, none);
    put_segment(2, 4, NOTE_AT, 0, ~0ull, 52);
    fails(ERR_TRUNCATED, "vmlinux: truncated: its notes, segment 2, lie past the end of the file");
}

static void every_truncation_is_told(void)
{
    for (int wants_64 = 0; wants_64 < 2; wants_64++) {
        make_guest(wants_64);
        for (uint64_t size = 4; size < SEGMENT_AT + SEGMENT_SIZE; size++) {
            uint8_t *copy = malloc(size);
            memcpy(copy, image, size);
            request.kernel.at = copy;
            request.kernel.size = size;
            CHECK(load_kernel(&request, plan, LOAD_PLAN_SIZE, &error) != STATUS_OK);
            CHECK(error.text[0] != '\0');
            free(copy);
        }
    }
}

static void an_initrd_that_does_not_fit(void)
{
    make_guest(true);
    request.initrd.at = image;
    request.initrd.size = MIB(2);
    fails(ERR_NO_SPACE, "initrd: the initrd of 2048 KiB does not fit beside the kernel into 4 MiB "
                        "below 4 GiB: raise `memory`");
    request.initrd.size = UINT64_MAX;
    CHECK_EQ(load_kernel(&request, plan, LOAD_PLAN_SIZE, &error), ERR_NO_SPACE);
}

TEST_MAIN({"segments_lie_at_their_physical_addresses", segments_lie_at_their_physical_addresses},
          {"the_entry_is_32_bit_without_paging", the_entry_is_32_bit_without_paging},
          {"the_start_information_is_complete", the_start_information_is_complete},
          {"low_kernels_are_not_overwritten", low_kernels_are_not_overwritten},
          {"segments_may_lie_where_a_bios_would", segments_may_lie_where_a_bios_would},
          {"bad_segments_are_refused", bad_segments_are_refused},
          {"too_many_segments", too_many_segments},
          {"bad_headers_are_refused", bad_headers_are_refused},
          {"notes_are_walked_with_care", notes_are_walked_with_care},
          {"every_truncation_is_told", every_truncation_is_told},
          {"an_initrd_that_does_not_fit", an_initrd_that_does_not_fit})
