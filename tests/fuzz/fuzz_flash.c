/* Any sequence of writes to a flash and a ROM beside each other: the array is what a plain model of
 * the commands says, but for the one byte that shows a status, and nothing outside is touched. */
#include <stdlib.h>
#include <string.h>

#include "drivers/model/flash.h"
#include "tests/fuzz/fuzz.h"

#define BLOCKS 3
#define SIZE (BLOCKS * FLASH_BLOCK)
#define BASE 0x100000ull

static uint8_t reference[SIZE];
static enum flash_state state;
static bool shows;

/* What a byte written does to the array. */
static void follow(uint64_t offset, uint8_t value)
{
    enum flash_state before = state;
    state = FLASH_READS;
    shows = before == FLASH_READS && value == 0x70;
    if (before == FLASH_PROGRAMS)
        reference[offset] = value;
    else if (before == FLASH_ERASES && value == 0xd0)
        memset(reference + offset / FLASH_BLOCK * FLASH_BLOCK, 0xff, FLASH_BLOCK);
    else if (before == FLASH_READS && (value == 0x10 || value == 0x40))
        state = FLASH_PROGRAMS;
    else if (before == FLASH_READS && value == 0x20)
        state = FLASH_ERASES;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t commands[] = {0x10, 0x20, 0xd0, 0x70, 0x50, 0xff, 0x40, 0x90};
    struct fuzz_input input = {data, data + size};
    struct bus bus = {0};
    struct guest_mem mem = {0};
    struct flash flash, rom;
    uint8_t *array = calloc(1, SIZE + PAGE_SIZE);
    memset(reference, 0, sizeof(reference));
    state = FLASH_READS;
    shows = false;
    REQUIRE(guest_mem_add(&mem, GPA(BASE), SIZE + PAGE_SIZE, array) == STATUS_OK);
    REQUIRE(flash_attach(&flash, &bus, &mem, BASE, SIZE, SIZE) == STATUS_OK);
    REQUIRE(flash_attach(&rom, &bus, &mem, BASE + SIZE, PAGE_SIZE, 0) == STATUS_OK);
    while (!fuzz_is_done(&input)) {
        unsigned op = (unsigned)fuzz_take(&input, 1);
        uint64_t offset = fuzz_below(&input, SIZE);
        uint8_t value = op & 8 ? commands[op & 7] : (uint8_t)fuzz_take(&input, 1);
        if (op == 0xf0) {
            flash_reset(&flash);
            state = FLASH_READS;
            shows = false;
        } else if (op & 0x80) {
            bus_write(&bus, BUS_MMIO, BASE + SIZE + offset % PAGE_SIZE, 1, value);
        } else {
            bus_write(&bus, BUS_MMIO, BASE + offset, 1, value);
            follow(offset, value);
        }
        REQUIRE(flash.shows_status == shows);
        uint64_t before = shows ? flash.status_at : SIZE;
        REQUIRE(memcmp(array, reference, before) == 0);
        if (shows)
            REQUIRE(memcmp(array + before + 1, reference + before + 1, SIZE - before - 1) == 0);
        for (unsigned i = 0; i < PAGE_SIZE; i += 511)
            REQUIRE(array[SIZE + i] == 0);
    }
    flash_reset(&flash);
    REQUIRE(memcmp(array, reference, SIZE) == 0);
    free(array);
    return 0;
}
