/* Loading a bzImage, made here with the header that each test wants. */
#include <stdlib.h>

#include "kernel/core/bits.h"
#include "kernel/vm/load.h"
#include "tests/check.h"

#define SETUP_SECTS 3
#define SETUP_BYTES ((SETUP_SECTS + 1) * 512)
#define SYSTEM_BYTES 4096

/* A guest whose RAM is only there where a test needs it: [0, 640K), [768K, end). */
static struct guest_map map;
static struct guest_mem mem;
static uint8_t *low, *high;

static uint8_t image[SETUP_BYTES + SYSTEM_BYTES + 64]; /* with a signature behind it */
static uint64_t plan_room[LOAD_PLAN_SIZE / 8];
static struct load_plan *const plan = (struct load_plan *)plan_room;
static struct guest_entry *const entry = &((struct load_plan *)plan_room)->entry;
static struct load_error error;
static struct load_request request;

static void put(unsigned offset, uint64_t value, unsigned size)
{
    memcpy(image + offset, &value, size);
}

static void make_image(void)
{
    memset(image, 0, sizeof(image));
    for (unsigned i = 0; i < SYSTEM_BYTES; i++)
        image[SETUP_BYTES + i] = (uint8_t)(i * 7 + 1);
    put(0x1f1, SETUP_SECTS, 1);
    put(0x1f4, SYSTEM_BYTES / 16, 4);
    put(0x1fe, 0xaa55, 2);
    put(0x200, 0x6aeb, 2);
    put(0x202, 0x53726448, 4);
    put(0x206, 0x020f, 2);
    put(0x211, 1, 1);
    put(0x214, 0x100000, 4);
    put(0x22c, 0x7fffffff, 4);
    put(0x230, 0x200000, 4);
    put(0x234, 1, 1);
    put(0x236, 0x3, 2);
    put(0x238, 2047, 4);
    put(0x258, MIB(2), 8);
    put(0x260, MIB(1), 4);
}

static void make_guest(uint64_t memory)
{
    free(low);
    free(high);
    memset(&mem, 0, sizeof(mem));
    CHECK_EQ(guest_map_make(&map, memory), STATUS_OK);
    CHECK_EQ(map.backed_count, 2);
    low = calloc(1, map.backed[0].size);
    high = calloc(1, map.backed[1].size);
    CHECK_EQ(guest_mem_add(&mem, GPA(map.backed[0].base), map.backed[0].size, low), STATUS_OK);
    CHECK_EQ(guest_mem_add(&mem, GPA(map.backed[1].base), map.backed[1].size, high), STATUS_OK);
    request = (struct load_request){
        .map = &map,
        .kernel = {.name = "vmlinuz", .at = image, .size = sizeof(image), .line = 1},
        .initrd = {.name = "initrd", .line = 2},
        .acpi = {.vcpu_count = 1},
        .cmdline = "console=ttyS0",
    };
    make_image();
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
    CHECK(memchr(error.text, '\0', sizeof(error.text)) != NULL);
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

static void the_kernel_lies_where_it_prefers(void)
{
    make_guest(MIB(8));
    succeeds();
    CHECK_EQ(entry->rip, MIB(2) + 0x200);
    uint8_t copy[SYSTEM_BYTES];
    CHECK_EQ(guest_mem_read(&mem, GPA(MIB(2)), copy, sizeof(copy)), STATUS_OK);
    CHECK(memcmp(copy, image + SETUP_BYTES, SYSTEM_BYTES) == 0);
    CHECK_EQ(guest_get(MIB(2) + SYSTEM_BYTES, 8), 0);
}

static void the_zero_page_is_complete(void)
{
    make_guest(MIB(8));
    succeeds();
    uint64_t zp = entry->gpr[GPR_RSI];
    CHECK(zp >= 0x1000 && zp < 0x9fc00);
    CHECK_EQ(guest_get(zp + 0x1fe, 2), 0xaa55);
    CHECK_EQ(guest_get(zp + 0x202, 4), 0x53726448);
    CHECK_EQ(guest_get(zp + 0x210, 1), 0xff);
    CHECK_EQ(guest_get(zp + 0x211, 1), 1);
    CHECK_EQ(guest_get(zp + 0x214, 4), MIB(2));
    CHECK_EQ(guest_get(zp + 0x258, 8), MIB(2));
    CHECK_EQ(guest_get(zp + 0x070, 8), GUEST_MAP_ACPI_BASE);
    CHECK_EQ(guest_get(zp + 0x1ef, 1), 0); /* sentinel */
    CHECK_EQ(guest_get(zp + 0x218, 8), 0); /* no initrd */
    CHECK_EQ(guest_get(zp + 0x1e8, 1), map.count);
    for (unsigned i = 0; i < map.count; i++) {
        CHECK_EQ(guest_get(zp + 0x2d0 + 20 * i, 8), map.entry[i].base);
        CHECK_EQ(guest_get(zp + 0x2d8 + 20 * i, 8), map.entry[i].size);
        CHECK_EQ(guest_get(zp + 0x2e0 + 20 * i, 4), map.entry[i].type);
    }
    uint64_t cmdline = guest_get(zp + 0x228, 4);
    char text[32];
    CHECK(guest_map_is_ram(&map, cmdline, 14));
    CHECK_EQ(guest_mem_read(&mem, GPA(cmdline), text, 14), STATUS_OK);
    CHECK_STR(text, "console=ttyS0");
}

static void the_entry_is_64_bit(void)
{
    make_guest(MIB(8));
    succeeds();
    CHECK_EQ(entry->cr0, CR0_PE | CR0_ET | CR0_PG);
    CHECK_EQ(entry->cr4, CR4_PAE);
    CHECK_EQ(entry->efer, EFER_LME | EFER_LMA);
    CHECK_EQ(entry->rflags, 2);
    CHECK_EQ(entry->segment[SEG_CS].selector, 0x10);
    CHECK_EQ(entry->segment[SEG_CS].access, 0xa09b);
    CHECK_EQ(entry->segment[SEG_DS].selector, 0x18);
    CHECK_EQ(entry->segment[SEG_SS].access, 0xc093);
    CHECK_EQ(entry->segment[SEG_TR].access, 0x8b);
    CHECK(entry->segment[SEG_LDTR].access & SEGMENT_UNUSABLE);
    CHECK_EQ(entry->gdtr.limit, 31);
    CHECK_EQ(guest_get(entry->gdtr.base + 0x10, 8), 0x00af9b000000ffffull);
    CHECK_EQ(guest_get(entry->gdtr.base + 0x18, 8), 0x00cf93000000ffffull);
    /* Page tables: every 2 MiB of the low 4 GiB onto itself. */
    for (uint64_t address = 0; address < GIB(4); address += PAGE_SIZE_2M) {
        uint64_t pml4e = guest_get(entry->cr3, 8), pdpte, pde;
        CHECK_EQ(pml4e & 0xfff, 3);
        pdpte = guest_get((pml4e & ~0xfffull) + 8 * (address >> 30), 8);
        CHECK_EQ(pdpte & 0xfff, 3);
        pde = guest_get((pdpte & ~0xfffull) + 8 * (address >> 21 & 511), 8);
        CHECK_EQ(pde, address | 0x83);
    }
}

/* Nothing that the loader placed overlaps anything else. */
static void parts_do_not_overlap(void)
{
    static uint8_t initrd[300000];
    make_guest(MIB(4));
    request.initrd.at = initrd;
    request.initrd.size = sizeof(initrd);
    succeeds();
    uint64_t zp = entry->gpr[GPR_RSI];
    struct {
        uint64_t base, size;
    } part[] = {
        {MIB(2), MIB(1)},
        {zp, 4096},
        {entry->cr3, 6 * 4096},
        {entry->gdtr.base, 32},
        {guest_get(zp + 0x228, 4), strlen(request.cmdline) + 1},
        {guest_get(zp + 0x218, 4), sizeof(initrd)},
    };
    for (size_t i = 0; i < ARRAY_SIZE(part); i++) {
        CHECK(guest_map_is_ram(&map, part[i].base, part[i].size));
        CHECK(part[i].base >= 0x1000);
        for (size_t j = 0; j < i; j++)
            CHECK(part[i].base + part[i].size <= part[j].base ||
                  part[j].base + part[j].size <= part[i].base);
    }
}

static void the_initrd_lies_as_high_as_it_may(void)
{
    static uint8_t initrd[5000];
    memset(initrd, 0x5a, sizeof(initrd));
    make_guest(MIB(8));
    request.initrd.at = initrd;
    request.initrd.size = sizeof(initrd);
    succeeds();
    uint64_t zp = entry->gpr[GPR_RSI];
    CHECK_EQ(guest_get(zp + 0x218, 4), MIB(8) - 8192);
    CHECK_EQ(guest_get(zp + 0x21c, 4), sizeof(initrd));
    CHECK_EQ(guest_get(MIB(8) - 8192 + 4992, 8), 0x5a5a5a5a5a5a5a5aull);
    put(0x22c, MIB(6) - 1, 4);
    succeeds();
    CHECK_EQ(guest_get(zp + 0x218, 4), MIB(6) - 8192);
    /* Below the limit there is only the kernel's room: above 4 GiB it may lie, and higher too. */
    put(0x22c, MIB(3) - 1, 4);
    put(0x260, MIB(1), 4);
    request.initrd.size = 5000;
    put(0x258, MIB(1), 8);
    put(0x230, 0x100000, 4);
    put(0x260, MIB(2), 4);
    succeeds();
    CHECK_EQ(guest_get(zp + 0x218, 4), MIB(8) - 8192);
    put(0x236, 0x1, 2);
    fails(ERR_NO_SPACE, "initrd: the initrd of 5 KiB does not fit beside the kernel into 8 MiB "
                        "below 4 GiB: raise `memory`");
}

static void an_initrd_above_4_gib(void)
{
    static uint8_t initrd[4096] = {1, 2, 3};
    make_guest(MIB(4));
    /* A map with RAM above 4 GiB, of which only the last page is backed here. */
    CHECK_EQ(guest_map_make(&map, GIB(4)), STATUS_OK);
    uint8_t *top = calloc(1, 4096);
    CHECK_EQ(guest_mem_add(&mem, GPA(GIB(5) - 4096), 4096, top), STATUS_OK);
    put(0x22c, MIB(3) - 1, 4);
    request.initrd.at = initrd;
    request.initrd.size = sizeof(initrd);
    put(0x258, MIB(1), 8);
    put(0x230, 0x100000, 4);
    put(0x260, MIB(2), 4);
    succeeds();
    uint64_t zp = entry->gpr[GPR_RSI];
    CHECK_EQ(guest_get(zp + 0x218, 4), 0x3ffff000);
    CHECK_EQ(guest_get(zp + 0x0c0, 4), 1);
    CHECK_EQ(guest_get(zp + 0x0c4, 4), 0);
    CHECK_EQ(top[1], 2);
    free(top);
}

static void relocation_follows_the_header(void)
{
    make_guest(MIB(8));
    put(0x258, MIB(2) + 4096, 8); /* not aligned: the next aligned address */
    succeeds();
    CHECK_EQ(entry->rip, MIB(4) + 0x200);
    put(0x234, 0, 1);
    succeeds();
    CHECK_EQ(entry->rip, MIB(2) + 4096 + 0x200);
    put(0x234, 1, 1);
    put(0x258, 0, 8); /* no preference: never below 1 MiB */
    succeeds();
    CHECK_EQ(entry->rip, MIB(2) + 0x200);
    put(0x258, MIB(7), 8);
    put(0x260, MIB(1) + 1, 4);
    fails(ERR_NO_SPACE, "vmlinuz: needs 2 MiB at 0x700000 or higher, and the guest has 8 MiB below "
                        "4 GiB: raise `memory`");
    put(0x258, ~0ull, 8);
    fails(ERR_NO_SPACE, "vmlinuz: needs 2 MiB at 0xffffffffffffffff or higher, and the guest has 8 "
                        "MiB below 4 GiB: raise `memory`");
    put(0x234, 0, 1);
    fails(ERR_NO_SPACE, "vmlinuz: needs 2 MiB at 0xffffffffffffffff or higher, and the guest has 8 "
                        "MiB below 4 GiB: raise `memory`");
}

static void the_command_line_has_the_kernels_limit(void)
{
    char text[2049];
    make_guest(MIB(8));
    memset(text, 'a', sizeof(text));
    text[2048] = '\0';
    request.cmdline = text;
    fails(ERR_NO_SPACE, "vmlinuz: the command line has 2048 bytes, and this kernel takes 2047");
    text[2047] = '\0';
    succeeds();
    put(0x238, 0, 4);
    fails(ERR_NO_SPACE, "vmlinuz: the command line has 2047 bytes, and this kernel takes 255");
    request.cmdline = "";
    succeeds();
}

static void bad_headers_are_refused(void)
{
    make_guest(MIB(8));
    put(0x206, 0x01ff, 2);
    fails(ERR_UNSUPPORTED,
          "vmlinuz: its Linux boot protocol is 1.255, and 2.00 is needed (Linux 1.3.73)");
    make_image();
    put(0x211, 0, 1);
    request.entry = 32;
    fails(ERR_UNSUPPORTED, "vmlinuz: has no 32-bit entry point (its Linux boot protocol is 2.15)");
    make_image();
    put(0x236, 2, 2);
    request.entry = 64;
    fails(ERR_UNSUPPORTED, "vmlinuz: has no 64-bit entry point (its Linux boot protocol is 2.15)");
    request.entry = 0;
    make_image();
    put(0x230, 3, 4);
    fails(ERR_INVALID, "vmlinuz: malformed: its alignment 0x3 is no power of two");
    put(0x230, 0, 4);
    fails(ERR_INVALID, "vmlinuz: malformed: its alignment 0x0 is no power of two");
    make_image();
    put(0x1f4, 0, 4);
    fails(ERR_INVALID, "vmlinuz: malformed: its header says that there is no kernel behind it");
    put(0x1f4, 0xffffffff, 4);
    fails(ERR_TRUNCATED, "vmlinuz: truncated: 6208 bytes, and its header says 68719478768");
}

/* By the 32-bit entry where there is no 64-bit one, or where it is asked for. */
static void the_entry_is_32_bit(void)
{
    for (unsigned asked = 0; asked < 2; asked++) {
        make_guest(MIB(8));
        request.entry = asked ? 32 : 0;
        if (!asked)
            put(0x236, 2, 2);
        succeeds();
        CHECK_EQ(entry->rip, MIB(2));
        CHECK_EQ(entry->cr0, CR0_PE | CR0_ET);
        CHECK_EQ(entry->cr4 | entry->efer, 0);
        CHECK_EQ(entry->rflags, 2);
        CHECK_EQ(entry->segment[SEG_CS].selector, 0x10);
        CHECK_EQ(entry->segment[SEG_CS].access, 0xc09b);
        CHECK_EQ(entry->segment[SEG_DS].selector, 0x18);
        CHECK_EQ(entry->segment[SEG_SS].selector, 0x18);
        CHECK_EQ(guest_get(entry->gdtr.base + 0x10, 8), 0x00cf9b000000ffffull);
        CHECK_EQ(guest_get(entry->gdtr.base + 0x18, 8), 0x00cf93000000ffffull);
        CHECK_EQ(guest_get(entry->gpr[GPR_RSI] + 0x202, 4), 0x53726448);
        CHECK_EQ(entry->gpr[GPR_RBP] | entry->gpr[GPR_RDI] | entry->gpr[GPR_RBX], 0);
    }
    /* A 32-bit kernel cannot reach an initrd above 4 GiB, whatever its flags say. */
    static uint8_t initrd[5000];
    request.initrd.at = initrd;
    request.initrd.size = sizeof(initrd);
    put(0x22c, MIB(1), 4);
    fails(ERR_NO_SPACE, "initrd: the initrd of 5 KiB does not fit beside the kernel into 8 MiB "
                        "below 4 GiB: raise `memory`");
}

static void check_real_mode(uint64_t base, uint64_t heap_end)
{
    CHECK_EQ(entry->segment[SEG_CS].selector, (base >> 4) + 0x20);
    CHECK_EQ(entry->segment[SEG_CS].base, base + 0x200);
    CHECK_EQ(entry->segment[SEG_CS].limit, 0xffff);
    CHECK_EQ(entry->rip, 0);
    CHECK_EQ(entry->cr0 & (CR0_PE | CR0_PG), 0);
    CHECK_EQ(entry->rflags, 2);
    CHECK_EQ(entry->idtr.base, 0);
    CHECK_EQ(entry->idtr.limit, 0x3ff);
    for (unsigned i = 0; i < SEG_LDTR; i++)
        if (i != SEG_CS)
            CHECK_EQ(entry->segment[i].base, base);
    CHECK_EQ(entry->gpr[GPR_RSP], heap_end);
    CHECK_EQ(guest_get(base + 0x202, 4), 0x53726448);
    CHECK_EQ(guest_get(base + 0x210, 1), 0xff);
    CHECK_EQ(guest_get(base + heap_end, 8), 0x3d656c6f736e6f63ull); /* "console=" */
}

static void the_entry_is_16_bit(void)
{
    static const uint8_t initrd[5000];
    make_guest(MIB(8));
    request.entry = 16;
    request.initrd.at = initrd;
    request.initrd.size = sizeof(initrd);
    image[SETUP_BYTES - 1] = 0x77;
    succeeds();
    check_real_mode(0x10000, 0xe000);
    CHECK_EQ(guest_get(0x10000 + SETUP_BYTES - 1, 1), 0x77);
    CHECK_EQ(guest_get(0x10211, 1), 0x81);
    CHECK_EQ(guest_get(0x10224, 2), 0xde00);
    CHECK_EQ(guest_get(0x10228, 4), 0x1e000);
    CHECK_EQ(guest_get(0x10214, 4), MIB(2));
    CHECK_EQ(guest_get(0x10218, 4), MIB(8) - 8192);
    CHECK_EQ(guest_get(0x1021c, 4), sizeof(initrd));
    CHECK_EQ(guest_get(MIB(2), 1), 1);
    CHECK_EQ(image[0x210], 0); /* the file is as it was */
}

/* Without a 32-bit entry (iPXE), the 16-bit one is what is left; fields that a protocol does not
 * have yet are not read. */
static void old_protocols(void)
{
    static const struct {
        unsigned version, loadflags;
        uint64_t kernel, setup, heap_end;
    } cases[] = {
        {0x0207, 1, MIB(1), 0x10000, 0xe000},  {0x0203, 1, MIB(1), 0x10000, 0xe000},
        {0x0201, 1, MIB(1), 0x90000, 0x9800},  {0x0200, 1, MIB(1), 0x90000, 0x9800},
        {0x0202, 0, 0x10000, 0x90000, 0x9800},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        make_guest(MIB(8));
        put(0x206, cases[i].version, 2);
        put(0x211, cases[i].loadflags, 1);
        put(0x214, 0, 4);
        put(0x230, 0, 4);
        put(0x234, 0, 1);
        put(0x258, 0x1234567812345678ull, 8);
        put(0x260, 0xfffffff0, 4);
        succeeds();
        check_real_mode(cases[i].setup, cases[i].heap_end);
        CHECK_EQ(guest_get(cases[i].kernel, 1), 1);
        CHECK_EQ(guest_get(cases[i].setup + 0x214, 4), 0);
        bool has_magic = cases[i].version < 0x202;
        CHECK_EQ(guest_get(cases[i].setup + 0x20, 2), has_magic ? 0xa33f : 0);
        CHECK_EQ(guest_get(cases[i].setup + 0x22, 2), has_magic ? cases[i].heap_end : 0);
        CHECK_EQ(guest_get(cases[i].setup + 0x211, 1),
                 cases[i].loadflags | (cases[i].version > 0x200 ? 0x80 : 0));
    }
    /* The size in an old header has 16 bits: what is loaded high goes to the file's end. */
    make_guest(MIB(8));
    put(0x206, 0x0203, 2);
    put(0x1f4, 1, 2);
    succeeds();
    CHECK_EQ(guest_get(MIB(1) + SYSTEM_BYTES - 1, 1), image[SETUP_BYTES + SYSTEM_BYTES - 1]);
}

static void modules_are_not_for_linux(void)
{
    struct load_file module = {.name = "m", .at = image, .size = 1, .line = 7};
    make_guest(MIB(8));
    request.module = &module;
    request.modules = 1;
    fails(ERR_UNSUPPORTED, "m: a Linux kernel takes no modules; name the file as `initrd`");
    CHECK_EQ(error.line, 7);
}

/* The file in a heap block of its exact size, for every size. */
static void every_truncation_is_told(void)
{
    make_guest(MIB(8));
    for (uint64_t size = 0; size <= SETUP_BYTES + SYSTEM_BYTES; size++) {
        uint8_t *copy = malloc(size == 0 ? 1 : size);
        memcpy(copy, image, size);
        request.kernel.at = copy;
        request.kernel.size = size;
        enum status status = load_kernel(&request, plan, LOAD_PLAN_SIZE, &error);
        free(copy);
        /* Only the last paragraph may be short. */
        CHECK((status == STATUS_OK) == (size > SETUP_BYTES + SYSTEM_BYTES - 16));
        CHECK((error.text[0] == '\0') == (status == STATUS_OK));
    }
}

static void what_is_no_kernel_is_named(void)
{
    make_guest(MIB(8));
    request.kernel.at = (const uint8_t *)"\x1f\x8b\x08zzzzzzz";
    request.kernel.size = 10;
    fails(ERR_INVALID, "vmlinuz: not a kernel: compressed by gzip; unpack it first");
    request.kernel.at = (const uint8_t *)"0707010000";
    fails(ERR_INVALID, "vmlinuz: not a kernel: a cpio archive; is it the initrd?");
    request.kernel.at = (const uint8_t *)"hello, you";
    fails(ERR_INVALID,
          "vmlinuz: not a kernel: no Linux image, no Multiboot header, no ELF file; for a flat "
          "binary, add `format = flat`");
    request.kernel.size = 0;
    fails(ERR_INVALID, "vmlinuz: the file is empty");
    request.kernel.at = image;
    request.kernel.size = sizeof(image);
    request.initrd.at = image;
    request.initrd.size = 0;
    fails(ERR_INVALID, "initrd: the file is empty");
}

TEST_MAIN({"the_kernel_lies_where_it_prefers", the_kernel_lies_where_it_prefers},
          {"the_zero_page_is_complete", the_zero_page_is_complete},
          {"the_entry_is_64_bit", the_entry_is_64_bit},
          {"parts_do_not_overlap", parts_do_not_overlap},
          {"the_initrd_lies_as_high_as_it_may", the_initrd_lies_as_high_as_it_may},
          {"an_initrd_above_4_gib", an_initrd_above_4_gib},
          {"relocation_follows_the_header", relocation_follows_the_header},
          {"the_command_line_has_the_kernels_limit", the_command_line_has_the_kernels_limit},
          {"bad_headers_are_refused", bad_headers_are_refused},
          {"the_entry_is_32_bit", the_entry_is_32_bit},
          {"the_entry_is_16_bit", the_entry_is_16_bit}, {"old_protocols", old_protocols},
          {"modules_are_not_for_linux", modules_are_not_for_linux},
          {"every_truncation_is_told", every_truncation_is_told},
          {"what_is_no_kernel_is_named", what_is_no_kernel_is_named})
