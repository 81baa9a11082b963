/* What emulate.c and emulate_string.c share: registers, segmented addresses, memory accesses. */
#pragma once

#include "kernel/vm/emulate.h"

/* One instruction in execution. */
struct emulation {
    struct emulate_state *state;
    const struct instruction *instruction;
    const struct emulate_ops *ops;
    void *context;
    struct exception *exception;
};

/* What an access does, for the checks of segments; CLFLUSH may name a segment that can only be
 * executed. SDM: CLFLUSH. */
enum access_kind { ACCESS_READ, ACCESS_WRITE, ACCESS_FLUSH };

/* Raises vector; error code 0 for those that push one, which they do in protected mode only. */
enum status emulate_raise(const struct emulation *emulation, uint8_t vector);

/* The checks outside 64-bit mode; see emulate_linear. */
enum status emulate_linear_segmented(const struct emulation *emulation, unsigned segment,
                                     uint64_t offset, unsigned size, enum access_kind kind,
                                     uint64_t *linear);
/* #AC, for an access that is not aligned, where it is enabled. */
enum status emulate_check_alignment(const struct emulation *emulation, uint64_t linear,
                                    unsigned size);

/* A string instruction, all of it or as many repetitions as one call may take (ERR_BUSY). */
enum status emulate_string(const struct emulation *emulation);

/* The linear address of segment:offset for an access of size bytes, with every check that comes
 * before paging. SDM: Protection; Alignment Check Exception. */
static inline enum status emulate_linear(const struct emulation *emulation, unsigned segment,
                                         uint64_t offset, unsigned size, enum access_kind kind,
                                         uint64_t *linear)
{
    const struct emulate_state *state = emulation->state;
    if (state->code_size != 8) {
        enum status status =
            emulate_linear_segmented(emulation, segment, offset, size, kind, linear);
        if (status != STATUS_OK)
            return status;
    } else {
        *linear = offset + (segment >= SEG_FS ? state->segment[segment].base : 0);
        if (!is_canonical(*linear) || !is_canonical(*linear + size - 1))
            return emulate_raise(emulation, segment == SEG_SS ? VECTOR_SS : VECTOR_GP);
    }
    if ((state->rflags & RFLAGS_AC) == 0)
        return STATUS_OK;
    return emulate_check_alignment(emulation, *linear, size);
}

static inline enum status emulate_load(const struct emulation *emulation, uint64_t linear,
                                       unsigned size, bool modify, uint64_t *value)
{
    return emulation->ops->load(emulation->context, linear, size, modify, value,
                                emulation->exception);
}

static inline enum status emulate_store(const struct emulation *emulation, uint64_t linear,
                                        unsigned size, uint64_t value)
{
    return emulation->ops->store(emulation->context, linear, size, &value, emulation->exception);
}

/* A general register as an operand of size bytes; number is in the format of struct operand. */
static inline uint64_t emulate_read_register(const struct emulate_state *state, unsigned number,
                                             unsigned size)
{
    if ((number & OPERAND_HIGH_BYTE) != 0)
        return state->gpr[number & 3] >> 8 & 0xff;
    return state->gpr[number] & bits_size_mask(size);
}

/* SDM: General-Purpose Registers in 64-Bit Mode: 32-bit results are zero-extended, smaller ones
 * leave the rest alone. value has nothing above size. */
static inline void emulate_write_register(struct emulate_state *state, unsigned number,
                                          unsigned size, uint64_t value)
{
    if (size >= 4)
        state->gpr[number] = value;
    else if ((number & OPERAND_HIGH_BYTE) != 0)
        state->gpr[number & 3] = (state->gpr[number & 3] & ~0xff00ull) | value << 8;
    else
        state->gpr[number] = (state->gpr[number] & ~bits_size_mask(size)) | value;
}
