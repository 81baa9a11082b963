/*
 * A UART of the machine as a stream: output through a ring that the transmitter's interrupt
 * empties, so that who writes does not wait for the line; input handed on from the receiver's.
 *
 * Locking: line->lock guards ring and transmitter. It is the last of all locks but the UART's own.
 */
#pragma once

#include "drivers/host/uart.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/types.h"

#define SERIAL_LINE_SIZE 16384u /* a power of two */

struct serial_line {
    struct host_uart *uart;
    struct spinlock lock;
    uint32_t head, tail; /* free-running */
    uint32_t limit;      /* how much serial_line_write_some lets wait; the owner may lower it */
    bool is_served;      /* serial_line_interrupt is called, since serial_line_start */
    bool is_polled;      /* by a clock, not by the UART's interrupt */
    bool transmitting;   /* the rest of the ring is serial_line_interrupt's */
    /* Called without the lock, on the processor that takes the UART's interrupt. */
    void (*input)(void *context); /* serial_line_read has something */
    void (*room)(void *context);  /* the ring, in which more than limit waited, has room */
    void *context;
    bool was_full;
    uint8_t ring[SERIAL_LINE_SIZE];
};

/* The UART is there and programmed; its interrupt goes to serial_line_interrupt. */
void serial_line_init(struct serial_line *line, struct host_uart *uart);

/* From here on serial_line_interrupt is called: by the UART's interrupts, which this turns on, or,
 * is_polled, often enough by a clock. Before that, output waits for the line. */
void serial_line_start(struct serial_line *line, bool is_polled);

/* Takes as many bytes as there is room for; returns how many. Never waits. room() follows if it
 * was not all. */
size_t serial_line_write_some(struct serial_line *line, const void *bytes, size_t count);

/* Whether serial_line_write_some would take a byte; room() follows if not. */
bool serial_line_has_room(struct serial_line *line);

/* Takes all of it, waiting for the line while the ring is full. */
void serial_line_write(struct serial_line *line, const void *bytes, size_t count);

/* Waits, bounded, until everything has left the machine that was written before. Others have the
 * line in between. */
void serial_line_drain(struct serial_line *line);

/* For a panic: what waits is sent past the lock, whose holder may be the one that panics, and later
 * output must go to the UART itself. */
void serial_line_abandon(struct serial_line *line);

/* Takes up to count bytes of input; one caller at a time. */
size_t serial_line_read(struct serial_line *line, void *bytes, size_t count);

/* The UART's interrupt handler; matches irq_handler. */
void serial_line_interrupt(void *line);
