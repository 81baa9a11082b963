/* Integer arithmetic with the processor's flags; pure. */
#pragma once

#include "kernel/vm/decode.h"

/* The flags that arithmetic computes. */
#define RFLAGS_STATUS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

/*
 * What operation (ADD to DEC of enum operation) makes of destination and source, operands of size
 * bytes with nothing above. *rflags goes in and comes out; flags that the SDM leaves undefined get
 * some value. For the shifts source is the count, unmasked; for BT and its kin it is the number of
 * the bit, below 8 * size. CMP, TEST and BT return the destination as it is.
 */
uint64_t alu_compute(enum operation operation, unsigned size, uint64_t destination, uint64_t source,
                     uint64_t *rflags);

/* Whether a condition code (the low four bits of Jcc, SETcc and CMOVcc) holds. */
bool alu_condition(unsigned condition, uint64_t rflags);
