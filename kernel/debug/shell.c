#include "kernel/debug/shell.h"

#include "kernel/core/fmt.h"
#include "kernel/core/mem.h"

#define PROMPT "(traprock) "
#define MORE "--More-- (Space: next page, Enter: next line, c: all, q: quit)"
#define PIECE_MAX 128u /* bytes on their way to the terminal at a time */
#define KEY_CTRL_C 3

/* ---- Output ---- */

void shell_write(struct shell *shell, const char *text, size_t count)
{
    size_t room = SHELL_OUTPUT_MAX - shell->used, taken = count < room ? count : room;
    memcpy(shell->output + shell->used, text, taken);
    shell->used += (unsigned)taken;
    shell->cut += (unsigned)(count - taken);
}

void shell_print(struct shell *shell, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int length = fmt_vformat(text, sizeof(text), format, arguments);
    va_end(arguments);
    shell_write(shell, text, (size_t)length < sizeof(text) ? (size_t)length : sizeof(text) - 1);
}

static void put_text(void *context, const char *bytes, size_t count)
{
    shell_write(context, bytes, count);
}

struct text shell_text(struct shell *shell)
{
    return (struct text){put_text, shell};
}

bool shell_is_piece(const struct shell *shell)
{
    return shell->used >= SHELL_PIECE;
}

void shell_go_on(struct shell *shell, void (*more)(struct shell *shell))
{
    shell->more = more;
}

static void empty_output(struct shell *shell)
{
    shell->used = shell->next = shell->cut = 0;
    shell->more = NULL;
    shell->is_inside = false;
}

static void write_port(struct shell *shell, const char *text, size_t count)
{
    shell->ports.write(shell->ports.context, text, count);
}

/* Whether the next byte of the output begins a line. */
static bool is_at_line(const struct shell *shell)
{
    return shell->next == 0 ? !shell->is_inside : shell->output[shell->next - 1] == '\n';
}

/* What is still to be shown is not wanted. */
static void drop_output(struct shell *shell)
{
    if (!is_at_line(shell))
        write_port(shell, "\r\n", 2);
    empty_output(shell);
}

static void show_row(struct shell *shell, enum shell_row how)
{
    struct row row;
    line_edit_row(&shell->edit, shell->columns, &row);
    shell->ports.row(shell->ports.context, how, &row);
}

static void ask(struct shell *shell)
{
    struct row row;
    unsigned length = sizeof(MORE) - 1 < shell->columns ? sizeof(MORE) - 1 : shell->columns - 1;
    memcpy(row.text, MORE, length);
    row.length = row.cursor = length;
    shell->state = SHELL_ASKS;
    shell->ports.row(shell->ports.context, SHELL_ROW_SHOW, &row);
}

/* Writes a line of the output, or a piece of one, with what follows it in the same row. */
static void write_piece(struct shell *shell)
{
    char piece[PIECE_MAX + 2];
    unsigned count = 0;
    while (count < PIECE_MAX && shell->next < shell->used && shell->output[shell->next] != '\n') {
        char byte = shell->output[shell->next++];
        /* Whatever a guest's memory holds, it is no command to the terminal. */
        piece[count++] = byte >= ' ' && byte <= '~' ? byte : '.';
    }
    if (shell->next < shell->used && shell->output[shell->next] == '\n') {
        shell->next++;
        piece[count] = '\r';
        piece[count + 1] = '\n';
        count += 2;
    }
    write_port(shell, piece, count);
}

/* How many rows the line takes that begins at the next byte, at least 1. */
static unsigned rows_of_line(const struct shell *shell)
{
    unsigned end = shell->next;
    while (end < shell->used && shell->output[end] != '\n')
        end++;
    return end == shell->next ? 1 : (end - shell->next + shell->columns - 1) / shell->columns;
}

static void complete_output(struct shell *shell)
{
    char text[80];
    if (shell->more != NULL)
        return;
    if (shell->used != 0 && shell->output[shell->used - 1] != '\n') {
        shell->used -= shell->used == SHELL_OUTPUT_MAX;
        shell_write(shell, "\n", 1);
    }
    if (shell->cut == 0)
        return;
    int length = fmt_format(text, sizeof(text), "(%u bytes of output found no room)\n", shell->cut);
    shell->used = SHELL_OUTPUT_MAX - (unsigned)length - 1;
    shell_write(shell, "\n", 1);
    shell_write(shell, text, (size_t)length);
}

/* The next piece takes the place of the one that is there. False: there is none. */
static bool print_more(struct shell *shell)
{
    void (*more)(struct shell * shell) = shell->more;
    shell->next = shell->used;
    bool is_inside = !is_at_line(shell);
    empty_output(shell);
    if (more == NULL)
        return false;
    more(shell);
    shell->is_inside = is_inside;
    complete_output(shell);
    return true;
}

static void end_output(struct shell *shell)
{
    empty_output(shell);
    shell->state = SHELL_EDITS;
    shell->ports.hold(shell->ports.context, false);
    show_row(shell, SHELL_ROW_SHOW);
}

/* False: the terminal has no room, or the user is asked. */
static bool show_output(struct shell *shell)
{
    for (;;) {
        if (shell->next == shell->used) {
            if (!print_more(shell))
                return true;
            continue;
        }
        if (!shell->ports.has_room(shell->ports.context))
            return false;
        if (is_at_line(shell) && shell->rows != 0) {
            unsigned rows = rows_of_line(shell), page = shell->rows - 1;
            if (rows > shell->rows_left && shell->rows_left < page) {
                ask(shell);
                return false;
            }
            shell->rows_left -= rows < shell->rows_left ? rows : shell->rows_left;
        }
        write_piece(shell);
    }
}

static void begin_output(struct shell *shell)
{
    shell->state = SHELL_SHOWS;
    shell->rows_left = shell->rows != 0 ? shell->rows - 1 : 0;
    shell->ports.hold(shell->ports.context, true);
}

/* ---- Commands ---- */

/* Calls visit for every command that may be used now. */
static void each_command(struct shell *shell,
                         void (*visit)(void *context, const struct shell_command *command),
                         void *context)
{
    for (const struct shell_command *const *table = shell->tables; *table != NULL; table++)
        for (const struct shell_command *command = *table; command->name != NULL; command++)
            if (!shell->is_panic || (command->flags & SHELL_AFTER_PANIC) != 0)
                visit(context, command);
}

struct search {
    const char *name;
    unsigned length, count;
    const struct shell_command *found;
    bool is_exact;
    char list[256]; /* of those that begin with the name */
    unsigned used;
};

static void compare(void *context, const struct shell_command *command)
{
    struct search *search = context;
    if (search->is_exact || strncmp(command->name, search->name, search->length) != 0)
        return;
    search->is_exact = command->name[search->length] == '\0';
    search->found = command;
    search->count++;
    size_t room = sizeof(search->list) - search->used;
    size_t length = (size_t)fmt_format(search->list + search->used, room, "%s%s",
                                       search->count == 1 ? "" : ", ", command->name);
    search->used += (unsigned)(length < room ? length : room - 1);
}

/* As gdb does it: the whole name, or the beginning of just one. With a message where there is none.
 */
static const struct shell_command *find(struct shell *shell, const char *name, unsigned length)
{
    struct search search = {.name = name, .length = length};
    each_command(shell, compare, &search);
    if (search.is_exact || search.count == 1)
        return search.found;
    if (search.count == 0)
        shell_print(shell, "unknown command '%.*s'; `help` lists those that there are%s\n",
                    (int)length, name, shell->is_panic ? " after a panic" : "");
    else
        shell_print(shell, "ambiguous command '%.*s': %s\n", (int)length, name, search.list);
    return NULL;
}

static unsigned name_length(const char *word)
{
    unsigned length = 0;
    while (word[length] != '\0' && word[length] != '/')
        length++;
    return length;
}

static void show_usage(struct shell *shell, const struct shell_command *command)
{
    shell_print(shell, "usage: %s%s%s%s\n", command->name,
                (command->flags & SHELL_FORMAT) != 0 ? "[/FORMAT]" : "",
                command->arguments[0] != '\0' ? " " : "", command->arguments);
}

static void run_command(struct shell *shell, unsigned count, char *const word[])
{
    unsigned length = name_length(word[0]);
    const struct shell_command *command = find(shell, word[0], length);
    if (command == NULL)
        return;
    bool is_whole = command->name[length] == '\0';
    if ((command->flags & SHELL_WHOLE) != 0 && !is_whole)
        shell_print(shell, "`%s` has to be written out\n", command->name);
    else if (word[0][length] != '\0' && (command->flags & SHELL_FORMAT) == 0)
        shell_print(shell, "%s takes no /FORMAT\n", command->name);
    else if (count - 1 < command->least || count - 1 > command->most)
        show_usage(shell, command);
    else
        command->run(shell, count, word);
}

/* Cuts the line into words; quotation marks hold blanks in one. Returns how many, or -1 with a
 * message. */
static int split(struct shell *shell, char *line, char *word[])
{
    char *from = line, *to = line;
    unsigned count = 0;
    for (;;) {
        while (*from == ' ')
            from++;
        if (*from == '\0')
            return (int)count;
#ifdef PLANTED_BUG_SHELL /* for the fuzzer's own test */
        if (false) {
#else
        if (count == SHELL_WORDS_MAX) {
#endif
            shell_print(shell, "more than %u words\n", SHELL_WORDS_MAX);
            return -1;
        }
        word[count++] = to;
        char quote = '\0';
        for (; *from != '\0' && (quote != '\0' || *from != ' '); from++) {
            if (*from == quote)
                quote = '\0';
            else if (quote == '\0' && (*from == '"' || *from == '\''))
                quote = *from;
            else
                *to++ = *from;
        }
        if (quote != '\0') {
            shell_print(shell, "a quotation mark %c is not closed\n", quote);
            return -1;
        }
        from += *from != '\0';
        *to++ = '\0'; /* behind what was read */
    }
}

static void run_line(struct shell *shell)
{
    char *word[SHELL_WORDS_MAX];
    memcpy(shell->line, shell->edit.text, shell->edit.length + 1);
    int count = split(shell, shell->line, word);
    if (count > 0)
        run_command(shell, (unsigned)count, word);
}

const char *shell_execute(struct shell *shell, const char *line, size_t *length)
{
    char *word[SHELL_WORDS_MAX];
    size_t size = strlen(line) + 1;
    empty_output(shell);
    if (size > sizeof(shell->line)) {
        shell_print(shell, "more than %u characters\n", LINE_EDIT_MAX - 1);
    } else {
        memcpy(shell->line, line, size);
        int count = split(shell, shell->line, word);
        if (count > 0)
            run_command(shell, (unsigned)count, word);
    }
    complete_output(shell);
    *length = shell->used;
    return shell->output;
}

const char *shell_execute_more(struct shell *shell, size_t *length)
{
    bool is_there = print_more(shell);
    *length = shell->used;
    return is_there ? shell->output : NULL;
}

/* ---- Help and completion ---- */

static void show_summary(void *context, const struct shell_command *command)
{
    struct shell *shell = context;
    char usage[64];
    fmt_format(usage, sizeof(usage), "%s%s %s", command->name,
               (command->flags & SHELL_FORMAT) != 0 ? "/FORMAT" : "", command->arguments);
    shell_print(shell, "  %-28s %s\n", usage, command->summary);
}

void shell_help(struct shell *shell, unsigned count, char *const argument[])
{
    if (count == 1) {
        each_command(shell, show_summary, shell);
        shell_print(shell, "`help COMMAND` says more. A command may be cut short as long as it is "
                           "the only one.\n");
        return;
    }
    const struct shell_command *command = find(shell, argument[1], name_length(argument[1]));
    if (command == NULL)
        return;
    show_usage(shell, command);
    shell_print(shell, "%s\n", command->summary);
    shell_write(shell, command->help, strlen(command->help));
}

static void offer_command(void *context, const struct shell_command *command)
{
    completion_offer(context, command->name);
}

void shell_complete_commands(struct shell *shell, struct completion *completion)
{
    each_command(shell, offer_command, completion);
}

/* The first word is a command, and those after it are what that says. */
static void complete(void *context, struct completion *completion)
{
    struct shell *shell = context;
    unsigned start = 0, end;
    while (start < completion->word && completion->line[start] == ' ')
        start++;
    for (end = start;
         end < completion->word && completion->line[end] != ' ' && completion->line[end] != '/';)
        end++;
    if (start == completion->word) {
        shell_complete_commands(shell, completion);
        return;
    }
    struct search search = {.name = completion->line + start, .length = end - start};
    each_command(shell, compare, &search);
    if ((search.is_exact || search.count == 1) && search.found->complete != NULL)
        search.found->complete(shell, completion);
}

static void list_choice(void *context, const char *candidate)
{
    shell_print(context, "%s  ", candidate);
}

/* ---- Keys ---- */

static void start_line(struct shell *shell, bool keep)
{
    line_edit_next(&shell->edit, keep);
    complete_output(shell);
    if (shell->used != 0)
        begin_output(shell);
    else
        show_row(shell, SHELL_ROW_SHOW);
}

static void handle_event(struct shell *shell, enum line_edit_event event)
{
    switch (event) {
    case LINE_EDIT_NONE:
        return;
    case LINE_EDIT_BELL:
        write_port(shell, "\a", 1);
        return;
    case LINE_EDIT_CLEAR:
        shell->ports.row(shell->ports.context, SHELL_ROW_ERASE, NULL);
        write_port(shell, "\x1b[H\x1b[2J", 7);
        return;
    case LINE_EDIT_LINE:
        show_row(shell, SHELL_ROW_LEAVE);
        run_line(shell);
        start_line(shell, true);
        return;
    case LINE_EDIT_CANCEL:
        show_row(shell, SHELL_ROW_LEAVE);
        start_line(shell, false);
        return;
    case LINE_EDIT_CHOICES:
        show_row(shell, SHELL_ROW_LEAVE);
        line_edit_choices(&shell->edit, list_choice, shell);
        complete_output(shell);
        begin_output(shell);
        return;
    case LINE_EDIT_END:
        shell->ports.leave(shell->ports.context);
        shell_leave(shell);
        return;
    }
}

/* An answer at the end of a page. */
static void answer(struct shell *shell, uint8_t byte)
{
    switch (byte) {
    case ' ':
        shell->rows_left = shell->rows - 1;
        break;
    case '\r':
    case '\n':
        shell->rows_left = rows_of_line(shell);
        break;
    case 'c':
        shell->rows_left = UINT32_MAX;
        break;
    case KEY_CTRL_C:
        shell->typed_tail = shell->typed_head;
        drop_output(shell);
        break;
    case 'q':
    case 'Q':
        drop_output(shell);
        break;
    default:
        return;
    }
    shell->ports.row(shell->ports.context, SHELL_ROW_ERASE, NULL);
    shell->state = SHELL_SHOWS;
}

/* Ctrl-C takes back what was typed before it, as at any terminal. */
static void type_ahead(struct shell *shell, uint8_t byte)
{
    if (byte == KEY_CTRL_C)
        shell->typed_tail = shell->typed_head;
    if (byte == KEY_CTRL_C && shell->state == SHELL_SHOWS)
        drop_output(shell);
    else if (shell->typed_head - shell->typed_tail < SHELL_TYPED_MAX)
        shell->typed[shell->typed_head++ % SHELL_TYPED_MAX] = byte;
}

/* Shows what there is to show, and takes the keys that were typed meanwhile. */
void shell_continue(struct shell *shell)
{
    for (;;) {
        if (shell->state == SHELL_SHOWS) {
            if (!show_output(shell))
                return;
            end_output(shell);
        }
        if (shell->state == SHELL_ASKS)
            return;
        if (!shell->ports.has_room(shell->ports.context))
            return;
        if (shell->typed_head == shell->typed_tail)
            break;
        uint8_t byte = shell->typed[shell->typed_tail++ % SHELL_TYPED_MAX];
        handle_event(shell, line_edit_input(&shell->edit, byte));
    }
    show_row(shell, SHELL_ROW_SHOW);
}

void shell_input(struct shell *shell, uint8_t byte)
{
    if (shell->state == SHELL_ASKS)
        answer(shell, byte);
    else
        type_ahead(shell, byte);
    shell_continue(shell);
}

void shell_enter(struct shell *shell)
{
    shell_continue(shell);
}

void shell_leave(struct shell *shell)
{
    shell->typed_tail = shell->typed_head;
    drop_output(shell);
    if (shell->state != SHELL_EDITS)
        end_output(shell);
}

/* ---- Numbers ---- */

static unsigned digit(char byte)
{
    if (byte >= '0' && byte <= '9')
        return (unsigned)(byte - '0');
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? (unsigned)(byte - 'a' + 10) : 16;
}

bool shell_number(struct shell *shell, const char *text, uint64_t *value)
{
    unsigned base = text[0] == '0' && (text[1] | 0x20) == 'x' ? 16 : 10;
    const char *next = base == 16 ? text + 2 : text;
    bool is_right = *next != '\0';
    *value = 0;
    for (; is_right && *next != '\0'; next++) {
        uint64_t before = *value;
        is_right = digit(*next) < base && before <= (UINT64_MAX - digit(*next)) / base;
        *value = before * base + digit(*next);
    }
    if (!is_right)
        shell_print(shell, "'%s' is no number; write for example 4096 or 0x1000\n", text);
    return is_right;
}

void shell_init(struct shell *shell, const struct shell_ports *ports,
                const struct shell_command *const *tables, void *context)
{
    struct line_edit_ports edit = {PROMPT, complete, shell};
    memset(shell, 0, offsetof(struct shell, output));
    shell->ports = *ports;
    shell->tables = tables;
    shell->context = context;
    shell->columns = SHELL_COLUMNS;
    shell->rows = SHELL_ROWS;
    line_edit_init(&shell->edit, &edit);
}
