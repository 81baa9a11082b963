/*
 * What the shell's terminal is: the console, which it shares with guests by the multiplexer, or a
 * serial line of its own.
 */
#pragma once

#include "kernel/console/mux.h"
#include "kernel/console/serial_line.h"
#include "kernel/debug/link.h"
#include "kernel/debug/shell.h"

struct shell_terminal {
    struct shell *shell;
    struct mux *mux;          /* NULL: a line of its own */
    struct serial_line *line; /* that line */
    struct host_uart *uart;   /* after a panic, in place of both */
    struct link *link;        /* or a channel of this link */
    unsigned number;
    struct mux_shell ports; /* the multiplexer's way to the shell */
    /* With mux->lock: */
    struct row row; /* what the last row is to be, if has_row */
    bool has_row;
    struct row_view view; /* what it is */
};

/* The console, when the user calls for the shell. */
struct shell_ports shell_terminal_on_mux(struct shell_terminal *terminal, struct shell *shell,
                                         struct mux *mux);

/* A channel of a link, whose user gives what comes to the shell. */
struct shell_ports shell_terminal_on_link(struct shell_terminal *terminal, struct shell *shell,
                                          struct link *link, unsigned number);

/* After a panic: bytes go to the UART itself, without a lock or an interrupt. */
struct shell_ports shell_terminal_on_uart(struct shell_terminal *terminal, struct shell *shell,
                                          struct host_uart *uart);

/* A serial line whose UART is there; the caller starts it. */
struct shell_ports shell_terminal_on_line(struct shell_terminal *terminal, struct shell *shell,
                                          struct serial_line *line);
