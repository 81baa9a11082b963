/*
 * A 16550A serial port as a PC has it (National Semiconductor: PC16550D Universal Asynchronous
 * Receiver/Transmitter with FIFOs).
 *
 * The line is faster than the guest: a transmitted byte leaves for the sink at once, so the
 * transmitter is empty again when the guest looks, except while the sink has no room. Towards the
 * guest, bytes wait outside until the receiver has room, so none is lost; an overrun happens only
 * in loopback. The line carries whole bytes whatever the word length; loopback honours it.
 *
 * Locking: the caller holds the VM's device lock.
 */
#pragma once

#include "drivers/model/byte_sink.h"
#include "kernel/core/ratio.h"
#include "kernel/vm/bus.h"
#include "kernel/vm/irq_line.h"
#include "kernel/vm/timers.h"

#define UART_FIFO_SIZE 16

/* Modem lines into the port; the values are those of the modem status register. */
#define UART_MODEM_CTS 0x10
#define UART_MODEM_DSR 0x20
#define UART_MODEM_RI 0x40
#define UART_MODEM_DCD 0x80

struct uart_config {
    struct irq_line irq;
    struct byte_sink sink;
    void (*rx_room)(void *context); /* the receiver has room again; NULL: nobody cares */
    void *rx_context;
    const struct clock *clock;
    struct timer_queue *timers;
};

struct uart_fifo {
    uint8_t byte[UART_FIFO_SIZE];
    uint8_t error[UART_FIFO_SIZE]; /* line status bits that came with the byte */
    unsigned first;
    unsigned count;
};

struct uart {
    struct uart_config config;
    struct ratio to_clock; /* periods of the baud generator's input to clock counts */
    struct timer rx_timeout;
    struct uart_fifo rx;
    struct uart_fifo tx;
    bool overrun;
    bool timed_out;    /* a character timeout is indicated */
    bool thre_pending; /* the transmitter's interrupt, until IIR is read or THR written */
    bool irq_level;
    bool had_room;       /* what rx_room was last told */
    uint8_t modem_input; /* UART_MODEM_*, as the outside drives them */
    uint8_t ier, fcr, lcr, mcr, scr;
    uint8_t msr;
    uint16_t divisor;
};

/* Sets up a port whose far end is there (CTS, DSR and DCD on); *config is copied, the clock and the
 * queue must outlive the port. */
void uart_init(struct uart *uart, const struct uart_config *config);

/* Master reset: registers as after power-on, bytes in flight lost, lines as they are. */
void uart_reset(struct uart *uart);

/* Claims eight ports from base. Errors of bus_add. */
enum status MUST_CHECK uart_attach(struct uart *uart, struct bus *bus, uint16_t base);
extern const struct bus_ops uart_ops;

/* Whether uart_receive would take a byte; if not, rx_room is called when that changes. */
bool uart_can_receive(const struct uart *uart);

/* A byte arrives on the line; false: no room, the byte was not taken. */
bool MUST_CHECK uart_receive(struct uart *uart, uint8_t byte);

/* A break arrives: a zero byte with the break indication. False: no room. */
bool MUST_CHECK uart_receive_break(struct uart *uart);

/* The sink has room again: waiting bytes leave. */
void uart_sink_ready(struct uart *uart);

/* The far end drives its modem lines: a set of UART_MODEM_*. */
void uart_set_modem(struct uart *uart, uint8_t lines);
