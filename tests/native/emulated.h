/* The same instruction on the emulator: the windows as a guest's memory, RAM and a device that
 * stores what it is sent, behind 4-level paging structures with the same rights. */
#pragma once

#include "kernel/vm/guest_access.h"
#include "tests/native/processor.h"

void emulated_prepare(void);

/* Executes the instruction at CS:RIP until it is done or faults, with the trap flag one iteration,
 * and reports as the processor does: *context has the vector, VECTOR_BP for none. segments: what
 * the selectors stand for. False: it was refused as unknown. */
bool emulated_run(struct context *context, const struct segment *segments, unsigned code_size);

/* The instruction that emulated_run executed last, once more from *before, by the short way for
 * accesses to devices that were met before; linear: its operand, which it has on a device. False:
 * it is not one for that way. */
bool emulated_repeat(struct context *before, uint64_t linear, bool write);

/* The decoded form of what emulated_run executed last; NULL: it was not decoded. */
const struct instruction *emulated_instruction(void);

/* The emulator's copy of the page at linear; NULL where the windows have none. */
uint8_t *emulated_page(uint64_t linear);
