/* Any sequence of port accesses, DMAs among them, whose structures lie anywhere: what is read is
 * the item's bytes and then zeros, nothing outside RAM is touched, and every DMA ends. */
#include <stdlib.h>
#include <string.h>

#include "drivers/model/fw_cfg.h"
#include "tests/fuzz/fuzz.h"

#define RAM (4 * PAGE_SIZE)
#define ITEM 0x10 /* none of the files' */
#define ITEM_SIZE 300u
#define DMA (PLATFORM_PORT_FW_CFG + FW_CFG_DMA)

static struct fw_cfg device;
static struct bus bus;
static struct guest_mem mem;
static bool waits;
static uint64_t offset; /* of the data port in ITEM; UINT64_MAX: unknown */

static void more_work(void *context)
{
    (void)context;
    waits = true;
}

/* Both in the heap, so that the sanitiser sees a byte too far. */
static void build(uint8_t **ram, uint8_t **item)
{
    *ram = calloc(1, RAM);
    *item = malloc(ITEM_SIZE);
    for (unsigned i = 0; i < ITEM_SIZE; i++)
        (*item)[i] = (uint8_t)(i * 7 + 1);
    memset(&bus, 0, sizeof(bus));
    memset(&mem, 0, sizeof(mem));
    REQUIRE(guest_mem_add(&mem, GPA(0), 2 * PAGE_SIZE, *ram) == STATUS_OK);
    REQUIRE(guest_mem_add(&mem, GPA(4 * PAGE_SIZE), 2 * PAGE_SIZE, *ram + 2 * PAGE_SIZE) ==
            STATUS_OK);
    fw_cfg_init(&device, &mem, more_work, NULL);
    REQUIRE(fw_cfg_add(&device, ITEM, *item, ITEM_SIZE) == STATUS_OK);
    REQUIRE(fw_cfg_add_file(&device, "opt/file", *item, 9) == STATUS_OK);
    REQUIRE(fw_cfg_attach(&device, &bus) == STATUS_OK);
    offset = UINT64_MAX;
    waits = false;
}

static void put_be(uint8_t *at, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        at[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
}

static void run_dma(struct fuzz_input *input)
{
    uint8_t access[16];
    uint64_t at = fuzz_take(input, 2) * 2, rounds = 0;
    uint32_t control = (uint32_t)fuzz_take(input, 1) | (uint32_t)fuzz_below(input, 0x34) << 16;
    put_be(access, control, 4);
    put_be(access + 4, fuzz_take(input, (control & 0x20) != 0 ? 4 : 2), 4);
    put_be(access + 8, fuzz_take(input, (control & 0x40) != 0 ? 8 : 2), 8);
    bool is_there = guest_mem_write(&mem, GPA(at), access, sizeof(access)) == STATUS_OK;
    bus_write(&bus, BUS_PORT, DMA, 4, 0);
    bus_write(&bus, BUS_PORT, DMA + 4, 4, __builtin_bswap32((uint32_t)at));
    while (waits) {
        waits = false;
        fw_cfg_continue(&device);
        REQUIRE(rounds++ < 5000);
    }
    if (is_there)
        offset = UINT64_MAX;
}

static void read_data(const uint8_t *item, unsigned count)
{
    for (; count > 0; count--) {
        uint64_t value = bus_read(&bus, BUS_PORT, PLATFORM_PORT_FW_CFG + 1, 1);
        if (offset == UINT64_MAX)
            continue;
        REQUIRE(value == (offset < ITEM_SIZE ? item[offset] : 0));
        offset++;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, data + size};
    uint8_t *ram, *item;
    build(&ram, &item);
    while (!fuzz_is_done(&input)) {
        unsigned op = (unsigned)fuzz_take(&input, 1);
        switch (op & 7) {
        case 0:
            bus_write(&bus, BUS_PORT, PLATFORM_PORT_FW_CFG, 2, ITEM);
            offset = 0;
            break;
        case 1:
            bus_write(&bus, BUS_PORT, PLATFORM_PORT_FW_CFG, 2, fuzz_take(&input, 2));
            offset = UINT64_MAX;
            break;
        case 2:
            (void)bus_read(&bus, BUS_PORT, PLATFORM_PORT_FW_CFG + (op >> 4), 1u << (op >> 3 & 1));
            offset = UINT64_MAX;
            break;
        case 3:
            fw_cfg_reset(&device);
            offset = UINT64_MAX;
            break;
        case 4:
        case 5:
            run_dma(&input);
            break;
        default:
            read_data(item, (unsigned)fuzz_take(&input, 1) * 2);
        }
    }
    free(ram);
    free(item);
    return 0;
}
