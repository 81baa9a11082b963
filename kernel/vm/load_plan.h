/*
 * What a loader has decided about a guest, once: each start of the guest carries it out again. What
 * lies in a file stays there; what the loader makes lies behind the plan, in the same room.
 */
#pragma once

#include "kernel/core/status.h"
#include "kernel/core/types.h"
#include "kernel/vm/guest_entry.h"
#include "kernel/vm/guest_mem.h"

#define LOAD_PIECES_MAX 96

struct load_piece {
    uint64_t at;          /* guest-physical */
    uint64_t size;        /* bytes */
    const void *from;     /* NULL: numbers of 8 bytes, */
    uint64_t first, step; /* the first, and by how much each is more than the one before */
};

struct load_plan {
    struct guest_entry entry; /* where the first vCPU starts */
    uint32_t size;            /* of the room for it, this structure included */
    uint32_t used;
    uint32_t pieces;
    uint32_t lasting;                         /* of them, the last, whose memory no reset clears */
    struct load_piece piece[LOAD_PIECES_MAX]; /* in order; none overlaps another */
};

/* Puts everything into the guest's memory, which is all zeros. ERR_RANGE: it is not the memory that
 * the plan was made for. After a reset, what lasts is there. */
enum status MUST_CHECK load_plan_replay(const struct load_plan *plan, const struct guest_mem *mem,
                                        bool after_reset);
