/* A clock whose hands a test turns, with its timer queue, and pins that record an interrupt line.
 */
#pragma once

#include "kernel/vm/irq_line.h"
#include "kernel/vm/timers.h"

struct hands {
    uint64_t now;
    struct clock clock;
    struct timer_queue timers;
};

static inline uint64_t hands_now(void *context)
{
    return ((struct hands *)context)->now;
}

static inline void hands_init(struct hands *hands, uint64_t hz)
{
    hands->now = 1000; /* a clock does not begin at zero */
    hands->clock = (struct clock){hands_now, hands, hz};
    timer_queue_init(&hands->timers);
}

/* Turns the hands to the given count; every timer on the way fires at its deadline. */
static inline void hands_turn_to(struct hands *hands, uint64_t count)
{
    while (hands->timers.next <= count) {
        if (hands->timers.next > hands->now)
            hands->now = hands->timers.next;
        timers_run(&hands->timers, hands->now);
    }
    if (count > hands->now)
        hands->now = count;
}

static inline void hands_turn(struct hands *hands, uint64_t counts)
{
    hands_turn_to(hands, hands->now + counts);
}

struct pin {
    bool level;
    unsigned rises;
    unsigned sets;
    unsigned input;
};

static inline void pin_set(void *context, unsigned input, bool level)
{
    struct pin *pin = context;
    pin->sets++;
    pin->input = input;
    pin->rises += level && !pin->level;
    pin->level = level;
}

static inline struct irq_line pin_line(struct pin *pin, unsigned input)
{
    return (struct irq_line){pin_set, pin, input};
}
