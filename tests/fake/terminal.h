/* A terminal of one screen, as far as line editing needs one: it renders what it is sent. */
#pragma once

#include <stddef.h>

#define TERMINAL_COLUMNS_MAX 256u
#define TERMINAL_ROWS 12u

struct terminal {
    unsigned columns;
    unsigned row, column;
    int wraps;        /* the last column is written: the next character goes to the next row */
    unsigned scrolls; /* rows that went off the top */
    unsigned bells, clears, wrapped, unknown;
    char sequence[16]; /* of an escape sequence so far */
    unsigned sequence_length;
    char screen[TERMINAL_ROWS][TERMINAL_COLUMNS_MAX + 1];
};

void terminal_init(struct terminal *terminal, unsigned columns);

/* Matches the write ports of the console's parts. */
void terminal_write(void *terminal, const char *bytes, size_t count);

/* A row without its blanks at the end, counted from the one with the cursor: 0 that, 1 the one
 * above. Valid until the next call. */
const char *terminal_row(struct terminal *terminal, unsigned above);
