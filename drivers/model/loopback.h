/* The end of a connection that returns what it gets, in order, as far as a ring of bytes holds. */
#pragma once

#include "drivers/model/byte_stream.h"

struct loopback {
    uint8_t *ring;
    size_t size;             /* bytes of the ring */
    size_t first, count;     /* where the oldest byte is, and how many there are */
    bool is_owed;            /* the peer was refused bytes and waits to hear of room */
    struct byte_stream peer; /* where the bytes go back to */
};

/* Starts with a ring of size bytes, at least 1, which stays the caller's. */
void loopback_init(struct loopback *loopback, uint8_t *ring, size_t size);

/* The machine's reset: forgets what the ring holds, so that no byte reaches the next guest. */
void loopback_reset(struct loopback *loopback);

/* Sets where the bytes return to; returns this end, for the peer. */
struct byte_stream loopback_connect(struct loopback *loopback, struct byte_stream peer);
