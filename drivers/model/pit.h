/*
 * The PC's interval timer: an 8254 (Intel: 82C54 CHMOS Programmable Interval Timer) at 1.193182 MHz
 * and port 0x61, which gates channel 2 and shows its output.
 *
 * Locking: the caller holds the VM's device lock.
 */
#pragma once

#include "drivers/model/pit_channel.h"
#include "drivers/model/ticks.h"
#include "kernel/vm/bus.h"
#include "kernel/vm/irq_line.h"
#include "kernel/vm/timers.h"

#define PIT_HZ 1193182u
#define PIT_CHANNELS 3

struct pit {
    struct irq_line irq;
    struct ticks ticks;
    struct timer timer;
    struct pit_channel channel[PIT_CHANNELS];
    uint8_t port_b; /* the writable bits of port 0x61 */
    bool irq_level;
    uint64_t wake; /* the tick at which something happens to channel 0 */
};

/* All channels idle until programmed; channel 0's output drives irq. The clock and the queue must
 * outlive the timer. */
void pit_init(struct pit *pit, const struct irq_line *irq, const struct clock *clock,
              struct timer_queue *timers);

/* As after power-on. */
void pit_reset(struct pit *pit);

/* Claims ports 0x40 to 0x43 and 0x61. Errors of bus_add. */
enum status MUST_CHECK pit_attach(struct pit *pit, struct bus *bus);
extern const struct bus_ops pit_ops;
extern const struct bus_ops pit_port_b_ops;

/* The output pin of a channel (0 to 2) now, and whether the speaker is driven (port 0x61). */
bool pit_output(struct pit *pit, unsigned channel);
bool pit_speaker(struct pit *pit);
