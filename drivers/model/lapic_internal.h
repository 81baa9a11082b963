/* What the files of the local APIC share; nobody else includes it. */
#pragma once

#include "drivers/model/lapic.h"

#define VECTOR_LEGAL_FIRST 16 /* SDM: Valid Interrupt Vectors */

#define SVR_FOCUS BIT(9)
#define SVR_SUPPRESS_EOI_BROADCAST BIT(12)

/* SDM: Local Vector Table. */
#define LVT_VECTOR 0xffu
#define LVT_DELIVERY_MODE 0x700u
#define LVT_DELIVERY_STATUS 0x1000u
#define LVT_POLARITY 0x2000u
#define LVT_REMOTE_IRR 0x4000u
#define LVT_LEVEL 0x8000u
#define LVT_MASKED 0x10000u
#define LVT_TIMER_MODE 0x60000u

#define TIMER_PERIODIC 0x20000u
#define TIMER_TSC_DEADLINE 0x40000u

/* SDM: Error Status Register (ESR). */
#define ESR_SEND_ILLEGAL_VECTOR 0x20u
#define ESR_RECEIVE_ILLEGAL_VECTOR 0x40u
#define ESR_ILLEGAL_REGISTER 0x80u

/* lapic.c */

/* Recomputes PPR, or only what lapic_has_interrupt says, after a change. */
void lapic_update_ppr(struct lapic *lapic);
void lapic_update(struct lapic *lapic);

/* Sets the vector (legal) in IRR. */
void lapic_accept(struct lapic *lapic, uint8_t vector, bool level);
void lapic_set_tpr(struct lapic *lapic, uint8_t value);

/* lapic_events.c */
bool lapic_has_extint(const struct lapic *lapic); /* the 8259A's request reaches the processor */
void lapic_error(struct lapic *lapic, uint32_t error);
void lapic_deliver_local(struct lapic *lapic, enum lapic_lvt source);
void lapic_eoi_lints(struct lapic *lapic, uint8_t vector);
void lapic_write_lvt(struct lapic *lapic, enum lapic_lvt source, uint32_t value);
void lapic_write_svr(struct lapic *lapic, uint32_t value);
void lapic_send_ipi(struct lapic *lapic); /* what the ICR says */
void lapic_send_self_ipi(struct lapic *lapic, uint8_t vector);

/* lapic_timer.c */
void lapic_timer_init(struct lapic *lapic);
void lapic_timer_reset(struct lapic *lapic);
void lapic_timer_write_initial(struct lapic *lapic, uint32_t value);
void lapic_timer_write_divide(struct lapic *lapic, uint32_t value);
void lapic_timer_mode_changed(struct lapic *lapic, uint32_t old_lvt);
uint32_t lapic_timer_current(struct lapic *lapic);
