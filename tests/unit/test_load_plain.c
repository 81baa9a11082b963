/* ELF files and flat binaries that follow no boot protocol, modules of PVH kernels, and plans. */
#include "tests/unit/load_world.h"

static void an_elf_64_starts_in_64_bit_mode(void)
{
    make_guest();
    make_elf(true, 0xffffffff80100000ull, MIB(1), 0xffffffff80100010ull);
    succeeds();
    CHECK_EQ(entry->rip, MIB(1) + 0x10);
    CHECK_EQ(entry->cr0, CR0_PE | CR0_ET | CR0_PG);
    CHECK_EQ(entry->cr4, CR4_PAE);
    CHECK_EQ(entry->efer, EFER_LME | EFER_LMA);
    CHECK_EQ(entry->segment[SEG_CS].access, 0xa09b);
    CHECK_EQ(entry->rflags, 2);
    CHECK_EQ(entry->gpr[GPR_RDI], entry->gpr[GPR_RBX]);
    CHECK_EQ(guest_get(entry->gpr[GPR_RDI], 4), 0x336ec578);
    CHECK(guest_map_is_ram(&map, entry->gpr[GPR_RSP] - 4096, 4096));
    CHECK_EQ(guest_get(guest_get(guest_get(entry->cr3, 8) & ~0xfffull, 8) & ~0xfffull, 8), 0x83);
    is_text(guest_get(entry->gpr[GPR_RDI] + 24, 8), "one two");
}

static void an_elf_32_starts_in_32_bit_mode(void)
{
    make_guest();
    make_elf(false, MIB(1), MIB(1), MIB(1) + 0x20);
    succeeds();
    CHECK_EQ(entry->rip, MIB(1) + 0x20);
    is_flat_32();
    CHECK_EQ(guest_get(entry->gpr[GPR_RBX], 4), 0x336ec578);
    CHECK_EQ(entry->gpr[GPR_RDI], 0);
    put(24, MIB(2), 4);
    fails(ERR_INVALID, "kernel: malformed: its entry 0x200000 lies in no segment below 4 GiB");
    put(52, 3, 4); /* PT_INTERP */
    fails(ERR_UNSUPPORTED, "kernel: a program for an operating system (it names an interpreter), "
                           "and no kernel: it has no Multiboot header and no PVH entry either");
    request.format = LOAD_PVH;
    fails(ERR_UNSUPPORTED, "kernel: an ELF file without a PVH entry (a note of type 18 by Xen); "
                           "Linux has one when built with CONFIG_PVH=y");
    image[0] = 0;
    fails(ERR_INVALID, "kernel: no ELF file");
    request.format = LOAD_LINUX;
    fails(ERR_INVALID, "kernel: no Linux kernel: it has no setup header");
}

static void make_flat(unsigned mode, uint64_t address, uint64_t size)
{
    make_guest();
    request.format = LOAD_FLAT;
    request.mode = mode;
    request.address = address;
    request.kernel.size = size;
    image[0] = 0x5a;
    image[size - 1] = 0x5b;
}

static void flat_binaries(void)
{
    make_flat(0, 0, 0x1000);
    succeeds();
    CHECK_EQ(entry->rip, MIB(1));
    is_flat_32();
    CHECK_EQ(guest_get(MIB(1), 1), 0x5a);
    CHECK_EQ(guest_get(MIB(1) + 0xfff, 1), 0x5b);
    make_flat(64, MIB(2), 0x1000);
    succeeds();
    CHECK_EQ(entry->rip, MIB(2));
    CHECK_EQ(entry->efer, EFER_LME | EFER_LMA);
}

static void flat_binaries_in_real_mode(void)
{
    static const struct {
        uint64_t address, cs, ip;
    } cases[] = {{0, 0, 0x7c00}, {0x8000, 0, 0x8000}, {0x20005, 0x2000, 5}, {0x12340, 0x1234, 0}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        make_flat(16, cases[i].address, 512);
        succeeds();
        CHECK_EQ(entry->segment[SEG_CS].selector, cases[i].cs);
        CHECK_EQ(entry->segment[SEG_CS].base, cases[i].cs * 16);
        CHECK_EQ(entry->segment[SEG_CS].limit, 0xffff);
        CHECK_EQ(entry->rip, cases[i].ip);
        CHECK_EQ(entry->cr0 & CR0_PE, 0);
        CHECK_EQ(entry->rflags, 2);
        CHECK_EQ(entry->idtr.limit, 0x3ff);
        CHECK_EQ(guest_get(cases[i].cs * 16 + cases[i].ip, 1), 0x5a);
        uint64_t stack = entry->segment[SEG_SS].base;
        CHECK(guest_map_is_ram(&map, stack, entry->gpr[GPR_RSP]) && stack >= 0x1000);
        CHECK_EQ(entry->gpr[GPR_RSP], 4096);
    }
    make_flat(16, MIB(1), 512);
    fails(ERR_RANGE, "kernel: in mode 16 it must be loaded below 1 MiB");
    make_flat(32, MIB(8) - 4096, 0x2000);
    fails(ERR_RANGE, "kernel: its 8 KiB do not fit at 0x7ff000 into the guest's RAM of 8 MiB: "
                     "change `load`, or raise `memory`");
    make_flat(32, 0x9f000, 0x2000);
    fails(ERR_RANGE, "kernel: its 8 KiB do not fit at 0x9f000 into the guest's RAM of 8 MiB: "
                     "change `load`, or raise `memory`");
}

/* A BIOS of this test's: its header, two vectors, and what goes to the reset vector. */
static uint8_t bios[0x200];

static void make_bios(void)
{
    memset(bios, 0xb1, sizeof(bios));
    memcpy(bios, (uint16_t[]){0x111, 0x122, 0x1a0}, 6);
    memcpy(bios + 0x1a0, (uint16_t[]){0x10, 0x133, 0x15, 0x144, 0xffff, 0}, 12);
    memset(bios + 0x1f0, 0xc2, 16);
    request.bios = (struct load_text){(const char *)bios, sizeof(bios)};
}

static void check_bios(void)
{
    CHECK_EQ(guest_get(0xf01f0 - 1, 1), 0xb1);
    CHECK_EQ(guest_get(0xffff0, 8), 0xc2c2c2c2c2c2c2c2ull);
    CHECK_EQ(guest_get(4 * 0x10, 4), 0xf0000133);
    CHECK_EQ(guest_get(4 * 0x15, 4), 0xf0000144);
    CHECK_EQ(guest_get(4 * 0x0d, 4), 0xf0000122);
    CHECK_EQ(guest_get(4 * 0x78, 4), 0);
    CHECK_EQ(guest_get(0x400, 2), 0x3f8);
    CHECK_EQ(guest_get(0x40e, 2), 0x9fc0);
    CHECK_EQ(guest_get(0x413, 2), 639);
}

/* Real mode begins in the BIOS, which knows where to go on. */
static void a_bios_for_real_mode(void)
{
    make_flat(16, 0x20005, 512);
    make_bios();
    succeeds();
    check_bios();
    CHECK_EQ(entry->segment[SEG_CS].base, 0xf0000);
    CHECK_EQ(entry->rip, 0x111);
    CHECK_EQ(entry->cr0 & CR0_PE, 0);
    CHECK_EQ(guest_get(0xf0006, 2), 5);
    CHECK_EQ(guest_get(0xf0008, 2), 0x2000);
    uint64_t data = guest_get(0xf000a, 2) << 4;
    CHECK(guest_map_is_ram(&map, data, guest_get(0xf000c, 2)));
    CHECK_EQ(guest_get(guest_get(0xf000e, 4), 4), 0x336ec578);
    CHECK_EQ(guest_get(0xf0012, 2), map.count);
    CHECK_EQ(guest_get(0xf0014, 2), 7 * 1024);
    CHECK_EQ(guest_get(0xf0016, 2), 0);
    for (unsigned i = 0; i < map.count; i++) {
        CHECK_EQ(guest_get(0xf0018 + 20 * i, 8), map.entry[i].base);
        CHECK_EQ(guest_get(0xf0020 + 20 * i, 8), map.entry[i].size);
        CHECK_EQ(guest_get(0xf0028 + 20 * i, 4), map.entry[i].type);
    }
}

/* Multiboot kernels find it, too, unless they lie where its vectors would be; others do not. */
static void a_bios_for_multiboot(void)
{
    make_guest();
    make_elf(false, MIB(1), MIB(1), MIB(1));
    put(0x800, 0x1badb002, 4);
    put(0x808, 0u - 0x1badb002, 4);
    make_bios();
    succeeds();
    check_bios();
    CHECK_EQ(entry->rip, MIB(1));
    make_elf(false, 0x400, 0x400, 0x400);
    succeeds();
    CHECK_EQ(guest_get(0x400, 4), 0x04030201);
    CHECK_EQ(guest_get(0, 8) | guest_get(0xf0000, 8), 0);
    make_flat(64, 0, 512);
    make_bios();
    succeeds();
    CHECK_EQ(guest_get(0, 8) | guest_get(0xf0000, 8), 0);
}

/* The initrd is the first; the others follow, each with its arguments. */
static void pvh_modules(void)
{
    static const uint8_t bytes[6000] = {7};
    struct load_file modules[] = {
        {.name = "m1", .at = bytes, .size = sizeof(bytes), .arguments = {"x y", 3}},
        {.name = "m2", .at = bytes, .size = 1}};
    make_flat(32, 0, 0x1000);
    request.initrd.at = bytes + 1;
    request.initrd.size = 2;
    request.module = modules;
    request.modules = 2;
    succeeds();
    uint64_t info = entry->gpr[GPR_RBX], list = guest_get(info + 16, 8);
    CHECK_EQ(guest_get(info + 12, 4), 3);
    CHECK_EQ(guest_get(list, 8), MIB(8) - 0x1000);
    CHECK_EQ(guest_get(list + 8, 8), 2);
    CHECK_EQ(guest_get(list + 16, 8), 0);
    CHECK_EQ(guest_get(list + 32, 8), MIB(8) - 0x3000);
    CHECK_EQ(guest_get(list + 40, 8), sizeof(bytes));
    is_text(guest_get(list + 48, 8), "x y");
    CHECK_EQ(guest_get(list + 64, 8), MIB(8) - 0x4000);
    CHECK_EQ(guest_get(list + 80, 8), 0);
    CHECK_EQ(guest_get(MIB(8) - 0x4000, 1), 7);
}

/* Whatever room there is for the plan, it is not left, and a plan that is too small is refused. */
static void a_plan_has_an_end(void)
{
    make_flat(64, 0, 0x1000);
    succeeds();
    CHECK(plan->used < 8192 + sizeof(*plan));
    for (uint32_t size = sizeof(*plan); size < sizeof(*plan) + 0x12000; size += 0x400) {
        struct load_plan *small = malloc(size);
        enum status status = load_kernel(&request, small, size, &error);
        CHECK(status == STATUS_OK || (status == ERR_NO_SPACE && error.text[0] != '\0'));
        CHECK((status == STATUS_OK) == (size >= sizeof(*plan) + ACPI_REGION_SIZE));
        CHECK(small->used <= size);
        free(small);
    }
}

/* A plan for more memory than there is. */
static void a_plan_for_another_guest(void)
{
    make_flat(64, MIB(2), 0x1000);
    succeeds();
    mem.region[1].size = MIB(2) - mem.region[1].base.v;
    CHECK_EQ(load_plan_replay(plan, &mem, false), ERR_RANGE);
}

TEST_MAIN({"an_elf_64_starts_in_64_bit_mode", an_elf_64_starts_in_64_bit_mode},
          {"an_elf_32_starts_in_32_bit_mode", an_elf_32_starts_in_32_bit_mode},
          {"flat_binaries", flat_binaries},
          {"flat_binaries_in_real_mode", flat_binaries_in_real_mode},
          {"a_bios_for_real_mode", a_bios_for_real_mode},
          {"a_bios_for_multiboot", a_bios_for_multiboot}, {"pvh_modules", pvh_modules},
          {"a_plan_has_an_end", a_plan_has_an_end},
          {"a_plan_for_another_guest", a_plan_for_another_guest})
