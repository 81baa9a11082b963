/*
 * Time is the TSC, at a rate measured against a timer whose rate is known: what CPUID says about it
 * is wrong on some machines.
 */
#pragma once

#include "kernel/core/status.h"
#include "kernel/core/types.h"

/* A counter of known rate that runs freely; read() costs less than a few microseconds. */
struct time_reference {
    const char *name;
    uint64_t hz;
    uint32_t mask; /* of the counter's width, which wraps */
    bool counts_down;
    uint32_t (*read)(void *context);
    void *context;
};

/* Measures the TSC against the first of the references that counts plausibly (none may be NULL;
 * the PIT's channel 2 is tried first in any case) and reads the RTC. Panics when nothing counts. */
void time_init(const struct time_reference *references, unsigned count);

uint64_t time_tsc_hz(void);
/* The TSC; processors agree on it as far as the machine's do. */
uint64_t time_now(void);
/* Durations, rounded down; no overflow below 2^63 nanoseconds. */
uint64_t time_to_ns(uint64_t tsc);
uint64_t time_from_ns(uint64_t ns);
/* Since the TSC counted from zero, which is the machine's start on most machines. */
uint64_t time_now_ns(void);
/* Spins; usable with interrupts off. */
void time_busy_wait_us(uint64_t us);

/* The wall clock, in seconds since 1970 by what the machine's RTC said at the start, taken as UTC;
 * 0: no RTC. */
uint64_t time_unix_seconds(void);
