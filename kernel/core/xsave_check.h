/*
 * Whether the processor keeps what it saves in the compacted form of the XSAVE area. Some emulated
 * ones do not, and a kernel that trusts them mixes up its processes' registers.
 * SDM: Managing State Using the XSAVE Feature Set.
 */
#pragma once

#include "kernel/core/types.h"

/* Sends a pattern in each combination of the extended components of xcr0 through XSAVEC and
 * XRSTOR. True where every one comes back, and where there is no XSAVEC. Leaves all components of
 * xcr0, which must be this processor's XCR0, in their initial state. */
bool xsave_check_compacted(uint64_t xcr0);
