/* The shell: finding commands, words, help, completion, and pages of output. */
#include "kernel/debug/shell.h"
#include "tests/check.h"
#include "tests/fake/terminal.h"

static struct shell shell;
static struct terminal terminal;
static struct row_view view;
static const struct row_port row_port = {terminal_write, &terminal};
static size_t room;
static unsigned runs, words, leaves;
static bool is_held;
static char word[SHELL_WORDS_MAX][LINE_EDIT_MAX];

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
    CHECK(is_held != holds);
    is_held = holds;
}

static void leave(void *context)
{
    (void)context;
    leaves++;
}

static void echo(struct shell *self, unsigned count, char *const argument[])
{
    (void)self;
    runs++;
    words = count;
    for (unsigned i = 0; i < count; i++)
        strcpy(word[i], argument[i]);
}

static void count_to(struct shell *self, unsigned count, char *const argument[])
{
    uint64_t lines;
    (void)count;
    if (!shell_number(self, argument[1], &lines))
        return;
    for (uint64_t i = 1; i <= lines; i++)
        shell_print(self, "line %u\n", (unsigned)i);
}

/* So many pieces, all in one line; each is of one digit. */
static unsigned pieces, printed;

static void more(struct shell *self)
{
    do
        shell_print(self, "%u", printed % 10);
    while (!shell_is_piece(self));
    if (++printed < pieces)
        shell_go_on(self, more);
}

static void piecewise(struct shell *self, unsigned count, char *const argument[])
{
    uint64_t wanted;
    (void)count;
    if (!shell_number(self, argument[1], &wanted))
        return;
    pieces = (unsigned)wanted;
    printed = 0;
    more(self);
}

static void strange(struct shell *self, unsigned count, char *const argument[])
{
    (void)count;
    (void)argument;
    shell_write(self, "a\x1b[2Jb\tc\x80", 8);
}

static void offer_names(struct shell *self, struct completion *completion)
{
    (void)self;
    completion_offer(completion, "linux");
    completion_offer(completion, "listener");
}

static const struct shell_command first_table[] = {
    {"echo", "[WORD...]", "repeats", "More\nof it.\n", echo, offer_names, 0, 15, 0},
    {"count", "N", "counts", "", count_to, NULL, 1, 1, SHELL_AFTER_PANIC},
    {"pieces", "N", "prints much", "", piecewise, NULL, 1, 1, 0},
    {"strange", "", "prints anything", "", strange, NULL, 0, 0, 0},
    {NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0},
};
static const struct shell_command second_table[] = {
    {"x", "ADDRESS", "looks", "", echo, NULL, 1, 1, SHELL_FORMAT},
    {"reset", "NAME", "resets", "", echo, NULL, 1, 1, SHELL_WHOLE},
    {"regs", "", "registers", "", echo, NULL, 0, 0, 0},
    {"help", "[COMMAND]", "helps", "", shell_help, shell_complete_commands, 0, 1,
     SHELL_AFTER_PANIC},
    {NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0},
};
static const struct shell_command *const tables[] = {first_table, second_table, NULL};

static void start(void)
{
    static const struct shell_ports ports = {port_write, has_room, port_row, hold, leave, NULL};
    memset(&view, 0, sizeof(view));
    terminal_init(&terminal, 80);
    room = SIZE_MAX;
    runs = leaves = words = 0;
    is_held = false;
    shell_init(&shell, &ports, tables, NULL);
    shell.rows = 10;
    shell_enter(&shell);
    CHECK_STR(terminal_row(&terminal, 0), "(traprock)");
}

static void type(const char *bytes)
{
    while (*bytes != '\0')
        shell_input(&shell, (uint8_t)*bytes++);
}

static bool shows(const char *text)
{
    for (unsigned i = 0; i < TERMINAL_ROWS; i++)
        if (strstr(terminal_row(&terminal, i), text) != NULL)
            return true;
    return false;
}

static void runs_commands(void)
{
    start();
    type("echo one 'two  three'  \"four's\"x '' \r");
    CHECK_EQ(runs, 1);
    CHECK_EQ(words, 5);
    CHECK_STR(word[1], "one");
    CHECK_STR(word[2], "two  three");
    CHECK_STR(word[3], "four'sx");
    CHECK_STR(word[4], "");
    CHECK_STR(terminal_row(&terminal, 0), "(traprock)");
    type("   \r\r\r");
    CHECK_EQ(runs, 1);
    CHECK(!is_held);
}

static void words_are_bounded(void)
{
    start();
    type("echo 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15\r");
    CHECK_EQ(words, 16);
    type("echo 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\r");
    CHECK_EQ(runs, 1);
    CHECK(shows("more than 16 words"));
    type("echo 'open\r");
    CHECK(shows("a quotation mark ' is not closed"));
    type("echo \"\r");
    CHECK(shows("a quotation mark \" is not closed"));
    CHECK_EQ(runs, 1);
}

static void finds_as_gdb_does(void)
{
    start();
    type("ec a\r");
    CHECK_EQ(runs, 1);
    type("re x\r");
    CHECK(shows("ambiguous command 're': reset, regs"));
    type("reg\r");
    CHECK_EQ(runs, 2);
    type("rese linux\r");
    CHECK(shows("`reset` has to be written out"));
    CHECK_EQ(runs, 2);
    type("reset linux\r");
    CHECK_EQ(runs, 3);
    type("nothing\r");
    CHECK(shows("unknown command 'nothing'; `help` lists those that there are"));
    type("x/4xg 0x10\r");
    CHECK_EQ(runs, 4);
    CHECK_STR(word[0], "x/4xg");
    type("echo/4 0x10\r");
    CHECK(shows("echo takes no /FORMAT"));
    type("x\r");
    CHECK(shows("usage: x[/FORMAT] ADDRESS"));
    type("regs all\r");
    CHECK(shows("usage: regs"));
    CHECK_EQ(runs, 4);
}

static void helps(void)
{
    start();
    shell.rows = 0;
    type("help\r");
    CHECK(shows("  echo [WORD...]               repeats"));
    CHECK(shows("  x/FORMAT ADDRESS             looks"));
    type("help ec\r");
    CHECK(shows("usage: echo [WORD...]"));
    CHECK(shows("More"));
    CHECK(shows("of it."));
    type("help whatever\r");
    CHECK(shows("unknown command 'whatever'"));
}

static void numbers(void)
{
    static const char *const bad[] = {
        "0x", "abc", "1g", "0x1g", "18446744073709551616", "0x1ffffffffffffffff", "-1", ""};
    uint64_t value;
    start();
    CHECK(shell_number(&shell, "0", &value) && value == 0);
    CHECK(shell_number(&shell, "4096", &value) && value == 4096);
    CHECK(shell_number(&shell, "0XfF", &value) && value == 255);
    CHECK(shell_number(&shell, "18446744073709551615", &value) && value == UINT64_MAX);
    CHECK(shell_number(&shell, "0xffffffffffffffff", &value) && value == UINT64_MAX);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
        CHECK(!shell_number(&shell, bad[i], &value));
}

static void pages(void)
{
    start();
    type("count 20\r");
    CHECK(is_held);
    CHECK(strncmp(terminal_row(&terminal, 0), "--More--", 8) == 0);
    CHECK_STR(terminal_row(&terminal, 1), "line 9");
    type("\r");
    CHECK_STR(terminal_row(&terminal, 1), "line 10");
    type(" ");
    CHECK_STR(terminal_row(&terminal, 1), "line 19");
    type("?");
    CHECK_STR(terminal_row(&terminal, 1), "line 19");
    type(" ");
    CHECK_STR(terminal_row(&terminal, 0), "(traprock)");
    CHECK_STR(terminal_row(&terminal, 1), "line 20");
    CHECK(!is_held);
    type("count 20\rq");
    CHECK_STR(terminal_row(&terminal, 0), "(traprock)");
    CHECK_STR(terminal_row(&terminal, 1), "line 9");
    type("count 200\rc");
    CHECK_STR(terminal_row(&terminal, 1), "line 200");
    shell.rows = 0;
    type("count 300\r");
    CHECK_STR(terminal_row(&terminal, 1), "line 300");
    CHECK_EQ(terminal.unknown, 0);
}

/* The last line of a page that just fits is followed by the prompt, not by a question. */
static void a_page_that_fits(void)
{
    start();
    type("count 9\r");
    CHECK_STR(terminal_row(&terminal, 0), "(traprock)");
    type("count 10\r");
    CHECK(strncmp(terminal_row(&terminal, 0), "--More--", 8) == 0);
}

static void output_waits_for_the_line(void)
{
    start();
    room = 20;
    type("count 8\rech");
    CHECK(!shows("line 8"));
    CHECK(is_held);
    type("o typed ahead\r");
    CHECK_EQ(runs, 0);
    room = SIZE_MAX;
    shell_continue(&shell);
    CHECK(shows("line 8"));
    CHECK_EQ(runs, 1);
    CHECK_STR(word[1], "typed");
    CHECK(shows("(traprock) echo typed ahead"));
}

static void output_can_be_dropped(void)
{
    start();
    room = 20;
    type("count 8\recho no\r\x03");
    room = SIZE_MAX;
    shell_continue(&shell);
    CHECK(!shows("line 8"));
    CHECK_EQ(runs, 0);
    CHECK_STR(terminal_row(&terminal, 0), "(traprock)");
    CHECK(!is_held);
    type("count 20\r");
    shell_leave(&shell);
    CHECK(!is_held);
    CHECK_STR(terminal_row(&terminal, 0), "(traprock)");
}

/* Wherever it is typed, Ctrl-C takes back all that was typed before. */
static void ctrl_c_drops_what_was_typed_ahead(void)
{
    start();
    room = 20;
    type("count 8\rcount 20\recho no\r");
    room = SIZE_MAX;
    shell_continue(&shell);
    CHECK(strncmp(terminal_row(&terminal, 0), "--More--", 8) == 0);
    type("\x03");
    CHECK_EQ(runs, 0);
    CHECK_STR(terminal_row(&terminal, 0), "(traprock)");
    room = 0;
    type("echo no\r\x03");
    room = SIZE_MAX;
    shell_continue(&shell);
    CHECK_EQ(runs, 0);
    CHECK_STR(terminal_row(&terminal, 0), "(traprock)");
}

/* More than there is room to keep: dropped, and nothing else. */
static void typing_ahead_is_bounded(void)
{
    start();
    room = 20;
    type("count 8\r");
    for (unsigned i = 0; i < 1000; i++)
        type("z");
    room = SIZE_MAX;
    shell_continue(&shell);
    CHECK_EQ(shell.edit.length, LINE_EDIT_MAX - 1);
    type("\x03");
    CHECK_EQ(shell.edit.length, 0);
}

static void output_is_bounded(void)
{
    start();
    type("count 100000\rc");
    CHECK(strstr(terminal_row(&terminal, 1), "bytes of output found no room)") != NULL);
    CHECK_STR(terminal_row(&terminal, 0), "(traprock)");
    CHECK_EQ(shell.used, 0);
}

/* More than there is room for, in pieces: one line, however it is shown, at no page's end. */
static void output_comes_in_pieces(void)
{
    start();
    type("pieces 20\r");
    CHECK_EQ(printed, 20);
    CHECK_STR(terminal_row(&terminal, 0), "(traprock)");
    CHECK_EQ(terminal_row(&terminal, 1)[0], '9');
    CHECK_EQ(terminal_row(&terminal, 11)[0], '9');
    CHECK(!shows("found no room") && !is_held);
    room = 100;
    type("pieces 20\r");
    CHECK_EQ(printed, 1);
    room = SHELL_PIECE;
    shell_continue(&shell);
    CHECK_EQ(printed, 2);
    type("\x03");
    CHECK_EQ(printed, 2);
    room = SIZE_MAX;
    shell_continue(&shell);
    CHECK_EQ(printed, 2);
    CHECK_STR(terminal_row(&terminal, 0), "(traprock)");
    CHECK_EQ(terminal_row(&terminal, 1)[0], '1');
    CHECK(!is_held);
    shell.rows = 0;
    type("pieces 20\r");
    CHECK_EQ(printed, 20);
    CHECK_EQ(terminal_row(&terminal, 1)[0], '9');
}

static void output_commands_nothing(void)
{
    start();
    type("strange\r");
    CHECK(shows("a.[2Jb.c"));
    CHECK_EQ(terminal.clears + terminal.unknown, 0);
}

static void completion(void)
{
    start();
    type("str\t");
    CHECK_STR(shell.edit.text, "strange ");
    type("\x15"
         "echo one li\t");
    CHECK_STR(shell.edit.text, "echo one li");
    type("\t\t");
    CHECK(shows("linux  listener"));
    type("n\t\r");
    CHECK_STR(word[2], "linux");
    type("help reg\t\r");
    CHECK(shows("usage: regs"));
    type("regs \t\x15"); /* takes nothing */
    type("re\t\t");
    CHECK(shows("reset  regs"));
    CHECK_STR(shell.edit.text, "re");
}

static void control_keys(void)
{
    start();
    type("abc\x03");
    CHECK_STR(terminal_row(&terminal, 1), "(traprock) abc");
    CHECK_STR(shell.edit.text, "");
    type("abc\x0c");
    CHECK_EQ(terminal.clears, 1);
    CHECK_EQ(terminal.row, 0);
    CHECK_STR(terminal_row(&terminal, 0), "(traprock) abc");
    type("\x15\x15\x04");
    CHECK_EQ(leaves, 1);
    type("\t\b");
    CHECK(terminal.bells != 0);
}

static void after_a_panic(void)
{
    start();
    shell.is_panic = true;
    type("echo\r");
    CHECK(shows("unknown command 'echo'; `help` lists those that there are after a panic"));
    type("c 3\r");
    CHECK(shows("line 3"));
    type("help\r");
    CHECK(!shows("repeats"));
    CHECK(shows("counts"));
}

/* Without a terminal: what was printed comes back, each time anew. */
static void executes(void)
{
    static struct shell alone;
    size_t length;
    char line[2 * LINE_EDIT_MAX];
    shell_init(&alone, &(struct shell_ports){0}, tables, NULL);
    const char *said = shell_execute(&alone, "nonsense", &length);
    CHECK(length > 20 && strncmp(said, "unknown command 'nonsense'", 26) == 0);
    CHECK_EQ(said[length - 1], '\n');
    CHECK(shell_execute(&alone, "", &length) != NULL && length == 0);
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = 0;
    said = shell_execute(&alone, line, &length);
    CHECK(strncmp(said, "more than ", 10) == 0);
    CHECK(shell_execute_more(&alone, &length) == NULL);
    said = shell_execute(&alone, "pieces 3", &length);
    size_t sum = length;
    for (unsigned i = 0; i < 2; i++, sum += length) {
        CHECK_EQ(said[0], '0' + i);
        said = shell_execute_more(&alone, &length);
    }
    CHECK_EQ(sum, 3 * SHELL_PIECE + 1);
    CHECK_EQ(said[length - 1], '\n');
    CHECK(shell_execute_more(&alone, &length) == NULL);
}

TEST_MAIN({"runs_commands", runs_commands}, {"words_are_bounded", words_are_bounded},
          {"finds_as_gdb_does", finds_as_gdb_does}, {"helps", helps}, {"numbers", numbers},
          {"pages", pages}, {"a_page_that_fits", a_page_that_fits},
          {"output_waits_for_the_line", output_waits_for_the_line},
          {"output_can_be_dropped", output_can_be_dropped},
          {"ctrl_c_drops_what_was_typed_ahead", ctrl_c_drops_what_was_typed_ahead},
          {"typing_ahead_is_bounded", typing_ahead_is_bounded},
          {"output_is_bounded", output_is_bounded},
          {"output_comes_in_pieces", output_comes_in_pieces},
          {"output_commands_nothing", output_commands_nothing}, {"completion", completion},
          {"control_keys", control_keys}, {"after_a_panic", after_a_panic}, {"executes", executes})
