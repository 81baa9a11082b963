/*
 * A virtio block device over a block_backend. Virtio 1.2: Block Device.
 *
 * One queue. A service call moves at most about VIRTIO_BLK_BURST bytes and then asks to be
 * continued, in the middle of a request if need be; every request completes with a status.
 *
 * Locking: none; every caller holds the VM's device lock.
 */
#pragma once

#include "drivers/model/block_backend.h"
#include "drivers/model/virtio_pci.h"

#define VIRTIO_BLK_SERIAL_SIZE 20
#define VIRTIO_BLK_BURST 0x100000u
/* A request's header and status take one descriptor each. */
#define VIRTIO_BLK_SEGMENTS_MAX (VIRTQUEUE_SIZE_MAX - 2)
/* Most sectors of one discard or write-zeroes range, and ranges in one request. */
#define VIRTIO_BLK_RANGE_SECTORS_MAX 2048u
#define VIRTIO_BLK_RANGES_MAX 64u

/* Device configuration layout. */
struct virtio_blk_settings {
    uint64_t capacity;
    uint32_t size_max;
    uint32_t seg_max;
    uint16_t cylinders;
    uint8_t heads, sectors;
    uint32_t blk_size;
    uint8_t physical_block_exp, alignment_offset;
    uint16_t min_io_size;
    uint32_t opt_io_size;
    uint8_t writeback, unused0;
    uint16_t num_queues;
    uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
    uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
    uint8_t write_zeroes_may_unmap, unused1[3];
};
STATIC_ASSERT(sizeof(struct virtio_blk_settings) == 64, "padded; the driver sees what it knows");

struct virtio_blk_request {
    bool is_active;
    uint32_t type;
    uint64_t offset;     /* bytes: where the next piece goes */
    uint32_t data_left;  /* bytes of the current phase that are still to move */
    uint32_t written;    /* bytes put into the chain, from its first writable byte on */
    uint32_t write_room; /* writable bytes in front of the status byte */
};

struct virtio_blk {
    struct virtio_pci pci;
    struct block_backend backend;
    struct virtio_blk_settings settings;
    char serial[VIRTIO_BLK_SERIAL_SIZE]; /* zero-padded */
    struct virtio_blk_request request;
    struct virtqueue_chain chain; /* of the active request */
};

struct virtio_blk_config {
    struct virtio_pci_config pci;
    struct block_backend backend;
    const char *serial;  /* shown by the guest as the disk's serial number; cut at 20 bytes */
    bool offers_discard; /* discard and write-zeroes, where the back end has them */
};

/* Builds the device and puts it on the bus. Errors are those of pci_bus_add. */
enum status MUST_CHECK virtio_blk_init(struct virtio_blk *blk,
                                       const struct virtio_blk_config *config);
