/*
 * Any keys at the shell, on a line that has room or not: it shows printable text only, comes back
 * to its prompt with a Ctrl-C, holds others back only while it shows something, and gives commands
 * the words that they take.
 */
#include <string.h>

#include "kernel/debug/shell.h"
#include "tests/fake/terminal.h"
#include "tests/fuzz/fuzz.h"

static struct shell shell;
static struct terminal terminal;
static struct row_view view;
static const struct row_port row_port = {terminal_write, &terminal};
static size_t room;
static bool is_held;

static void port_write(void *context, const char *bytes, size_t count)
{
    (void)context;
    terminal_write(&terminal, bytes, count);
    room -= count < room ? count : room;
}

static bool has_room(void *context)
{
    (void)context;
    return room != 0;
}

static void port_row(void *context, enum shell_row how, const struct row *row)
{
    (void)context;
    if (how == SHELL_ROW_ERASE)
        (void)row_erase(&view, &row_port);
    else
        row_show(&view, row, &row_port);
    if (how == SHELL_ROW_LEAVE)
        row_leave(&view, &row_port);
}

static void hold(void *context, bool holds)
{
    (void)context;
    REQUIRE(is_held != holds);
    is_held = holds;
}

static void leave(void *context)
{
    (void)context;
    REQUIRE(shell.edit.length == 0);
}

static void print_words(struct shell *self, unsigned count, char *const argument[])
{
    for (unsigned i = 0; i < count; i++) {
        REQUIRE(strlen(argument[i]) < LINE_EDIT_MAX);
        shell_print(self, "%s\n", argument[i]);
    }
}

static void print_many(struct shell *self, unsigned count, char *const argument[])
{
    uint64_t lines;
    REQUIRE(count == 2);
    if (shell_number(self, argument[1], &lines))
        for (uint64_t i = 0; i < lines % 20000; i++)
            shell_print(self, "%u \x1b %s\n", (unsigned)i, argument[1]);
}

/* Of one line, or of many. */
static uint64_t pieces;

static void print_piece(struct shell *self)
{
    do
        shell_print(self, "%u%s", (unsigned)pieces, pieces % 3 == 0 ? "\n" : " ");
    while (!shell_is_piece(self));
    if (pieces-- > 1)
        shell_go_on(self, print_piece);
}

static void print_pieces(struct shell *self, unsigned count, char *const argument[])
{
    REQUIRE(count == 2);
    if (shell_number(self, argument[1], &pieces)) {
        pieces %= 30;
        print_piece(self);
    }
}

static void offer(struct shell *self, struct completion *completion)
{
    (void)self;
    completion_offer(completion, "linux");
    completion_offer(completion, "listener");
}

static const struct shell_command table[] = {
    {"w", "[WORD...]", "words", "help\n", print_words, offer, 0, SHELL_WORDS_MAX - 1, SHELL_FORMAT},
    {"m", "N", "many", "", print_many, NULL, 1, 1, 0},
    {"p", "N", "pieces", "", print_pieces, NULL, 1, 1, 0},
    {"mx", "", "whole", "", print_words, NULL, 0, 0, SHELL_WHOLE},
    {"help", "[COMMAND]", "help", "", shell_help, shell_complete_commands, 0, 1, 0},
    {NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0},
};
static const struct shell_command *const tables[] = {table, NULL};

static void check(void)
{
    REQUIRE(is_held == (shell.state != SHELL_EDITS));
    REQUIRE(shell.used <= SHELL_OUTPUT_MAX && shell.next <= shell.used);
    REQUIRE(shell.typed_head - shell.typed_tail <= SHELL_TYPED_MAX);
    REQUIRE(terminal.unknown == 0);
    REQUIRE(room == 0 || shell.state != SHELL_SHOWS);
    REQUIRE(room == 0 || shell.state == SHELL_ASKS || shell.typed_head == shell.typed_tail);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct shell_ports ports = {port_write, has_room, port_row, hold, leave, NULL};
    struct fuzz_input input = {data, data + size};
    memset(&view, 0, sizeof(view));
    shell_init(&shell, &ports, tables, NULL);
    shell.columns = 20 + (unsigned)fuzz_take(&input, 1) % 200;
    shell.rows = (unsigned)fuzz_take(&input, 1) % 30;
    shell.rows += shell.rows == 1;
    terminal_init(&terminal, shell.columns);
    room = SIZE_MAX;
    is_held = false;
    shell_enter(&shell);
    for (unsigned keys = 0; keys < 1000 && !fuzz_is_done(&input); keys++) {
        uint8_t byte = (uint8_t)fuzz_take(&input, 1);
        if (byte == 0xff)
            room = (size_t)fuzz_take(&input, 1) * 8;
        else if (byte == 0xfe)
            shell_leave(&shell);
        else if (byte == 0xfd)
            shell_continue(&shell);
        else
            shell_input(&shell, byte);
        if (byte != 0xff)
            check();
    }
    room = SIZE_MAX;
    shell_input(&shell, 3);
    shell_continue(&shell);
    shell_input(&shell, 3);
    REQUIRE(shell.state == SHELL_EDITS && shell.edit.length == 0);
    check();
    return 0;
}
