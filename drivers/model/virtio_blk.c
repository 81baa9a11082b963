#include "drivers/model/virtio_blk.h"

#include "kernel/core/mem.h"

#define BLK_F_SEG_MAX BIT(2)
#define BLK_F_RO BIT(5)
#define BLK_F_BLK_SIZE BIT(6)
#define BLK_F_FLUSH BIT(9)
#define BLK_F_DISCARD BIT(13)
#define BLK_F_WRITE_ZEROES BIT(14)

enum request_type {
    TYPE_IN = 0,
    TYPE_OUT = 1,
    TYPE_FLUSH = 4,
    TYPE_GET_ID = 8,
    TYPE_DISCARD = 11,
    TYPE_WRITE_ZEROES = 13,
};

/* The status byte; BUSY never reaches the guest: the request goes on in the next call. */
enum outcome { OUTCOME_OK = 0, OUTCOME_IOERR = 1, OUTCOME_UNSUPP = 2, OUTCOME_BUSY = 0x100 };

struct header {
    uint32_t type;
    uint32_t reserved;
    uint64_t sector;
};

struct range {
    uint64_t sector;
    uint32_t sectors;
    uint32_t flags;
};
#define RANGE_UNMAP BIT(0)

static bool is_inside(const struct virtio_blk *blk, uint64_t sector, uint64_t sectors)
{
#ifdef PLANTED_BUG_VIRTIO_BLK /* for the fuzzer's own test */
    return sector + sectors <= blk->backend.sectors;
#endif
    return sector <= blk->backend.sectors && sectors <= blk->backend.sectors - sector;
}

static enum outcome outcome_of(enum status status)
{
    if (status == STATUS_OK)
        return OUTCOME_OK;
    return status == ERR_UNSUPPORTED ? OUTCOME_UNSUPP : OUTCOME_IOERR;
}

/* Takes a piece's length off the budget of this service call. */
static void spend(uint32_t *budget, uint64_t bytes)
{
    *budget -= bytes < *budget ? (uint32_t)bytes : *budget;
}

/* Checks a read or write once, before its first piece. */
static enum outcome begin_transfer(struct virtio_blk *blk, uint64_t sector, uint32_t bytes)
{
    if (bytes % BLOCK_SECTOR_SIZE != 0 || !is_inside(blk, sector, bytes >> BLOCK_SECTOR_SHIFT))
        return OUTCOME_IOERR;
    blk->request.offset = sector << BLOCK_SECTOR_SHIFT;
    blk->request.data_left = bytes;
    return OUTCOME_OK;
}

/* Moves pieces until the request or the budget is used up. */
static enum outcome run_transfer(struct virtio_blk *blk, uint32_t *budget)
{
    struct virtio_blk_request *request = &blk->request;
    const struct block_backend *backend = &blk->backend;
    bool is_read = request->type == TYPE_IN;
    struct virtqueue_cursor *cursor = is_read ? &blk->chain.writable : &blk->chain.readable;
    while (request->data_left > 0) {
        uint8_t *host = NULL;
        uint32_t max = request->data_left < *budget ? request->data_left : *budget;
        if (max == 0)
            return OUTCOME_BUSY;
        uint32_t length = virtqueue_next(cursor, max, &host);
        enum status status =
            is_read ? backend->ops->read(backend->context, request->offset, host, length)
                    : backend->ops->write(backend->context, request->offset, host, length);
        if (status != STATUS_OK)
            return outcome_of(status);
        request->offset += length;
        request->data_left -= length;
        request->written += is_read ? length : 0;
        spend(budget, length);
    }
    return OUTCOME_OK;
}

static enum outcome begin_write(struct virtio_blk *blk, uint64_t sector)
{
#ifndef PLANTED_BUG_BLOCK_MEMORY /* for the fuzzer's own test */
    if (blk->backend.is_read_only)
        return OUTCOME_IOERR;
#endif
    return begin_transfer(blk, sector, blk->chain.readable.left);
}

static enum outcome begin_read(struct virtio_blk *blk, uint64_t sector)
{
    return begin_transfer(blk, sector, blk->request.write_room);
}

static enum outcome begin_nothing(struct virtio_blk *blk, uint64_t sector)
{
    (void)blk;
    (void)sector;
    return OUTCOME_OK;
}

static enum outcome run_flush(struct virtio_blk *blk, uint32_t *budget)
{
    (void)budget;
    return outcome_of(blk->backend.ops->flush(blk->backend.context));
}

static enum outcome run_get_id(struct virtio_blk *blk, uint32_t *budget)
{
    (void)budget;
    uint32_t size = blk->request.write_room;
    if (size > VIRTIO_BLK_SERIAL_SIZE)
        size = VIRTIO_BLK_SERIAL_SIZE;
    blk->request.written = virtqueue_write(&blk->chain.writable, blk->serial, size);
    return OUTCOME_OK;
}

static enum outcome begin_ranges(struct virtio_blk *blk, uint64_t sector)
{
    (void)sector;
    uint32_t bytes = blk->chain.readable.left;
    uint64_t feature = blk->request.type == TYPE_DISCARD ? BLK_F_DISCARD : BLK_F_WRITE_ZEROES;
    if (!virtio_pci_has(&blk->pci, feature))
        return OUTCOME_UNSUPP;
    if (blk->backend.is_read_only || bytes == 0 || bytes % sizeof(struct range) != 0 ||
        bytes / sizeof(struct range) > VIRTIO_BLK_RANGES_MAX)
        return OUTCOME_IOERR;
    blk->request.data_left = bytes;
    return OUTCOME_OK;
}

/* Virtio: Device Requirements: Device Operation, of the block device: flags that are not known, or
 * unmap in a discard, are unsupported. */
static enum outcome run_range(struct virtio_blk *blk, const struct range *range)
{
    const struct block_backend *backend = &blk->backend;
    bool is_discard = blk->request.type == TYPE_DISCARD;
    if ((range->flags & ~(is_discard ? 0 : RANGE_UNMAP)) != 0)
        return OUTCOME_UNSUPP;
    if (range->sectors > VIRTIO_BLK_RANGE_SECTORS_MAX ||
        !is_inside(blk, range->sector, range->sectors))
        return OUTCOME_IOERR;
    uint64_t offset = range->sector << BLOCK_SECTOR_SHIFT;
    uint64_t length = (uint64_t)range->sectors << BLOCK_SECTOR_SHIFT;
    return outcome_of(is_discard ? backend->ops->discard(backend->context, offset, length)
                                 : backend->ops->write_zeroes(backend->context, offset, length));
}

static enum outcome run_ranges(struct virtio_blk *blk, uint32_t *budget)
{
    while (blk->request.data_left > 0) {
        struct range range;
        if (*budget == 0)
            return OUTCOME_BUSY;
        blk->request.data_left -= virtqueue_read(&blk->chain.readable, &range, sizeof(range));
        enum outcome outcome = run_range(blk, &range);
        if (outcome != OUTCOME_OK)
            return outcome;
        spend(budget, (uint64_t)range.sectors << BLOCK_SECTOR_SHIFT);
    }
    return OUTCOME_OK;
}

/* begin checks and prepares; run goes on until it returns something else than BUSY. */
static const struct request_kind {
    uint32_t type;
    enum outcome (*begin)(struct virtio_blk *blk, uint64_t sector);
    enum outcome (*run)(struct virtio_blk *blk, uint32_t *budget);
} kinds[] = {
    {TYPE_IN, begin_read, run_transfer},      {TYPE_OUT, begin_write, run_transfer},
    {TYPE_FLUSH, begin_nothing, run_flush},   {TYPE_GET_ID, begin_nothing, run_get_id},
    {TYPE_DISCARD, begin_ranges, run_ranges}, {TYPE_WRITE_ZEROES, begin_ranges, run_ranges},
};

static const struct request_kind *find_kind(uint32_t type)
{
    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
        if (kinds[i].type == type)
            return &kinds[i];
    return NULL;
}

/* Reads the header, which may lie in any number of descriptors; the chain has a status byte. */
static enum outcome begin_request(struct virtio_blk *blk)
{
    struct header header;
    blk->request =
        (struct virtio_blk_request){.is_active = true, .write_room = blk->chain.writable.left - 1};
    if (virtqueue_read(&blk->chain.readable, &header, sizeof(header)) != sizeof(header))
        return OUTCOME_IOERR;
    blk->request.type = header.type;
    const struct request_kind *kind = find_kind(header.type);
    return kind != NULL ? kind->begin(blk, header.sector) : OUTCOME_UNSUPP;
}

/* Writes the status byte and gives the chain back. The used length counts what is contiguous from
 * the first writable byte on, so the status only behind complete data. */
static enum status complete(struct virtio_blk *blk, enum outcome outcome)
{
    struct virtio_blk_request *request = &blk->request;
    *virtqueue_last_writable(&blk->chain) = (uint8_t)outcome;
    uint32_t written = request->written + (request->written == request->write_room ? 1 : 0);
    request->is_active = false;
    return virtqueue_push(&blk->pci.queue[0], blk->chain.head, written);
}

/* Takes the next request, if none is active, and works on it. */
static enum status advance(struct virtio_blk *blk, uint32_t *budget)
{
    enum outcome outcome = OUTCOME_OK;
    if (!blk->request.is_active) {
        enum status status = virtqueue_pop(&blk->pci.queue[0], &blk->chain);
        if (status != STATUS_OK)
            return status;
        if (blk->chain.writable.left == 0)
            return ERR_INVALID; /* no place for the status: nothing could be answered */
        outcome = begin_request(blk);
        spend(budget, BLOCK_SECTOR_SIZE); /* requests without data cost something too */
    }
    if (outcome == OUTCOME_OK)
        outcome = find_kind(blk->request.type)->run(blk, budget);
    return outcome == OUTCOME_BUSY ? STATUS_OK : complete(blk, outcome);
}

static bool service(void *device, unsigned queue)
{
    struct virtio_blk *blk = device;
    uint32_t budget = VIRTIO_BLK_BURST;
    enum status status = STATUS_OK;
    while (status == STATUS_OK && budget > 0)
        status = advance(blk, &budget);
    virtio_pci_interrupt(&blk->pci, queue);
    if (status != STATUS_OK && status != ERR_NOT_FOUND)
        virtio_pci_fail(&blk->pci, queue, status);
    return status == STATUS_OK;
}

static void reset(void *device)
{
    struct virtio_blk *blk = device;
    blk->request.is_active = false;
}

static void queue_reset(void *device, unsigned queue)
{
    (void)queue;
    reset(device);
}

static const struct virtio_type blk_type = {
    .name = "virtio-blk",
    .id = 2,
    .class_code = 0x010000,
    .service = service,
    .reset = reset,
    .queue_reset = queue_reset,
};

static INIT uint64_t offered_features(const struct virtio_blk_config *config)
{
    const struct block_backend *backend = &config->backend;
    uint64_t features = BLK_F_SEG_MAX | BLK_F_BLK_SIZE | BLK_F_FLUSH;
    if (backend->is_read_only)
        return features | BLK_F_RO;
    if (config->offers_discard && backend->ops->discard != NULL)
        features |= BLK_F_DISCARD;
    if (config->offers_discard && backend->ops->write_zeroes != NULL)
        features |= BLK_F_WRITE_ZEROES;
    return features;
}

static INIT void fill_settings(struct virtio_blk *blk)
{
    blk->settings = (struct virtio_blk_settings){
        .capacity = blk->backend.sectors,
        .seg_max = VIRTIO_BLK_SEGMENTS_MAX,
        .blk_size = blk->backend.block_size,
        .num_queues = 1,
        .max_discard_sectors = VIRTIO_BLK_RANGE_SECTORS_MAX,
        .max_discard_seg = VIRTIO_BLK_RANGES_MAX,
        .discard_sector_alignment = blk->backend.block_size >> BLOCK_SECTOR_SHIFT,
        .max_write_zeroes_sectors = VIRTIO_BLK_RANGE_SECTORS_MAX,
        .max_write_zeroes_seg = VIRTIO_BLK_RANGES_MAX,
        .write_zeroes_may_unmap = 1,
    };
}

INIT enum status virtio_blk_init(struct virtio_blk *blk, const struct virtio_blk_config *config)
{
    blk->backend = config->backend;
    blk->request = (struct virtio_blk_request){0};
    memset(blk->serial, 0, sizeof(blk->serial));
    for (unsigned i = 0; config->serial != NULL && i < sizeof(blk->serial); i++) {
        if (config->serial[i] == 0)
            break;
        blk->serial[i] = config->serial[i];
    }
    fill_settings(blk);
    struct virtio_offer offer = {
        .type = &blk_type,
        .device = blk,
        .features = offered_features(config),
        .queues = 1,
        .queue_size = VIRTQUEUE_SIZE_MAX,
        .settings = &blk->settings,
        .settings_size = sizeof(blk->settings),
    };
    return virtio_pci_init(&blk->pci, &config->pci, &offer);
}
