/* What a block device model stores its sectors in. */
#pragma once

#include "kernel/core/status.h"
#include "kernel/core/types.h"

#define BLOCK_SECTOR_SHIFT 9
#define BLOCK_SECTOR_SIZE 512u

struct block_backend_ops {
    /* Offsets and lengths are in bytes, lie inside the capacity and may be of any alignment: a
     * request of whole sectors arrives in the pieces that the guest cut it into, in order. An error
     * ends the request. buffer may be guest memory that changes at any moment. */
    enum status (*read)(void *context, uint64_t offset, void *buffer, uint32_t length);
    enum status (*write)(void *context, uint64_t offset, const void *buffer, uint32_t length);
    /* What was written before is kept for good when this returns STATUS_OK. */
    enum status (*flush)(void *context);
    /* Whole sectors: the contents no longer matter, or become zeroes. NULL: not offered. */
    enum status (*discard)(void *context, uint64_t offset, uint64_t length);
    enum status (*write_zeroes)(void *context, uint64_t offset, uint64_t length);
};

struct block_backend {
    const struct block_backend_ops *ops;
    void *context;
    uint64_t sectors;    /* capacity, in units of BLOCK_SECTOR_SIZE */
    uint32_t block_size; /* the size that the guest should prefer: a power of two from 512 on */
    bool is_read_only;
};
