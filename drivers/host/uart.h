/*
 * A 16550 (or older) on the machine, at 115200n8. Nothing here waits without a bound: a UART that
 * is absent, stuck or held by flow control costs at most UART_STUCK_US once, until it moves again.
 *
 * Locking: uart->lock guards transmission; the receive ring has one producer (host_uart_receive,
 * under the lock) and one consumer.
 */
#pragma once

#include "kernel/core/log.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/status.h"
#include "kernel/core/types.h"

#define UART_COM1 0x3f8
#define UART_COM2 0x2f8
#define UART_RX_SIZE 4096u /* a power of two */
#define UART_STUCK_US 20000

struct host_uart {
    uint16_t port;
    uint8_t irq;        /* ISA interrupt: 4 for COM1 and COM3, 3 for COM2 and COM4, 0: unknown */
    uint8_t fifo_depth; /* 16, or 1 */
    uint8_t interrupts; /* the interrupt-enable register */
    bool stuck;         /* the transmitter did not empty in time: bytes are dropped until it does */
    uint64_t dropped;   /* bytes, transmission */
    uint64_t overruns;  /* bytes lost in reception, by the chip or by a full ring */
    struct spinlock lock;
    uint32_t rx_head, rx_tail; /* free-running */
    uint8_t rx[UART_RX_SIZE];
};

/* Looks for a UART at port and programs it: 115200 baud, 8 data bits, no parity, FIFOs on, DTR, RTS
 * and OUT2 on, interrupts off. ERR_NOT_FOUND: nothing there. */
enum status MUST_CHECK host_uart_init(struct host_uart *uart, uint16_t port);

/* Sends everything, waiting for the transmitter as needed. */
void host_uart_write(struct host_uart *uart, const void *bytes, size_t count);
/* Sends what the transmitter takes at once; returns how many bytes. Never waits. */
size_t host_uart_write_some(struct host_uart *uart, const void *bytes, size_t count);
/* Waits, bounded, until the last bit has left the chip. */
void host_uart_drain(struct host_uart *uart);

/* Moves what has arrived into the ring. From the interrupt's handler, or by polling. */
void host_uart_receive(struct host_uart *uart);
/* Takes up to count bytes out of the ring. One caller at a time. */
size_t host_uart_read(struct host_uart *uart, void *bytes, size_t count);
/* Whether host_uart_read would return something. */
bool host_uart_has_input(const struct host_uart *uart);
/* Turns the receive interrupt on; the caller routed it to host_uart_receive. */
void host_uart_enable_receive_interrupt(struct host_uart *uart);

/* Turns the transmitter's interrupt on or off: it comes, also at once, when uart_write_some would
 * take something. */
void host_uart_enable_transmit_interrupt(struct host_uart *uart, bool enable);
/* Reads the interrupt identification: whether the UART still asks for something. An edge-triggered
 * interrupt comes again only after it has said no. */
bool host_uart_interrupt_pending(struct host_uart *uart);
/* Gives up on that: what the UART asks for makes a new edge. */
void host_uart_interrupt_again(struct host_uart *uart);

/* A sink for log_add_sink. Its writer takes no lock in a panic. */
struct log_sink host_uart_log_sink(struct host_uart *uart);
