#include "drivers/model/virtio_rng.h"

/* Fills the chain up to the bound of one request; returns how many bytes that were. */
static uint32_t fill(struct virtio_rng *rng)
{
    uint32_t done = 0, length;
    uint8_t *host;
    while (done < VIRTIO_RNG_REQUEST_MAX &&
           (length = virtqueue_peek(&rng->chain.writable, &host)) != 0) {
#ifndef PLANTED_BUG_VIRTIO_RNG /* for the fuzzer's own test */
        if (length > VIRTIO_RNG_REQUEST_MAX - done)
            length = VIRTIO_RNG_REQUEST_MAX - done;
#endif
        size_t filled = rng->source.fill(rng->source.context, host, length);
        if (filled != 0)
            virtqueue_skip(&rng->chain.writable, (uint32_t)filled);
        done += (uint32_t)filled;
        if (filled < length)
            break;
    }
    return done;
}

/* One request; ERR_BUSY: the source is dry. Virtio: at least one byte is given. */
static enum status serve_request(struct virtio_rng *rng, struct virtqueue *queue)
{
    enum status status = rng->has_chain ? STATUS_OK : virtqueue_pop(queue, &rng->chain);
    if (status != STATUS_OK)
        return status;
    if (rng->chain.writable.left == 0)
        return ERR_INVALID;
    uint32_t written = fill(rng);
    rng->has_chain = written == 0;
    return rng->has_chain ? ERR_BUSY : virtqueue_push(queue, rng->chain.head, written);
}

static bool service(void *device, unsigned queue)
{
    struct virtio_rng *rng = device;
    enum status status = STATUS_OK;
    for (unsigned i = 0; i < VIRTIO_RNG_BURST && status == STATUS_OK; i++)
        status = serve_request(rng, &rng->pci.queue[queue]);
    virtio_pci_interrupt(&rng->pci, queue);
    bool is_unfinished = status == STATUS_OK || status == ERR_BUSY;
    if (!is_unfinished && status != ERR_NOT_FOUND)
        virtio_pci_fail(&rng->pci, queue, status);
    return is_unfinished;
}

static void reset(void *device)
{
    struct virtio_rng *rng = device;
    rng->has_chain = false;
}

static void queue_reset(void *device, unsigned queue)
{
    (void)queue;
    reset(device);
}

static const struct virtio_type rng_type = {
    .name = "virtio-rng",
    .id = 4,
    .class_code = 0x00ff00,
    .service = service,
    .reset = reset,
    .queue_reset = queue_reset,
};

INIT enum status virtio_rng_init(struct virtio_rng *rng, const struct virtio_pci_config *config,
                                 const struct entropy_source *source)
{
    rng->source = *source;
    rng->has_chain = false;
    struct virtio_offer offer = {
        .type = &rng_type, .device = rng, .queues = 1, .queue_size = VIRTQUEUE_SIZE_MAX};
    return virtio_pci_init(&rng->pci, config, &offer);
}
