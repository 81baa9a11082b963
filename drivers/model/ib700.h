/*
 * The watchdog of iBASE's board IB700, as QEMU has it and Linux's ib700wdt drives it: a write to
 * one port starts it, or winds it up again, a write to the other stops it.
 *
 * Locking: the caller holds the VM's device lock.
 */
#pragma once

#include "kernel/vm/bus.h"
#include "kernel/vm/timers.h"

#define IB700_PORT_STOP 0x441
#define IB700_PORT_START 0x443

struct ib700 {
    struct timer timer;
    const struct clock *clock;
    void (*expired)(void *context);
    void *context;
};

/* Claims both ports; expired is called from the timer queue. Errors of bus_add. */
enum status MUST_CHECK ib700_attach(struct ib700 *watchdog, struct bus *bus,
                                    const struct clock *clock, struct timer_queue *timers,
                                    void (*expired)(void *context), void *context);

/* As after power-on: it does not run. */
void ib700_reset(struct ib700 *watchdog);
