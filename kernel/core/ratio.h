/* Exact-enough conversion between two clock rates without a division at run time. */
#pragma once

#include "kernel/core/types.h"

struct ratio {
    uint64_t multiplier;
    unsigned shift;
};

/* A ratio that turns counts of a clock of from_hz into counts of one of to_hz; both non-zero. The
 * relative error is below 2^-62 x to/from; the largest shift that keeps 64 bits is used. */
struct ratio ratio_make(uint64_t from_hz, uint64_t to_hz);

/* count converted, rounded down; the caller keeps the result below 2^64. */
static inline uint64_t ratio_apply(struct ratio ratio, uint64_t count)
{
    return (uint64_t)(((unsigned __int128)count * ratio.multiplier) >> ratio.shift);
}
