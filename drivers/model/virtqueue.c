#include "drivers/model/virtqueue.h"

#include "kernel/core/bits.h"
#include "kernel/core/mem.h"

#define DESC_NEXT BIT(0)
#define DESC_WRITE BIT(1)
#define DESC_INDIRECT BIT(2)

#define AVAIL_NO_INTERRUPT BIT(0)

struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
};
STATIC_ASSERT(sizeof(struct descriptor) == 16, "as Virtio has it");

/* Layout of the two rings. Virtio: The Virtqueue Available Ring, The Virtqueue Used Ring. */
#define RING_INDEX 2
#define RING_ENTRIES 4
#define AVAIL_ENTRY_SIZE 2
#define USED_ENTRY_SIZE 8

static gpa_t avail_entry(const struct virtqueue *queue, uint16_t index)
{
    uint16_t slot = index & (queue->size - 1);
    return GPA(queue->driver + RING_ENTRIES + AVAIL_ENTRY_SIZE * slot);
}

static gpa_t used_entry(const struct virtqueue *queue, uint16_t index)
{
    uint16_t slot = index & (queue->size - 1);
    return GPA(queue->device + RING_ENTRIES + USED_ENTRY_SIZE * (uint64_t)slot);
}

/* The event fields stand behind the last entry of either ring. */
static gpa_t used_event(const struct virtqueue *queue)
{
    return GPA(queue->driver + RING_ENTRIES + AVAIL_ENTRY_SIZE * (uint64_t)queue->size);
}

static gpa_t avail_event(const struct virtqueue *queue)
{
    return GPA(queue->device + RING_ENTRIES + USED_ENTRY_SIZE * (uint64_t)queue->size);
}

static bool is_ram(const struct guest_mem *mem, uint64_t address, uint64_t length)
{
    if (address + length - 1 < address)
        return false;
    while (length > 0) {
        uint64_t available;
        if (guest_mem_span(mem, GPA(address), &available) == NULL)
            return false;
        if (available >= length)
            return true;
        address += available;
        length -= available;
    }
    return true;
}

enum status virtqueue_enable(struct virtqueue *queue)
{
    uint16_t size = queue->size;
    if (size == 0 || size > VIRTQUEUE_SIZE_MAX || (size & (size - 1)) != 0 ||
        !is_aligned(queue->descriptors, 16) || !is_aligned(queue->driver, 2) ||
        !is_aligned(queue->device, 4))
        return ERR_INVALID;
    /* With the event fields, even where they are not negotiated: a driver allots them anyway. */
    if (!is_ram(queue->mem, queue->descriptors, sizeof(struct descriptor) * size) ||
        !is_ram(queue->mem, queue->driver, RING_ENTRIES + AVAIL_ENTRY_SIZE * (size + 1u)) ||
        !is_ram(queue->mem, queue->device, RING_ENTRIES + USED_ENTRY_SIZE * size + 2u))
        return ERR_RANGE;
    queue->last_avail = queue->avail = queue->used = queue->signalled = 0;
    queue->enabled = true;
    return STATUS_OK;
}

void virtqueue_reset(struct virtqueue *queue, const struct guest_mem *mem, uint16_t size)
{
    *queue = (struct virtqueue){.mem = mem, .size = size};
}

/* Looks at the driver's index again. It can be ahead by the queue's size at most. */
static enum status refresh(struct virtqueue *queue)
{
    uint64_t index;
    enum status status = guest_mem_load(queue->mem, GPA(queue->driver + RING_INDEX), 2, &index);
    if (status != STATUS_OK)
        return status;
    queue->avail = (uint16_t)index;
    uint16_t ahead = (uint16_t)(queue->avail - queue->last_avail);
    return ahead <= queue->size ? STATUS_OK : ERR_INVALID;
}

/* Nothing seems to be left: asks for a notification of the next entry, then looks once more, as
 * the driver may have added it before it could see that. Virtio: Available Buffer Notification
 * Suppression. */
static enum status wait_for_more(struct virtqueue *queue)
{
    if (!queue->event_index)
        return STATUS_OK;
    enum status status = guest_mem_store(queue->mem, avail_event(queue), 2, queue->last_avail);
    if (status != STATUS_OK)
        return status;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return refresh(queue);
}

/* Adds the buffer of one descriptor to its half of the chain, cut where regions of RAM meet. */
static enum status add_buffer(const struct guest_mem *mem, struct virtqueue_chain *chain,
                              const struct descriptor *desc)
{
    bool is_writable = (desc->flags & DESC_WRITE) != 0;
    struct virtqueue_cursor *half = is_writable ? &chain->writable : &chain->readable;
    /* Virtio: the device-readable part comes first; a chain has less than 2^32 bytes. */
    if ((!is_writable && chain->writable.next != NULL) || desc->length > UINT32_MAX - half->left ||
        desc->address + desc->length < desc->address)
        return ERR_INVALID;
    if (half->next == NULL && desc->length != 0)
        half->next = &chain->span[chain->spans];
    half->left += desc->length;
    uint64_t address = desc->address;
    for (uint32_t left = desc->length; left > 0;) {
        uint64_t available;
        uint8_t *host = guest_mem_span(mem, GPA(address), &available);
        if (host == NULL)
            return ERR_RANGE;
#ifdef PLANTED_BUG_VIRTQUEUE /* for the fuzzer's own test */
        available = left;
#endif
        if (chain->spans == VIRTQUEUE_SPANS_MAX)
            return ERR_INVALID;
        uint32_t length = available < left ? (uint32_t)available : left;
        chain->span[chain->spans++] = (struct virtqueue_span){host, length};
        address += length;
        left -= length;
    }
    return STATUS_OK;
}

/* The table that descriptors come from: the queue's own, or an indirect one. */
struct table {
    uint64_t base;
    uint32_t entries;
    bool is_indirect;
};

static enum status enter_indirect(const struct virtqueue *queue, struct table *table,
                                  const struct descriptor *desc)
{
    uint32_t entries = desc->length / sizeof(*desc);
    if (!queue->indirect || table->is_indirect || (desc->flags & DESC_NEXT) != 0 ||
        desc->length % sizeof(*desc) != 0 || entries == 0 || entries > VIRTQUEUE_SIZE_MAX ||
        desc->address + desc->length < desc->address)
        return ERR_INVALID;
    *table = (struct table){desc->address, entries, true};
    return STATUS_OK;
}

/* Follows a chain from its head. A chain that takes more steps than its table has entries loops.
 * Virtio: The Virtqueue Descriptor Table, Indirect Descriptors. */
static enum status gather(struct virtqueue *queue, uint16_t head, struct virtqueue_chain *chain)
{
    struct table table = {queue->descriptors, queue->size, false};
    uint32_t index = head;
    for (uint32_t step = 0; index < table.entries && step < table.entries; step++) {
        struct descriptor desc;
        enum status status =
            guest_mem_read(queue->mem, GPA(table.base + sizeof(desc) * index), &desc, sizeof(desc));
        if (status != STATUS_OK)
            return status;
        if ((desc.flags & DESC_INDIRECT) != 0) {
            status = enter_indirect(queue, &table, &desc);
            if (status != STATUS_OK)
                return status;
            index = 0;
            step = UINT32_MAX; /* becomes 0: steps count anew in the new table */
            continue;
        }
        status = add_buffer(queue->mem, chain, &desc);
        if (status != STATUS_OK || (desc.flags & DESC_NEXT) == 0)
            return status;
        index = desc.next;
    }
    return ERR_INVALID;
}

enum status virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain *chain)
{
    if (!queue->enabled)
        return ERR_NOT_FOUND;
    enum status status = STATUS_OK;
    if (queue->avail == queue->last_avail)
        status = refresh(queue);
    if (status == STATUS_OK && queue->avail == queue->last_avail)
        status = wait_for_more(queue);
    if (status != STATUS_OK)
        return status;
    if (queue->avail == queue->last_avail)
        return ERR_NOT_FOUND;
    uint64_t head;
    status = guest_mem_load(queue->mem, avail_entry(queue, queue->last_avail), 2, &head);
    if (status != STATUS_OK)
        return status;
    chain->head = (uint16_t)head;
    chain->readable = chain->writable = (struct virtqueue_cursor){0};
    chain->spans = 0;
    status = gather(queue, chain->head, chain);
    if (status == STATUS_OK)
        queue->last_avail++;
    return status;
}

/* The entry is complete before the index that shows it: guest_mem_store releases. */
enum status virtqueue_push(struct virtqueue *queue, uint16_t head, uint32_t written)
{
    gpa_t entry = used_entry(queue, queue->used);
    enum status status = guest_mem_store(queue->mem, entry, 4, head);
    if (status == STATUS_OK)
        status = guest_mem_store(queue->mem, GPA(entry.v + 4), 4, written);
    if (status == STATUS_OK)
        status = guest_mem_store(queue->mem, GPA(queue->device + RING_INDEX), 2, ++queue->used);
    return status;
}

bool virtqueue_needs_interrupt(struct virtqueue *queue)
{
    uint16_t before = queue->signalled, now = queue->used;
    if (!queue->enabled || before == now)
        return false;
    queue->signalled = now;
    /* The used index is visible before the driver's wish is read; the driver does the reverse. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint64_t value;
    gpa_t where = queue->event_index ? used_event(queue) : GPA(queue->driver);
    if (guest_mem_load(queue->mem, where, 2, &value) != STATUS_OK)
        return false;
    if (!queue->event_index)
        return (value & AVAIL_NO_INTERRUPT) == 0;
    /* Virtio: Used Buffer Notification Suppression: the event lies in [before, now). */
    return (uint16_t)(now - (uint16_t)value - 1) < (uint16_t)(now - before);
}

uint32_t virtqueue_peek(const struct virtqueue_cursor *cursor, uint8_t **host)
{
    if (cursor->left == 0)
        return 0;
    *host = cursor->next->host + cursor->offset;
    return cursor->next->length - cursor->offset;
}

void virtqueue_skip(struct virtqueue_cursor *cursor, uint32_t length)
{
    cursor->left -= length;
    cursor->offset += length;
    if (cursor->offset == cursor->next->length) {
        cursor->next++;
        cursor->offset = 0;
    }
}

uint32_t virtqueue_next(struct virtqueue_cursor *cursor, uint32_t max, uint8_t **host)
{
    uint32_t length = virtqueue_peek(cursor, host);
    if (length == 0)
        return 0;
    if (length > max)
        length = max;
    virtqueue_skip(cursor, length);
    return length;
}

uint32_t virtqueue_read(struct virtqueue_cursor *readable, void *to, uint32_t size)
{
    uint32_t done = 0, length;
    uint8_t *host;
    while (done < size && (length = virtqueue_next(readable, size - done, &host)) != 0) {
        memcpy((uint8_t *)to + done, host, length);
        done += length;
    }
    return done;
}

uint32_t virtqueue_write(struct virtqueue_cursor *writable, const void *from, uint32_t size)
{
    uint32_t done = 0, length;
    uint8_t *host;
    while (done < size && (length = virtqueue_next(writable, size - done, &host)) != 0) {
        memcpy(host, (const uint8_t *)from + done, length);
        done += length;
    }
    return done;
}

uint8_t *virtqueue_last_writable(struct virtqueue_chain *chain)
{
    if (chain->writable.next == NULL)
        return NULL;
    struct virtqueue_span *last = &chain->span[chain->spans - 1];
    return last->host + last->length - 1;
}
