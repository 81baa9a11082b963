/* A hash to tell whether memory is as it was: FNV-1a over 64-bit words. No defence against someone
 * who computes what he writes; the monitor's memory is kept from guests by other means. */
#pragma once

#include "kernel/core/types.h"

#define HASH_START 0xcbf29ce484222325ull

static inline uint64_t hash_word(uint64_t hash, uint64_t word)
{
    hash ^= word;
    hash *= 0x100000001b3ull;
    return hash ^ hash >> 32; /* a product alone never carries a bit downward */
}

/* Of each word only the bits in mask. size is a multiple of 8, words aligned to 8. */
static inline uint64_t hash_masked(uint64_t hash, const void *words, size_t size, uint64_t mask)
{
    const uint64_t *next = words, *end = next + size / sizeof(*next);
    for (; end - next >= 4; next += 4) { /* four at a time: it is much of what the start takes */
        hash = hash_word(hash_word(hash, next[0] & mask), next[1] & mask);
        hash = hash_word(hash_word(hash, next[2] & mask), next[3] & mask);
    }
    for (; next < end; next++)
        hash = hash_word(hash, *next & mask);
    return hash;
}

static inline uint64_t hash_words(uint64_t hash, const void *words, size_t size)
{
    return hash_masked(hash, words, size, ~0ull);
}
