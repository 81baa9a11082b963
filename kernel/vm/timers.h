/*
 * Deadlines of a virtual machine. All times are counts of one clock, the machine's TSC or what is
 * behind it by the time that a debugger held the guest; a model converts with a struct ratio made
 * from clock.hz.
 */
#pragma once

#include "kernel/core/types.h"

/* What time it is for models: a port, so that tests can turn the hands. */
struct clock {
    uint64_t (*now)(void *context); /* never goes backwards */
    void *context;
    uint64_t hz;
};

static inline uint64_t clock_now(const struct clock *clock)
{
    return clock->now(clock->context);
}

#define TIMER_NEVER UINT64_MAX

struct timer_queue;

struct timer {
    uint64_t deadline;                       /* TIMER_NEVER: not armed */
    void (*fire)(void *owner, uint64_t now); /* may arm the timer again */
    void *owner;
    struct timer_queue *queue;
    struct timer *next;
};

/* Timers sorted by deadline. Zero-initialise, then timer_queue_init. */
struct timer_queue {
    struct timer *head;
    uint64_t next; /* the head's deadline, TIMER_NEVER when empty: read without a call at entries */
};

void timer_queue_init(struct timer_queue *queue);
void timer_init(struct timer *timer, struct timer_queue *queue,
                void (*fire)(void *owner, uint64_t now), void *owner);

/* Arms, or moves, the timer; TIMER_NEVER cancels. A deadline in the past fires at the next run. */
void timer_arm(struct timer *timer, uint64_t deadline);
void timer_cancel(struct timer *timer);

/* Fires, in order, the timers whose deadline is not after now, as many as were due at the call: a
 * timer that arms itself in the past cannot hold the processor. */
void timers_run(struct timer_queue *queue, uint64_t now);
