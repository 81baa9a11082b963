/* The wires that leave a device model: a level-triggered interrupt line, and a message (MSI). */
#pragma once

#include "kernel/core/types.h"

/* A wire into one input of an interrupt controller; set == NULL is not connected. */
struct irq_line {
    void (*set)(void *controller, unsigned input, bool level);
    void *controller;
    unsigned input;
};

static inline void irq_line_set(const struct irq_line *line, bool level)
{
    if (line->set != NULL)
        line->set(line->controller, line->input, level);
}

/* A rising edge: what an edge-triggered source gives. */
static inline void irq_line_pulse(const struct irq_line *line)
{
    irq_line_set(line, false);
    irq_line_set(line, true);
    irq_line_set(line, false);
}

/* Where message-signalled interrupts go. SDM: Message Signalled Interrupts. */
struct msi_port {
    void (*send)(void *receiver, uint64_t address, uint32_t data);
    void *receiver;
};

static inline void msi_send(const struct msi_port *port, uint64_t address, uint32_t data)
{
    if (port->send != NULL)
        port->send(port->receiver, address, data);
}
