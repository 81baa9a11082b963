#include "kernel/debug/row.h"

#include "kernel/core/fmt.h"
#include "kernel/core/mem.h"

/* From here on CSI n D is shorter than so many backspaces. */
#define BACKSPACES_MAX 4u

static void write_text(const struct row_port *port, const char *text, size_t count)
{
    if (count != 0)
        port->write(port->context, text, count);
}

static void move_left(const struct row_port *port, unsigned columns)
{
    char sequence[16];
    if (columns <= BACKSPACES_MAX) {
        write_text(port, "\b\b\b\b", columns);
    } else {
        int length = fmt_format(sequence, sizeof(sequence), "\x1b[%uD", columns);
        write_text(port, sequence, (size_t)length);
    }
}

/* Within what is shown. To the right by writing what stands there. */
static void move(struct row_view *view, unsigned to, const struct row_port *port)
{
    struct row *shown = &view->shown;
    if (to < shown->cursor)
        move_left(port, shown->cursor - to);
    else
        write_text(port, shown->text + shown->cursor, to - shown->cursor);
    shown->cursor = to;
}

void row_show(struct row_view *view, const struct row *wanted, const struct row_port *port)
{
    struct row *shown = &view->shown;
    unsigned same = 0;
    while (same < shown->length && same < wanted->length && shown->text[same] == wanted->text[same])
        same++;
    if (same < shown->length || same < wanted->length) {
        move(view, same, port);
        write_text(port, wanted->text + same, wanted->length - same);
        if (wanted->length < shown->length)
            write_text(port, "\x1b[K", 3);
        memcpy(shown->text + same, wanted->text + same, wanted->length - same);
        shown->length = shown->cursor = wanted->length;
    }
    move(view, wanted->cursor, port);
}

bool row_erase(struct row_view *view, const struct row_port *port)
{
    bool was_shown = view->shown.length != 0;
    if (was_shown)
        write_text(port, "\r\x1b[K", 4);
    view->shown.length = view->shown.cursor = 0;
    return was_shown;
}

void row_leave(struct row_view *view, const struct row_port *port)
{
    write_text(port, "\r\n", 2);
    view->shown.length = view->shown.cursor = 0;
}
