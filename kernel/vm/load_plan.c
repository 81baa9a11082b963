#include "kernel/vm/load_plan.h"

static enum status put_numbers(const struct load_piece *piece, const struct guest_mem *mem)
{
    enum status status = STATUS_OK;
    uint64_t number = piece->first;
    for (uint64_t at = 0; status == STATUS_OK && at < piece->size; at += 8) {
        status = guest_mem_store(mem, GPA(piece->at + at), 8, number);
        number += piece->step;
    }
    return status;
}

enum status load_plan_replay(const struct load_plan *plan, const struct guest_mem *mem,
                             bool after_reset)
{
    enum status status = STATUS_OK;
    uint32_t count = plan->pieces - (after_reset ? plan->lasting : 0);
    for (uint32_t i = 0; status == STATUS_OK && i < count; i++) {
        const struct load_piece *piece = &plan->piece[i];
        status = piece->from != NULL
                     ? guest_mem_write(mem, GPA(piece->at), piece->from, piece->size)
                     : put_numbers(piece, mem);
    }
    return status;
}
