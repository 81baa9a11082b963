/*
 * The machine behind the link-time doubles of kernel/core/hw.h (tests/fake/hw.c): registers that a
 * test sets and looks at. fake_hw_start also gives this thread a struct cpu, so that cpu_this()
 * works.
 */
#pragma once

#include "kernel/core/cpu.h"

#define FAKE_HW_MSRS 32
/* What CPUID says of addresses. */
#define FAKE_HW_PHYSICAL_BITS 40u
#define FAKE_HW_LINEAR_BITS 48u

struct fake_hw {
    uint64_t tsc; /* what RDTSC says; each one makes it go on */
    uint64_t cr2;
    uint64_t dr[8];
    uint64_t xcr0;
    uint32_t pkru;
    unsigned taken_interrupts; /* hw_take_interrupts */
    unsigned dispatched;       /* irq_dispatch */
    uint8_t last_vector;       /* of the last of them */
    unsigned nmis;             /* cpu_nmi */
    unsigned unblocked;        /* hw_unblock_nmi */
    unsigned halts;            /* hw_sti_hlt, which calls this (it may be NULL) */
    void (*on_halt)(void);
    unsigned wakes; /* smp_wake, of this processor, which calls this (it may be NULL) */
    void (*on_wake)(void);
    uint64_t wake_takes; /* counts of the TSC, the next time */
    unsigned msr_accesses;
    unsigned msrs; /* of the following list; all others are #GP */
    struct {
        uint32_t msr;
        uint64_t value;
    } msr[FAKE_HW_MSRS];
    struct cpu cpu;
};

extern struct fake_hw fake_hw;

/* Everything 0 but what a processor has after a reset. */
void fake_hw_start(void);

/* Makes an MSR exist, with this value. */
void fake_hw_set_msr(uint32_t msr, uint64_t value);
