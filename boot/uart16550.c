#include "boot/uart16550.h"

#include "kernel/core/bits.h"
#include "kernel/core/hw.h"

#define UART_THR 0
#define UART_DLL 0 /* while LCR_DLAB is set */
#define UART_DLM 1
#define UART_IER 1
#define UART_FCR 2
#define UART_LCR 3
#define UART_MCR 4
#define UART_LSR 5
#define UART_SCR 7

#define FCR_ENABLE 0x01
#define FCR_CLEAR 0x06
#define LCR_8N1 0x03
#define LCR_DLAB 0x80
#define MCR_DTR_RTS 0x03
#define LSR_THRE 0x20

#define DIVISOR_115200 1

/* A port read takes about a microsecond on hardware, a byte at 115200 baud 87: this bounds a UART
 * whose transmitter is stuck, not one that is slow. */
#define SEND_POLLS 100000

bool uart16550_init(uint16_t port)
{
    hw_outb(port + UART_SCR, 0x5a);
    if (hw_inb(port + UART_SCR) != 0x5a || hw_inb(port + UART_LSR) == 0xff)
        return false;
    hw_outb(port + UART_IER, 0);
    hw_outb(port + UART_LCR, LCR_DLAB);
    hw_outb(port + UART_DLL, DIVISOR_115200);
    hw_outb(port + UART_DLM, 0);
    hw_outb(port + UART_LCR, LCR_8N1);
    hw_outb(port + UART_FCR, FCR_ENABLE | FCR_CLEAR);
    hw_outb(port + UART_MCR, MCR_DTR_RTS);
    return true;
}

void uart16550_send(uint16_t port, uint8_t byte)
{
    for (unsigned i = 0; i < SEND_POLLS; i++) {
        if ((hw_inb(port + UART_LSR) & LSR_THRE) != 0) {
            hw_outb(port + UART_THR, byte);
            return;
        }
        hw_pause();
    }
}
