/*
 * The motherboard's wiring from devices to the 8259A pair and the I/O APIC.
 *
 *  - ISA IRQ n drives PIC input n and I/O APIC pin n, but IRQ 0 pin 2: what the MADT's interrupt
 *    source override for IRQ 0 must say.
 *  - GSI 16 to 23 (PIRQA to PIRQH) drive the pin of that number, and the PIC input that the
 *    chipset's PIRQ route register names, if any.
 *  - The PIC's output goes to LINT0 of every local APIC and to I/O APIC pin 0.
 *
 * Locking: the caller holds the VM's device lock.
 */
#pragma once

#include "drivers/model/apic_fabric.h"
#include "drivers/model/ioapic.h"
#include "drivers/model/pic.h"
#include "kernel/core/types.h"
#include "kernel/vm/irq_line.h"

#define IRQ_ROUTER_LINES IOAPIC_PINS
#define IRQ_ROUTER_SOURCES 256
#define IRQ_ROUTER_FIRST_PIRQ 16
#define IRQ_ROUTER_NO_INPUT 0xff

struct irq_source {
    uint8_t line;
    bool level;
};

struct irq_router {
    struct apic_fabric *fabric;
    struct pic *pic;
    struct ioapic *ioapic;
    struct irq_source source[IRQ_ROUTER_SOURCES];
    unsigned sources;
    uint16_t asserted[IRQ_ROUTER_LINES]; /* how many sources assert the line */
    uint16_t pic_asserted[PIC_INPUTS];   /* how many lines assert the input */
    uint8_t pic_input[IRQ_ROUTER_LINES]; /* or IRQ_ROUTER_NO_INPUT */
};

/* The three models may be initialised before or after it, and all before the first interrupt. */
void irq_router_init(struct irq_router *router, struct apic_fabric *fabric, struct pic *pic,
                     struct ioapic *ioapic);

/* A wire of its own for one source of line: 0, 1, 3 to 15 for an ISA IRQ, 16 to 23 for a GSI.
 * Several sources of one line are wired-OR. A wrong line or a 257th source is the caller's bug. */
struct irq_line irq_router_line(struct irq_router *router, unsigned line);

/* What the PIC's output is to be connected to. */
struct irq_line irq_router_intr(struct irq_router *router);

/* A PIRQ route register: pirq (0 for A to 7 for H) drives PIC input 3 to 15, too;
 * IRQ_ROUTER_NO_INPUT and what is no such input disconnect it. */
void irq_router_route_pirq(struct irq_router *router, unsigned pirq, uint8_t input);
