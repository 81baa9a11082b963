#include "drivers/model/ib700.h"

#define SECONDS_MAX 30
#define SECONDS_STEP 2

static uint64_t read_port(void *device, uint64_t offset, unsigned size)
{
    (void)device;
    (void)offset;
    (void)size;
    return UINT64_MAX;
}

static void write_stop(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct ib700 *watchdog = device;
    (void)offset;
    (void)size;
    (void)value;
    timer_cancel(&watchdog->timer);
}

/* The low four bits are the time, 0 the longest: 30 seconds, and 2 less for each. */
static void write_start(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct ib700 *watchdog = device;
    uint64_t seconds = SECONDS_MAX - SECONDS_STEP * (value & 15);
    (void)offset;
    (void)size;
    timer_arm(&watchdog->timer, clock_now(watchdog->clock) + seconds * watchdog->clock->hz);
}

static const struct bus_ops stop_ops = {read_port, write_stop};
static const struct bus_ops start_ops = {read_port, write_start};

static void fire(void *owner, uint64_t now)
{
    struct ib700 *watchdog = owner;
    (void)now;
    watchdog->expired(watchdog->context);
}

INIT enum status ib700_attach(struct ib700 *watchdog, struct bus *bus, const struct clock *clock,
                              struct timer_queue *timers, void (*expired)(void *context),
                              void *context)
{
    watchdog->clock = clock;
    watchdog->expired = expired;
    watchdog->context = context;
    timer_init(&watchdog->timer, timers, fire, watchdog);
    enum status status = bus_add(bus, BUS_PORT, IB700_PORT_STOP, 1, &stop_ops, watchdog);
    return status == STATUS_OK ? bus_add(bus, BUS_PORT, IB700_PORT_START, 1, &start_ops, watchdog)
                               : status;
}

void ib700_reset(struct ib700 *watchdog)
{
    timer_cancel(&watchdog->timer);
}
