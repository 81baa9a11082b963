/*
 * One end of a two-way connection of bytes with back-pressure: what a port hands to whoever is at
 * its other end, and gets from it. Nothing is buffered in between, so nothing is lost: bytes that
 * were not taken stay with the sender until it is told that there is room.
 *
 * Locking: none; both ends run with the VM's device lock held.
 */
#pragma once

#include "kernel/core/types.h"

struct byte_stream {
    /* Takes the first of n bytes, as many as there is room for; returns how many, also 0. bytes may
     * be guest memory that changes at any moment. NULL: nobody listens, everything is dropped. */
    size_t (*write)(void *context, const uint8_t *bytes, size_t n);
    /* The caller, that is the other end, has room again for what it did not take before. May write
     * at once. NULL: not wanted. */
    void (*writable)(void *context);
    void *context;
};

static inline size_t byte_stream_write(const struct byte_stream *stream, const uint8_t *bytes,
                                       size_t n)
{
    return stream->write != NULL ? stream->write(stream->context, bytes, n) : n;
}

static inline void byte_stream_writable(const struct byte_stream *stream)
{
    if (stream->writable != NULL)
        stream->writable(stream->context);
}
