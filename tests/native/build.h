/* Random instructions, each of a given form, mode, operand and address size. */
#pragma once

#include "tests/native/scene.h"

struct sample {
    const struct cell *cell;
    const struct form *form;
    struct scene scene;
    struct context context; /* before the instruction */
    uint8_t bytes[64];      /* the processor refuses more than 15 */
    unsigned length;
    uint64_t linear;          /* of the instruction */
    uint64_t operand;         /* linear, of the operand in memory as far as it has one */
    uint64_t undefined_flags; /* afterwards */
};

/* Makes a sample and puts it into memory, with breakpoints (CC) behind it. */
void build_sample(struct sample *sample, const struct cell *cell);
