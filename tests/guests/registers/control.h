/* The control registers by the table control.def: what a write must come to. */
#pragma once

#include "tests/guests/lib/guest.h"

enum control {
    CONTROL_CR0,
    CONTROL_CR3,
    CONTROL_CR4,
    CONTROL_CR8,
    CONTROL_EFER,
    CONTROL_XCR0,
    CONTROLS
};

struct control_state {
    uint64_t value[CONTROLS];
    bool is_64bit; /* the code that runs */
    bool has_cs_l; /* CS.L is set, whatever the mode */
    bool has_tss_16;
};

/* What came of an attempt to write n. */
struct control_attempt {
    enum control control;
    uint64_t n;
    uint64_t vector; /* or NO_FAULT */
    uint64_t error;
    uint64_t before, after; /* the register, as read */
};

extern const char *const control_names[CONTROLS];

/* Reads CPUID; before anything else here. */
void control_init(void);

/* Whether the write of n is legal in the state; then *kept is what the register reads as. */
bool control_expect(enum control control, uint64_t n, const struct control_state *state,
                    uint64_t *kept);

/* Compares an attempt with the table, and reports where it is not as it says. */
void control_judge(const struct control_attempt *attempt, const struct control_state *state);

/* Every CONTROL_FORBIDDEN row that is possible here was the only reason of some fault. */
void control_check_coverage(void);

/* Whether the monitor is Traprock; whether the MSR is one of those that it has. */
bool msr_is_traprock(void);
bool msr_is_listed(uint32_t number);

/* The cases. */
void control_test(void);
void control_modes_test(void);
void debug_test(void);
void msr_test(void);
void msr_holes_test(void);
