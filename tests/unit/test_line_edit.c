/* Typing at a terminal: what the line becomes, and what the terminal shows of it. */
#include "kernel/debug/line_edit.h"
#include "tests/check.h"
#include "tests/fake/terminal.h"

#define UP "\x1b[A"
#define DOWN "\x1b[B"
#define RIGHT "\x1b[C"
#define LEFT "\x1b[D"
#define HOME "\x1b[H"
#define END "\x1b[F"
#define DELETE "\x1b[3~"

static struct line_edit edit;
static struct terminal terminal;
static struct row_view view;
static const struct row_port port = {terminal_write, &terminal};
static unsigned columns, asked;
static char listed[256];

static void complete(void *context, struct completion *completion)
{
    static const char *const words[] = {"regs", "reset", "resume", "reboot", "help", "two words"};
    (void)context;
    asked++;
    for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
        completion_offer(completion, words[i]);
}

static void list(void *context, const char *candidate)
{
    strcat(context, candidate);
    strcat(context, " ");
}

static void start(unsigned width)
{
    const struct line_edit_ports ports = {"> ", complete, NULL};
    columns = width;
    memset(&view, 0, sizeof(view));
    terminal_init(&terminal, columns);
    line_edit_init(&edit, &ports);
    listed[0] = '\0';
    asked = 0;
}

/* After every byte the terminal shows what the row says, and the cursor stands where it says. */
static void look(void)
{
    struct row row;
    char text[ROW_MAX + 1];
    line_edit_row(&edit, columns, &row);
    CHECK(row.length < columns && row.cursor <= row.length);
    row_show(&view, &row, &port);
    memcpy(text, row.text, row.length);
    text[row.length] = '\0';
    while (row.length > 0 && text[row.length - 1] == ' ')
        text[--row.length] = '\0';
    CHECK_STR(terminal_row(&terminal, 0), text);
    CHECK_EQ(terminal.column, row.cursor);
    CHECK_EQ(terminal.row, 0);
    CHECK_EQ(terminal.wrapped + terminal.unknown, 0);
    CHECK_EQ(strlen(edit.text), edit.length);
}

static enum line_edit_event type_bytes(const char *bytes, size_t count)
{
    enum line_edit_event event = LINE_EDIT_NONE;
    for (size_t i = 0; i < count; i++) {
        event = line_edit_input(&edit, (uint8_t)bytes[i]);
        look();
    }
    return event;
}

static enum line_edit_event type(const char *bytes)
{
    return type_bytes(bytes, strlen(bytes));
}

static void enter(const char *text)
{
    type(text);
    CHECK_EQ(type("\r"), LINE_EDIT_LINE);
    line_edit_next(&edit, true);
    look();
}

static void inserts_and_moves(void)
{
    start(80);
    type("helo");
    type(LEFT "l");
    CHECK_STR(edit.text, "hello");
    type("\x02\x02\x06X"); /* Ctrl-B twice, Ctrl-F */
    CHECK_STR(edit.text, "helXlo");
    type("\x01(\x05)");
    CHECK_STR(edit.text, "(helXlo)");
    type(HOME "[" END "]");
    CHECK_STR(edit.text, "[(helXlo)]");
    CHECK_STR(terminal_row(&terminal, 0), "> [(helXlo)]");
}

static void deletes(void)
{
    start(80);
    type("one two  three");
    type("\b\x7f");
    CHECK_STR(edit.text, "one two  thr");
    type("\x17");
    CHECK_STR(edit.text, "one two  ");
    type("\x17");
    CHECK_STR(edit.text, "one ");
    type("\x01" DELETE "\x04");
    CHECK_STR(edit.text, "e ");
    type("\x05"
         "fgh" LEFT LEFT "\x0b");
    CHECK_STR(edit.text, "e f");
    type(LEFT "\x15");
    CHECK_STR(edit.text, "f");
    CHECK_EQ(edit.cursor, 0);
}

static void rings_where_nothing_is_to_be_had(void)
{
    start(80);
    CHECK_EQ(type("\b"), LINE_EDIT_BELL);
    CHECK_EQ(type(LEFT), LINE_EDIT_BELL);
    CHECK_EQ(type(RIGHT), LINE_EDIT_BELL);
    CHECK_EQ(type(DELETE), LINE_EDIT_BELL);
    CHECK_EQ(type(UP), LINE_EDIT_BELL);
    CHECK_EQ(type(DOWN), LINE_EDIT_BELL);
    CHECK_EQ(type("\x0e"), LINE_EDIT_BELL);
    type("a");
    CHECK_EQ(type("\x04"), LINE_EDIT_BELL); /* at the end of a line that has something */
    CHECK_STR(edit.text, "a");
}

static void events(void)
{
    start(80);
    CHECK_EQ(type("\x04"), LINE_EDIT_END);
    CHECK_EQ(type("abc\x03"), LINE_EDIT_CANCEL);
    CHECK_EQ(type("\x0c"), LINE_EDIT_CLEAR);
    CHECK_STR(edit.text, "abc");
    CHECK_EQ(type("\r"), LINE_EDIT_LINE);
    CHECK_EQ(type("\n"), LINE_EDIT_NONE); /* belongs to the carriage return */
    CHECK_EQ(type("\n"), LINE_EDIT_LINE);
    CHECK_EQ(type("\r"), LINE_EDIT_LINE);
}

static void keys_in_other_forms(void)
{
    start(80);
    type("abc\x1bOH1\x1bOF2\x1b[1~3\x1b[4~4\x1b[7~5\x1b[8~6\x1bOD7");
    CHECK_STR(edit.text, "531abc2476");
    type("\x1b[1;5D8\x1b[D9"); /* with a modifier */
    CHECK_STR(edit.text, "531abc249876");
}

/* Nothing of what is not known gets into the line, and what follows it is a key of its own. */
static void unknown_keys_vanish(void)
{
    start(80);
    type("a\x1b[15~b\x1b[99999999999999~c\x1b[1;2;3;4;5;6Zd\x1bxe\x1bOPf\x1b\x1b[Dg");
    CHECK_STR(edit.text, "abcdegf");
    type("\x05\x1b[3\x7f"); /* cut off by a backspace */
    CHECK_STR(edit.text, "abcdeg");
    type("\x1b[\r");
    CHECK_STR(edit.text, "abcdeg");
    type("\x80\xff\xc3\xa4\x13");
    CHECK_STR(edit.text, "abcdeg");
    type_bytes("\0", 1);
    CHECK_STR(edit.text, "abcdeg");
}

static void history(void)
{
    start(80);
    enter("first");
    enter("");
    enter("second");
    enter("second");
    type("third" UP);
    CHECK_STR(edit.text, "second");
    type("!" UP);
    CHECK_STR(edit.text, "first");
    CHECK_EQ(type(UP), LINE_EDIT_BELL);
    CHECK_STR(edit.text, "first");
    type(DOWN DOWN);
    CHECK_STR(edit.text, "third");
    CHECK_EQ(type(DOWN), LINE_EDIT_BELL);
    type("\x10\x10\x0e");
    CHECK_STR(edit.text, "second");
}

static void history_is_bounded(void)
{
    char line[8];
    start(80);
    for (unsigned i = 0; i < LINE_EDIT_HISTORY + 5; i++) {
        snprintf(line, sizeof(line), "%u", i);
        enter(line);
    }
    for (unsigned i = 0; i < LINE_EDIT_HISTORY; i++)
        CHECK_EQ(type(UP), LINE_EDIT_NONE);
    CHECK_STR(edit.text, "5");
    CHECK_EQ(type(UP), LINE_EDIT_BELL);
}

static void cancelled_lines_are_forgotten(void)
{
    start(80);
    enter("kept");
    type("dropped\x03");
    line_edit_next(&edit, false);
    look();
    CHECK_STR(terminal_row(&terminal, 0), ">");
    type(UP);
    CHECK_STR(edit.text, "kept");
}

static void completes(void)
{
    start(80);
    CHECK_EQ(type("h\t"), LINE_EDIT_NONE);
    CHECK_STR(edit.text, "help ");
    type("x re\t");
    CHECK_STR(edit.text, "help x re");
    CHECK_EQ(type("s\t"), LINE_EDIT_BELL); /* reset, resume: nothing further in common */
    CHECK_EQ(type("\t"), LINE_EDIT_CHOICES);
    line_edit_choices(&edit, list, listed);
    CHECK_STR(listed, "reset resume ");
    type("u\t");
    CHECK_STR(edit.text, "help x resume ");
    CHECK_EQ(type("q\t"), LINE_EDIT_BELL);
    CHECK_EQ(type("\t"), LINE_EDIT_BELL); /* no list of nothing */
    type("\x15"
         "b" HOME "\t"); /* in front of something: any word */
    CHECK_STR(edit.text, "b");
    type("\x0breg x" HOME RIGHT RIGHT RIGHT "\t");
    CHECK_STR(edit.text, "regs x"); /* there is a blank already */
}

static void no_completion(void)
{
    const struct line_edit_ports ports = {"> ", NULL, NULL};
    start(80);
    line_edit_init(&edit, &ports);
    CHECK_EQ(type("h\t"), LINE_EDIT_BELL);
    CHECK_STR(edit.text, "h");
}

static void a_word_of_the_completer_that_cannot_be_typed_is_left_out(void)
{
    struct completion completion = {.line = "", .each = NULL};
    char longest[LINE_EDIT_MAX + 1];
    memset(longest, 'x', LINE_EDIT_MAX);
    longest[LINE_EDIT_MAX] = '\0';
    completion_offer(&completion, longest);
    completion_offer(&completion, "a\tb");
    completion_offer(&completion, "\xc3\xa4");
    CHECK_EQ(completion.count, 0);
    completion_offer(&completion, longest + 1);
    CHECK_EQ(completion.count, 1);
    CHECK_EQ(completion.common, LINE_EDIT_MAX - 1);
}

static void is_never_too_long(void)
{
    start(80);
    for (unsigned i = 0; i < LINE_EDIT_MAX - 1; i++)
        CHECK_EQ(type("x"), LINE_EDIT_NONE);
    CHECK_EQ(type("y"), LINE_EDIT_BELL);
    CHECK_EQ(edit.length, LINE_EDIT_MAX - 1);
    type(HOME);
    CHECK_EQ(type("y"), LINE_EDIT_BELL);
    type("\x15\x0b");
    for (unsigned i = 0; i < LINE_EDIT_MAX - 6; i++)
        type(" ");
    type("rese");
    CHECK_EQ(type("\t"), LINE_EDIT_BELL); /* `reset ` does not fit */
    CHECK_EQ(edit.length, LINE_EDIT_MAX - 2);
}

/* What is longer than the terminal is shown around the cursor, with marks where it goes on. */
static void long_lines(void)
{
    start(20);
    type("0123456789abcdefghijklmnopqrstuvwxyz");
    CHECK_EQ(terminal_row(&terminal, 0)[2], '<');
    CHECK_EQ(terminal_row(&terminal, 0)[strlen(terminal_row(&terminal, 0)) - 1], 'z');
    for (unsigned i = 0; i < 36; i++)
        CHECK_EQ(type(LEFT), LINE_EDIT_NONE);
    CHECK_STR(terminal_row(&terminal, 0), "> 0123456789abcdef>");
    CHECK_EQ(terminal.column, 2);
    for (unsigned i = 0; i < 36; i++)
        CHECK_EQ(type(RIGHT), LINE_EDIT_NONE);
    type(HOME);
    CHECK_STR(terminal_row(&terminal, 0), "> 0123456789abcdef>");
    type(END "\x15");
    CHECK_STR(terminal_row(&terminal, 0), ">");
}

/* A key at the end of a line costs its own byte on the wire, and no redrawing. */
static unsigned written;

static void count_bytes(void *context, const char *bytes, size_t count)
{
    (void)context;
    (void)bytes;
    written += (unsigned)count;
}

static void typing_is_cheap(void)
{
    static const struct row_port counting = {count_bytes, NULL};
    struct row row;
    start(80);
    for (unsigned i = 0; i < 40; i++) {
        CHECK_EQ(line_edit_input(&edit, 'x'), LINE_EDIT_NONE);
        line_edit_row(&edit, columns, &row);
        written = 0;
        row_show(&view, &row, &counting);
        CHECK_EQ(written, i == 0 ? 3 : 1);
    }
}

static void the_row_gives_way(void)
{
    start(40);
    CHECK(!row_erase(&view, &port));
    type("typed");
    CHECK(row_erase(&view, &port));
    CHECK_STR(terminal_row(&terminal, 0), "");
    CHECK_EQ(terminal.column, 0);
    terminal_write(&terminal, "another's line\r\n", 16);
    struct row row;
    line_edit_row(&edit, columns, &row);
    row_show(&view, &row, &port);
    CHECK_STR(terminal_row(&terminal, 0), "> typed");
    CHECK_STR(terminal_row(&terminal, 1), "another's line");
    row_leave(&view, &port);
    CHECK_STR(terminal_row(&terminal, 0), "");
    CHECK_STR(terminal_row(&terminal, 1), "> typed");
}

TEST_MAIN({"inserts_and_moves", inserts_and_moves}, {"deletes", deletes},
          {"rings_where_nothing_is_to_be_had", rings_where_nothing_is_to_be_had},
          {"events", events}, {"keys_in_other_forms", keys_in_other_forms},
          {"unknown_keys_vanish", unknown_keys_vanish}, {"history", history},
          {"history_is_bounded", history_is_bounded},
          {"cancelled_lines_are_forgotten", cancelled_lines_are_forgotten},
          {"completes", completes}, {"no_completion", no_completion},
          {"a_word_of_the_completer_that_cannot_be_typed_is_left_out",
           a_word_of_the_completer_that_cannot_be_typed_is_left_out},
          {"is_never_too_long", is_never_too_long}, {"long_lines", long_lines},
          {"typing_is_cheap", typing_is_cheap}, {"the_row_gives_way", the_row_gives_way})
