/* The end of the boot program, for its own mistakes: the parts of the monitor that it shares
 * assert. */
#include "boot/uart16550.h"
#include "kernel/core/fmt.h"
#include "kernel/core/hw.h"
#include "kernel/core/panic.h"

static void send(const char *text)
{
    for (; *text != '\0'; text++)
        uart16550_send(UART_COM1, (uint8_t)*text);
}

NORETURN void panic(const char *format, ...)
{
    char text[240];
    va_list args;

    hw_cli();
    va_start(args, format);
    fmt_vformat(text, sizeof(text), format, args);
    va_end(args);
    uart16550_init(UART_COM1);
    send("\r\ntraprock: panic in the boot program: ");
    send(text);
    send("\r\n");
    for (;;)
        hw_hlt();
}
