#include "drivers/model/loopback.h"

#include "kernel/core/mem.h"
#include "kernel/core/panic.h"

void loopback_init(struct loopback *loopback, uint8_t *ring, size_t size)
{
    ASSERT(size > 0);
    *loopback = (struct loopback){.ring = ring, .size = size};
}

void loopback_reset(struct loopback *loopback)
{
    loopback->first = loopback->count = 0;
    loopback->is_owed = false;
}

/* Copies into the free part of the ring, up to its wrap. */
static size_t put(struct loopback *loopback, const uint8_t *bytes, size_t n)
{
    size_t at = (loopback->first + loopback->count) % loopback->size;
    size_t room = loopback->size - loopback->count;
    if (room > loopback->size - at)
        room = loopback->size - at;
    if (n > room)
        n = room;
    memcpy(loopback->ring + at, bytes, n);
    loopback->count += n;
    return n;
}

/* Sends back what the peer takes; returns whether that was anything. */
static bool send_back(struct loopback *loopback)
{
    size_t before = loopback->count;
    while (loopback->count > 0) {
        size_t run = loopback->size - loopback->first;
        if (run > loopback->count)
            run = loopback->count;
        size_t taken = byte_stream_write(&loopback->peer, loopback->ring + loopback->first, run);
        loopback->first = (loopback->first + taken) % loopback->size;
        loopback->count -= taken;
        if (taken < run)
            break;
    }
    return loopback->count != before;
}

static size_t loopback_write(void *context, const uint8_t *bytes, size_t n)
{
    struct loopback *loopback = context;
    size_t done = 0;
    for (;;) {
        size_t taken = put(loopback, bytes + done, n - done);
        done += taken;
        bool is_moving = send_back(loopback);
        if (done == n || (taken == 0 && !is_moving))
            break;
    }
    loopback->is_owed = done < n;
    return done;
}

static void loopback_writable(void *context)
{
    struct loopback *loopback = context;
    if (!send_back(loopback) || !loopback->is_owed)
        return;
    loopback->is_owed = false;
    byte_stream_writable(&loopback->peer);
}

struct byte_stream loopback_connect(struct loopback *loopback, struct byte_stream peer)
{
    loopback->peer = peer;
    return (struct byte_stream){loopback_write, loopback_writable, loopback};
}
