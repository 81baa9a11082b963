/*
 * A block device over a disk image in memory, read-only or not: a plain request by a driver that
 * keeps the rules has exactly the effect of the same request on a second image, whatever was sent
 * between, and a read-only image never changes.
 */
#include "drivers/model/block_memory.h"
#include "drivers/model/virtio_blk.h"
#include "tests/fuzz/virtio_fuzz.h"

#define SECTORS 8u
#define SIZE (SECTORS * BLOCK_SECTOR_SIZE)

#define TYPE_IN 0
#define TYPE_OUT 1
#define TYPE_DISCARD 11
#define TYPE_WRITE_ZEROES 13

struct image {
    uint8_t memory[SIZE], expected[SIZE];
    bool is_read_only;
};

static struct image image;

static uint8_t fill_of(uint64_t seed, uint64_t i)
{
    return (uint8_t)(seed * 31 + i * 7 + 1);
}

static void fill(uint8_t *to, uint64_t seed)
{
    for (uint64_t i = 0; i < SIZE; i++)
        to[i] = fill_of(seed, i);
}

/* Where a request keeps its parts. */
#define HEADER 0xf000u
#define STATUS 0xf800u
#define DATA (GUEST_RAM_SIZE + 0x1000u)

/* The status that the request must end with, and its effect on the second image. */
static uint8_t expect(uint32_t type, uint64_t sector, uint64_t sectors, const uint8_t *data)
{
    bool is_inside = sector <= SECTORS && sectors <= SECTORS - sector;
    if (image.is_read_only && type != TYPE_IN)
        return type == TYPE_OUT ? 1 : 2; /* an error; not offered */
    if (!is_inside)
        return 1;
    if (type == TYPE_OUT)
        memcpy(image.expected + sector * BLOCK_SECTOR_SIZE, data, sectors * BLOCK_SECTOR_SIZE);
    else if (type != TYPE_IN)
        memset(image.expected + sector * BLOCK_SECTOR_SIZE, 0, sectors * BLOCK_SECTOR_SIZE);
    return 0;
}

/* Brings the device up as after a reset of the machine: what the input did to its BARs and rings is
 * gone, what it did to the image is not. */
static void bring_up(struct fuzz_guest *guest)
{
    struct fuzz_input none = {NULL, NULL};
    pci_bus_reset(&guest->machine->pci);
    guest_driver_find(&guest->driver, guest->machine, 1);
    fuzz_bring_up(guest, &none);
    guest_require((guest_status(&guest->driver) & VIRTIO_STATUS_DRIVER_OK) != 0, "not up");
}

/* One request on a device that was just brought up, so that nothing else is in its ring. */
static void request(struct fuzz_guest *guest, uint32_t type, uint64_t sector, uint64_t sectors,
                    uint64_t seed)
{
    static uint8_t data[SIZE];
    struct guest_machine *machine = guest->machine;
    uint32_t header[2] = {type, 0};
    bring_up(guest);
    bool is_range = type == TYPE_DISCARD || type == TYPE_WRITE_ZEROES;
    uint64_t header_sector = is_range ? 0 : sector;
    fill(data, seed);
    guest_put(machine, HEADER, header, 8);
    guest_put(machine, HEADER + 8, &header_sector, 8);
    guest_put(machine, STATUS, &(uint8_t){0xff}, 1);
    guest_put(machine, DATA, data, SIZE);
    if (is_range) {
        uint32_t tail[2] = {(uint32_t)sectors, 0};
        guest_put(machine, DATA, &sector, 8);
        guest_put(machine, DATA + 8, tail, 8);
    }
    uint32_t length = is_range ? 16 : (uint32_t)(sectors * BLOCK_SECTOR_SIZE);
    struct guest_desc buffers[] = {{HEADER, 16, 0, 0},
                                   {DATA, length, type == TYPE_IN ? TEST_DESC_WRITE : 0, 0},
                                   {STATUS, 1, TEST_DESC_WRITE, 0}};
    guest_add(&guest->driver, 0, buffers, 3);
    guest_notify(&guest->driver, 0);
    uint8_t wanted = expect(type, sector, sectors, data);
    guest_require(guest_get_8(machine, STATUS) == wanted, "status");
    if (wanted != 0 || type != TYPE_IN)
        return;
    guest_get(machine, DATA, data, length);
    guest_require(memcmp(data, image.expected + sector * BLOCK_SECTOR_SIZE, length) == 0,
                  "what was read");
}

/* Plain requests mostly; else an unruly one, whose effect only has to stay inside. */
static void act(struct fuzz_guest *guest, struct fuzz_input *input)
{
    static const uint32_t types[] = {TYPE_IN, TYPE_OUT, TYPE_DISCARD, TYPE_WRITE_ZEROES};
    uint64_t choice = fuzz_take(input, 1);
    uint64_t sector = fuzz_take(input, 1) % (SECTORS + 2);
    uint64_t sectors = 1 + fuzz_take(input, 1) % SECTORS;
    if ((choice & 8) != 0)
        sector = UINT64_MAX - sector;
    request(guest, types[choice & 3], sector, sectors, choice >> 4);
}

static void check(void *context)
{
    const struct virtio_blk *blk = context;
    /* A chain of the input's own may have written; what it did is the new truth. */
    if (image.is_read_only)
        guest_require(memcmp(image.memory, image.expected, SIZE) == 0, "a read-only image changed");
    else
        memcpy(image.expected, image.memory, SIZE);
    guest_require(blk->backend.sectors == SECTORS, "the capacity changed");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct virtio_blk blk;
    static struct block_memory memory;
    struct guest_machine *machine = guest_new();
    image.is_read_only = size != 0 && (data[0] & 1) != 0;
    fill(image.memory, 99);
    fill(image.expected, 99);
    struct virtio_blk_config config = {
        .pci = guest_slot(machine, 1), .serial = "fuzz", .offers_discard = true};
    guest_require(block_memory_init(&memory, &config.backend, image.memory, SIZE,
                                    image.is_read_only) == STATUS_OK,
                  "memory");
    guest_require(virtio_blk_init(&blk, &config) == STATUS_OK, "init");
    fuzz_run(machine, &blk.pci, 1, data, size, act, check, &blk);
    guest_free(machine);
    return 0;
}
