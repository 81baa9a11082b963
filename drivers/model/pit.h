/*
 * The PC's interval timer: an 8254 (Intel: 82C54 CHMOS Programmable Interval Timer) at 1.193182 MHz
 * and port 0x61, which gates channel 2 and shows its output.
 *
 * Nothing runs while nobody looks: each channel keeps the tick at which its counting element was
 * loaded, and counts, outputs and deadlines follow from the ticks since then. A count is loaded at
 * the tick after the write that completes it.
 *
 * Locking: the caller holds the VM's device lock.
 */
#pragma once

#include "drivers/model/ticks.h"
#include "kernel/vm/bus.h"
#include "kernel/vm/irq_line.h"
#include "kernel/vm/timers.h"

#define PIT_HZ 1193182u
#define PIT_CHANNELS 3

struct pit_channel {
    uint8_t mode;   /* 0 to 5 */
    uint8_t access; /* 1: low byte, 2: high byte, 3: low then high */
    bool bcd;
    bool gate;

    /* The count register, and how far the guest has come in writing it. */
    uint16_t reload;
    uint8_t low_byte; /* written, waiting for the high one */
    bool write_high;  /* the second of two bytes is written next */
    bool written;     /* a whole count since the control word */
    bool null_count;  /* it has not reached the counting element */
    bool load_at_end; /* of the present period, and not at the next tick */
    uint64_t load_tick;

    /* The counting element: initial was loaded `elapsed` counts before the tick of start while it
     * counts, and stands still at `elapsed` while it does not. */
    bool loaded; /* since the control word; until then it shows `frozen` */
    bool counting;
    uint32_t initial; /* 1 to 65536, or to 10000 in BCD */
    uint64_t start;
    uint64_t elapsed;
    uint32_t frozen;
    uint64_t edges; /* rising edges of the output since the load that the interrupt line has seen */

    /* What the guest reads next. */
    bool read_high;
    bool count_latched;
    bool status_latched;
    uint16_t latched_count;
    uint8_t latched_status;
};

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
