/*
 * A small compressor. RFC 1951: DEFLATE Compressed Data Format: one block of the fixed codes, or
 * stored ones where that is shorter; what any inflate takes. Pure.
 */
#pragma once

#include "kernel/core/types.h"

#define DEFLATE_HASH_BITS 12u
#define DEFLATE_MAX 65536u /* bytes at once */

/* What size bytes take at most. */
#define DEFLATE_ROOM(size) ((size) + 5 * ((size) / 65535 + 1))

struct deflate {
    uint32_t seen[1u << DEFLATE_HASH_BITS]; /* by the hash of 4 bytes: where they were, plus 1 */
};

/* Compresses size bytes, up to DEFLATE_MAX, to to[DEFLATE_ROOM(size)]; returns how many bytes that
 * takes. state: for its work, whatever it holds. */
size_t deflate_all(struct deflate *state, const uint8_t *from, size_t size, uint8_t *to);
