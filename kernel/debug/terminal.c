#include "kernel/debug/terminal.h"

/* What waits for the line, so that a key is answered at once also while output is under way. */
#define BYTES_WAITING 512
/* What the shell writes before it asks again is less. */
#define LINK_ROOM 2048

/* ---- The console ---------------------------------------------------------------------------- */

static void emit(void *context, const char *bytes, size_t count)
{
    struct shell_terminal *self = context;
    mux_emit(self->mux, bytes, count);
}

static bool hide(void *context)
{
    struct shell_terminal *self = context;
    struct row_port port = {emit, self};
    return row_erase(&self->view, &port);
}

static void show(void *context)
{
    struct shell_terminal *self = context;
    struct row_port port = {emit, self};
    if (self->has_row)
        row_show(&self->view, &self->row, &port);
}

static void mux_row(void *context, enum shell_row how, const struct row *row)
{
    struct shell_terminal *self = context;
    struct row_port port = {emit, self};
    spinlock_acquire(&self->mux->lock);
    self->has_row = how != SHELL_ROW_ERASE;
    if (self->has_row)
        self->row = *row;
    if (self->mux->focus == MUX_SHELL) {
        show(self);
        if (how == SHELL_ROW_ERASE)
            hide(self);
        else if (how == SHELL_ROW_LEAVE)
            row_leave(&self->view, &port);
    }
    self->has_row = how == SHELL_ROW_SHOW;
    spinlock_release(&self->mux->lock);
}

static void mux_write(void *context, const char *bytes, size_t count)
{
    struct shell_terminal *self = context;
    spinlock_acquire(&self->mux->lock);
    if (self->mux->focus == MUX_SHELL)
        mux_emit(self->mux, bytes, count);
    spinlock_release(&self->mux->lock);
}

static bool mux_has_room(void *context)
{
    struct shell_terminal *self = context;
    return self->mux->line.has_room(self->mux->line.context);
}

static void hold(void *context, bool holds)
{
    struct shell_terminal *self = context;
    mux_hold(self->mux, holds);
}

static void leave(void *context)
{
    struct shell_terminal *self = context;
    mux_set_focus(self->mux, mux_focus_before(self->mux));
}

static void input(void *context, uint8_t byte)
{
    struct shell_terminal *self = context;
    shell_input(self->shell, byte);
}

static void ready(void *context)
{
    struct shell_terminal *self = context;
    shell_continue(self->shell);
}

static void focus(void *context, bool has)
{
    struct shell_terminal *self = context;
    if (has)
        shell_enter(self->shell);
    else
        shell_leave(self->shell);
}

struct shell_ports shell_terminal_on_mux(struct shell_terminal *terminal, struct shell *shell,
                                         struct mux *mux)
{
    *terminal = (struct shell_terminal){
        .shell = shell, .mux = mux, .ports = {input, ready, focus, hide, show, terminal}};
    mux->shell = &terminal->ports;
    return (struct shell_ports){mux_write, mux_has_room, mux_row, hold, leave, terminal};
}

/* ---- A line of its own ---------------------------------------------------------------------- */

static void line_write(void *context, const char *bytes, size_t count)
{
    struct shell_terminal *self = context;
    serial_line_write(self->line, bytes, count);
}

static void uart_write(void *context, const char *bytes, size_t count)
{
    struct shell_terminal *self = context;
    host_uart_write(self->uart, bytes, count);
}

static bool uart_has_room(void *context)
{
    (void)context;
    return true;
}

/* What finds no room is lost: the shell asks before. */
static void link_out(void *context, const char *bytes, size_t count)
{
    struct shell_terminal *self = context;
    (void)link_write(self->link, self->number, bytes, count);
}

static bool link_is_free(void *context)
{
    struct shell_terminal *self = context;
    return link_has_room(self->link, self->number, LINK_ROOM);
}

static bool line_has_room(void *context)
{
    struct shell_terminal *self = context;
    return serial_line_has_room(self->line);
}

static void line_row(void *context, enum shell_row how, const struct row *row)
{
    struct shell_terminal *self = context;
    struct row_port port = {line_write, self};
    if (self->uart != NULL)
        port.write = uart_write;
    if (self->link != NULL)
        port.write = link_out;
    if (how == SHELL_ROW_ERASE)
        (void)row_erase(&self->view, &port);
    else
        row_show(&self->view, row, &port);
    if (how == SHELL_ROW_LEAVE)
        row_leave(&self->view, &port);
}

/* Nobody else writes there. */
static void line_hold(void *context, bool holds)
{
    (void)context;
    (void)holds;
}

/* There is nowhere to go. */
static void line_leave(void *context)
{
    (void)context;
}

static void line_input(void *context)
{
    struct shell_terminal *self = context;
    uint8_t byte;
    while (serial_line_read(self->line, &byte, 1) == 1)
        shell_input(self->shell, byte);
}

struct shell_ports shell_terminal_on_line(struct shell_terminal *terminal, struct shell *shell,
                                          struct serial_line *line)
{
    *terminal = (struct shell_terminal){.shell = shell, .line = line};
    line->limit = BYTES_WAITING;
    line->input = line_input;
    line->room = ready;
    line->context = terminal;
    return (struct shell_ports){line_write, line_has_room, line_row,
                                line_hold,  line_leave,    terminal};
}

struct shell_ports shell_terminal_on_link(struct shell_terminal *terminal, struct shell *shell,
                                          struct link *link, unsigned number)
{
    *terminal = (struct shell_terminal){.shell = shell, .link = link, .number = number};
    return (struct shell_ports){link_out, link_is_free, line_row, line_hold, line_leave, terminal};
}

struct shell_ports shell_terminal_on_uart(struct shell_terminal *terminal, struct shell *shell,
                                          struct host_uart *uart)
{
    *terminal = (struct shell_terminal){.shell = shell, .uart = uart};
    return (struct shell_ports){uart_write, uart_has_room, line_row,
                                line_hold,  line_leave,    terminal};
}
