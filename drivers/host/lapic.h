/*
 * The local APIC of the machine's processors, in the mode (xAPIC or x2APIC) in which the firmware
 * left the one that booted. SDM: Advanced Programmable Interrupt Controller (APIC).
 */
#pragma once

#include "kernel/core/ratio.h"
#include "kernel/core/smp.h"
#include "kernel/core/types.h"

/* Common to all processors. */
struct host_lapic {
    volatile uint32_t *registers; /* xAPIC mode; NULL: x2APIC mode */
    bool has_tsc_deadline;
    /* What the timer's interrupt does besides ending a HLT; NULL: nothing. Set by the owner. */
    void (*tick)(void *context);
    void *tick_context;
    uint64_t timer_hz;     /* of the timer at divide 1; 0: not measured */
    struct ratio from_tsc; /* TSC counts to timer counts */
};

/* On the processor that booted, after paging_init: enables the APIC, masks every LVT entry, sets
 * the spurious vector, registers the vectors of irq.h and the EOI. */
void host_lapic_init(struct host_lapic *lapic);
/* On every other processor, with its timer. Returns its APIC id. */
uint32_t host_lapic_init_secondary(struct host_lapic *lapic);
/* The APIC id of this processor. */
uint32_t host_lapic_id(const struct host_lapic *lapic);

/* Needs time_init. Measures the timer and sets it up on this processor: one-shot, vector
 * IRQ_VECTOR_TIMER. host_lapic_timer_enable alone is enough on the others. */
void host_lapic_timer_init(struct host_lapic *lapic);
void host_lapic_timer_enable(const struct host_lapic *lapic);
/* An interrupt on this processor when the TSC reaches deadline (a past one at once; UINT64_MAX
 * disarms). It can come early by a little (the caller arms again), never late by more than the
 * timer's tick. */
void host_lapic_timer_arm(const struct host_lapic *lapic, uint64_t deadline);

void host_lapic_eoi(const struct host_lapic *lapic);

void host_lapic_send_init(const struct host_lapic *lapic, uint32_t apic_id);
void host_lapic_send_startup(const struct host_lapic *lapic, uint32_t apic_id, uint8_t page);
void host_lapic_send_nmi(const struct host_lapic *lapic, uint32_t apic_id);
void host_lapic_send_fixed(const struct host_lapic *lapic, uint32_t apic_id, uint8_t vector);

/* The above as smp.c wants them. */
struct smp_ports host_lapic_smp_ports(struct host_lapic *lapic);
