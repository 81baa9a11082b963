/* Whole instructions on a guest's memory and bus: fetch, decode, translate, execute. */
#include "kernel/vm/guest_access.h"
#include "tests/check.h"

#define RAM_SIZE 0x40000u
#define P BIT(0)
#define W BIT(1)
#define U BIT(2)
#define A BIT(5)
#define D BIT(6)
#define XD BIT(63)

#define DEVICE 0xfee00000ull /* guest-physical, a page */
#define CODE 0x400000ull     /* linear; guest-physical 0x10000 and, for the next page, 0x12000 */
#define DATA 0x600000ull     /* linear; guest-physical 0x20000, the device, 0x22000, nothing */

static uint8_t ram[RAM_SIZE] ALIGNED(4096);
static struct guest_mem mem;
static struct bus bus;
static struct guest_access access;
static struct emulate_state state;
static uint64_t gpr[GPR_COUNT];
static struct exception exception;

/* The device remembers its accesses and answers with its memory. */
static struct {
    uint8_t bytes[4096];
    struct {
        uint64_t offset, value;
        unsigned size;
        bool write;
    } log[16];
    unsigned count;
} device;

static void note(uint64_t offset, unsigned size, uint64_t value, bool write)
{
    CHECK(device.count < ARRAY_SIZE(device.log));
    device.log[device.count].offset = offset;
    device.log[device.count].size = size;
    device.log[device.count].value = value;
    device.log[device.count++].write = write;
}

static uint64_t device_read(void *unused, uint64_t offset, unsigned size)
{
    uint64_t value = 0;
    (void)unused;
    memcpy(&value, device.bytes + offset, size);
    note(offset, size, value, false);
    return value;
}

static void device_write(void *unused, uint64_t offset, unsigned size, uint64_t value)
{
    (void)unused;
    memcpy(device.bytes + offset, &value, size);
    note(offset, size, value, true);
}

static const struct bus_ops device_ops = {device_read, device_write};

static void check_access(unsigned i, bool write, uint64_t offset, unsigned size, uint64_t value)
{
    CHECK(i < device.count);
    CHECK_EQ(device.log[i].write, write);
    CHECK_EQ(device.log[i].offset, offset);
    CHECK_EQ(device.log[i].size, size);
    CHECK_EQ(device.log[i].value, value);
}

static void set_entry(uint64_t table, unsigned index, uint64_t entry)
{
    memcpy(ram + table + 8 * index, &entry, 8);
}

static uint64_t get_entry(uint64_t table, unsigned index)
{
    uint64_t entry;
    memcpy(&entry, ram + table + 8 * index, 8);
    return entry;
}

static void begin(void)
{
    memset(ram, 0, sizeof(ram));
    memset(&mem, 0, sizeof(mem));
    memset(&bus, 0, sizeof(bus));
    memset(&device, 0, sizeof(device));
    memset(gpr, 0, sizeof(gpr));
    memset(&exception, 0, sizeof(exception));
    CHECK_EQ(guest_mem_add(&mem, GPA(0), RAM_SIZE, ram), STATUS_OK);
    CHECK_EQ(bus_add(&bus, BUS_MMIO, DEVICE, 4096, &device_ops, NULL), STATUS_OK);
    guest_access_init(&access, &mem, &bus);
    set_entry(0x1000, 0, 0x2000 | P | W | U | A);
    set_entry(0x2000, 0, 0x3000 | P | W | U | A);
    set_entry(0x3000, 2, 0x4000 | P | W | U | A); /* CODE */
    set_entry(0x3000, 3, 0x5000 | P | W | U | A); /* DATA */
    set_entry(0x4000, 0, 0x10000 | P | U);
    set_entry(0x4000, 1, 0x12000 | P | U);
    set_entry(0x5000, 0, 0x20000 | P | W | U | XD);
    set_entry(0x5000, 1, DEVICE | P | W | U | XD);
    set_entry(0x5000, 2, 0x22000 | P | W | U | XD);
    access.paging = (struct paging){
        .cr3 = 0x1000, .cr4 = CR4_PAE, .efer = EFER_LMA | EFER_LME | EFER_NXE, .maxphyaddr = 40};
    state = (struct emulate_state){.gpr = gpr,
                                   .rip = CODE,
                                   .rflags = RFLAGS_FIXED,
                                   .cr0 = CR0_PE | CR0_PG | CR0_WP,
                                   .code_size = 8};
}

/* Puts an instruction at guest-physical address at. */
static void put_code(uint64_t at, const char *hex)
{
    unsigned value;
    int used;
    for (; sscanf(hex, " %2x%n", &value, &used) == 1; hex += used)
        ram[at++] = (uint8_t)value;
}

static enum emulate_result run(const char *hex)
{
    put_code(0x10000 + (state.rip - CODE), hex);
    return guest_access_emulate(&access, &state, &exception);
}

static void a_device_register(void)
{
    begin();
    device.bytes[0x20] = 0x78;
    gpr[GPR_RBX] = DATA + 0x1000;
    CHECK_EQ(run("8b 43 20"), EMULATE_DONE);
    CHECK_EQ(gpr[GPR_RAX], 0x78);
    CHECK_EQ(state.rip, CODE + 3);
    CHECK_EQ(run("c7 43 30 44 33 22 11"), EMULATE_DONE);
    CHECK_EQ(device.count, 2);
    check_access(0, false, 0x20, 4, 0x78);
    check_access(1, true, 0x30, 4, 0x11223344);
    CHECK_EQ(get_entry(0x5000, 1), DEVICE | P | W | U | XD | A | D);
    CHECK_EQ(get_entry(0x4000, 0), 0x10000 | P | U | A);
    /* A read-modify-write is one read and one write, locked or not. */
    CHECK_EQ(run("f0 83 4b 30 08"), EMULATE_DONE);
    CHECK_EQ(device.count, 4);
    check_access(2, false, 0x30, 4, 0x11223344);
    check_access(3, true, 0x30, 4, 0x1122334c);
    CHECK_EQ(run("f0 0f b1 4b 30"), EMULATE_DONE); /* fails, and writes back */
    CHECK_EQ(device.count, 6);
    check_access(5, true, 0x30, 4, 0x1122334c);
    CHECK_EQ(gpr[GPR_RAX], 0x1122334c);
    CHECK_EQ(access.status, STATUS_OK);
}

/* Memory whose writes are a device's: by a walk, and where the translation is the processor's. */
static void a_rom(void)
{
    begin();
    mem.rom_base = 0x20000;
    mem.rom_size = 0x1000;
    CHECK_EQ(bus_add(&bus, BUS_MMIO, 0x20000, 0x1000, &device_ops, NULL), STATUS_OK);
    memcpy(ram + 0x20040, "\x11\x22\x33\x44", 4);
    gpr[GPR_RBX] = DATA + 0x40;
    CHECK_EQ(run("8b 03"), EMULATE_DONE);
    CHECK_EQ(gpr[GPR_RAX], 0x44332211);
    CHECK_EQ(device.count, 0);
    gpr[GPR_RAX] = 0xaabbccdd;
    CHECK_EQ(run("89 03"), EMULATE_DONE);
    CHECK_EQ(device.count, 1);
    check_access(0, true, 0x40, 4, 0xaabbccdd);
    guest_access_assume(&access, GVA(DATA + 0x40), GPA(0x20040), true);
    CHECK_EQ(run("88 43 01"), EMULATE_DONE);
    CHECK_EQ(device.count, 2);
    check_access(1, true, 0x41, 1, 0xdd);
    CHECK(memcmp(ram + 0x20040, "\x11\x22\x33\x44", 4) == 0);
}

static void nobody_there(void)
{
    begin();
    set_entry(0x5000, 3, 0xd0000000 | P | W | U);
    gpr[GPR_RBX] = DATA + 0x3000;
    CHECK_EQ(run("8b 03"), EMULATE_DONE);
    CHECK_EQ(gpr[GPR_RAX], 0xffffffff);
    CHECK_EQ(run("89 03"), EMULATE_DONE);
}

static void ram_operands(void)
{
    begin();
    gpr[GPR_RBX] = DATA + 0xf01;
    gpr[GPR_RAX] = 0x1122334455667788;
    CHECK_EQ(run("48 89 03"), EMULATE_DONE);
    CHECK_EQ(ram[0x20f01], 0x88);
    CHECK_EQ(ram[0x20f08], 0x11);
    CHECK_EQ(run("f0 48 01 03"), EMULATE_DONE); /* unaligned and locked */
    CHECK_EQ(ram[0x20f01], 0x10);
    CHECK_EQ(run("48 87 0b"), EMULATE_DONE);
    CHECK_EQ(gpr[GPR_RCX], 0x22446688aaccef10);
    gpr[GPR_RBX] = DATA + 0x10;
    gpr[GPR_RAX] = gpr[GPR_RDX] = 0;
    gpr[GPR_RCX] = 5;
    CHECK_EQ(run("f0 48 0f c7 0b"), EMULATE_DONE);
    CHECK_EQ(state.rflags & RFLAGS_ZF, RFLAGS_ZF);
    CHECK_EQ(ram[0x20011], 0x00);
    CHECK_EQ(ram[0x20010 + 8], 5);
    CHECK_EQ(run("66 f0 ff 03"), EMULATE_DONE);
    CHECK_EQ(run("f0 fe 03"), EMULATE_DONE);
}

static void crossing_from_ram_into_a_device(void)
{
    begin();
    for (unsigned i = 0; i < 8; i++)
        device.bytes[i] = (uint8_t)(0xa0 + i);
    ram[0x20ffd] = 0x01;
    ram[0x20ffe] = 0x02;
    ram[0x20fff] = 0x03;
    gpr[GPR_RBX] = DATA + 0xffd;
    CHECK_EQ(run("48 8b 03"), EMULATE_DONE);
    CHECK_EQ(gpr[GPR_RAX], 0xa4a3a2a1a0030201);
    CHECK_EQ(device.count, 2); /* five bytes: four and one */
    check_access(0, false, 0, 4, 0xa3a2a1a0);
    check_access(1, false, 4, 1, 0xa4);
    gpr[GPR_RAX] = 0x1716151413121110;
    CHECK_EQ(run("48 89 03"), EMULATE_DONE);
    CHECK_EQ(ram[0x20fff], 0x12);
    check_access(2, true, 0, 4, 0x16151413);
    check_access(3, true, 4, 1, 0x17);
    /* Out of the device into RAM. */
    gpr[GPR_RBX] = DATA + 0x1ffe;
    CHECK_EQ(run("c7 03 04 03 02 01"), EMULATE_DONE);
    check_access(4, true, 0xffe, 2, 0x0304);
    CHECK_EQ(ram[0x22000], 2);
    CHECK_EQ(ram[0x22001], 1);
    CHECK_EQ(run("f0 ff 03"), EMULATE_DONE);
    CHECK_EQ(ram[0x22001], 1);
    CHECK_EQ(device.bytes[0xffe], 5);
}

static void crossing_checks_before_it_writes(void)
{
    begin();
    set_entry(0x5000, 1, DEVICE | P | U); /* read-only */
    gpr[GPR_RBX] = DATA + 0xffe;
    gpr[GPR_RAX] = 0x55555555;
    CHECK_EQ(run("89 03"), EMULATE_FAULT);
    CHECK_EQ(exception.vector, VECTOR_PF);
    CHECK_EQ(exception.error_code, PF_PRESENT | PF_WRITE);
    CHECK_EQ(exception.cr2, DATA + 0x1000); /* the first byte that faults */
    CHECK_EQ(ram[0x20ffe], 0);
    CHECK_EQ(ram[0x20fff], 0);
    CHECK_EQ(run("01 03"), EMULATE_FAULT); /* not even read: the write is known to fail */
    CHECK_EQ(device.count, 0);
    CHECK_EQ(run("8b 03"), EMULATE_DONE);
    CHECK_EQ(device.count, 1);
    set_entry(0x5000, 1, 0);
    CHECK_EQ(run("8b 03"), EMULATE_FAULT);
    CHECK_EQ(exception.error_code, 0);
}

static void known_translations(void)
{
    begin();
    set_entry(0x5000, 1, 0); /* what another processor did meanwhile does not matter */
    gpr[GPR_RBX] = DATA + 0x1000;
    guest_access_assume(&access, GVA(DATA + 0x1008), GPA(DEVICE + 8), false);
    CHECK_EQ(run("8b 43 08"), EMULATE_DONE);
    CHECK_EQ(device.count, 1);
    /* It serves one instruction, and only the kind of access that it allowed. */
    CHECK_EQ(run("8b 43 08"), EMULATE_FAULT);
    guest_access_assume(&access, GVA(DATA + 0x1008), GPA(DEVICE + 8), false);
    CHECK_EQ(run("89 43 08"), EMULATE_FAULT);
    CHECK_EQ(exception.error_code, PF_WRITE);
    guest_access_assume(&access, GVA(DATA + 0x1008), GPA(DEVICE + 8), true);
    CHECK_EQ(run("01 43 08"), EMULATE_DONE);
    CHECK_EQ(device.count, 3);
}

static void code_across_pages(void)
{
    begin();
    gpr[GPR_RBX] = DATA + 0x1000;
    state.rip = CODE + 0xffe;
    put_code(0x10ffe, "c7 43");
    put_code(0x12000, "10 01 02 03 04 90");
    CHECK_EQ(guest_access_emulate(&access, &state, &exception), EMULATE_DONE);
    check_access(0, true, 0x10, 4, 0x04030201);
    CHECK_EQ(state.rip, CODE + 0x1005);
    /* The next page is touched only if the instruction goes on there. */
    set_entry(0x4000, 1, 0);
    state.rip = CODE + 0xffe;
    CHECK_EQ(guest_access_emulate(&access, &state, &exception), EMULATE_FAULT);
    CHECK_EQ(exception.cr2, CODE + 0x1000);
    CHECK_EQ(exception.error_code, PF_FETCH);
    CHECK_EQ(state.rip, CODE + 0xffe);
    put_code(0x10ffe, "8b 03");
    CHECK_EQ(guest_access_emulate(&access, &state, &exception), EMULATE_DONE);
    CHECK_EQ(state.rip, CODE + 0x1000);
}

static void code_that_cannot_be_fetched(void)
{
    begin();
    state.rip = DATA; /* execute-disable */
    CHECK_EQ(guest_access_emulate(&access, &state, &exception), EMULATE_FAULT);
    CHECK_EQ(exception.error_code, PF_PRESENT | PF_FETCH);
    CHECK_EQ(exception.cr2, DATA);
    state.rip = 0x800000000000;
    CHECK_EQ(guest_access_emulate(&access, &state, &exception), EMULATE_FAULT);
    CHECK_EQ(exception.vector, VECTOR_GP);
    CHECK(exception.has_error_code);
}

/* Code and paging structures that a device answers for, or nobody. */
static void code_outside_ram(void)
{
    begin();
    memcpy(device.bytes + 8, "\x8b\x03", 2); /* MOV EAX, [RBX] */
    set_entry(0x4000, 0, DEVICE | P | U);
    gpr[GPR_RBX] = DATA;
    memcpy(ram + 0x20000, "\x78\x56\x34\x12", 4);
    state.rip = CODE + 8;
    CHECK_EQ(guest_access_emulate(&access, &state, &exception), EMULATE_DONE);
    CHECK_EQ(gpr[GPR_RAX], 0x12345678);
    CHECK_EQ(state.rip, CODE + 10);
    set_entry(0x4000, 0, 0x50000000 | P | U);
    state.rip = CODE;
    CHECK_EQ(guest_access_emulate(&access, &state, &exception), EMULATE_FAULT);
    CHECK_EQ(exception.vector, VECTOR_UD);
    set_entry(0x3000, 2, 0x50000000 | P | U | W);
    CHECK_EQ(guest_access_emulate(&access, &state, &exception), EMULATE_UNSUPPORTED);
    CHECK_EQ(access.status, ERR_RANGE); /* no bus */
    access.paging.bus = &bus;
    CHECK_EQ(guest_access_emulate(&access, &state, &exception), EMULATE_FAULT);
    CHECK_EQ(exception.vector, VECTOR_PF);
    CHECK_EQ(exception.error_code, PF_PRESENT | PF_RESERVED | PF_FETCH);
    /* A device that answers as a page table does; the flags go to it. */
    uint64_t entry = 0x10000 | P | U;
    memcpy(device.bytes, &entry, 8);
    set_entry(0x3000, 2, DEVICE | P | U | W);
    put_code(0x10000, "8b 03");
    gpr[GPR_RAX] = 0;
    CHECK_EQ(guest_access_emulate(&access, &state, &exception), EMULATE_DONE);
    CHECK_EQ(gpr[GPR_RAX], 0x12345678);
    CHECK(device.bytes[0] & A);
}

static void unknown_code_is_reported(void)
{
    begin();
    CHECK_EQ(run("0f 01 d0 90"), EMULATE_UNSUPPORTED);
    CHECK_EQ(access.status, ERR_UNSUPPORTED);
    CHECK_EQ(access.count, 15);
    CHECK(access.instruction == NULL);
    CHECK(memcmp(access.bytes, "\x0f\x01\xd0", 3) == 0);
    CHECK_EQ(run("f0 8b 03"), EMULATE_FAULT);
    CHECK_EQ(exception.vector, VECTOR_UD);
    CHECK(!exception.has_error_code);
    CHECK_EQ(run("66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 8b 03"), EMULATE_FAULT);
    CHECK_EQ(exception.vector, VECTOR_GP);
    CHECK(exception.has_error_code);
}

static void decoded_instructions_are_not_stale(void)
{
    begin();
    gpr[GPR_RBX] = DATA;
    ram[0x20000] = 7;
    CHECK_EQ(run("8b 03"), EMULATE_DONE);
    state.rip = CODE;
    CHECK_EQ(run("8b 0b"), EMULATE_DONE);
    CHECK_EQ(gpr[GPR_RCX], 7);
    state.rip = CODE;
    CHECK_EQ(run("ff 03"), EMULATE_DONE);
    state.rip = CODE;
    CHECK_EQ(run("ff 03"), EMULATE_DONE);
    CHECK_EQ(ram[0x20000], 9);
    /* The same bytes mean something else in another mode. */
    state.rip = CODE;
    CHECK_EQ(run("48 8b 03"), EMULATE_DONE);
    CHECK_EQ(state.rip, CODE + 3);
    state.rip = CODE;
    state.code_size = 4;
    state.segment[SEG_CS] = (struct segment){.limit = 0xffffffff, .access = 0x409b};
    CHECK_EQ(guest_access_emulate(&access, &state, &exception), EMULATE_UNSUPPORTED);
    /* A truncated instruction that was refused leaves nothing behind either. */
    state.code_size = 8;
    set_entry(0x4000, 1, 0);
    state.rip = CODE + 0xfff;
    put_code(0x10fff, "8b");
    CHECK_EQ(guest_access_emulate(&access, &state, &exception), EMULATE_FAULT);
    set_entry(0x4000, 1, 0x12000 | P | U);
    put_code(0x12000, "13");
    CHECK_EQ(guest_access_emulate(&access, &state, &exception), EMULATE_DONE);
    CHECK_EQ(gpr[GPR_RDX], 9);
    put_code(0x12000, "3b");
    state.rip = CODE + 0xfff;
    CHECK_EQ(guest_access_emulate(&access, &state, &exception), EMULATE_DONE);
    CHECK_EQ(gpr[GPR_RDI], 9);
    /* What was fetched in two pieces is not taken for what was there before, nor the reverse. */
    state.rip = CODE;
    CHECK_EQ(run("8b 0b"), EMULATE_DONE);
    gpr[GPR_RDI] = 0;
    state.rip = CODE + 0xfff;
    CHECK_EQ(guest_access_emulate(&access, &state, &exception), EMULATE_DONE);
    CHECK_EQ(gpr[GPR_RDI], 9);
    gpr[GPR_RCX] = 0;
    state.rip = CODE;
    CHECK_EQ(run("8b 0b"), EMULATE_DONE);
    CHECK_EQ(gpr[GPR_RCX], 9);
}

/* ---- Sites ---- */

static uint64_t next_rip;

/* The exit of an access at offset of the device's page, as the processor tells it. */
static bool repeat(uint64_t offset, bool write)
{
    const struct guest_repeat what = {.rip = CODE,
                                      .cr3 = access.paging.cr3,
                                      .linear = DATA + 0x1000 + offset,
                                      .gpa = DEVICE + offset,
                                      .write = write};
    next_rip = 0;
    return guest_access_repeat(&access, &what, gpr, &next_rip);
}

/* Meets an instruction that reaches offset of the device through RBX, twice: the first sets the
 * accessed flags of the code's translation. */
static void meet(const char *code, uint64_t offset)
{
    begin();
    gpr[GPR_RBX] = DATA + 0x1000 + offset;
    gpr[GPR_RCX] = 0x1122334455667788;
    for (unsigned i = 0; i < 2; i++) {
        state.rip = CODE;
        CHECK_EQ(run(code), EMULATE_DONE);
    }
    device.count = 0;
}

static void sites_load_and_store(void)
{
    meet("8b 0b", 0x10);
    device.bytes[0x10] = 0x99;
    CHECK(repeat(0x10, false));
    CHECK_EQ(next_rip, CODE + 2);
    CHECK_EQ(gpr[GPR_RCX], 0x99); /* zero-extended */
    CHECK_EQ(device.count, 1);
    CHECK_EQ(device.log[0].size, 4);
    meet("8a 2b", 0x10); /* CH */
    gpr[GPR_RCX] = 0x1122334455667788;
    device.bytes[0x10] = 0x99;
    CHECK(repeat(0x10, false));
    CHECK_EQ(gpr[GPR_RCX], 0x1122334455669988);
    meet("0f b6 0b", 0x13); /* MOVZX */
    device.bytes[0x13] = 0x98;
    CHECK(repeat(0x13, false));
    CHECK_EQ(gpr[GPR_RCX], 0x98);
    CHECK_EQ(device.log[0].size, 1);
    meet("66 89 0b", 0x20);
    CHECK(repeat(0x20, true));
    CHECK_EQ(device.log[0].value, 0x7788);
    CHECK_EQ(device.log[0].size, 2);
    meet("48 c7 03 fe ff ff ff", 0x20);
    CHECK(repeat(0x20, true));
    CHECK_EQ(device.log[0].value, 0xfffffffffffffffe);
    CHECK_EQ(next_rip, CODE + 7);
}

static void sites_follow_every_change(void)
{
    meet("8b 0b", 0x10);
    CHECK(repeat(0x10, false));
    CHECK(!repeat(0x10, true));  /* not what it does */
    CHECK(!repeat(0x14, false)); /* not where it reaches */
    gpr[GPR_RBX] = DATA + 0x1ffe;
    CHECK(!repeat(0xffe, false)); /* over the page's edge */
    gpr[GPR_RBX] = DATA + 0x1010;
    put_code(0x10000, "8b 13");
    CHECK(!repeat(0x10, false));
    put_code(0x10000, "8b 0b");
    CHECK(repeat(0x10, false));
    access.paging.cr3 += 0x1000;
    CHECK(!repeat(0x10, false));
    access.paging.cr3 -= 0x1000;
    set_entry(0x4000, 0, 0x12000 | P | U | A);
    CHECK(!repeat(0x10, false));
}

/* Each of them needs more than a plain MOV: RSP, a segment's base, a flag, the old value. */
static void no_sites(void)
{
    static const char *const codes[] = {"8b 23",    "64 8b 0b", "09 0b", "87 0b",
                                        "67 8b 0b", "0f be 0b", "a4"};
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        meet("8b 0b", 0x10);
        gpr[GPR_RSI] = gpr[GPR_RDI] = gpr[GPR_RBX];
        memset(access.site, 0, sizeof(access.site));
        state.rip = CODE;
        CHECK_EQ(run(codes[i]), EMULATE_DONE);
        CHECK(!repeat(0x10, false));
        CHECK(!repeat(0x10, true));
    }
}

static void real_mode(void)
{
    begin();
    access.paging = (struct paging){.maxphyaddr = 40};
    state.cr0 = 0;
    state.code_size = 2;
    for (unsigned i = 0; i <= SEG_GS; i++)
        state.segment[i] = (struct segment){.limit = 0xffff, .access = 0x93};
    state.segment[SEG_CS].base = 0x10000;
    state.segment[SEG_DS].base = 0x20000;
    state.rip = 0x10;
    put_code(0x10010, "a1 34 12");
    ram[0x21234] = 0x99;
    CHECK_EQ(guest_access_emulate(&access, &state, &exception), EMULATE_DONE);
    CHECK_EQ(gpr[GPR_RAX], 0x99);
    CHECK_EQ(state.rip, 0x13);
    state.rip = 0xfffe; /* the limit ends the instruction */
    put_code(0x1fffe, "a1 34");
    CHECK_EQ(guest_access_emulate(&access, &state, &exception), EMULATE_FAULT);
    CHECK_EQ(exception.vector, VECTOR_GP);
    CHECK(!exception.has_error_code);
    put_code(0x1fffe, "8a 07");
    CHECK_EQ(guest_access_emulate(&access, &state, &exception), EMULATE_DONE);
    CHECK_EQ(guest_access_emulate(&access, &state, &exception), EMULATE_FAULT);
}

static void linear_addresses_wrap_at_4_gib(void)
{
    static uint8_t top[4096] ALIGNED(4096);
    begin();
    CHECK_EQ(guest_mem_add(&mem, GPA(0xfffff000), 4096, top), STATUS_OK);
    access.paging = (struct paging){.maxphyaddr = 40};
    state.cr0 = CR0_PE;
    state.code_size = 4;
    for (unsigned i = 0; i <= SEG_GS; i++)
        state.segment[i] = (struct segment){.limit = 0xffffffff, .access = 0x4093};
    state.segment[SEG_CS].access = 0x409b;
    state.segment[SEG_DS].base = 0xfffff000;
    state.rip = 0x10000;
    put_code(0x10000, "89 03");
    gpr[GPR_RBX] = 0xffe;
    gpr[GPR_RAX] = 0x44332211;
    CHECK_EQ(guest_access_emulate(&access, &state, &exception), EMULATE_DONE);
    CHECK_EQ(top[0xffe], 0x11);
    CHECK_EQ(top[0xfff], 0x22);
    CHECK_EQ(ram[0], 0x33);
    CHECK_EQ(ram[1], 0x44);
}

static void copying_to_a_device(void)
{
    begin();
    for (unsigned i = 0; i < 16; i++)
        ram[0x20ff8 + i - 8] = (uint8_t)i;
    gpr[GPR_RSI] = DATA + 0xff0;
    gpr[GPR_RDI] = DATA + 0x1100;
    gpr[GPR_RCX] = 4;
    CHECK_EQ(run("f3 a5"), EMULATE_DONE);
    CHECK_EQ(device.count, 4);
    check_access(0, true, 0x100, 4, 0x03020100);
    check_access(3, true, 0x10c, 4, 0x0f0e0d0c);
    /* Off the end of what is mapped. */
    gpr[GPR_RDI] = DATA + 0x2ffc;
    gpr[GPR_RCX] = 4;
    CHECK_EQ(run("f3 ab"), EMULATE_FAULT);
    CHECK_EQ(gpr[GPR_RCX], 3);
    CHECK_EQ(gpr[GPR_RDI], DATA + 0x3000);
    CHECK_EQ(exception.cr2, DATA + 0x3000);
    CHECK_EQ(exception.error_code, PF_WRITE);
}

static void user_mode_rights(void)
{
    begin();
    state.cpl = 3;
    gpr[GPR_RBX] = DATA;
    CHECK_EQ(run("8b 03"), EMULATE_DONE);
    set_entry(0x5000, 0, 0x20000 | P | W);
    CHECK_EQ(run("8b 03"), EMULATE_FAULT);
    CHECK_EQ(exception.error_code, PF_PRESENT | PF_USER);
    state.cpl = 0;
    access.paging.cr4 |= CR4_SMAP;
    gpr[GPR_RBX] = DATA + 0x2000;
    CHECK_EQ(run("8b 03"), EMULATE_FAULT);
    state.rflags |= RFLAGS_AC;
    CHECK_EQ(run("8b 03"), EMULATE_DONE);
}

/* INS and OUTS from ring 3 go by the bit map in the TSS. */
static void io_permission_bit_map(void)
{
    begin();
    CHECK_EQ(bus_add(&bus, BUS_PORT, 0x70, 8, &device_ops, NULL), STATUS_OK);
    state.cpl = 3;
    gpr[GPR_RDI] = DATA;
    gpr[GPR_RDX] = 0x71;
    access.tr = (struct segment){.base = DATA + 0x2000, .limit = 0x67 + 0x20, .access = 0x8b};
    set_entry(0x5000, 2, 0x22000 | P); /* supervisor's: read all the same */
    ram[0x22066] = 0x68;
    CHECK_EQ(run("6c"), EMULATE_DONE);
    ram[0x22068 + 0x71 / 8] = 1 << 1;
    state.rip = CODE;
    CHECK_EQ(run("6c"), EMULATE_FAULT);
    CHECK_EQ(exception.vector, VECTOR_GP);
    CHECK(exception.has_error_code);
    ram[0x22068 + 0x71 / 8] = 1 << 4;
    CHECK_EQ(run("66 6d"), EMULATE_DONE);
    CHECK_EQ(run("6d"), EMULATE_FAULT); /* four ports, the last of which is refused */
    access.tr.limit = 0x68 + 0x71 / 8;  /* two bytes of the map are read */
    CHECK_EQ(run("66 6d"), EMULATE_FAULT);
    access.tr.limit++;
    CHECK_EQ(run("66 6d"), EMULATE_DONE);
    access.tr.access = 0x83; /* a 16-bit TSS has no map */
    CHECK_EQ(run("66 6d"), EMULATE_FAULT);
    access.tr.access = 0x8b;
    access.tr.limit = 0x66;
    CHECK_EQ(run("66 6d"), EMULATE_FAULT);
    set_entry(0x5000, 2, 0);
    access.tr.limit = 0xffff;
    CHECK_EQ(run("66 6d"), EMULATE_FAULT);
    CHECK_EQ(exception.vector, VECTOR_PF);
    CHECK_EQ(exception.error_code, 0);
    state.rflags |= 3 << 12;
    CHECK_EQ(run("66 6d"), EMULATE_DONE);
}

TEST_MAIN({"a_device_register", a_device_register}, {"a_rom", a_rom},
          {"nobody_there", nobody_there}, {"ram_operands", ram_operands},
          {"crossing_from_ram_into_a_device", crossing_from_ram_into_a_device},
          {"crossing_checks_before_it_writes", crossing_checks_before_it_writes},
          {"known_translations", known_translations}, {"code_across_pages", code_across_pages},
          {"code_that_cannot_be_fetched", code_that_cannot_be_fetched},
          {"code_outside_ram", code_outside_ram},
          {"unknown_code_is_reported", unknown_code_is_reported},
          {"decoded_instructions_are_not_stale", decoded_instructions_are_not_stale},
          {"sites_load_and_store", sites_load_and_store},
          {"sites_follow_every_change", sites_follow_every_change}, {"no_sites", no_sites},
          {"real_mode", real_mode},
          {"linear_addresses_wrap_at_4_gib", linear_addresses_wrap_at_4_gib},
          {"copying_to_a_device", copying_to_a_device}, {"user_mode_rights", user_mode_rights},
          {"io_permission_bit_map", io_permission_bit_map})
