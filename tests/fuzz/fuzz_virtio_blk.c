/* The block device: its back end is only asked for what lies inside the capacity, and every
 * request that was taken is given back. */
#include "drivers/model/virtio_blk.h"
#include "tests/fuzz/virtio_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
    fuzz_run(machine, &blk.pci, 1, data, size, check, &blk);
    guest_free(machine);
    return 0;
}
