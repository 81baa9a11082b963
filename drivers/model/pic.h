/*
 * The pair of 8259A interrupt controllers of a PC, with the ELCR of the chipsets that have PCI.
 * 8259A Programmable Interrupt Controller (datasheet); Intel ICH datasheets: Interrupt Controller
 * I/O Registers, Edge/Level Control.
 *
 * Locking: the caller holds the VM's device lock.
 */
#pragma once

#include "kernel/core/status.h"
#include "kernel/core/types.h"
#include "kernel/vm/bus.h"
#include "kernel/vm/irq_line.h"

#define PIC_MASTER_PORT 0x20
#define PIC_SLAVE_PORT 0xa0
#define PIC_ELCR_PORT 0x4d0
#define PIC_INPUTS 16
#define PIC_CASCADE 2 /* the master's input for the slave */

enum pic_expects { PIC_READY, PIC_ICW2, PIC_ICW3, PIC_ICW4 };

struct pic;

struct pic_chip {
    struct pic *pic;
    uint8_t irr, imr, isr;
    uint8_t lines; /* asserted inputs */
    uint8_t elcr;  /* inputs that are level triggered */
    uint8_t base;  /* vector of IR0, from ICW2 */
    uint8_t icw1, icw3, icw4;
    uint8_t top;     /* the input with the highest priority */
    uint8_t expects; /* enum pic_expects */
    bool special_mask, rotate_on_auto_eoi;
    bool read_isr, poll;
};

struct pic {
    struct pic_chip chip[2]; /* master, slave */
    struct irq_line output;  /* INTR */
    bool output_level;
};

/* Brings *pic to its state after reset: all inputs masked, edge triggered, vectors from 0. The
 * output is high while an interrupt waits, and goes low for a moment at each INTA cycle. */
void pic_init(struct pic *pic, struct irq_line output);

/* The machine's reset; the levels of the inputs are their drivers' and stay. */
void pic_reset(struct pic *pic);

/* Puts it on the bus at its six ports. Errors: those of bus_add. */
enum status MUST_CHECK pic_attach(struct pic *pic, struct bus *bus);

/* Drives input 0 to 15 (2 is the cascade, and ignored). Matches struct irq_line. */
void pic_set_line(void *controller, unsigned input, bool level);

/* An INTA cycle: the vector; the one of IR7 where no request is left (a spurious interrupt). */
uint8_t pic_acknowledge(struct pic *pic);

/* Bits of inputs 15 to 0 that are level triggered, as a write to both ELCR ports. */
void pic_set_elcr(struct pic *pic, uint16_t elcr);

extern const struct bus_ops pic_bus_ops;  /* device: a struct pic_chip, two ports */
extern const struct bus_ops pic_elcr_ops; /* device: the struct pic, two ports */
