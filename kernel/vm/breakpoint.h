/* Breakpoints on what the monitor does in the guest's place. SDM: Debug Registers. */
#pragma once

#include "kernel/core/types.h"

/* The breakpoints on I/O, which work with CR4.DE only, that an access to size bytes from port on
 * meets, one bit each as in DR6's B0 to B3; address is DR0 to DR3. */
unsigned breakpoint_match_io(const uint64_t address[4], uint64_t dr7, uint64_t port, unsigned size);
