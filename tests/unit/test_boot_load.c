/* What the boot program does before it leaves: the processor's check, the monitor's ELF file, page
 * tables, and paths. */
#include <stdlib.h>

#include "boot/boot_path.h"
#include "boot/boot_tables.h"
#include "boot/check_cpu.h"
#include "boot/elf_image.h"
#include "tests/check.h"

/* ---- The processor ---- */

/* A processor that meets every requirement, for a test to take something from. */
static struct {
    uint32_t ecx1, leaf_max, extended_max, topology_ebx, topology_edx, features_edx;
    uint64_t feature_control, pin, proc, proc2, ept;
    bool read_proc2, read_ept;
} cpu;

static void fake_cpuid(uint32_t leaf, uint32_t subleaf, struct cpuid_regs *regs)
{
    (void)subleaf;
    memset(regs, 0, sizeof(*regs));
    switch (leaf) {
    case 0:
        regs->eax = cpu.leaf_max;
        memcpy(&regs->ebx, "Genu", 4);
        memcpy(&regs->edx, "ineI", 4);
        memcpy(&regs->ecx, "ntel", 4);
        break;
    case 1:
        regs->ecx = cpu.ecx1;
        regs->ebx = 7u << 24;
        break;
    case 0xb:
        regs->ebx = cpu.topology_ebx;
        regs->edx = cpu.topology_edx;
        break;
    case 0x80000000:
        regs->eax = cpu.extended_max;
        break;
    case 0x80000001:
        regs->edx = cpu.features_edx;
        break;
    default:
        memcpy(regs, leaf == 0x80000002 ? "   Right-justifi" : "ed brand 4 GHz..", 16);
    }
}

static uint64_t fake_rdmsr(uint32_t msr)
{
    switch (msr) {
    case 0x3a:
        return cpu.feature_control;
    case 0x481:
        return cpu.pin;
    case 0x482:
        return cpu.proc;
    case 0x48b:
        cpu.read_proc2 = true;
        return cpu.proc2;
    case 0x48c:
        cpu.read_ept = true;
        return cpu.ept;
    }
    printf("# MSR 0x%x does not exist\n", msr);
    abort();
}

static const struct cpu_source source = {fake_cpuid, fake_rdmsr};

static void cpu_reset(void)
{
    memset(&cpu, 0, sizeof(cpu));
    cpu.ecx1 = 1 << 5;
    cpu.pin = 1ull << (32 + 6);
    cpu.proc = 1ull << 63 | 1ull << (32 + 28);
    cpu.proc2 = 1ull << (32 + 1) | 1ull << (32 + 7);
    cpu.ept = 1 << 6 | 1 << 14 | 1 << 20;
    cpu.leaf_max = 0xb;
    cpu.extended_max = 0x80000008;
}

static void check_missing(const char *part)
{
    const struct cpu_requirement *missing = check_cpu(&source);

    CHECK(missing != NULL);
    CHECK(strstr(missing->missing, part) != NULL);
    CHECK(strlen(missing->advice) > 10);
}

static void a_whole_processor_passes(void)
{
    cpu_reset();
    CHECK(check_cpu(&source) == NULL);
    cpu.feature_control = 5; /* locked with VMX on */
    CHECK(check_cpu(&source) == NULL);
    cpu.feature_control = 4;
    CHECK(check_cpu(&source) == NULL);
}

static void each_lack_is_named(void)
{
    cpu_reset();
    cpu.ecx1 = 0;
    check_missing("VMX (CPUID");
    cpu_reset();
    cpu.feature_control = 1;
    check_missing("locked it out");
    cpu_reset();
    cpu.feature_control = 3; /* only inside SMX */
    check_missing("locked it out");
    cpu_reset();
    cpu.pin = 1 << 6; /* the other half of the MSR */
    check_missing("preemption timer");
    cpu_reset();
    cpu.proc2 &= ~(1ull << 33);
    check_missing("EPT");
    cpu_reset();
    cpu.proc2 &= ~(1ull << 39);
    check_missing("unrestricted guest");
    cpu_reset();
    cpu.ept &= ~(1ull << 14);
    check_missing("write-back");
    cpu_reset();
    cpu.ept &= ~(1ull << 20);
    check_missing("INVEPT");
}

/* Reading an MSR that is not there is a fault inside the firmware. */
static void reads_no_msr_that_may_be_missing(void)
{
    cpu_reset();
    cpu.proc &= ~(1ull << 63);
    check_missing("secondary");
    CHECK(!cpu.read_proc2 && !cpu.read_ept);
    cpu_reset();
    cpu.proc2 = 0;
    check_missing("EPT");
    CHECK(!cpu.read_ept);
}

static void finds_its_apic_id(void)
{
    cpu_reset();
    cpu.topology_ebx = 2;
    cpu.topology_edx = 0x12345;
    CHECK_EQ(check_cpu_apic_id(&source), 0x12345);
    cpu.topology_ebx = 0;
    CHECK_EQ(check_cpu_apic_id(&source), 7);
    cpu.topology_ebx = 2;
    cpu.leaf_max = 0xa;
    CHECK_EQ(check_cpu_apic_id(&source), 7);
}

static void knows_the_processor_by_name(void)
{
    char name[49];

    cpu_reset();
    check_cpu_name(&source, name);
    CHECK_STR(name, "Right-justified brand 4 GHz..ed brand 4 GHz..");
    cpu.extended_max = 0x80000003;
    check_cpu_name(&source, name);
    CHECK_STR(name, "GenuineIntel");

    CHECK(!check_cpu_has_1g_pages(&source));
    cpu.features_edx = 1 << 26;
    CHECK(check_cpu_has_1g_pages(&source));
    cpu.extended_max = 0x80000000;
    CHECK(!check_cpu_has_1g_pages(&source));
}

/* ---- The ELF file ---- */

#define LINK 0xffffffff80000000ull
#define ELF_SIZE 0x2000

/* Two segments with a gap and .bss, a symbol table and its strings. */
static void elf_make(uint8_t *file)
{
    static const uint8_t ident[16] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
    const uint64_t programs[2][7] = {
        {5ull << 32 | 1, 0x1000, LINK, 0x100000, 0x20, 0x20, 0x1000},
        {6ull << 32 | 1, 0x1800, LINK + 0x2010, 0x102010, 0x10, 0x1ff1, 0x1000},
    };
    const uint64_t symtab[8] = {2ull << 32, 0, 0, 0x600, 0x30, 2 /* link */, 8, 24};
    const uint64_t strtab[8] = {3ull << 32, 0, 0, 0x700, 0x11, 0, 1, 0};

    memset(file, 0, ELF_SIZE);
    memcpy(file, ident, 16);
    file[16] = 2;
    file[18] = 62;
    file[20] = 1;
    memcpy(file + 24, &(uint64_t){LINK + 0x10}, 8);
    memcpy(file + 32, &(uint64_t){0x40}, 8);
    memcpy(file + 40, &(uint64_t){0x400}, 8);
    file[52] = 64;
    file[54] = 56;
    file[56] = 2;
    file[58] = 64;
    file[60] = 3;
    memcpy(file + 0x40, programs, sizeof(programs));
    memcpy(file + 0x440, symtab, 64);
    memcpy(file + 0x480, strtab, 64);
    memset(file + 0x1000, 0xaa, 0x20);
    memset(file + 0x1800, 0xbb, 0x10);
}

static void elf_lays_out_segments(void)
{
    static uint8_t file[ELF_SIZE], to[0x5000];
    struct elf_image image;

    elf_make(file);
    CHECK_EQ(elf_image_open(file, ELF_SIZE, &image), STATUS_OK);
    CHECK_EQ(image.link_base, LINK);
    CHECK_EQ(image.size, 0x5000); /* 0x2010 + 0x1ff1 is one byte into the fifth page */
    CHECK_EQ(image.entry, LINK + 0x10);
    CHECK_EQ(image.symtab_offset, 0x600);
    CHECK_EQ(image.symtab_size, 0x30);
    CHECK_EQ(image.strtab_offset, 0x700);
    CHECK_EQ(image.strtab_size, 0x11);
    memset(to, 0xcc, sizeof(to));
    elf_image_copy(&image, to);
    for (size_t i = 0; i < sizeof(to); i++)
        CHECK_EQ(to[i], i < 0x20 ? 0xaa : i >= 0x2010 && i < 0x2020 ? 0xbb : 0);
}

/* {offset, value, size, expected}: one field changed. */
static void elf_refuses_what_is_wrong(void)
{
    static const struct {
        size_t at;
        uint64_t value;
        unsigned size;
        enum status expected;
    } rows[] = {
        {0, 0, 1, ERR_INVALID},            /* magic */
        {4, 1, 1, ERR_INVALID},            /* 32 bits */
        {16, 3, 1, ERR_INVALID},           /* a shared object */
        {18, 3, 1, ERR_INVALID},           /* i386 */
        {24, LINK + 0x5000, 8, ERR_RANGE}, /* the entry outside */
        {24, 0, 8, ERR_RANGE},
        {32, ELF_SIZE - 10, 8, ERR_INVALID}, /* program headers outside */
        {32, UINT64_MAX, 8, ERR_INVALID},
        {40, ELF_SIZE, 8, ERR_INVALID}, /* section headers outside */
        {54, 32, 2, ERR_INVALID},       /* sizes of headers */
        {56, 0xffff, 2, ERR_INVALID},
        {56, 0, 2, ERR_INVALID}, /* no segment at all */
        {58, 40, 2, ERR_INVALID},
        {0x40 + 8, ELF_SIZE - 0x1f, 8, ERR_INVALID}, /* a segment outside the file */
        {0x40 + 8, UINT64_MAX, 8, ERR_INVALID},
        {0x40 + 32, 0x21, 8, ERR_INVALID},                  /* larger in the file than in memory */
        {0x40 + 56 + 40, 0, 8, ERR_INVALID},                /* the same, with none in memory */
        {0x40 + 16, 0x400000, 8, ERR_RANGE},                /* linked low */
        {0x40 + 56 + 16, UINT64_MAX - 0xfff, 8, ERR_RANGE}, /* wraps */
        {0x40 + 56 + 40, UINT64_MAX, 8, ERR_RANGE},
    };
    static uint8_t file[ELF_SIZE];
    struct elf_image image;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        elf_make(file);
        memcpy(file + rows[i].at, &rows[i].value, rows[i].size);
        CHECK_EQ(elf_image_open(file, ELF_SIZE, &image), rows[i].expected);
    }
    elf_make(file);
    for (uint64_t size = 0; size < 0x1810; size++)
        CHECK(elf_image_open(file, size, &image) != STATUS_OK);
}

static void elf_may_lack_symbols(void)
{
    static const size_t broken[] = {0x440 + 24, 0x440 + 40, 0x480 + 24};
    static uint8_t file[ELF_SIZE];
    struct elf_image image;

    for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
        elf_make(file);
        memset(file + broken[i], 0x7f, 4);
        CHECK_EQ(elf_image_open(file, ELF_SIZE, &image), STATUS_OK);
        CHECK_EQ(image.symtab_size, 0);
    }
}

/* ---- Page tables ---- */

#define POOL 128

struct space {
    struct boot_tables tables;
    struct boot_tables_request request;
};

/* What the tables say about linear: the physical address, or all ones. */
static uint64_t walk(const struct space *s, uint64_t linear)
{
    const uint64_t *table = s->tables.page;

    for (unsigned level = 4; level >= 1; level--) {
        unsigned shift = 12 + 9 * (level - 1);
        uint64_t entry = table[linear >> shift & 511];

        if ((entry & 3) != 3)
            return UINT64_MAX;
        if (level == 1 || (entry & 0x80) != 0)
            return (entry & 0x000ffffffffff000) + (linear & ((1ull << shift) - 1));
        table = (const uint64_t *)(uintptr_t)(entry & 0x000ffffffffff000);
    }
    return UINT64_MAX;
}

static void space_make(struct space *s, const struct boot_memory *map, size_t count, bool large)
{
    memset(s, 0, sizeof(*s));
    s->request.map = map;
    s->request.map_count = count;
    s->request.image_linear = LINK;
    s->request.image_physical = 0x1234000;
    s->request.image_size = 0x403000;
    s->tables.has_1g_pages = large;
    s->tables.max = boot_tables_bound(&s->request, large);
    CHECK(s->tables.max <= POOL);
    s->tables.page = aligned_alloc(4096, POOL * 4096);
    memset(s->tables.page, 0xee, POOL * 4096);
}

static const struct boot_memory machine_map[] = {
    {.base = 0x1000, .pages = 0x9f, .type = BOOT_MEMORY_USABLE},
    {.base = 0x100000, .pages = 0x7ff00, .type = BOOT_MEMORY_USABLE},
    {.base = 0xfe000000, .pages = 0x100, .type = BOOT_MEMORY_FIRMWARE},
    {.base = 0x100000000, .pages = 0x100000, .type = BOOT_MEMORY_USABLE},
    {.base = 0x23ffff000, .pages = 2, .type = BOOT_MEMORY_ACPI},
    {.base = 0x10000000000, .pages = 0x100, .type = BOOT_MEMORY_FIRMWARE},
};

static void tables_map_what_they_should(void)
{
    for (unsigned large = 0; large < 2; large++) {
        struct space s;

        space_make(&s, machine_map, ARRAY_SIZE(machine_map), large != 0);
        s.request.framebuffer = 0x8012345000;
        s.request.framebuffer_size = 0x300000;
        s.tables.max = boot_tables_bound(&s.request, large != 0);
        CHECK(s.tables.max <= POOL);
        CHECK_EQ(boot_tables_build(&s.tables, &s.request), STATUS_OK);
        CHECK_EQ(walk(&s, 0), 0);
        CHECK_EQ(walk(&s, 0xffffffff), 0xffffffff); /* the local APIC is there, too */
        CHECK_EQ(walk(&s, 0x1ffffffff), 0x1ffffffff);
        CHECK_EQ(walk(&s, 0x240000fff), 0x240000fff); /* a range over the edge of a GiB */
        CHECK_EQ(walk(&s, 0x10000000000), UINT64_MAX);
        CHECK_EQ(walk(&s, 0x8012345678), 0x8012345678);
        CHECK_EQ(walk(&s, LINK), 0x1234000);
        CHECK_EQ(walk(&s, LINK + 0x402fff), 0x1636fff);
        CHECK_EQ(walk(&s, LINK + 0x403000), UINT64_MAX);
        free(s.tables.page);
    }
}

static void tables_say_what_is_wrong(void)
{
    static const struct boot_memory high = {
        .base = 1ull << 47, .pages = 1, .type = BOOT_MEMORY_USABLE};
    static const struct boot_memory edge = {
        .base = (1ull << 47) - 4096, .pages = 1, .type = BOOT_MEMORY_USABLE};
    struct space s;
    size_t needed;

    space_make(&s, &high, 1, true);
    CHECK_EQ(boot_tables_build(&s.tables, &s.request), ERR_RANGE);
    free(s.tables.page);
    space_make(&s, &edge, 1, true);
    CHECK_EQ(boot_tables_build(&s.tables, &s.request), STATUS_OK);
    needed = s.tables.used;
    s.tables.max = needed - 1;
    CHECK_EQ(boot_tables_build(&s.tables, &s.request), ERR_NO_SPACE);
    s.tables.max = needed;
    CHECK_EQ(boot_tables_build(&s.tables, &s.request), STATUS_OK);
    s.request.image_linear = 0x200000;
    CHECK_EQ(boot_tables_build(&s.tables, &s.request), ERR_EXISTS);
    free(s.tables.page);
}

/* ---- Paths ---- */

static void wide(uint16_t *to, const char *text)
{
    size_t i = 0;

    for (; text[i] != '\0'; i++)
        to[i] = (uint8_t)text[i];
    to[i] = 0;
}

static void check_path(const uint16_t *path, const char *expected)
{
    char text[PATH_MAX];
    size_t i = 0;

    for (; path[i] != 0; i++)
        text[i] = (char)path[i];
    text[i] = '\0';
    CHECK_STR(text, expected);
}

static void paths_join(void)
{
    static const char *const rows[][3] = {
        {"\\EFI\\BOOT\\BOOTX64.EFI", "traprock.conf", "\\EFI\\BOOT\\traprock.conf"},
        {"\\EFI/BOOT\\BOOTX64.EFI", "sub/dir\\file", "\\EFI\\BOOT\\sub\\dir\\file"},
        {"\\a.efi", "x", "\\x"},
        {"a.efi", "x", "\\x"},
        {"", "x", "\\x"},
        {"\\b\\a.efi", "/x//y", "\\x\\y"},
        {"\\\\b\\\\a.efi", "x", "\\b\\x"},
    };
    uint16_t directory[PATH_MAX], name[PATH_MAX], path[PATH_MAX];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        wide(directory, rows[i][0]);
        wide(name, rows[i][1]);
        path_to_directory(directory);
        CHECK(path_join(path, directory, name));
        check_path(path, rows[i][2]);
    }
}

static void long_paths_are_refused(void)
{
    uint16_t path[PATH_MAX], name[PATH_MAX];
    char text[PATH_MAX + 1];

    memset(text, 'x', PATH_MAX);
    text[PATH_MAX] = '\0';
    CHECK(!path_from_ascii(path, text));
    text[PATH_MAX - 1] = '\0';
    CHECK(path_from_ascii(path, text));
    wide(name, "y");
    CHECK(!path_append(path, name, 1));
    CHECK(!path_from_ascii(path, ""));
    CHECK(!path_from_ascii(path, "a\tb"));
    CHECK(!path_from_ascii(path, "a\x80"));
}

static void last_part_for_messages(void)
{
    uint16_t path[PATH_MAX];
    char text[8];

    wide(path, "\\a\\conf.txt");
    path_last_part(path, text, sizeof(text));
    CHECK_STR(text, "conf.tx");
    path[3] = 0x20ac;
    path_last_part(path, text, sizeof(text));
    CHECK_STR(text, "?onf.tx");
}

static void load_options(void)
{
    static const struct {
        const char *options;
        const char *expected;
    } rows[] = {
        {"my.conf", "my.conf"},
        {"  my.conf more", "my.conf"},
        {"traprock.efi my.conf", "my.conf"},
        {"\\EFI\\TRAPROCK.EFI\tsub/my.conf", "sub\\my.conf"},
        {"traprock.efi", "default"},
        {"", "default"},
        {"   ", "default"},
        {"my.conf\x01", "default"},
        {"two\nlines", "default"},
    };
    uint16_t path[PATH_MAX], options[PATH_MAX];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        size_t length = strlen(rows[i].options);

        wide(options, rows[i].options);
        wide(path, "default");
        CHECK(path_from_options(path, options, 2 * (length + 1)));
        check_path(path, rows[i].expected);
        wide(path, "default"); /* the terminator may be missing */
        CHECK(path_from_options(path, options, 2 * length));
        check_path(path, rows[i].expected);
    }
    wide(path, "default");
    CHECK(path_from_options(path, NULL, 40));
    options[0] = 0xdc81; /* the bytes of some GUID */
    CHECK(path_from_options(path, options, 16));
    CHECK(path_from_options(path, (uint8_t *)options + 1, 15));
    check_path(path, "default");
}

TEST_MAIN({"a_whole_processor_passes", a_whole_processor_passes},
          {"each_lack_is_named", each_lack_is_named},
          {"reads_no_msr_that_may_be_missing", reads_no_msr_that_may_be_missing},
          {"finds_its_apic_id", finds_its_apic_id},
          {"knows_the_processor_by_name", knows_the_processor_by_name},
          {"elf_lays_out_segments", elf_lays_out_segments},
          {"elf_refuses_what_is_wrong", elf_refuses_what_is_wrong},
          {"elf_may_lack_symbols", elf_may_lack_symbols},
          {"tables_map_what_they_should", tables_map_what_they_should},
          {"tables_say_what_is_wrong", tables_say_what_is_wrong}, {"paths_join", paths_join},
          {"long_paths_are_refused", long_paths_are_refused},
          {"last_part_for_messages", last_part_for_messages}, {"load_options", load_options})
