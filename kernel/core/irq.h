/*
 * The machine's interrupt vectors: who handles which. Handlers run with interrupts off, on the
 * processor that took the interrupt, and must be short. Registration happens while the machine
 * starts, before the other processors run; it takes no lock.
 */
#pragma once

#include "kernel/core/status.h"
#include "kernel/core/types.h"

/* Fixed vectors; irq_allocate hands out IRQ_VECTOR_FIRST to IRQ_VECTOR_LAST. */
#define IRQ_VECTOR_FIRST 0x30
#define IRQ_VECTOR_LAST 0xdf
#define IRQ_VECTOR_TIMER 0xe0    /* the local APIC's timer: only wakes, no handler needed */
#define IRQ_VECTOR_WAKE 0xe1     /* smp_wake: only ends a HLT */
#define IRQ_VECTOR_ERROR 0xfe    /* the local APIC's error interrupt */
#define IRQ_VECTOR_SPURIOUS 0xff /* the local APIC's spurious vector: no EOI */

typedef void irq_handler(void *argument);

/* A free vector for handler(argument). ERR_NO_SPACE: none is left. */
enum status MUST_CHECK irq_allocate(irq_handler *handler, void *argument, uint8_t *vector);

/* Claims a fixed vector above 31; ERR_INVALID: below 32; ERR_EXISTS: taken. */
enum status MUST_CHECK irq_register(uint8_t vector, irq_handler *handler, void *argument);

/* How irq_dispatch ends an interrupt: the local APIC's EOI. */
void irq_set_eoi(void (*eoi)(void *context), void *context);

/* Runs the handler, then the EOI. Called by the IDT's stubs, and by the VM-exit path with the
 * vector that "acknowledge interrupt on exit" reported. Unclaimed vectors are counted, and the
 * first few are logged. */
void irq_dispatch(uint8_t vector);
