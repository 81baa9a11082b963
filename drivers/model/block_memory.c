#include "drivers/model/block_memory.h"

#include "kernel/core/mem.h"

static bool is_inside(const struct block_memory *memory, uint64_t offset, uint64_t length)
{
    return offset <= memory->size && length <= memory->size - offset;
}

static enum status memory_read(void *context, uint64_t offset, void *buffer, uint32_t length)
{
    struct block_memory *memory = context;
    if (!is_inside(memory, offset, length))
        return ERR_RANGE;
    memcpy(buffer, memory->base + offset, length);
    return STATUS_OK;
}

static enum status memory_write(void *context, uint64_t offset, const void *buffer, uint32_t length)
{
    struct block_memory *memory = context;
    if (!is_inside(memory, offset, length))
        return ERR_RANGE;
    memcpy(memory->base + offset, buffer, length);
    return STATUS_OK;
}

/* Memory keeps what it has until power-off, which is all that it promises. */
static enum status memory_flush(void *context)
{
    (void)context;
    return STATUS_OK;
}

/* Discarded sectors read as zeroes too, so that nothing old comes back. */
static enum status memory_zero(void *context, uint64_t offset, uint64_t length)
{
    struct block_memory *memory = context;
    if (!is_inside(memory, offset, length))
        return ERR_RANGE;
    memset(memory->base + offset, 0, length);
    return STATUS_OK;
}

static const struct block_backend_ops memory_ops = {
    .read = memory_read,
    .write = memory_write,
    .flush = memory_flush,
    .discard = memory_zero,
    .write_zeroes = memory_zero,
};

INIT enum status block_memory_init(struct block_memory *memory, struct block_backend *backend,
                                   void *base, uint64_t size, bool is_read_only)
{
    uint64_t sectors = size >> BLOCK_SECTOR_SHIFT;
    *memory = (struct block_memory){base, sectors << BLOCK_SECTOR_SHIFT};
    *backend = (struct block_backend){.ops = &memory_ops,
                                      .context = memory,
                                      .sectors = sectors,
                                      .block_size = BLOCK_SECTOR_SIZE,
                                      .is_read_only = is_read_only};
    return size != 0 && memory->size == size ? STATUS_OK : ERR_INVALID;
}
