/* The tests' random numbers: one sequence, replayable from a case's own seed. */
#pragma once

#include "kernel/core/types.h"

extern uint64_t random_seed; /* not 0 */

static inline uint64_t draw(void)
{
    random_seed ^= random_seed << 13;
    random_seed ^= random_seed >> 7;
    random_seed ^= random_seed << 17;
    return random_seed * 0x2545f4914f6cdd1dull;
}

static inline unsigned below(unsigned limit)
{
    return (unsigned)((draw() >> 32) % limit);
}

static inline bool one_in(unsigned n)
{
    return below(n) == 0;
}

/* A value with a bias to the edges of the operand sizes. */
uint64_t draw_value(void);
