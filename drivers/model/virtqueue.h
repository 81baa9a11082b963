/*
 * The device's side of a split virtqueue. Virtio 1.2: Split Virtqueues.
 *
 * The guest owns every byte of the rings and may change them at any moment: each descriptor is
 * copied once, checked as a copy and turned into spans of RAM; nothing outside RAM is ever touched.
 * A function that returns an error other than ERR_NOT_FOUND met a ring that no driver can mean; the
 * device then needs a reset (virtio_pci_fail).
 *
 * Locking: none; every caller holds the VM's device lock.
 */
#pragma once

#include "kernel/vm/guest_mem.h"

/* The largest queue, and the longest chain of descriptors, also through an indirect table. */
#define VIRTQUEUE_SIZE_MAX 256

/* A buffer can be cut in two where regions of RAM meet: room for every border once. */
#define VIRTQUEUE_SPANS_MAX (VIRTQUEUE_SIZE_MAX + GUEST_REGIONS_MAX)

struct virtqueue {
    const struct guest_mem *mem;
    uint64_t descriptors, driver, device; /* guest-physical: table, available ring, used ring */
    uint16_t size;                        /* entries, a power of two */
    bool enabled, indirect, event_index;
    uint16_t last_avail; /* next entry of the available ring to take */
    uint16_t avail;      /* its index as last seen */
    uint16_t used;       /* next index of the used ring */
    uint16_t signalled;  /* used index when the driver was last considered for an interrupt */
};

/* Non-empty bytes in RAM. */
struct virtqueue_span {
    uint8_t *host;
    uint32_t length;
};

/* A position in the readable or the writable half of a chain. */
struct virtqueue_cursor {
    struct virtqueue_span *next; /* the span that holds the next byte */
    uint32_t offset;             /* of that byte in the span */
    uint32_t left;               /* bytes from here to the end of the half */
};

/* One buffer that the driver made available. Its cursors point into it: it cannot be copied. */
struct virtqueue_chain {
    uint16_t head;                    /* what virtqueue_push gives back */
    struct virtqueue_cursor readable; /* what the driver sends */
    struct virtqueue_cursor writable; /* room for what the device answers */
    unsigned spans;
    struct virtqueue_span span[VIRTQUEUE_SPANS_MAX];
};

/* Starts the rings at the addresses and with the size that stand in queue, and checks them: size,
 * alignment, and that all three lie in RAM. ERR_INVALID or ERR_RANGE: the queue stays off. */
enum status MUST_CHECK virtqueue_enable(struct virtqueue *queue);

/* Forgets addresses, indices and features; the queue is off and its size is size. */
void virtqueue_reset(struct virtqueue *queue, const struct guest_mem *mem, uint16_t size);

/* Takes the next chain. ERR_NOT_FOUND: the driver has nothing more, and will notify when it has.
 * ERR_INVALID: an index, flag or length that makes no sense; ERR_RANGE: an address outside RAM. */
enum status MUST_CHECK virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain *chain);

/* Gives the chain of head back with the number of bytes written into it. */
enum status MUST_CHECK virtqueue_push(struct virtqueue *queue, uint16_t head, uint32_t written);

/* Whether the driver wants an interrupt for what was pushed since the last call. */
bool virtqueue_needs_interrupt(struct virtqueue *queue);

/* The contiguous piece at the cursor: its length, 0 at the end, and its address in *host. */
uint32_t virtqueue_peek(const struct virtqueue_cursor *cursor, uint8_t **host);

/* Moves past length bytes, at most what virtqueue_peek gave, and not 0 at the end. */
void virtqueue_skip(struct virtqueue_cursor *cursor, uint32_t length);

/* Both in one: the next contiguous piece of at most max bytes: its length, 0 at the end, and its
 * address in *host; the cursor moves past it. */
uint32_t virtqueue_next(struct virtqueue_cursor *cursor, uint32_t max, uint8_t **host);

/* Copies at most size bytes out of, or into, the chain at the cursor; returns how many. */
uint32_t virtqueue_read(struct virtqueue_cursor *readable, void *to, uint32_t size);
uint32_t virtqueue_write(struct virtqueue_cursor *writable, const void *from, uint32_t size);

/* The last writable byte of a chain; NULL where nothing is writable. */
uint8_t *virtqueue_last_writable(struct virtqueue_chain *chain);
