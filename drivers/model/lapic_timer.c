/* The local APIC's timer. SDM: APIC Timer. */
#include "drivers/model/lapic.h"
#include "drivers/model/lapic_internal.h"

/* Interrupts of a shorter period come at most this often; ones in between are coalesced, as they
 * would be in IRR. A period shorter than a VM exit would otherwise leave the guest no time. */
#define GAP_HZ 50000

static uint32_t timer_mode(const struct lapic *lapic)
{
    return lapic->lvt[LVT_TIMER] & LVT_TIMER_MODE;
}

static uint64_t now_of(const struct lapic *lapic)
{
    return clock_now(lapic->config.clock);
}

/* The divide configuration's bits 3, 1 and 0 are 2^(n+1), and 1 for n = 7. */
static unsigned divide_shift(const struct lapic_timer *timer)
{
    unsigned n = (timer->divide & 3) | (timer->divide >> 1 & 4);
    return (n + 1) & 7;
}

/* Counts of the divided clock from start to now. */
static uint64_t elapsed(const struct lapic_timer *timer, uint64_t now)
{
    return ratio_apply(timer->to_counts, now - timer->start) >> divide_shift(timer);
}

/* When expiry number k is due. It is computed from the start each time, so that no error adds up;
 * rounded up, so that the count has really reached zero. */
static uint64_t expiry(const struct lapic_timer *timer, uint64_t k)
{
    uint64_t counts = (timer->first + k * timer->initial) << divide_shift(timer);
    return timer->start + ratio_apply(timer->to_clock, counts) + 1;
}

/* Picks the next expiry after one at now: past ones are coalesced, and those of a period below the
 * gap that are nearer than it. */
static void arm_next(struct lapic_timer *timer, uint64_t now)
{
    uint64_t period = (uint64_t)timer->initial << divide_shift(timer);
    uint64_t gap = ratio_apply(timer->to_clock, period) < timer->gap ? timer->gap : 0;
    uint64_t counts = elapsed(timer, now + gap);
    uint64_t next = timer->next_expiry + 1;
    uint64_t far = counts < timer->first ? 0 : (counts - timer->first) / timer->initial + 1;
    timer->next_expiry = next > far ? next : far;
    timer_arm(&timer->timer, expiry(timer, timer->next_expiry));
}

static void fire(void *owner, uint64_t now)
{
    struct lapic *lapic = owner;
    struct lapic_timer *timer = &lapic->timer;
    if (timer_mode(lapic) == TIMER_TSC_DEADLINE)
        timer->deadline = 0;
    else if (timer_mode(lapic) == TIMER_PERIODIC)
        arm_next(timer, now);
    else
        timer->running = false;
    lapic_deliver_local(lapic, LVT_TIMER);
}

/* The guest looks at the timer after it was due, but before the queue was run. */
static uint64_t catch_up(struct lapic *lapic)
{
    uint64_t now = now_of(lapic);
    if (lapic->timer.timer.deadline <= now) {
        timer_cancel(&lapic->timer.timer);
        fire(lapic, now);
    }
    return now;
}

static void stop(struct lapic_timer *timer)
{
    timer_cancel(&timer->timer);
    timer->running = false;
    timer->deadline = 0;
}

INIT void lapic_timer_init(struct lapic *lapic)
{
    struct lapic_timer *timer = &lapic->timer;
    uint64_t hz = lapic->config.clock->hz;
    timer_init(&timer->timer, lapic->config.timers, fire, lapic);
    timer->to_counts = ratio_make(hz, lapic->config.timer_hz);
    timer->to_clock = ratio_make(lapic->config.timer_hz, hz);
    timer->gap = hz / GAP_HZ;
}

void lapic_timer_reset(struct lapic *lapic)
{
    stop(&lapic->timer);
    lapic->timer.initial = 0;
    lapic->timer.divide = 0;
}

/* Counts down from first at now. */
static void run(struct lapic_timer *timer, uint64_t now, uint64_t first)
{
    timer->start = now;
    timer->first = first;
    timer->next_expiry = 0;
    timer->running = true;
    timer_arm(&timer->timer, expiry(timer, 0));
}

void lapic_timer_write_initial(struct lapic *lapic, uint32_t value)
{
    struct lapic_timer *timer = &lapic->timer;
    if (lapic->lvt[LVT_TIMER] & TIMER_TSC_DEADLINE)
        return;
    stop(timer);
    timer->initial = value;
    if (value != 0)
        run(timer, now_of(lapic), value);
}

/* A running count goes on from where it is, at the new pace. */
void lapic_timer_write_divide(struct lapic *lapic, uint32_t value)
{
    struct lapic_timer *timer = &lapic->timer;
    uint32_t count = lapic_timer_current(lapic);
    timer->divide = value;
    if (timer->running)
        run(timer, now_of(lapic), count != 0 ? count : 1);
}

/* Entering or leaving TSC-deadline mode disarms the timer; between one-shot and periodic the count
 * goes on. The reserved mode, 11b, never counts. */
void lapic_timer_mode_changed(struct lapic *lapic, uint32_t old_lvt)
{
    struct lapic_timer *timer = &lapic->timer;
    uint32_t new_mode = timer_mode(lapic), old_mode = old_lvt & LVT_TIMER_MODE;
    if (new_mode == old_mode || !((new_mode | old_mode) & TIMER_TSC_DEADLINE))
        return;
    stop(timer);
    timer->initial = 0;
}

uint32_t lapic_timer_current(struct lapic *lapic)
{
    struct lapic_timer *timer = &lapic->timer;
    uint64_t now = catch_up(lapic);
    if (!timer->running)
        return 0;
    uint64_t counts = elapsed(timer, now);
    if (counts < timer->first)
        return (uint32_t)(timer->first - counts);
    /* Due, and only the rounding keeps it from having fired. */
    if (timer->next_expiry == 0 && timer_mode(lapic) != TIMER_PERIODIC)
        return 0;
    return timer->initial - (uint32_t)((counts - timer->first) % timer->initial);
}

/* ---- TSC-deadline mode ---------------------------------------------------------------------- */

static void arm_deadline(struct lapic *lapic)
{
    struct lapic_timer *timer = &lapic->timer;
    uint64_t now = now_of(lapic);
    uint64_t guest_now = now + *lapic->config.tsc_offset;
    if (timer->deadline <= guest_now) {
        timer_cancel(&timer->timer);
        if (timer->deadline != 0)
            fire(lapic, now);
        return;
    }
    uint64_t wait = timer->deadline - guest_now, longest = TIMER_NEVER - 1 - now;
    timer_arm(&timer->timer, now + (wait < longest ? wait : longest));
}

enum status lapic_read_tsc_deadline(struct lapic *lapic, uint64_t *value)
{
    if (!lapic->config.tsc_deadline)
        return ERR_FAULT;
    catch_up(lapic);
    *value = lapic->timer.deadline;
    return STATUS_OK;
}

enum status lapic_write_tsc_deadline(struct lapic *lapic, uint64_t value)
{
    if (!lapic->config.tsc_deadline)
        return ERR_FAULT;
    if (timer_mode(lapic) != TIMER_TSC_DEADLINE)
        return STATUS_OK;
    lapic->timer.deadline = value;
    arm_deadline(lapic);
    return STATUS_OK;
}

void lapic_tsc_offset_changed(struct lapic *lapic)
{
    if (timer_mode(lapic) == TIMER_TSC_DEADLINE)
        arm_deadline(lapic);
}
