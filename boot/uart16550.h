/* The first few registers of a 16550 UART, polled. TI PC16550D: Registers. */
#pragma once

#include "kernel/core/types.h"

#define UART_COM1 0x3f8
#define UART_COM2 0x2f8

/* Sets 115200 baud, 8 data bits, no parity, 1 stop bit, FIFOs on, interrupts off. false: no UART
 * answers at the port. */
bool uart16550_init(uint16_t port);

/* Sends one byte; gives up on a transmitter that stays busy for longer than a byte can take. */
void uart16550_send(uint16_t port, uint8_t byte);
