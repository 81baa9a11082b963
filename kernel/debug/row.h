/*
 * The last row of a terminal, in which somebody types: kept as it ought to look, and brought there
 * with few bytes from what it looks like. Pure: bytes leave through a port.
 *
 * The terminal is one that knows backspace, carriage return, CSI n D (cursor left) and CSI K (erase
 * to the end of the line), as every one since the VT100.
 */
#pragma once

#include "kernel/core/types.h"

#define ROW_MAX 256u /* columns */

/* Printable ASCII, without an end mark. */
struct row {
    unsigned length; /* at most ROW_MAX, and less than the terminal has columns */
    unsigned cursor; /* 0 to length: the column that it stands in */
    char text[ROW_MAX];
};

struct row_port {
    void (*write)(void *context, const char *bytes, size_t count);
    void *context;
};

/* What the terminal shows: nothing at first, with the cursor at the start of an empty line. */
struct row_view {
    struct row shown;
};

/* Makes the terminal show wanted. */
void row_show(struct row_view *view, const struct row *wanted, const struct row_port *port);

/* Makes it an empty line, with the cursor at its start. True: there was something. */
bool row_erase(struct row_view *view, const struct row_port *port);

/* What is shown stays, and the terminal goes on in the next line. */
void row_leave(struct row_view *view, const struct row_port *port);
