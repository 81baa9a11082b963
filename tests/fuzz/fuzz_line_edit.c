/*
 * Any bytes of a keyboard, at terminals of any width: the line stays one of printable ASCII that
 * fits, the terminal shows what the row says with the cursor where it says, and nothing is written
 * beyond the row, whatever else the terminal shows between.
 */
#include <string.h>

#include "kernel/debug/line_edit.h"
#include "tests/fake/terminal.h"
#include "tests/fuzz/fuzz.h"

static struct line_edit edit;
static struct terminal terminal;
static struct row_view view;
static const struct row_port port = {terminal_write, &terminal};
static unsigned offered;

static void complete(void *context, struct completion *completion)
{
    static const char *const words[] = {"x", "xy", "xyz", "console", "cold", "help", "c o"};
    (void)context;
    for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
        completion_offer(completion, words[i]);
}

static void list(void *context, const char *candidate)
{
    (void)context;
    REQUIRE(strlen(candidate) < LINE_EDIT_MAX);
    offered++;
}

static void check_line(void)
{
    REQUIRE(edit.length < LINE_EDIT_MAX && edit.cursor <= edit.length);
    REQUIRE(edit.text[edit.length] == '\0');
    for (unsigned i = 0; i < edit.length; i++)
        REQUIRE(edit.text[i] >= ' ' && edit.text[i] <= '~');
}

/* Around the cursor, the row shows the line. */
static void check_row(void)
{
    struct row row;
    line_edit_row(&edit, terminal.columns, &row);
    REQUIRE(row.length < terminal.columns && row.cursor <= row.length);
    REQUIRE(row.cursor == row.length || row.text[row.cursor] == edit.text[edit.cursor]);
    REQUIRE((row.cursor == row.length) == (edit.cursor == edit.length));
    row_show(&view, &row, &port);
    REQUIRE(memcmp(terminal.screen[terminal.row], row.text, row.length) == 0);
    for (unsigned i = row.length; i < terminal.columns; i++)
        REQUIRE(terminal.screen[terminal.row][i] == ' ');
    REQUIRE(terminal.column == row.cursor && terminal.wrapped + terminal.unknown == 0);
}

static void handle(enum line_edit_event event)
{
    switch (event) {
    case LINE_EDIT_LINE:
    case LINE_EDIT_CANCEL:
        row_leave(&view, &port);
        line_edit_next(&edit, event == LINE_EDIT_LINE);
        return;
    case LINE_EDIT_END:
        REQUIRE(edit.length == 0);
        return;
    case LINE_EDIT_CHOICES:
        offered = 0;
        line_edit_choices(&edit, list, NULL);
        REQUIRE(offered > 1);
        return;
    case LINE_EDIT_CLEAR:
        row_erase(&view, &port);
        terminal_write(&terminal, "\x1b[H\x1b[2J", 7);
        return;
    case LINE_EDIT_BELL:
    case LINE_EDIT_NONE:
        return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, data + size};
    const struct line_edit_ports ports = {"(traprock) ", complete, NULL};
    terminal_init(&terminal, 20 + (unsigned)fuzz_take(&input, 1) % 200);
    memset(&view, 0, sizeof(view));
    line_edit_init(&edit, &ports);
    while (!fuzz_is_done(&input)) {
        uint8_t byte = (uint8_t)fuzz_take(&input, 1);
        unsigned times = 1;
        if (byte == 0xff) { /* a key that is held down */
            times = (unsigned)fuzz_take(&input, 2) % 300;
            byte = (uint8_t)fuzz_take(&input, 1);
        }
        for (unsigned i = 0; i < times; i++) {
            handle(line_edit_input(&edit, byte));
            check_line();
            if (i + 1 == times || i % 16 == 0)
                check_row();
        }
        if (byte == 0xfe) {
            row_erase(&view, &port);
            check_row();
        }
    }
    return 0;
}
