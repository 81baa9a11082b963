/*
 * The load of a segment register as a debugger does it: with a new selector come base, limit and
 * access from its descriptor. Pure; nothing is written, a busy flag neither. SDM: Segment
 * Descriptors; Segment Loading Instructions in IA-32e Mode.
 */
#pragma once

#include "kernel/vm/debug.h"
#include "kernel/vm/guest_walk.h"

/*
 * Fills in the segments whose selector has changed, and nothing but the selector, since `before`;
 * in real and virtual-8086 mode the selector says it all. ERR_NOT_FOUND: a selector has no
 * descriptor in its table; ERR_FAULT: the table is not mapped; ERR_INVALID: the descriptor is not
 * present, or of another kind.
 */
enum status MUST_CHECK selector_load(const struct vcpu_registers *before,
                                     struct vcpu_registers *registers, const struct paging *paging,
                                     const struct guest_mem *mem);
