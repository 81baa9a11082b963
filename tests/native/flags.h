/* The flags that instructions leave undefined. SDM: their own pages, Flags Affected. */
#pragma once

#include "kernel/vm/decode.h"

/* Of an operation on operands of size bytes; count: of a shift or rotation, as in the instruction,
 * not yet masked. */
static inline uint64_t flags_undefined(unsigned operation, unsigned size, unsigned count)
{
    count &= size == 8 ? 63 : 31;
    uint64_t overflow = count != 1 ? RFLAGS_OF : 0;
    switch (operation) {
    case OPERATION_OR:
    case OPERATION_AND:
    case OPERATION_XOR:
    case OPERATION_TEST:
        return RFLAGS_AF;
    case OPERATION_ROL ... OPERATION_RCR:
        return count == 0 ? 0 : overflow;
    case OPERATION_SHL:
    case OPERATION_SHR:
    case OPERATION_SAL:
        return count == 0 ? 0 : overflow | RFLAGS_AF | (count >= 8 * size ? RFLAGS_CF : 0);
    case OPERATION_SAR:
        return count == 0 ? 0 : overflow | RFLAGS_AF;
    case OPERATION_BT ... OPERATION_BTC:
        return RFLAGS_OF | RFLAGS_SF | RFLAGS_AF | RFLAGS_PF;
    default:
        return 0;
    }
}
