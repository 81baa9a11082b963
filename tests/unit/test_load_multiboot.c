/* Multiboot 1 and 2, by the rules of their specifications. */
#include "tests/unit/load_world.h"

#define HEADER 0x800 /* offset of the header in the file */
#define MAGIC_1 0x1badb002u
#define MAGIC_2 0xe85250d6u

static const uint8_t module_bytes[5000] = {0x11, 0x22};
static struct load_file modules[2];

static void put_header_1(uint32_t flags)
{
    put(HEADER, MAGIC_1, 4);
    put(HEADER + 4, flags, 4);
    put(HEADER + 8, 0u - (MAGIC_1 + flags), 4);
}

/* header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr: at the given offset. */
static void put_addresses(unsigned at, uint32_t header, uint32_t load, uint32_t load_end,
                          uint32_t bss_end, uint32_t start)
{
    put(at, header, 4);
    put(at + 4, load, 4);
    put(at + 8, load_end, 4);
    put(at + 12, bss_end, 4);
    put(at + 16, start, 4);
}

static void make_1(uint32_t flags)
{
    make_guest();
    make_elf(false, 0xc0100000, MIB(1), 0xc0100010);
    put_header_1(flags);
}

static void add_modules(void)
{
    modules[0] = (struct load_file){.name = "m1",
                                    .at = module_bytes,
                                    .size = sizeof(module_bytes),
                                    .line = 3,
                                    .arguments = {"a b!", 3}};
    modules[1] = (struct load_file){.name = "m2", .at = module_bytes + 1, .size = 1, .line = 4};
    request.module = modules;
    request.modules = 2;
    request.initrd.at = module_bytes;
    request.initrd.size = 4;
}

static void an_elf_by_multiboot_1(void)
{
    make_1(3);
    succeeds();
    CHECK_EQ(entry->rip, MIB(1) + 0x10); /* the entry is virtual, the guest starts without paging */
    CHECK_EQ(entry->gpr[GPR_RAX], 0x2badb002);
    is_flat_32();
    CHECK_EQ(guest_get(MIB(1), 4), 0x04030201);
    uint64_t info = entry->gpr[GPR_RBX];
    CHECK(guest_map_is_ram(&map, info, 116) && info >= 0x1000);
    CHECK_EQ(guest_get(info, 4), BIT(0) | BIT(2) | BIT(3) | BIT(6) | BIT(9));
    CHECK_EQ(guest_get(info + 4, 4), 639);
    CHECK_EQ(guest_get(info + 8, 4), 7 * 1024);
    is_text(guest_get(info + 16, 4), "kernel one two");
    CHECK_EQ(guest_get(info + 20, 4), 0);
    is_text(guest_get(info + 64, 4), "Traprock");
    uint64_t at = guest_get(info + 48, 4);
    CHECK_EQ(guest_get(info + 44, 4), map.count * 24);
    for (unsigned i = 0; i < map.count; i++, at += 24) {
        CHECK_EQ(guest_get(at, 4), 20);
        CHECK_EQ(guest_get(at + 4, 8), map.entry[i].base);
        CHECK_EQ(guest_get(at + 12, 8), map.entry[i].size);
        CHECK_EQ(guest_get(at + 20, 4), map.entry[i].type);
    }
}

/* A BIOS that begins at F000:0000 and ends at the reset vector gives way to a kernel there. */
static void a_kernel_takes_the_bios_place(void)
{
    static char bios[0x400];
    memset(bios, 'B', sizeof(bios));
    static const struct {
        uint64_t base;
        bool has_bios, has_reset;
    } places[] = {{MIB(1), true, true}, {0xff000, true, false}, {0xf0000, false, false}};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        make_guest();
        make_elf(false, places[i].base, places[i].base, places[i].base + 0x10);
        put_header_1(3);
        request.bios = (struct load_text){bios, sizeof(bios)};
        succeeds();
        CHECK_EQ(entry->rip, places[i].base + 0x10);
        CHECK_EQ(guest_get(places[i].base, 8), 0x0807060504030201ull);
        CHECK_EQ(guest_get(0xf03f0, 1) == 'B', places[i].has_bios);
        CHECK_EQ(guest_get(0xffff0, 1) == 'B', places[i].has_reset);
    }
}

static void modules_in_order(void)
{
    make_1(1);
    add_modules();
    succeeds();
    uint64_t info = entry->gpr[GPR_RBX];
    CHECK_EQ(guest_get(info + 20, 4), 3);
    uint64_t list = guest_get(info + 24, 4), after = MIB(1) + 0x2000;
    static const char *const texts[] = {"initrd", "m1 a b", "m2"};
    static const uint64_t sizes[] = {4, 5000, 1};
    for (unsigned i = 0; i < 3; i++, list += 16) {
        uint64_t begin = guest_get(list, 4);
        CHECK_EQ(begin, align_up(after, 4096));
        CHECK_EQ(guest_get(list + 4, 4), begin + sizes[i]);
        is_text(guest_get(list + 8, 4), texts[i]);
        CHECK_EQ(guest_get(list + 12, 4), 0);
        CHECK_EQ(guest_get(begin, 1), i == 2 ? 0x22 : 0x11);
        after = begin + sizes[i];
    }
}

static void the_address_fields(void)
{
    make_guest();
    put_header_1(BIT(16));
    /* The file from 0x700 on goes to 2 MiB, 0x900 bytes of it, with room for 0x3000. */
    put_addresses(HEADER + 12, MIB(2) + 0x100, MIB(2), MIB(2) + 0x900, MIB(2) + 0x3000,
                  MIB(2) + 0x120);
    image[0x700] = 0x5a;
    image[0x700 + 0x8ff] = 0x5b;
    image[0x700 + 0x900] = 0x5c;
    add_modules();
    succeeds();
    CHECK_EQ(entry->rip, MIB(2) + 0x120);
    CHECK_EQ(guest_get(MIB(2), 1), 0x5a);
    CHECK_EQ(guest_get(MIB(2) + 0x8ff, 2), 0x5b);
    CHECK_EQ(guest_get(guest_get(entry->gpr[GPR_RBX] + 24, 4), 4), MIB(2) + 0x3000);
    /* 0: to the file's end, and nothing behind it. They hold for a 64-bit ELF file, too. */
    make_elf(true, 0, 0, 0);
    put_addresses(HEADER + 12, MIB(2) + HEADER, MIB(2), 0, 0, MIB(2));
    succeeds();
    CHECK_EQ(guest_get(MIB(2), 4), 0x464c457f);
    CHECK_EQ(guest_get(guest_get(entry->gpr[GPR_RBX] + 24, 4), 4), MIB(2) + sizeof(image));
}

static void bad_address_fields(void)
{
    static const struct {
        uint32_t header, load, load_end, bss_end, start;
        enum status status;
        const char *text;
    } cases[] = {
        {0x100000, 0x100004, 0, 0, 0x100004, ERR_INVALID,
         "kernel: malformed: its Multiboot header says that it is loaded from before the file's "
         "beginning"},
        {0x100801, 0x100000, 0, 0, 0x100000, ERR_INVALID,
         "kernel: malformed: its Multiboot header says that it is loaded from before the file's "
         "beginning"},
        {0x100800, 0x100000, 0xfffff, 0, 0x100000, ERR_INVALID,
         "kernel: malformed: the addresses in its Multiboot header are not in order"},
        {0x100800, 0x100000, 0x101000, 0x100fff, 0x100000, ERR_INVALID,
         "kernel: malformed: the addresses in its Multiboot header are not in order"},
        {0x100800, 0x100000, 0x103001, 0, 0x100000, ERR_TRUNCATED,
         "kernel: truncated: its Multiboot header says that 12289 bytes are loaded from offset 0"},
        {0x100800, 0x100000, 0x101000, 0, 0x101000, ERR_INVALID,
         "kernel: malformed: its Multiboot entry 0x101000 lies outside what is loaded"},
        {0x100800, 0x100000, 0x101000, 0x900000, 0x100000, ERR_RANGE,
         "kernel: its 8192 KiB at 0x100000 lie outside the guest's RAM of 8 MiB: raise `memory`"},
    };
    make_guest();
    put_header_1(BIT(16));
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        put_addresses(HEADER + 12, cases[i].header, cases[i].load, cases[i].load_end,
                      cases[i].bss_end, cases[i].start);
        fails(cases[i].status, cases[i].text);
    }
    request.kernel.size = HEADER + 31;
    fails(ERR_TRUNCATED, "kernel: truncated in the Multiboot header");
}

static void what_multiboot_1_refuses(void)
{
    make_1(1 | BIT(3));
    fails(ERR_UNSUPPORTED, "kernel: its Multiboot header requires what is not offered (flags 0x8)");
    make_guest();
    make_elf(true, MIB(1), MIB(1), MIB(1));
    put_header_1(0);
    fails(ERR_UNSUPPORTED,
          "kernel: a 64-bit ELF file, and Multiboot 1 has 32-bit ones only: link it as elf32-i386, "
          "or give it a Multiboot2 header or a PVH note");
    make_guest();
    put_header_1(0);
    fails(ERR_INVALID, "kernel: malformed: a Multiboot header without address fields in a file "
                       "that is no ELF file");
    make_1(0);
    put(24, 0xc0103000, 4);
    fails(ERR_INVALID, "kernel: malformed: its entry 0xc0103000 lies in no segment below 4 GiB");
    make_1(0);
    add_modules();
    modules[0].size = MIB(9);
    fails(ERR_NO_SPACE, "m1: the module of 9216 KiB does not fit beside the kernel into 8 MiB "
                        "below 4 GiB: raise `memory`");
    CHECK_EQ(error.line, 3);
    modules[0].size = 0;
    fails(ERR_INVALID, "m1: the file is empty");
    make_1(0);
    request.entry = 32;
    fails(ERR_INVALID, "kernel: `entry` is for Linux kernels, and this is none: remove it");
}

/* A video mode that is asked for is a warning: the information says that there is none. */
static void there_is_no_display(void)
{
    make_1(BIT(2));
    CHECK_EQ(load_kernel(&request, plan, LOAD_PLAN_SIZE, &error), STATUS_OK);
    CHECK_STR(error.text, "kernel: its Multiboot header asks for a video mode, and there is no "
                          "display");
    starts();
    CHECK_EQ(guest_get(entry->gpr[GPR_RBX], 4) & (BIT(11) | BIT(12)), 0);
}

/* The header lies in the first 8 KiB, at a multiple of 4, with a right sum. */
static void where_the_header_is(void)
{
    make_guest();
    make_elf(false, MIB(1), MIB(1), MIB(1));
    request.format = LOAD_MULTIBOOT;
    fails(ERR_INVALID, "kernel: no Multiboot header in its first 8 KiB");
    memcpy(image + 8192 - 12, (uint32_t[]){MAGIC_1, 0, 0u - MAGIC_1}, 12);
    succeeds();
    image[8192 - 1]++;
    fails(ERR_INVALID, "kernel: no Multiboot header in its first 8 KiB");
    image[8192 - 1]--;
    memmove(image + 8192 - 8, image + 8192 - 12, 12);
    fails(ERR_INVALID, "kernel: no Multiboot header in its first 8 KiB");
}

/* ---- Multiboot 2 ---- */

static unsigned tags_end;

static void put_tag(unsigned type, unsigned flags, unsigned size, const uint32_t *words)
{
    put(tags_end, type, 2);
    put(tags_end + 2, flags, 2);
    put(tags_end + 4, size, 4);
    if (words != NULL)
        memcpy(image + tags_end + 8, words, size - 8);
    tags_end += (size + 7) / 8 * 8;
}

static void put_header_2(unsigned architecture)
{
    uint32_t size = tags_end - HEADER;
    put(HEADER, MAGIC_2, 4);
    put(HEADER + 4, architecture, 4);
    put(HEADER + 8, size, 4);
    put(HEADER + 12, 0u - (MAGIC_2 + architecture + size), 4);
}

static void begin_2(bool is_64)
{
    make_guest();
    make_elf(is_64, MIB(1), MIB(1), MIB(1) + 0x10);
    tags_end = HEADER + 16;
}

static void end_2(void)
{
    put_tag(0, 0, 8, NULL);
    put_header_2(0);
}

/* The address of the first tag of this type behind `from` (0: of all); 0: there is none. */
static uint64_t find_tag(unsigned type, uint64_t from)
{
    uint64_t info = entry->gpr[GPR_RBX], end = info + guest_get(info, 4);
    uint64_t at = from == 0 ? info + 8 : from + align_up(guest_get(from + 4, 4), 8);
    while (at < end && guest_get(at, 4) != type && guest_get(at, 4) != 0)
        at += align_up(guest_get(at + 4, 4), 8);
    return at < end && guest_get(at, 4) == type ? at : 0;
}

static void an_elf_by_multiboot_2(void)
{
    for (unsigned is_64 = 0; is_64 < 2; is_64++) {
        begin_2(is_64);
        end_2();
        add_modules();
        succeeds();
        CHECK_EQ(entry->rip, MIB(1) + 0x10);
        CHECK_EQ(entry->gpr[GPR_RAX], 0x36d76289);
        is_flat_32();
        uint64_t info = entry->gpr[GPR_RBX];
        CHECK(info % 8 == 0 && info >= 0x1000 && guest_map_is_ram(&map, info, guest_get(info, 4)));
        CHECK_EQ(guest_get(info + 4, 4), 0);
        uint64_t cmdline = find_tag(1, 0);
        CHECK_EQ(guest_get(cmdline + 4, 4), 8 + sizeof("kernel one two"));
        is_text(cmdline + 8, "kernel one two");
        is_text(find_tag(2, 0) + 8, "Traprock");
        CHECK_EQ(guest_get(find_tag(4, 0) + 8, 4), 639);
        CHECK_EQ(guest_get(find_tag(4, 0) + 12, 4), 7 * 1024);
        uint64_t mmap = find_tag(6, 0);
        CHECK_EQ(guest_get(mmap + 4, 4), 16 + 24 * map.count);
        CHECK_EQ(guest_get(mmap + 8, 8), 24);
        for (unsigned i = 0; i < map.count; i++) {
            CHECK_EQ(guest_get(mmap + 16 + 24 * i, 8), map.entry[i].base);
            CHECK_EQ(guest_get(mmap + 24 + 24 * i, 8), map.entry[i].size);
            CHECK_EQ(guest_get(mmap + 32 + 24 * i, 8), map.entry[i].type);
        }
        uint64_t end = info + guest_get(info, 4);
        CHECK_EQ(guest_get(end - 8, 8), 8ull << 32);
        /* No framebuffer, no EFI, nothing moved. */
        static const unsigned absent[] = {5, 8, 11, 12, 17, 18, 19, 20, 21};
        for (size_t i = 0; i < ARRAY_SIZE(absent); i++)
            CHECK_EQ(find_tag(absent[i], 0), 0);
    }
}

static void modules_are_tags(void)
{
    static const char *const texts[] = {"initrd", "m1 a b", "m2"};
    static const uint64_t sizes[] = {4, 5000, 1};
    begin_2(false);
    end_2();
    add_modules();
    succeeds();
    uint64_t tag = 0, after = MIB(1) + 0x2000;
    for (unsigned i = 0; i < 3; i++) {
        tag = find_tag(3, tag);
        uint64_t begin = guest_get(tag + 8, 4);
        CHECK_EQ(begin, align_up(after, 4096));
        after = begin + sizes[i];
        CHECK_EQ(guest_get(tag + 12, 4), after);
        is_text(tag + 16, texts[i]);
        CHECK_EQ(guest_get(tag + 4, 4), 16 + strlen(texts[i]) + 1);
    }
    CHECK_EQ(find_tag(3, tag), 0);
}

static uint8_t sum(uint64_t at, unsigned size)
{
    uint8_t total = 0;
    for (unsigned i = 0; i < size; i++)
        total = (uint8_t)(total + guest_get(at + i, 1));
    return total;
}

static void the_rsdp_is_copied(void)
{
    begin_2(false);
    end_2();
    succeeds();
    uint64_t old = find_tag(14, 0), new = find_tag(15, 0);
    CHECK_EQ(guest_get(old + 4, 4), 8 + 20);
    CHECK_EQ(guest_get(old + 8, 8), 0x2052545020445352ull);
    CHECK_EQ(guest_get(old + 8 + 15, 1), 0);
    CHECK_EQ(sum(old + 8, 20), 0);
    CHECK_EQ(guest_get(new + 4, 4), 8 + 36);
    CHECK_EQ(guest_get(new + 8 + 15, 1), 2);
    CHECK_EQ(sum(new + 8, 36), 0);
    for (unsigned i = 0; i < 36; i++)
        CHECK_EQ(guest_get(new + 8 + i, 1), guest_get(GUEST_MAP_ACPI_BASE + i, 1));
}

static void it_is_moved_where_it_wants(void)
{
    static const struct {
        uint32_t min, max, align, preference;
        uint64_t base;
    } cases[] = {
        {MIB(1), 0xffffffff, 0x1000, 0, MIB(1)},          {MIB(3), 0xffffffff, 0x1000, 0, MIB(3)},
        {MIB(1), 0xffffffff, 0x1000, 2, MIB(8) - 0x2000}, {MIB(3), MIB(4), 0x1000, 1, MIB(3)},
        {MIB(1), MIB(6) - 1, MIB(1), 2, MIB(5)},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        begin_2(false);
        put_tag(10, 0, 24,
                (uint32_t[]){cases[i].min, cases[i].max, cases[i].align, cases[i].preference});
        end_2();
        succeeds();
        CHECK_EQ(entry->rip, cases[i].base + 0x10);
        CHECK_EQ(guest_get(cases[i].base, 4), 0x04030201);
        CHECK_EQ(guest_get(find_tag(21, 0) + 8, 4), cases[i].base);
    }
    begin_2(false);
    put_tag(10, 0, 24, (uint32_t[]){MIB(8), 0xffffffff, 0x1000, 1});
    end_2();
    fails(ERR_NO_SPACE, "kernel: 8 KiB of RAM from 0x800000 to 0x100000000 are needed: raise "
                        "`memory`");
    put(HEADER + 16 + 16, 3, 4);
    fails(ERR_INVALID, "kernel: malformed: it is relocatable to multiples of 0x3");
}

static void addresses_and_entries(void)
{
    begin_2(false);
    put_tag(3, 0, 12, (uint32_t[]){MIB(1) + 0x40});
    end_2();
    succeeds();
    CHECK_EQ(entry->rip, MIB(1) + 0x40);
    begin_2(false);
    put_tag(3, 0, 12, (uint32_t[]){MIB(2)});
    end_2();
    fails(ERR_INVALID, "kernel: malformed: its entry 0x200000 lies in no segment below 4 GiB");
    begin_2(false);
    put_tag(2, 0, 24, (uint32_t[]){MIB(2) + HEADER, ~0u, 0, 0});
    put_tag(3, 0, 12, (uint32_t[]){MIB(2) + 8});
    end_2();
    succeeds();
    CHECK_EQ(entry->rip, MIB(2) + 8);
    CHECK_EQ(guest_get(MIB(2), 4), 0x464c457f);
    begin_2(false);
    put_tag(2, 0, 24, (uint32_t[]){MIB(2) + HEADER, MIB(2), 0, 0});
    end_2();
    fails(ERR_INVALID, "kernel: malformed: its Multiboot2 header has an address tag and no entry "
                       "tag");
}

/* What is required and cannot be given is refused; the same tag, marked optional, is not. */
static void required_and_optional_tags(void)
{
    static const struct {
        unsigned type, size;
        uint32_t word;
        const char *what; /* NULL: nothing is refused */
    } cases[] = {
        {1, 16, 6, NULL},
        {1, 12, 22, "information of an unknown type"},
        {4, 12, 2, NULL},
        {6, 8, 0, NULL},
        {7, 8, 0, "EFI boot services"},
        {8, 12, 0, NULL},
        {9, 12, 0, NULL},
        {11, 8, 0, "what an unknown tag stands for"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        for (unsigned optional = 0; optional < 2; optional++) {
            begin_2(false);
            put_tag(cases[i].type, optional, cases[i].size,
                    (uint32_t[]){cases[i].word, cases[i].word, 32});
            end_2();
            if (optional || cases[i].what == NULL) {
                succeeds();
                continue;
            }
            char text[160];
            snprintf(text, sizeof(text),
                     "kernel: its Multiboot2 header requires %s (tag %u), which is not offered",
                     cases[i].what, cases[i].type);
            fails(ERR_UNSUPPORTED, text);
        }
}

static void a_framebuffer_is_ram(void)
{
    static const struct {
        uint32_t width, height, flags, granted_width, granted_height;
    } cases[] = {{800, 600, 0, 800, 600}, {800, 600, 1, 800, 600}, {0, 0, 0, 1024, 768},
                 {4000, 3000, 1, 0, 0},   {65536, 1, 1, 0, 0},     {~0u, ~0u, 1, 0, 0}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        begin_2(false);
        put_tag(5, cases[i].flags, 20, (uint32_t[]){cases[i].width, cases[i].height, 24});
        put_tag(4, 0, 12, (uint32_t[]){2});
        end_2();
        add_modules();
        succeeds();
        uint64_t tag = find_tag(8, 0),
                 size = 4ull * cases[i].granted_width * cases[i].granted_height;
        CHECK_EQ(tag != 0, size != 0);
        CHECK_EQ(map.ram_below_4g, MIB(8) - align_up(size, 4096));
        CHECK_EQ(guest_get(find_tag(4, 0) + 12, 4), (map.ram_below_4g - MIB(1)) >> 10);
        if (tag == 0)
            continue;
        CHECK_EQ(guest_get(tag + 8, 8), map.ram_below_4g);
        CHECK_EQ(guest_get(tag + 16, 4), 4 * cases[i].granted_width);
        CHECK_EQ(guest_get(tag + 20, 4), cases[i].granted_width);
        CHECK_EQ(guest_get(tag + 24, 4), cases[i].granted_height);
        CHECK_EQ(guest_get(tag + 28, 8), 0x0808081000000120ull);
    }
    begin_2(false);
    put_tag(5, 0, 20, (uint32_t[]){4000, 3000, 32});
    end_2();
    fails(ERR_NO_SPACE,
          "kernel: the framebuffer of 4000x3000 pixels of 32 bits that its Multiboot2 "
          "header requires takes more than half of the guest's RAM of 8 MiB: raise "
          "`memory`");
    begin_2(false);
    put_tag(4, 0, 12, (uint32_t[]){1});
    end_2();
    fails(ERR_UNSUPPORTED, "kernel: its Multiboot2 header requires a display (tag 4), which is not "
                           "offered but as a framebuffer (tag 5)");
    begin_2(false);
    put_tag(4, 0, 12, (uint32_t[]){1});
    put_tag(5, 1, 20, (uint32_t[]){4000, 3000, 32});
    end_2();
    CHECK_EQ(load_kernel(&request, plan, LOAD_PLAN_SIZE, &error), ERR_NO_SPACE);
}

static void malformed_headers_2(void)
{
    begin_2(false);
    put_tag(0, 0, 8, NULL);
    put_header_2(4);
    fails(ERR_UNSUPPORTED,
          "kernel: its Multiboot2 header is for another processor; i386 (0) is needed");
    begin_2(false);
    put_header_2(0);
    fails(ERR_INVALID, "kernel: malformed: its Multiboot2 header has no end tag");
    begin_2(false);
    end_2();
    put(HEADER + 16, 6, 2);
    put(HEADER + 20, 7, 4);
    fails(ERR_INVALID, "kernel: malformed: tag 6 of its Multiboot2 header has 7 bytes");
    put(HEADER + 20, 9, 4);
    fails(ERR_INVALID, "kernel: malformed: tag 6 of its Multiboot2 header has 9 bytes");
    begin_2(false);
    put_tag(10, 1, 16, (uint32_t[]){0, 0});
    end_2();
    fails(ERR_INVALID, "kernel: malformed: tag 10 of its Multiboot2 header has 16 bytes");
    tags_end = sizeof(image) + 8;
    put_header_2(0);
    fails(ERR_TRUNCATED, "kernel: truncated in the Multiboot2 header");
    request.format = LOAD_MULTIBOOT2;
    image[HEADER]++;
    fails(ERR_INVALID, "kernel: no Multiboot2 header in its first 32 KiB");
}

/* A file may have several headers: as QEMU has it, and where that cannot be, the next. */
static void several_headers(void)
{
    begin_2(false);
    end_2();
    put(0x400, MAGIC_1, 4);
    put(0x408, 0u - MAGIC_1, 4);
    succeeds();
    CHECK_EQ(entry->gpr[GPR_RAX], 0x2badb002);
    request.format = LOAD_MULTIBOOT2;
    succeeds();
    CHECK_EQ(entry->gpr[GPR_RAX], 0x36d76289);
    begin_2(true);
    end_2();
    put(0x400, MAGIC_1, 4);
    put(0x408, 0u - MAGIC_1, 4);
    succeeds();
    CHECK_EQ(entry->gpr[GPR_RAX], 0x36d76289);
}

static void long_strings(void)
{
    static char text[200000];
    begin_2(false);
    end_2();
    memset(text, 'x', sizeof(text) - 1);
    add_modules();
    modules[0].arguments = (struct load_text){text, sizeof(text)};
    fails(ERR_NO_SPACE, "kernel: no room for what it is handed at its start");
    request.format = LOAD_MULTIBOOT;
    put(0x400, MAGIC_1, 4);
    put(0x408, 0u - MAGIC_1, 4);
    fails(ERR_NO_SPACE, "kernel: no room for the command line, or a module's, below 640 KiB");
}

TEST_MAIN({"an_elf_by_multiboot_1", an_elf_by_multiboot_1},
          {"a_kernel_takes_the_bios_place", a_kernel_takes_the_bios_place},
          {"modules_in_order", modules_in_order}, {"the_address_fields", the_address_fields},
          {"bad_address_fields", bad_address_fields},
          {"what_multiboot_1_refuses", what_multiboot_1_refuses},
          {"there_is_no_display", there_is_no_display},
          {"where_the_header_is", where_the_header_is},
          {"an_elf_by_multiboot_2", an_elf_by_multiboot_2}, {"modules_are_tags", modules_are_tags},
          {"the_rsdp_is_copied", the_rsdp_is_copied},
          {"it_is_moved_where_it_wants", it_is_moved_where_it_wants},
          {"addresses_and_entries", addresses_and_entries},
          {"required_and_optional_tags", required_and_optional_tags},
          {"malformed_headers_2", malformed_headers_2}, {"several_headers", several_headers},
          {"a_framebuffer_is_ram", a_framebuffer_is_ram}, {"long_strings", long_strings})
