/*
 * A device's own oscillator, derived from the machine's clock without drift: ticks are counted from
 * one fixed instant, never summed up from rounded pieces.
 */
#pragma once

#include "kernel/core/ratio.h"
#include "kernel/vm/timers.h"

struct ticks {
    const struct clock *clock;
    uint64_t epoch; /* clock count of tick 0 */
    struct ratio to_ticks;
    struct ratio to_clock;
};

/* Starts the oscillator of the given rate at the clock's present count. */
static inline void ticks_init(struct ticks *ticks, const struct clock *clock, uint64_t hz)
{
    ticks->clock = clock;
    ticks->epoch = clock_now(clock);
    ticks->to_ticks = ratio_make(clock->hz, hz);
    ticks->to_clock = ratio_make(hz, clock->hz);
    /* Rounded up, so that where the rates divide evenly each tick begins on its exact count. */
    if (ticks->to_ticks.multiplier != UINT64_MAX)
        ticks->to_ticks.multiplier++;
}

/* The number of the tick that is running. */
static inline uint64_t ticks_now(const struct ticks *ticks)
{
    return ratio_apply(ticks->to_ticks, clock_now(ticks->clock) - ticks->epoch);
}

/*
 * A clock count at which ticks_now has reached tick, for timer_arm: never early, and late by no
 * more than the rounding of the two ratios (a few counts in a year). TIMER_NEVER for what lies
 * further away than the clock can count.
 */
static inline uint64_t ticks_deadline(const struct ticks *ticks, uint64_t tick)
{
    unsigned __int128 estimate =
        ((unsigned __int128)tick * ticks->to_clock.multiplier) >> ticks->to_clock.shift;
    if (estimate >> 63)
        return TIMER_NEVER;
    uint64_t count = (uint64_t)estimate;
    uint64_t step = 0;
    while (ratio_apply(ticks->to_ticks, count + step) < tick)
        step = step == 0 ? 1 : 2 * step;
    return ticks->epoch + count + step;
}
