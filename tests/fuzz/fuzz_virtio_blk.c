/* The block device: its back end is only asked for what lies inside the capacity, and every
 * request that was taken is given back. */
#include "drivers/model/virtio_blk.h"
#include "tests/fuzz/virtio_fuzz.h"

#define CAPACITY 0x4000u

static uint8_t disk[CAPACITY];

static void require_inside(uint64_t offset, uint64_t length)
{
    guest_require(offset <= CAPACITY && length <= CAPACITY - offset, "beyond the capacity");
}

static enum status disk_read(void *context, uint64_t offset, void *buffer, uint32_t length)
{
    (void)context;
    require_inside(offset, length);
    memcpy(buffer, disk + offset, length);
    return STATUS_OK;
}

static enum status disk_write(void *context, uint64_t offset, const void *buffer, uint32_t length)
{
    (void)context;
    require_inside(offset, length);
    memcpy(disk + offset, buffer, length);
    return offset == 0 ? ERR_UNSUPPORTED : STATUS_OK;
}

static enum status disk_flush(void *context)
{
    (void)context;
    return ERR_TIMEOUT;
}

static enum status disk_zero(void *context, uint64_t offset, uint64_t length)
{
    (void)context;
    require_inside(offset, length);
    memset(disk + offset, 0, length);
    return STATUS_OK;
}

static const struct block_backend_ops disk_ops = {disk_read, disk_write, disk_flush, disk_zero,
                                                  disk_zero};

/* A request that is well-formed in its outline; type, sector, length and ranges are the input's. */
static void act(struct fuzz_guest *guest, struct fuzz_input *input)
{
    static const uint32_t types[] = {0, 1, 4, 8, 11, 13, 2, 0xffffffff};
    const uint64_t header = 0xf000, data = GUEST_RAM_SIZE + 0x1000, status = 0xf800;
    uint64_t choice = fuzz_take(input, 1);
    uint32_t type[2] = {types[choice & 7], 0};
    uint64_t sector = fuzz_take(input, 1) % (CAPACITY / 512 + 2);
    if ((choice & 0x10) != 0)
        sector = UINT64_MAX - sector;
    guest_put(guest->machine, header, type, 8);
    guest_put(guest->machine, header + 8, &sector, 8);
    if ((choice & 0x60) == 0x60) { /* a range */
        uint32_t tail[2] = {(uint32_t)fuzz_take(input, 1), (choice & 0x80) != 0};
        guest_put(guest->machine, data, &sector, 8);
        guest_put(guest->machine, data + 8, tail, 8);
    }
    uint32_t length = (choice & 0x20) != 0 ? 16 : (uint32_t)fuzz_take(input, 1) * 64;
    struct guest_desc buffers[] = {{header, 16, 0, 0},
                                   {data, length, (choice & 8) != 0 ? TEST_DESC_WRITE : 0, 0},
                                   {status, 1, TEST_DESC_WRITE, 0}};
    fuzz_submit(guest, input, 0, buffers, 3);
}

static void check(void *context)
{
    const struct virtio_blk *blk = context;
    const struct virtqueue *queue = &blk->pci.queue[0];
    uint16_t taken = (uint16_t)(queue->last_avail - queue->used);
    if (queue->enabled && (blk->pci.status & VIRTIO_STATUS_NEEDS_RESET) == 0)
        guest_require(taken == blk->request.is_active, "a request was lost");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct virtio_blk blk;
    struct guest_machine *machine = guest_new();
    struct virtio_blk_config config = {
        .pci = guest_slot(machine, 1),
        .backend = {&disk_ops, NULL, CAPACITY / 512, 512, size != 0 && data[0] == 0xff},
        .serial = "fuzz",
        .offers_discard = true};
    guest_require(virtio_blk_init(&blk, &config) == STATUS_OK, "init");
    fuzz_run(machine, &blk.pci, 1, data, size, act, check, &blk);
    guest_free(machine);
    return 0;
}
