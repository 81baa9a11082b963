/* Bit masks and alignment; always 64 bits wide, so that a mask never sign-extends. */
#pragma once

#include "kernel/core/types.h"

#define BIT(n) (1ull << (n))
/* Bits high..low, both inclusive. */
#define MASK(high, low) ((~0ull >> (63 - (high))) & (~0ull << (low)))

/* The field high..low of value, moved down to bit 0. */
static inline uint64_t bits_get(uint64_t value, unsigned high, unsigned low)
{
    return (value & MASK(high, low)) >> low;
}

/* All bits below the given width in bytes (1 to 8). */
static inline uint64_t bits_size_mask(unsigned size)
{
    return ~0ull >> (-8 * size & 63);
}

/* The number of the highest bit that is set, 0 of 0: BSR leaves its destination as it was then. */
static inline uint64_t bit_highest(uint64_t value)
{
    __asm__("bsr %0, %0" : "+r"(value) : : "cc");
    return value;
}

static inline uint64_t align_down(uint64_t value, uint64_t alignment)
{
    return value & ~(alignment - 1);
}

/* The caller makes sure that value + alignment does not overflow. */
static inline uint64_t align_up(uint64_t value, uint64_t alignment)
{
    return align_down(value + alignment - 1, alignment);
}

static inline bool is_aligned(uint64_t value, uint64_t alignment)
{
    return (value & (alignment - 1)) == 0;
}

/* SDM: Canonical Addressing, for 48-bit linear addresses. */
static inline bool is_canonical(uint64_t linear)
{
    return (uint64_t)((int64_t)(linear << 16) >> 16) == linear;
}
