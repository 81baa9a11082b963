/* How the TSC's rate is measured, and what the RTC's registers mean. Pure: counters are ports. */
#pragma once

#include "kernel/core/status.h"
#include "kernel/core/time.h"

/* The rates that a measurement leaves possible, both included. */
struct time_bounds {
    uint64_t low_hz;
    uint64_t high_hz;
};

/* The counter that is to be measured. */
struct time_counter {
    uint64_t (*read)(void *context);
    void *context;
};

/* One measurement over about reference->hz / 1000 * milliseconds counts of the reference.
 * ERR_TIMEOUT: the reference does not count; ERR_RANGE: the rate found is not plausible (below
 * 1 MHz or above 20 GHz). */
enum status MUST_CHECK time_measure(const struct time_reference *reference,
                                    const struct time_counter *counter, unsigned milliseconds,
                                    struct time_bounds *bounds);

/* Several measurements, at least samples, more while they are not sharp (a busy emulator): the
 * intersection where they agree, the tightest where they do not. Errors as above. */
enum status MUST_CHECK time_calibrate(const struct time_reference *reference,
                                      const struct time_counter *counter, unsigned samples,
                                      unsigned milliseconds, struct time_bounds *bounds);

/* Whether the bounds are close enough to believe their middle. */
bool time_is_sharp(const struct time_bounds *bounds);

/* The number with the most trailing zeros (decimal) between the bounds, where they are sharp:
 * crystals are round; else the middle. */
uint64_t time_round(struct time_bounds bounds);

/* The RTC's registers 0 to 9, 0BH and (0: none) the century's register. */
struct rtc_registers {
    uint8_t second, minute, hour, day, month, year, century, status_b;
};

/* Seconds since 1970, or 0 for registers that are no date. SDM has no chapter: Motorola's MC146818
 * data sheet (BCD or binary, 12 or 24 hours). */
uint64_t time_from_rtc(const struct rtc_registers *rtc);
