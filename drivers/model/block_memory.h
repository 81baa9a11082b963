/* A block back end over memory: a disk image that was loaded into it. */
#pragma once

#include "drivers/model/block_backend.h"

struct block_memory {
    uint8_t *base;
    uint64_t size; /* bytes */
};

/* Makes backend serve size bytes at base, which stay the caller's. ERR_INVALID: the size is zero or
 * no multiple of BLOCK_SECTOR_SIZE; backend then serves the whole sectors that there are, so that a
 * loader can go on after it has said so. */
enum status MUST_CHECK block_memory_init(struct block_memory *memory, struct block_backend *backend,
                                         void *base, uint64_t size, bool is_read_only);
