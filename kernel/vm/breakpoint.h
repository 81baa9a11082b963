/* Breakpoints on what the monitor does in the guest's place. SDM: Debug Registers. */
#pragma once

#include "kernel/core/types.h"

/* The breakpoints on I/O, which work with CR4.DE only, that an access to size bytes from port on
 * meets, one bit each as in DR6's B0 to B3; address is DR0 to DR3. */
unsigned breakpoint_match_io(const uint64_t address[4], uint64_t dr7, uint64_t port, unsigned size);

/* Somebody who notes which breakpoints on data the accesses of an instruction meet. */
struct breakpoint_watch {
    uint64_t address[4];
    uint64_t dr7;
    unsigned hits; /* one bit each as in DR6's B0 to B3 */
    /* A debugger, who has more of them; NULL: none. */
    void (*see)(void *context, uint64_t linear, unsigned size, bool write);
    void *context;
};

/* Whether dr7 enables a breakpoint on anything but instructions. */
bool breakpoint_wants_watch(uint64_t dr7);
void breakpoint_note_data(struct breakpoint_watch *watch, uint64_t linear, unsigned size,
                          bool write);
