/*
 * Where the boot program talks to the user: the firmware's console, and the serial port that the
 * configuration names, unless the firmware's console already goes there. What is said before the
 * port is known is kept and sent there later.
 */
#pragma once

#include <efi.h>

#include "kernel/core/types.h"

#define CONSOLE_EARLY_MAX 4096

struct console {
    SIMPLE_TEXT_OUTPUT_INTERFACE *firmware; /* NULL: there is none, or it is not to be used now */
    uint32_t covered;                       /* bit n: the firmware's console goes to COM(n+1) */
    uint16_t port;                          /* the UART to write to ourselves, 0: none */
    uint16_t configured;                    /* the port that the user asked for, once known */
    bool port_known;
    uint32_t early_length;
    char early[CONSOLE_EARLY_MAX];
};

void console_init(struct console *console, EFI_SYSTEM_TABLE *system);

/* The console's UART is at this I/O port; sends it what it has missed. Only the first call counts.
 */
void console_set_port(struct console *console, uint16_t port);

/* Formats as fmt_format does; a newline begins a new line. At most 400 bytes a call. */
void console_print(struct console *console, const char *format, ...) PRINTF(2, 3);

/* From now on only the serial port is used: the firmware's console has gone. A port that the
 * firmware's console covered is taken over. */
void console_leave_firmware(struct console *console);
