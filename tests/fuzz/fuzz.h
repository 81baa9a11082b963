/*
 * What the fuzz targets share: the entry point that libFuzzer and replay.c call, a check that stays
 * in every build, and the input as a stream of numbers.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "kernel/core/types.h"

/* Runs the target once; always 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

struct fuzz_input {
    const uint8_t *next, *end;
};

/* The next size bytes (1 to 8) as a number; zeroes after the end. */
static inline uint64_t fuzz_take(struct fuzz_input *input, unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size && input->next < input->end; i++)
        value |= (uint64_t)*input->next++ << (8 * i);
    return value;
}

static inline uint64_t fuzz_below(struct fuzz_input *input, uint64_t limit)
{
    return fuzz_take(input, 2) % limit;
}

static inline bool fuzz_is_done(const struct fuzz_input *input)
{
    return input->next >= input->end;
}
