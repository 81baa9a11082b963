#include "tests/fake/terminal.h"

#include <stdlib.h>
#include <string.h>

void terminal_init(struct terminal *terminal, unsigned columns)
{
    memset(terminal, 0, sizeof(*terminal));
    terminal->columns = columns;
    for (unsigned i = 0; i < TERMINAL_ROWS; i++)
        memset(terminal->screen[i], ' ', columns);
}

static void next_row(struct terminal *terminal)
{
    if (++terminal->row < TERMINAL_ROWS)
        return;
    terminal->row = TERMINAL_ROWS - 1;
    terminal->scrolls++;
    memmove(terminal->screen[0], terminal->screen[1],
            sizeof(terminal->screen) - sizeof(terminal->screen[0]));
    memset(terminal->screen[terminal->row], ' ', terminal->columns);
}

static void print(struct terminal *terminal, char byte)
{
    if (terminal->wraps) {
        terminal->wrapped++;
        terminal->column = 0;
        next_row(terminal);
    }
    terminal->screen[terminal->row][terminal->column] = byte;
    terminal->wraps = terminal->column + 1 == terminal->columns;
    terminal->column += !terminal->wraps;
}

/* ECMA-48: CUB, EL, ED, CUP; of these the forms that are in use here. */
static void control_sequence(struct terminal *terminal)
{
    const char *text = terminal->sequence;
    unsigned number = (unsigned)atoi(text + 2);
    terminal->wraps = 0;
    switch (text[terminal->sequence_length - 1]) {
    case 'D':
        terminal->column -= number < terminal->column ? number : terminal->column;
        return;
    case 'K':
        memset(terminal->screen[terminal->row] + terminal->column, ' ',
               terminal->columns - terminal->column);
        return;
    case 'H':
        terminal->row = terminal->column = 0;
        return;
    case 'J':
        terminal->clears++;
        for (unsigned i = 0; i < TERMINAL_ROWS; i++)
            memset(terminal->screen[i], ' ', terminal->columns);
        return;
    default:
        terminal->unknown++;
    }
}

static void in_sequence(struct terminal *terminal, char byte)
{
    if (terminal->sequence_length == sizeof(terminal->sequence)) {
        terminal->unknown++;
        terminal->sequence_length = 0;
        return;
    }
    terminal->sequence[terminal->sequence_length++] = byte;
    if (terminal->sequence_length > 2 && byte >= '@') {
        control_sequence(terminal);
        memset(terminal->sequence, 0, sizeof(terminal->sequence));
        terminal->sequence_length = 0;
    }
}

static void put(struct terminal *terminal, char byte)
{
    switch (byte) {
    case '\a':
        terminal->bells++;
        return;
    case '\b':
        terminal->wraps = 0;
        terminal->column -= terminal->column != 0;
        return;
    case '\r':
        terminal->wraps = 0;
        terminal->column = 0;
        return;
    case '\n':
        terminal->wraps = 0;
        next_row(terminal);
        return;
    case '\x1b':
        terminal->sequence[terminal->sequence_length++] = byte;
        return;
    default:
        if (byte < ' ' || byte > '~')
            terminal->unknown++;
        else
            print(terminal, byte);
    }
}

void terminal_write(void *context, const char *bytes, size_t count)
{
    struct terminal *terminal = context;
    for (size_t i = 0; i < count; i++) {
        if (terminal->sequence_length != 0)
            in_sequence(terminal, bytes[i]);
        else
            put(terminal, bytes[i]);
    }
}

const char *terminal_row(struct terminal *terminal, unsigned above)
{
    static char text[TERMINAL_COLUMNS_MAX + 1];
    unsigned length = terminal->columns;
    if (above > terminal->row)
        return "";
    memcpy(text, terminal->screen[terminal->row - above], length);
    while (length > 0 && text[length - 1] == ' ')
        length--;
    text[length] = '\0';
    return text;
}
