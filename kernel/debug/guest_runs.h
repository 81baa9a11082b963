/*
 * What a guest's page tables map of its memory, as runs of pages that follow each other in both
 * linear and physical address space. Pure. SDM: Paging.
 */
#pragma once

#include "kernel/vm/guest_walk.h"

#define GUEST_RUNS_MAX 4096u

struct guest_run {
    uint64_t linear, gpa, size;
};

struct guest_runs {
    unsigned count, tables; /* tables that were looked through */
    bool is_cut;            /* there is more than was looked at */
    struct guest_run run[GUEST_RUNS_MAX];
};

/* The upper half of the address space comes first, where kernels are. Without paging, what is
 * physical is linear. Tables may say anything: what is looked through is bounded. */
void guest_runs_collect(struct guest_runs *runs, const struct paging *paging,
                        const struct guest_mem *mem);
