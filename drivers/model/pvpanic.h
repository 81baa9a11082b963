/* By which a guest's kernel says that it has panicked: QEMU's pvpanic on the ISA bus. QEMU:
 * docs/specs/pvpanic. */
#pragma once

#include "kernel/vm/bus.h"

/* What can be reported, and what a read says that can be. */
#define PVPANIC_PANICKED BIT(0)
#define PVPANIC_CRASH_LOADED BIT(1) /* panicked, and a kernel for crashes takes over */
#define PVPANIC_EVENTS (PVPANIC_PANICKED | PVPANIC_CRASH_LOADED)

struct pvpanic {
    /* With events of PVPANIC_EVENTS, at least one; from inside an access. */
    void (*report)(void *context, uint8_t events);
    void *context;
};

/* Claims the one port. Errors of bus_add. */
enum status MUST_CHECK pvpanic_attach(struct pvpanic *device, struct bus *bus, uint16_t port,
                                      void (*report)(void *context, uint8_t events), void *context);
