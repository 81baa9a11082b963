/* The terminal that the guests, the monitor and a person share. */
#include "kernel/console/mux.h"
#include "tests/check.h"

static char shown[65536];
static size_t shown_size;
static size_t room = SIZE_MAX; /* bytes that the line takes from guests */
static unsigned statuses, resets, power_offs, reset_number, ready;

static void show(void *context, const char *bytes, size_t count)
{
    (void)context;
    memcpy(shown + shown_size, bytes, count);
    room -= count < room ? count : room;
    shown_size += count;
    shown[shown_size] = '\0';
}

static bool has_room(void *context)
{
    (void)context;
    return room > 0;
}

static void on_status(void *context)
{
    (void)context;
    statuses++;
}

static void on_reset(void *context, unsigned guest)
{
    (void)context;
    resets++;
    reset_number = guest;
}

static void on_power_off(void *context)
{
    (void)context;
    power_offs++;
}

static void on_ready(void *context)
{
    (void)context;
    ready++;
}

static struct mux mux;
static struct mux_guest port[2];

static struct mux_guest *start(unsigned guests)
{
    static const char *const names[] = {"one", "two"};
    struct mux_line line = {show, has_room, NULL};
    struct mux_commands commands = {on_status, on_reset, on_power_off, NULL};
    shown_size = statuses = resets = power_offs = ready = 0;
    shown[0] = '\0';
    room = SIZE_MAX;
    mux_init(&mux, &line, &commands, 1, 0);
    for (unsigned i = 0; i < guests; i++)
        CHECK_EQ(mux_add(&mux, &port[i], names[i], on_ready, NULL), STATUS_OK);
    return port;
}

static void put(struct mux_guest *guest, const char *text)
{
    while (*text != '\0')
        CHECK(mux_put(guest, (uint8_t)*text++));
}

static void type(const char *text)
{
    while (*text != '\0')
        mux_input(&mux, (uint8_t)*text++);
}

static void focus_passes_through(void)
{
    struct mux_guest *guest = start(2);
    put(&guest[0], "login: \x1b[1m\r\n");
    CHECK_STR(shown, "login: \x1b[1m\r\n");
}

static void others_show_whole_lines(void)
{
    struct mux_guest *guest = start(2);
    put(&guest[1], "hal");
    CHECK_STR(shown, "");
    put(&guest[0], "$ ");
    put(&guest[1], "lo\r\n");
    CHECK_STR(shown, "$ \r\ntwo: hallo\r\n");
    put(&guest[1], "rest");
    mux_flush(&guest[1]);
    CHECK_STR(shown, "$ \r\ntwo: hallo\r\ntwo: rest\r\n");
}

static void long_lines_are_cut_not_lost(void)
{
    struct mux_guest *guest = start(2);
    for (unsigned i = 0; i < MUX_LINE_MAX + 10; i++)
        put(&guest[1], "x");
    put(&guest[1], "\n");
    unsigned count = 0;
    for (size_t i = 0; i < shown_size; i++)
        count += shown[i] == 'x';
    CHECK_EQ(count, MUX_LINE_MAX + 10);
}

static void messages_start_lines(void)
{
    struct mux_guest *guest = start(1);
    put(&guest[0], "abc");
    mux_message(&mux, "traprock: hi\r\n", 14);
    CHECK_STR(shown, "abc\r\ntraprock: hi\r\n");
}

static void typing_reaches_the_focus(void)
{
    struct mux_guest *guest = start(2);
    uint8_t byte;
    type("ab");
    CHECK_EQ(ready, 2);
    CHECK(mux_take_input(&guest[0], &byte) && byte == 'a');
    CHECK(mux_take_input(&guest[0], &byte) && byte == 'b');
    CHECK(!mux_take_input(&guest[0], &byte));
    type("\x01nz");
    CHECK(!mux_has_input(&guest[0]));
    CHECK(mux_take_input(&guest[1], &byte) && byte == 'z');
    CHECK(strstr(shown, "the terminal is two's") != NULL);
}

static char typed[16];
static unsigned typed_count, shell_ready, focuses;
static bool row_is_shown, has_focus;

static void shell_input(void *context, uint8_t byte)
{
    (void)context;
    typed[typed_count++] = (char)byte;
}

static void on_shell_ready(void *context)
{
    (void)context;
    shell_ready++;
}

static void on_focus(void *context, bool has)
{
    (void)context;
    CHECK(has_focus != has);
    has_focus = has;
    focuses++;
}

static bool hide_row(void *context)
{
    (void)context;
    bool was_shown = row_is_shown;
    if (row_is_shown)
        mux_emit(&mux, "<", 1);
    row_is_shown = false;
    return was_shown;
}

static void show_row(void *context)
{
    (void)context;
    CHECK(!row_is_shown);
    mux_emit(&mux, ">", 1);
    row_is_shown = true;
}

/* With a shell that has the terminal and shows its row: `<` takes that away. */
static struct mux_guest *start_in_shell(unsigned guests)
{
    static const struct mux_shell shell = {shell_input, on_shell_ready, on_focus,
                                           hide_row,    show_row,       NULL};
    struct mux_guest *guest = start(guests);
    typed_count = shell_ready = focuses = 0;
    row_is_shown = has_focus = false;
    mux.shell = &shell;
    type("\x01"
         "c");
    CHECK(has_focus);
    CHECK_STR(shown, "traprock: the terminal is the monitor's\r\n");
    show_row(NULL);
    shown_size = 0;
    shown[0] = '\0';
    return guest;
}

static void the_shell_gets_what_is_typed(void)
{
    struct mux_guest *guest = start_in_shell(2);
    uint8_t byte;
    type("vm\x01\x01");
    CHECK_EQ(typed_count, 3);
    CHECK_EQ(typed[2], 1);
    CHECK(!mux_has_input(&guest[0]));
    type("\x01"
         "cz");
    CHECK(!has_focus);
    CHECK_STR(shown, "<traprock: the terminal is one's\r\n");
    CHECK(mux_take_input(&guest[0], &byte) && byte == 'z');
    type("\x01"
         "c\x01n");
    CHECK_EQ(mux.focus, 1);
    CHECK_EQ(focuses, 4);
}

static void lines_appear_above_the_shells_row(void)
{
    struct mux_guest *guest = start_in_shell(2);
    put(&guest[0], "half");
    CHECK_STR(shown, "");
    put(&guest[0], " whole\n");
    CHECK_STR(shown, "<one: half whole\r\n>");
    mux_message(&mux, "hi\r\n", 4);
    CHECK_STR(shown, "<one: half whole\r\n><hi\r\n>");
    type("\x01s");
    CHECK_EQ(statuses, 1);
}

static void guests_wait_while_the_shell_shows_something(void)
{
    struct mux_guest *guest = start_in_shell(1);
    mux_hold(&mux, true);
    put(&guest[0], "line\n");
    CHECK(!mux_put(&guest[0], 'x'));
    mux_line_ready(&mux);
    CHECK_EQ(shell_ready, 1);
    CHECK_STR(shown, "");
    mux_message(&mux, "hi\r\n", 4); /* not the monitor */
    CHECK_STR(shown, "<hi\r\n>");
    unsigned before = ready;
    mux_hold(&mux, false);
    CHECK_STR(shown, "<hi\r\n><one: line\r\n>");
    CHECK_EQ(ready, before + 1);
    mux_hold(&mux, true); /* and a shell that is left holds nobody */
    mux_set_focus(&mux, 0);
    put(&guest[0], "y");
    CHECK(strstr(shown, "one's\r\ny") != NULL);
}

static void the_shell_gives_way_to_the_last_words(void)
{
    struct mux_guest *guest = start_in_shell(1);
    mux_end_shell(&mux);
    mux_message(&mux, "traprock: exit 0\r\n", 18);
    CHECK_STR(shown, "\r\ntraprock: exit 0\r\n");
    CHECK_EQ(mux.focus, 0);
    put(&guest[0], "z");
    CHECK_STR(shown, "\r\ntraprock: exit 0\r\nz");
    mux_end_shell(&mux);
}

static void the_shell_outlives_guests(void)
{
    struct mux_guest *guest = start(2);
    (void)guest;
    type("\x01n");
    start_in_shell(2);
    mux.before = 1;
    mux_remove_last(&mux);
    CHECK_EQ(mux.focus, MUX_SHELL);
    CHECK_EQ(mux_focus_before(&mux), 0);
    mux_remove_last(&mux);
    type("\x01"
         "c\x01"
         "c");
    CHECK(has_focus);
    CHECK(strstr(shown, "nobody's") != NULL);
}

static void escape_reaches_the_monitor(void)
{
    struct mux_guest *guest = start(1);
    uint8_t byte;
    type("\x01s\x01r\x01x");
    CHECK_EQ(statuses, 1);
    CHECK_EQ(resets, 1);
    CHECK_EQ(reset_number, 0);
    CHECK_EQ(power_offs, 1);
    CHECK(!mux_has_input(&guest[0]));
    type("\x01h");
    CHECK(strstr(shown, "Ctrl-A") != NULL);
    type("\x01~");
    CHECK(strstr(shown, "no such key") != NULL);
    type("\x01\x01");
    CHECK(mux_take_input(&guest[0], &byte) && byte == 1);
    CHECK(!mux_take_input(&guest[0], &byte));
}

static void full_input_is_counted(void)
{
    struct mux_guest *guest = start(1);
    for (unsigned i = 0; i < MUX_INPUT_SIZE + 5; i++)
        mux_input(&mux, 'y');
    CHECK_EQ(guest[0].input_lost, 5);
    uint8_t byte;
    unsigned taken = 0;
    while (mux_take_input(&guest[0], &byte))
        taken++;
    CHECK_EQ(taken, MUX_INPUT_SIZE);
}

static void keys_without_guests_do_no_harm(void)
{
    (void)start(0);
    type("a\x01r\x01n\x01h\x01"
         "c");
    CHECK_EQ(resets, 0);
}

static void removed_guest_gets_nothing(void)
{
    struct mux_guest *guest = start(2);
    uint8_t byte;
    type("\x01n");
    mux_remove_last(&mux);
    type("k\x01r");
    CHECK(!mux_has_input(&guest[1]));
    CHECK(mux_take_input(&guest[0], &byte) && byte == 'k');
    CHECK_EQ(reset_number, 0);
    mux_remove_last(&mux);
    mux_remove_last(&mux);
    type("k\x01r");
    CHECK_EQ(ready, 1);
    CHECK_EQ(resets, 1);
}

/* How many of count bytes are taken. */
static unsigned flood(struct mux_guest *guest, unsigned count, char byte)
{
    unsigned taken = 0;
    while (taken < count && mux_put(guest, (uint8_t)byte))
        taken++;
    return taken;
}

static size_t count_shown(char byte)
{
    size_t count = 0;
    for (size_t i = 0; i < shown_size; i++)
        count += shown[i] == byte;
    return count;
}

static void a_full_line_holds_back_the_guest_that_writes(void)
{
    struct mux_guest *guest = start(2);
    room = 0;
    CHECK_EQ(flood(&guest[0], 10000, 'x'), MUX_LINE_MAX);
    CHECK_EQ(shown_size, 0);
    mux_line_ready(&mux);
    CHECK_EQ(ready, 0);
    room = 1;
    mux_line_ready(&mux);
    CHECK_EQ(shown_size, MUX_LINE_MAX);
    CHECK_EQ(ready, 1);
    room = 100;
    mux_line_ready(&mux);
    CHECK_EQ(ready, 1); /* nothing waits any more */
    CHECK_EQ(flood(&guest[0], 10000, 'y'), 100 + MUX_LINE_MAX);
    CHECK_EQ(shown_size, MUX_LINE_MAX + 100);
}

static void messages_do_not_wait_for_room(void)
{
    struct mux_guest *guest = start(1);
    room = 0;
    (void)flood(&guest[0], 10000, 'x');
    mux_message(&mux, "traprock: hi\r\n", 14);
    CHECK_STR(shown, "traprock: hi\r\n");
}

/* A guest that fills every gap gets its turn, and no more, whether it has the focus or not. */
static void a_flood_does_not_keep_others_from_their_turn(void)
{
    struct mux_guest *guest = start(2);
    for (unsigned focus = 0; focus < 2; focus++) {
        struct mux_guest *flooder = &guest[0], *other = &guest[1];
        unsigned lines = 0;
        shown_size = 0;
        room = 0;
        for (unsigned round = 0; round < 100; round++) {
            (void)flood(flooder, 10000, 'x');
            if (mux_put(other, 'o') && mux_put(other, '\n'))
                lines++;
            (void)flood(flooder, 10000, 'x');
            room = 200;
            mux_line_ready(&mux);
        }
        CHECK(count_shown('o') >= 45);
        CHECK(count_shown('o') + 1 >= lines);
        CHECK(count_shown('x') <= 101 * MUX_LINE_MAX);
        CHECK(count_shown('x') >= 45 * MUX_LINE_MAX);
        room = SIZE_MAX;
        mux_line_ready(&mux);
        type("\x01n");
    }
}

static void a_waiting_line_survives_a_change_of_focus(void)
{
    struct mux_guest *guest = start(2);
    room = 0;
    put(&guest[0], "raw");
    put(&guest[1], "whole\n");
    CHECK(!mux_put(&guest[1], 'z'));
    CHECK_STR(shown, "");
    type("\x01n");
    CHECK_STR(shown, "raw\r\ntraprock: the terminal is two's\r\nwhole\r\n");
    CHECK_EQ(ready, 1); /* the one that could not write */
    CHECK(mux_put(&guest[1], 'z'));
    room = SIZE_MAX;
    mux_line_ready(&mux);
    put(&guest[0], "line\n");
    CHECK_STR(shown, "raw\r\ntraprock: the terminal is two's\r\nwhole\r\nz\r\none: line\r\n");
}

static void what_waits_goes_out_at_the_end(void)
{
    struct mux_guest *guest = start(2);
    room = 0;
    put(&guest[0], "raw\n");
    put(&guest[1], "part");
    mux_flush(&guest[0]);
    CHECK_STR(shown, "raw\n");
    mux_flush(&guest[1]);
    CHECK_STR(shown, "raw\ntwo: part\r\n");
    mux_remove_last(&mux);
    CHECK_EQ(mux.waiting, 0);
}

static void a_guest_that_is_removed_waits_no_more(void)
{
    struct mux_guest *guest = start(2);
    room = 0;
    put(&guest[1], "whole\n");
    CHECK_EQ(mux.waiting, 1);
    mux_remove_last(&mux);
    CHECK_EQ(mux.waiting, 0);
    room = SIZE_MAX;
    put(&guest[0], "x");
    CHECK_STR(shown, "x");
}

static void nobody_has_the_focus(void)
{
    struct mux_guest *guest = start(2);
    uint8_t byte;
    mux.focus = MUX_NOBODY;
    put(&guest[0], "a\n");
    put(&guest[1], "b\n");
    type("k\x01r");
    CHECK_STR(shown, "one: a\r\ntwo: b\r\n");
    CHECK_EQ(resets, 0);
    mux_remove_last(&mux);
    CHECK_EQ(mux.focus, MUX_NOBODY);
    type("\x01nx");
    CHECK_EQ(mux.focus, 0);
    CHECK(mux_take_input(&guest[0], &byte) && byte == 'x');
    put(&guest[0], "raw");
    CHECK(strstr(shown, "traprock: the terminal is one's\r\nraw") != NULL);
}

TEST_MAIN(
    {"focus_passes_through", focus_passes_through},
    {"others_show_whole_lines", others_show_whole_lines},
    {"long_lines_are_cut_not_lost", long_lines_are_cut_not_lost},
    {"messages_start_lines", messages_start_lines},
    {"typing_reaches_the_focus", typing_reaches_the_focus},
    {"the_shell_gets_what_is_typed", the_shell_gets_what_is_typed},
    {"lines_appear_above_the_shells_row", lines_appear_above_the_shells_row},
    {"guests_wait_while_the_shell_shows_something", guests_wait_while_the_shell_shows_something},
    {"the_shell_gives_way_to_the_last_words", the_shell_gives_way_to_the_last_words},
    {"the_shell_outlives_guests", the_shell_outlives_guests},
    {"escape_reaches_the_monitor", escape_reaches_the_monitor},
    {"full_input_is_counted", full_input_is_counted},
    {"keys_without_guests_do_no_harm", keys_without_guests_do_no_harm},
    {"removed_guest_gets_nothing", removed_guest_gets_nothing},
    {"a_full_line_holds_back_the_guest_that_writes", a_full_line_holds_back_the_guest_that_writes},
    {"messages_do_not_wait_for_room", messages_do_not_wait_for_room},
    {"a_flood_does_not_keep_others_from_their_turn", a_flood_does_not_keep_others_from_their_turn},
    {"a_waiting_line_survives_a_change_of_focus", a_waiting_line_survives_a_change_of_focus},
    {"what_waits_goes_out_at_the_end", what_waits_goes_out_at_the_end},
    {"nobody_has_the_focus", nobody_has_the_focus},
    {"a_guest_that_is_removed_waits_no_more", a_guest_that_is_removed_waits_no_more})
