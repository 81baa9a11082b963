/* The kernel that a guest's firmware is handed: a bzImage or an EFI program, made here. */
#include "kernel/vm/load_setup.h"

#include "tests/unit/load_world.h"

static struct load_setup setup;
static uint8_t part[LOAD_SETUP_MAX];
static const uint8_t disk[0x2345];

static void make_linux(unsigned version, bool is_high)
{
    make_guest();
    put(0x1f1, 3, 1);
    put(0x1f4, (sizeof(image) - 0x800) / 16, 4);
    put(0x1fe, 0xaa55, 2);
    put(0x202, 0x53726448, 4);
    put(0x206, version, 2);
    put(0x211, is_high, 1);
    put(0x22c, 0x3fffff, 4);
    put(0x230, 0x1000, 4);
}

static void add_initrd(void)
{
    request.initrd = (struct load_file){.name = "initrd", .at = disk, .size = 0x2345, .line = 2};
}

static void is_planned(void)
{
    memset(&error, 0, sizeof(error));
    CHECK_EQ(load_setup_plan(&request, &setup, &error), STATUS_OK);
    CHECK_STR(error.text, "");
}

static void is_refused(enum status status, uint32_t line, const char *text)
{
    memset(&error, 0, sizeof(error));
    CHECK_EQ(load_setup_plan(&request, &setup, &error), status);
    CHECK_STR(error.text, text);
    CHECK_EQ(error.line, line);
    CHECK_EQ(setup.size, 0);
}

static uint64_t part_get(unsigned offset, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, part + offset, size);
    return value;
}

/* The values that QEMU has for the same kernel. */
static void header_is_filled_in(void)
{
    make_linux(0x20f, true);
    add_initrd();
    is_planned();
    CHECK_EQ(setup.size, 0x800);
    CHECK_EQ(setup.setup, 0x10000);
    CHECK_EQ(setup.cmdline, 0x20000);
    CHECK_EQ(setup.kernel, 0x100000);
    CHECK_EQ(setup.initrd, (0x3fffff - 0x2345) & ~0xfff);
    load_setup_fill(&request, &setup, part);
    CHECK_EQ(part_get(0x210, 1), 0xb0);
    CHECK_EQ(part_get(0x211, 1), 0x81);
    CHECK_EQ(part_get(0x224, 2), 0xfe00);
    CHECK_EQ(part_get(0x228, 4), 0x20000);
    CHECK_EQ(part_get(0x218, 4), setup.initrd);
    CHECK_EQ(part_get(0x21c, 4), 0x2345);
    CHECK(memcmp(part, image, 0x210) == 0);
    CHECK(memcmp(part + 0x22c, image + 0x22c, 0x800 - 0x22c) == 0);
}

static void old_protocols_have_their_places(void)
{
    static const struct {
        unsigned version;
        bool is_high;
        uint32_t setup, cmdline, kernel;
        uint16_t magic, offset, heap_end;
    } rows[] = {
        {0x202, true, 0x10000, 0x20000, 0x100000, 0, 0, 0xfe00},
        {0x202, false, 0x90000, 0x99ff0, 0x10000, 0, 0, 0x9df0},
        {0x201, true, 0x90000, 0x99ff0, 0x100000, 0xa33f, 0x9ff0, 0x9df0},
        {0x200, false, 0x90000, 0x99ff0, 0x10000, 0xa33f, 0x9ff0, 0},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        make_linux(rows[i].version, rows[i].is_high);
        is_planned();
        CHECK_EQ(setup.setup, rows[i].setup);
        CHECK_EQ(setup.cmdline, rows[i].cmdline);
        CHECK_EQ(setup.kernel, rows[i].kernel);
        load_setup_fill(&request, &setup, part);
        CHECK_EQ(part_get(0x20, 2), rows[i].magic);
        CHECK_EQ(part_get(0x22, 2), rows[i].offset);
        CHECK_EQ(part_get(0x224, 2), rows[i].heap_end);
        CHECK_EQ(part_get(0x228, 4), rows[i].version >= 0x202 ? rows[i].cmdline : 0);
    }
}

static void make_efi(uint32_t at)
{
    make_guest();
    memcpy(image, "MZ", 2);
    put(0x3c, at, 4);
    if (at <= sizeof(image) - 4)
        memcpy(image + at, "PE\0\0", 4);
}

static void efi_programs_are_handed_over_whole(void)
{
    make_efi(0x80);
    add_initrd();
    is_planned();
    CHECK_EQ(setup.size, 0);
    CHECK_EQ(setup.kernel, 0x100000);
    CHECK_EQ(setup.initrd, (MIB(8) - 0x28000 - 1 - 0x2345) & ~0xfffull);
    make_efi(sizeof(image) - 4);
    is_planned();
}

#define NEITHER                                                                                    \
    "kernel: firmware starts Linux kernels and EFI programs, and this is neither; what is loaded " \
    "without firmware (ELF, Multiboot, flat) needs `firmware` removed"

static void what_is_neither_is_refused(void)
{
    make_guest();
    is_refused(ERR_INVALID, 1, NEITHER);
    make_linux(0x20f, true);
    put(0x202, 0x53726449, 4);
    is_refused(ERR_INVALID, 1, NEITHER);
    make_elf(true, MIB(1), MIB(1), MIB(1));
    is_refused(ERR_INVALID, 1, NEITHER);
    make_efi(sizeof(image) - 3);
    is_refused(ERR_INVALID, 1, NEITHER);
    make_efi(UINT32_MAX);
    is_refused(ERR_INVALID, 1, NEITHER);
    make_efi(0x80);
    request.kernel.size = 0x3f;
    is_refused(ERR_INVALID, 1, NEITHER);
    request.kernel.size = 0;
    is_refused(ERR_INVALID, 1, "kernel: the file is empty");
}

static void damaged_kernels_are_refused(void)
{
    make_linux(0x20f, true);
    request.kernel.size = 0x700;
    is_refused(ERR_TRUNCATED, 1, "kernel: truncated: 1792 bytes, and its header says 12288");
    request.kernel.size = 0x220;
    is_refused(ERR_TRUNCATED, 1,
               "kernel: truncated: 544 bytes are less than a Linux kernel's header");
    make_linux(0x20f, true);
    put(0x1f1, 255, 1);
    is_refused(ERR_TRUNCATED, 1, "kernel: truncated: 12288 bytes, and its header says 141312");
    make_linux(0x1ff, true);
    is_refused(ERR_UNSUPPORTED, 1,
               "kernel: its Linux boot protocol is 1.255, and 2.00 is needed (Linux 1.3.73)");
}

static void large_setups_are_refused(void)
{
    static uint8_t large[KIB(40)];
    make_linux(0x20f, true);
    memcpy(large, image, sizeof(image));
    request.kernel.at = large;
    request.kernel.size = sizeof(large);
    large[0x1f1] = 64;
    memset(large + 0x1f4, 0, 4);
    large[0x1f4] = 16;
    is_refused(ERR_UNSUPPORTED, 1, "kernel: its setup of 33280 bytes is larger than 32 KiB");
    large[0x1f1] = 63;
    is_planned();
    CHECK_EQ(setup.size, LOAD_SETUP_MAX);
}

static void initrd_has_to_fit(void)
{
    make_linux(0x20f, true);
    add_initrd();
    request.initrd.size = 0;
    is_refused(ERR_INVALID, 2, "initrd: the file is empty");
    request.initrd.size = MIB(3);
    is_refused(ERR_NO_SPACE, 2,
               "initrd: the initrd of 3072 KiB does not fit between 1 MiB and 3 MiB, where the "
               "kernel takes it: raise `memory`, or make it smaller");
    make_efi(0x80);
    add_initrd();
    request.initrd.size = MIB(7);
    is_refused(ERR_NO_SPACE, 2,
               "initrd: the initrd of 7168 KiB does not fit between 1 MiB and 7 MiB, where the "
               "kernel takes it: raise `memory`, or make it smaller");
}

static void a_kernel_above_4g_takes_all_ram(void)
{
    make_linux(0x20f, true);
    add_initrd();
    put(0x236, 3, 2);
    is_planned();
    CHECK_EQ(setup.initrd, (MIB(8) - 0x28000 - 1 - 0x2345) & ~0xfffull);
}

TEST_MAIN({"header is filled in", header_is_filled_in},
          {"old protocols have their places", old_protocols_have_their_places},
          {"EFI programs are handed over whole", efi_programs_are_handed_over_whole},
          {"what is neither is refused", what_is_neither_is_refused},
          {"damaged kernels are refused", damaged_kernels_are_refused},
          {"large setups are refused", large_setups_are_refused},
          {"initrd has to fit", initrd_has_to_fit},
          {"a kernel above 4 GiB takes all RAM", a_kernel_above_4g_takes_all_ram})
