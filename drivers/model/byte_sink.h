/* Where a device model sends a stream of bytes. */
#pragma once

#include "kernel/core/types.h"

struct byte_sink {
    /* Takes one byte, or returns false when it has no room; then it tells the model later, by the
     * model's own function, that there is room. put == NULL: every byte is dropped. */
    bool (*put)(void *context, uint8_t byte);
    void *context;
};

static inline bool byte_sink_put(const struct byte_sink *sink, uint8_t byte)
{
    return sink->put == NULL || sink->put(sink->context, byte);
}
