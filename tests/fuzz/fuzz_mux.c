/*
 * Any keys of the user and any bytes of the guests: what is typed reaches the guest in focus, in
 * order and once, or is counted as lost; the bytes of the guest in focus pass as they are; no more
 * than a line of a guest is held back; and a guest whose byte was not taken is told when one would
 * be.
 */
#include <string.h>

#include "kernel/console/mux.h"
#include "tests/fuzz/fuzz.h"

#define GUESTS_MAX 3u
#define TYPED_MAX 4096u

struct guest {
    struct mux_guest port;
    uint8_t typed[TYPED_MAX]; /* what must come out, in order */
    unsigned in, out;
    unsigned ready;
    bool is_blocked; /* its last byte was not taken, and it was not told */
};

struct terminal {
    struct mux mux;
    struct guest guest[GUESTS_MAX];
    unsigned guests, commands;
    size_t shown; /* bytes on the line */
    size_t room;  /* bytes that it still takes from guests */
    char last;
    bool after_escape;
    bool row_is_shown; /* the shell's */
    unsigned typed;    /* bytes that the shell got */
};

static struct terminal terminal;

static void line_write(void *context, const char *bytes, size_t count)
{
    (void)context;
    for (size_t i = 0; i < count; i++)
        terminal.last = bytes[i]; /* reads every byte */
    terminal.shown += count;
    terminal.room -= count < terminal.room ? count : terminal.room;
}

static bool line_has_room(void *context)
{
    (void)context;
    return terminal.room > 0;
}

static void command(void *context)
{
    (void)context;
    terminal.commands++;
}

static void reset(void *context, unsigned guest)
{
    (void)context;
    REQUIRE(guest == terminal.mux.focus && guest < terminal.guests);
    terminal.commands++;
}

static void guest_ready(void *context)
{
    ((struct guest *)context)->ready++;
    ((struct guest *)context)->is_blocked = false;
}

static void shell_input(void *context, uint8_t byte)
{
    (void)context;
    (void)byte;
    terminal.typed++;
}

static void shell_ready(void *context)
{
    (void)context;
    REQUIRE(terminal.mux.focus == MUX_SHELL);
}

static void show_row(void *context)
{
    (void)context;
    REQUIRE(terminal.mux.focus == MUX_SHELL);
    if (!terminal.row_is_shown)
        mux_emit(&terminal.mux, "> ", 2);
    terminal.row_is_shown = true;
}

static bool hide_row(void *context)
{
    (void)context;
    bool was_shown = terminal.row_is_shown;
    if (was_shown)
        mux_emit(&terminal.mux, "\r\x1b[K", 4);
    terminal.row_is_shown = false;
    return was_shown;
}

static void shell_focus(void *context, bool has)
{
    REQUIRE(!terminal.row_is_shown);
    REQUIRE(has == (terminal.mux.focus == MUX_SHELL));
    if (has)
        show_row(context);
    else
        mux_hold(&terminal.mux, false);
}

static void expect(struct guest *guest, uint8_t byte)
{
    if (guest->in - guest->out < MUX_INPUT_SIZE)
        guest->typed[guest->in++ % TYPED_MAX] = byte;
}

/* A second opinion on what a key does: the bytes that a guest must get. */
static void type(uint8_t byte)
{
    struct mux *mux = &terminal.mux;
    unsigned commands = terminal.commands, focus = mux->focus;
    bool is_command = terminal.after_escape && byte != mux->escape;
    bool is_escape = !terminal.after_escape && byte == mux->escape;
    bool has_focus = focus < terminal.guests;
    unsigned to_shell = terminal.typed + (!is_command && !is_escape && focus == MUX_SHELL);
    if (!is_command && !is_escape && has_focus)
        expect(&terminal.guest[focus], byte);
    terminal.after_escape = is_escape;
    mux_input(mux, byte);
    bool runs = byte == 's' || byte == 'x' || (byte == 'r' && has_focus);
    REQUIRE(terminal.commands - commands == (is_command && runs));
    REQUIRE(terminal.typed == to_shell);
    if (is_command && byte == 'n' && terminal.guests != 0)
        REQUIRE(mux->focus < terminal.guests &&
                (focus == MUX_SHELL || mux->focus == (focus + 1) % terminal.guests));
    else if (is_command && byte == 'c')
        REQUIRE((mux->focus == MUX_SHELL) != (focus == MUX_SHELL));
    else
        REQUIRE(mux->focus == focus);
}

static void take(struct guest *guest, unsigned count)
{
    uint8_t byte;
    for (unsigned i = 0; i < count; i++) {
        bool is_there = mux_take_input(&guest->port, &byte);
        REQUIRE(is_there == (guest->in != guest->out));
        if (is_there)
            REQUIRE(byte == guest->typed[guest->out++ % TYPED_MAX]);
    }
}

static void put(unsigned index, uint8_t byte)
{
    struct guest *guest = &terminal.guest[index];
    size_t shown = terminal.shown;
    bool is_held = terminal.mux.is_held && terminal.mux.focus == MUX_SHELL;
    bool may_pass = terminal.mux.waiting == 0 && terminal.room > 0 && !is_held;
    bool is_full =
        index == terminal.mux.focus ? guest->port.used == MUX_LINE_MAX : guest->port.waits;
    bool is_taken = mux_put(&guest->port, byte);
    REQUIRE(is_taken == (may_pass || !is_full));
    guest->is_blocked = !is_taken;
    if (!may_pass)
        REQUIRE(terminal.shown == shown);
    else if (index == terminal.mux.focus)
        REQUIRE(terminal.shown == shown + 1 && terminal.last == (char)byte);
    else
        REQUIRE(terminal.shown == shown || guest->port.used == 0);
}

static void check(void)
{
    const struct mux *mux = &terminal.mux;
    REQUIRE(mux->count == terminal.guests);
    REQUIRE(mux->focus < terminal.guests || mux->focus == 0 || mux->focus >= MUX_SHELL);
    REQUIRE(terminal.row_is_shown == (mux->focus == MUX_SHELL));
    REQUIRE(terminal.shown == 0 ||
            (mux->column == 0) == (terminal.last == '\n' || terminal.last == '\r'));
    unsigned waiting = 0;
    for (unsigned i = 0; i < terminal.guests; i++) {
        const struct mux_guest *guest = mux->guest[i];
        waiting += guest->waits;
        REQUIRE(guest->used <= MUX_LINE_MAX);
        REQUIRE(guest->waits || (i != mux->focus ? guest->used < MUX_LINE_MAX : guest->used == 0));
        REQUIRE(guest->waits || !terminal.guest[i].is_blocked);
        REQUIRE(mux_has_input(guest) == (terminal.guest[i].in != terminal.guest[i].out));
    }
    REQUIRE(mux->waiting == waiting);
}

static void start(uint8_t escape, unsigned guests, unsigned focus)
{
    static const char *const names[GUESTS_MAX] = {
        "a", "guest", "one-whose-name-is-as-long-as-a-line-of-the-terminal-and-then-some-more"};
    const struct mux_line line = {line_write, line_has_room, NULL};
    const struct mux_commands commands = {command, reset, command, NULL};
    static const struct mux_shell shell = {shell_input, shell_ready, shell_focus,
                                           hide_row,    show_row,    NULL};
    memset(&terminal, 0, sizeof(terminal));
    mux_init(&terminal.mux, &line, &commands, escape, focus);
    terminal.mux.shell = &shell;
    terminal.guests = guests;
    for (unsigned i = 0; i < guests; i++) {
        struct guest *guest = &terminal.guest[i];
        REQUIRE(mux_add(&terminal.mux, &guest->port, names[i], guest_ready, guest) == STATUS_OK);
    }
}

static void step(struct fuzz_input *input)
{
    uint64_t choice = fuzz_take(input, 1);
    unsigned index = (unsigned)(choice >> 4) % (terminal.guests == 0 ? 1 : terminal.guests);
    uint64_t count = 1 + ((choice & 8) != 0 ? fuzz_take(input, 2) % 1200 : 0);
    uint8_t byte = (uint8_t)fuzz_take(input, 1);
    switch (choice & 7) {
    case 0:
    case 1:
        for (uint64_t i = 0; i < count; i++)
            type(byte);
        break;
    case 2: /* a command */
        type(terminal.mux.escape);
        type(byte);
        break;
    case 3:
        mux_message(&terminal.mux, "traprock: message\r\n", byte % 20);
        if (terminal.mux.focus == MUX_SHELL && byte >= 128)
            mux_hold(&terminal.mux, byte >= 192);
        break;
    case 4:
        terminal.room = byte % 64 * 16;
        mux_line_ready(&terminal.mux);
        REQUIRE(terminal.room == 0 || terminal.mux.waiting == 0 || terminal.mux.is_held);
        if (byte < 64 && terminal.guests != 0) {
            mux_flush(&terminal.guest[index].port);
            REQUIRE(terminal.guest[index].port.used == 0);
        }
        break;
    case 5:
        if (terminal.guests != 0)
            take(&terminal.guest[index], (unsigned)count);
        break;
    default:
        for (uint64_t i = 0; i < count && terminal.guests != 0; i++)
            put(index, byte);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, data + size};
    uint64_t choice = fuzz_take(&input, 1);
    start((choice & 4) != 0 ? 0x1d : 1, (unsigned)(choice & 3),
          (choice & 16) != 0 ? MUX_NOBODY : 0);
    terminal.room = (choice & 8) != 0 ? 0 : SIZE_MAX;
    for (unsigned i = 0; i < 300 && !fuzz_is_done(&input); i++) {
        step(&input);
        check();
    }
    return 0;
}
