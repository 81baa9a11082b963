/* The calls of a guest's code by its frame pointers. Pure. */
#pragma once

#include "kernel/debug/describe.h"

#define BACKTRACE_MAX 64u

struct backtrace {
    unsigned count, width; /* frames; bytes of a word, 0: frames of this code are not known */
    uint64_t frame[BACKTRACE_MAX];
    uint64_t ended_at; /* the frame pointer that led nowhere */
};

void backtrace_collect(struct backtrace *trace, const struct vcpu_registers *registers,
                       const struct paging *paging, const struct guest_mem *mem);

/* A line for each frame. */
void backtrace_describe(const struct text *text, const struct system_map *symbols,
                        const struct backtrace *trace);
