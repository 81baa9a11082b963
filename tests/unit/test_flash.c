/* Firmware's chip: what its commands do, and that a ROM keeps what it holds; how a guest's stores
 * come to it. */
#include "drivers/model/flash.h"
#include "kernel/vm/guest_access.h"
#include "tests/check.h"

#define BASE 0xffff0000ull
#define SIZE 0x10000u

static uint8_t array[SIZE] ALIGNED(4096);
static struct bus bus;
static struct guest_mem mem;
static struct flash flash;

static void build(uint64_t writable)
{
    memset(&bus, 0, sizeof(bus));
    memset(&mem, 0, sizeof(mem));
    for (unsigned i = 0; i < SIZE; i++)
        array[i] = (uint8_t)(i * 3 + i / 256);
    CHECK_EQ(guest_mem_add(&mem, GPA(BASE), SIZE, array), STATUS_OK);
    mem.rom_base = BASE;
    mem.rom_size = SIZE;
    CHECK_EQ(flash_attach(&flash, &bus, &mem, BASE, SIZE, writable), STATUS_OK);
}

static void set(uint64_t offset, unsigned size, uint64_t value)
{
    bus_write(&bus, BUS_MMIO, BASE + offset, size, value);
}

/* As firmware tells RAM, ROM and flash apart. */
static void firmware_sees_a_flash(void)
{
    build(SIZE);
    uint8_t before = array[0x100];
    set(0x100, 1, 0x50);
    CHECK_EQ(array[0x100], before); /* no RAM */
    set(0x100, 1, 0x70);
    CHECK_EQ(array[0x100], 0); /* no ROM: the status */
    CHECK_EQ(bus_read(&bus, BUS_MMIO, BASE + 0x100, 1), 0);
    set(0x100, 1, 0xff);
    CHECK_EQ(array[0x100], before);
}

static void bytes_are_programmed_and_blocks_erased(void)
{
    build(SIZE);
    uint8_t last = array[0x1fff], next = array[0x3000];
    set(0x2005, 1, 0x10);
    set(0x2005, 1, 0xab);
    CHECK_EQ(array[0x2005], 0xab);
    set(0x2006, 1, 0x40);
    set(0x2006, 1, 0x70); /* data, no command */
    CHECK_EQ(array[0x2006], 0x70);
    set(0x2100, 1, 0x20);
    set(0x2100, 1, 0xd0);
    for (unsigned i = 0; i < FLASH_BLOCK; i++)
        CHECK_EQ(array[0x2000 + i], 0xff);
    CHECK_EQ(array[0x1fff], last);
    CHECK_EQ(array[0x3000], next);
    set(0x3000, 1, 0x70);
    CHECK_EQ(array[0x3000], FLASH_STATUS_READY);
    set(0x3000, 1, 0x50);
    set(0x3000, 1, 0x70);
    CHECK_EQ(array[0x3000], 0);
    set(0, 1, 0xff);
    CHECK_EQ(array[0x3000], next);
    set(SIZE - 1, 1, 0x20);
    set(SIZE - 1, 1, 0xd0);
    CHECK_EQ(array[SIZE - 1], 0xff);
}

static void an_erasure_wants_its_confirmation(void)
{
    build(SIZE);
    uint8_t before = array[0x2000];
    set(0x2000, 1, 0x20);
    set(0x2000, 1, 0xff);
    CHECK_EQ(array[0x2000], before);
    set(0x2000, 1, 0x70);
    CHECK_EQ(array[0x2000], 0x30);
    flash_reset(&flash);
    CHECK_EQ(array[0x2000], before);
    set(0x2000, 1, 0x10);
    flash_reset(&flash);
    set(0x2000, 1, 0xd0); /* a command again, and none that is known */
    CHECK_EQ(array[0x2000], before);
}

static void wide_writes_are_bytes_one_after_the_other(void)
{
    build(SIZE);
    set(0x2000, 4, 0x3320cc10); /* program CC at the second byte, then an erasure unconfirmed */
    CHECK_EQ(array[0x2001], 0xcc);
    CHECK_EQ(array[0x2003], (uint8_t)(0x2003 * 3 + 0x20));
}

static void rom_ignores_writes(void)
{
    static uint8_t before[SIZE];
    build(0);
    memcpy(before, array, SIZE);
    for (unsigned value = 0; value < 256; value++) {
        set(0x1000, 1, value);
        set(0x1000, 8, value * 0x0101010101010101ull);
    }
    CHECK(memcmp(before, array, SIZE) == 0);
    CHECK_EQ(bus_read(&bus, BUS_MMIO, BASE + 0x1000, 2),
             (uint16_t)(array[0x1000] | array[0x1001] << 8));
}

/* Code above the variables of a file of their own. */
static void only_variables_are_programmed(void)
{
    build(0x2000);
    set(0x1fff, 1, 0x40);
    set(0x1fff, 1, 0x5a);
    CHECK_EQ(array[0x1fff], 0x5a);
    uint8_t before[2] = {array[0x2000], array[0x2001]};
    set(0x2000, 1, 0x20);
    set(0x2000, 1, 0xd0);
    set(0x1fff, 4, 0x5b405a40); /* from one into the other: the first byte is a command */
    CHECK(memcmp(before, array + 0x2000, 2) == 0);
    set(0x1000, 1, 0x5b);
    CHECK_EQ(array[0x1000], 0x5b);
}

static void chip_without_memory_is_harmless(void)
{
    build(SIZE);
    set(0x1000, 1, 0x70);
    mem.count = 0;
    flash_reset(&flash);
    set(0x1000, 1, 0x20);
    set(0x1000, 1, 0xd0);
    CHECK_EQ(bus_read(&bus, BUS_MMIO, BASE + 0x1000, 1), 0);
}

static void only_the_rom_is_read_only(void)
{
    build(SIZE);
    CHECK(guest_mem_is_rom(&mem, BASE));
    CHECK(guest_mem_is_rom(&mem, BASE + SIZE - 1));
    CHECK(!guest_mem_is_rom(&mem, BASE - 1));
    CHECK(!guest_mem_is_rom(&mem, BASE + SIZE));
    struct guest_mem none = {0};
    CHECK(!guest_mem_is_rom(&none, 0));
    CHECK(!guest_mem_is_rom(&none, UINT64_MAX));
}

TEST_MAIN({"firmware sees a flash", firmware_sees_a_flash},
          {"bytes are programmed and blocks erased", bytes_are_programmed_and_blocks_erased},
          {"an erasure wants its confirmation", an_erasure_wants_its_confirmation},
          {"wide writes are bytes one after the other", wide_writes_are_bytes_one_after_the_other},
          {"ROM ignores writes", rom_ignores_writes},
          {"only variables are programmed", only_variables_are_programmed},
          {"chip without memory is harmless", chip_without_memory_is_harmless},
          {"only the ROM is read-only", only_the_rom_is_read_only}, )
