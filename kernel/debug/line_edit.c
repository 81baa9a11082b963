#include "kernel/debug/line_edit.h"

#include "kernel/core/fmt.h"
#include "kernel/core/mem.h"

#define KEY_CTRL(letter) ((letter)&0x1f)
#define KEY_ESCAPE 0x1b
#define KEY_BACKSPACE 0x7f

enum escape_state { ESCAPE_NONE, ESCAPE_BEGUN, ESCAPE_SEQUENCE, ESCAPE_SINGLE };

/* ---- The text ---- */

static void set_text(struct line_edit *edit, const char *text)
{
    edit->length = (unsigned)strlen(text);
    edit->cursor = edit->length;
    memcpy(edit->text, text, edit->length + 1);
}

/* Cuts [from, to) out; the cursor is in there or at one of its ends. */
static void cut(struct line_edit *edit, unsigned from, unsigned to)
{
    memmove(edit->text + from, edit->text + to, edit->length - to + 1);
    edit->length -= to - from;
    edit->cursor = from;
}

static enum line_edit_event insert(struct line_edit *edit, const char *text, unsigned count)
{
#ifndef PLANTED_BUG_LINE_EDIT /* for the fuzzer's own test */
    if (count > LINE_EDIT_MAX - 1 - edit->length)
        return LINE_EDIT_BELL;
#endif
    char *at = edit->text + edit->cursor;
    memmove(at + count, at, edit->length - edit->cursor + 1);
    memcpy(at, text, count);
    edit->length += count;
    edit->cursor += count;
    return LINE_EDIT_NONE;
}

static unsigned word_start(const struct line_edit *edit)
{
    unsigned at = edit->cursor;
    while (at > 0 && edit->text[at - 1] == ' ')
        at--;
    while (at > 0 && edit->text[at - 1] != ' ')
        at--;
    return at;
}

/* ---- History ---- */

static char *history_line(struct line_edit *edit, unsigned back)
{
    return edit->history[(edit->lines - back) % LINE_EDIT_HISTORY];
}

static enum line_edit_event go_back(struct line_edit *edit, unsigned back)
{
    uint64_t there = edit->lines < LINE_EDIT_HISTORY ? edit->lines : LINE_EDIT_HISTORY;
    if (back > there)
        return LINE_EDIT_BELL;
    if (edit->back == 0)
        memcpy(edit->kept, edit->text, edit->length + 1);
    edit->back = back;
    set_text(edit, back == 0 ? edit->kept : history_line(edit, back));
    return LINE_EDIT_NONE;
}

static enum line_edit_event go_forward(struct line_edit *edit)
{
    return edit->back == 0 ? LINE_EDIT_BELL : go_back(edit, edit->back - 1);
}

void line_edit_next(struct line_edit *edit, bool keep)
{
    bool repeats = edit->lines != 0 && strcmp(history_line(edit, 1), edit->text) == 0;
    if (keep && edit->length != 0 && !repeats) {
        memcpy(history_line(edit, 0), edit->text, edit->length + 1);
        edit->lines++;
    }
    edit->back = edit->scroll = 0;
    set_text(edit, "");
}

/* ---- Completion ---- */

static bool is_word(const char *text)
{
    unsigned length = 0;
    while (text[length] > ' ' && text[length] < KEY_BACKSPACE && length < LINE_EDIT_MAX)
        length++;
    return length < LINE_EDIT_MAX && text[length] == '\0';
}

void completion_offer(struct completion *completion, const char *candidate)
{
    const char *word = completion->line + completion->word;
    unsigned length = completion->length - completion->word, same = 0;
    if (strncmp(candidate, word, length) != 0 || !is_word(candidate))
        return;
    if (completion->each != NULL)
        completion->each(completion->context, candidate);
    if (completion->count++ == 0) {
        completion->common = (unsigned)strlen(candidate);
        memcpy(completion->first, candidate, completion->common + 1);
        return;
    }
    while (same < completion->common && candidate[same] == completion->first[same])
        same++;
    completion->common = same;
}

static void look_for(struct line_edit *edit, struct completion *completion)
{
    completion->line = edit->text;
    completion->length = completion->word = edit->cursor;
    while (completion->word > 0 && edit->text[completion->word - 1] != ' ')
        completion->word--;
    completion->count = completion->common = 0;
    if (edit->ports.complete != NULL)
        edit->ports.complete(edit->ports.context, completion);
}

static enum line_edit_event complete(struct line_edit *edit)
{
    struct completion completion;
    bool is_second = edit->after_tab;
    completion.each = NULL;
    look_for(edit, &completion);
    unsigned typed = completion.length - completion.word;
    edit->after_tab = completion.count > 1 && completion.common == typed;
    if (completion.count == 0)
        return LINE_EDIT_BELL;
    if (edit->after_tab)
        return is_second ? LINE_EDIT_CHOICES : LINE_EDIT_BELL;
    if (completion.count == 1 && edit->text[edit->cursor] != ' ')
        completion.first[completion.common++] = ' ';
    return insert(edit, completion.first + typed, completion.common - typed);
}

void line_edit_choices(struct line_edit *edit, void (*each)(void *context, const char *candidate),
                       void *context)
{
    struct completion completion;
    completion.each = each;
    completion.context = context;
    look_for(edit, &completion);
}

/* ---- Keys ---- */

static enum line_edit_event move_to(struct line_edit *edit, unsigned cursor, bool may)
{
    if (!may)
        return LINE_EDIT_BELL;
    edit->cursor = cursor;
    return LINE_EDIT_NONE;
}

static enum line_edit_event delete_next(struct line_edit *edit)
{
    if (edit->cursor == edit->length)
        return LINE_EDIT_BELL;
    cut(edit, edit->cursor, edit->cursor + 1);
    return LINE_EDIT_NONE;
}

static enum line_edit_event delete_before(struct line_edit *edit)
{
    if (edit->cursor == 0)
        return LINE_EDIT_BELL;
    cut(edit, edit->cursor - 1, edit->cursor);
    return LINE_EDIT_NONE;
}

static enum line_edit_event cut_keys(struct line_edit *edit, uint8_t byte)
{
    if (byte == KEY_CTRL('K'))
        cut(edit, edit->cursor, edit->length);
    else if (byte == KEY_CTRL('U'))
        cut(edit, 0, edit->cursor);
    else
        cut(edit, word_start(edit), edit->cursor);
    return LINE_EDIT_NONE;
}

static enum line_edit_event control(struct line_edit *edit, uint8_t byte)
{
    switch (byte) {
    case '\r':
    case '\n':
        return LINE_EDIT_LINE;
    case '\t':
        return complete(edit);
    case KEY_CTRL('A'):
        return move_to(edit, 0, true);
    case KEY_CTRL('B'):
        return move_to(edit, edit->cursor - 1, edit->cursor != 0);
    case KEY_CTRL('C'):
        return LINE_EDIT_CANCEL;
    case KEY_CTRL('D'):
        return edit->length == 0 ? LINE_EDIT_END : delete_next(edit);
    case KEY_CTRL('E'):
        return move_to(edit, edit->length, true);
    case KEY_CTRL('F'):
        return move_to(edit, edit->cursor + 1, edit->cursor != edit->length);
    case KEY_CTRL('H'):
    case KEY_BACKSPACE:
        return delete_before(edit);
    case KEY_CTRL('K'):
    case KEY_CTRL('U'):
    case KEY_CTRL('W'):
        return cut_keys(edit, byte);
    case KEY_CTRL('L'):
        return LINE_EDIT_CLEAR;
    case KEY_CTRL('N'):
        return go_forward(edit);
    case KEY_CTRL('P'):
        return go_back(edit, edit->back + 1);
    default:
        return LINE_EDIT_NONE;
    }
}

/* VT220's editing keys: CSI n ~. */
static enum line_edit_event numbered_key(struct line_edit *edit, unsigned number)
{
    switch (number) {
    case 1:
    case 7:
        return control(edit, KEY_CTRL('A'));
    case 4:
    case 8:
        return control(edit, KEY_CTRL('E'));
    case 3:
        return delete_next(edit);
    default:
        return LINE_EDIT_NONE;
    }
}

static enum line_edit_event sequence_end(struct line_edit *edit, uint8_t byte)
{
    static const struct {
        char final, key;
    } same_as[] = {{'A', KEY_CTRL('P')}, {'B', KEY_CTRL('N')}, {'C', KEY_CTRL('F')},
                   {'D', KEY_CTRL('B')}, {'F', KEY_CTRL('E')}, {'H', KEY_CTRL('A')}};
    if (byte == '~')
        return numbered_key(edit, edit->parameter[0]);
    for (unsigned i = 0; i < ARRAY_SIZE(same_as); i++)
        if (same_as[i].final == (char)byte)
            return control(edit, (uint8_t)same_as[i].key);
    return LINE_EDIT_NONE;
}

/* A parameter byte, of which only the first two numbers matter, or one that ends the sequence. */
static enum line_edit_event sequence(struct line_edit *edit, uint8_t byte)
{
    uint16_t *number = &edit->parameter[edit->parameters & 1];
    if (byte >= 0x40) {
        edit->escape = ESCAPE_NONE;
        return sequence_end(edit, byte);
    }
    if (byte == ';')
        edit->parameters = edit->parameters == 0 ? 1 : 2;
    else if (byte >= '0' && byte <= '9' && edit->parameters < 2 && *number < 1000)
        *number = (uint16_t)(*number * 10 + byte - '0');
    return LINE_EDIT_NONE;
}

/* The second byte of a key, or a later one. */
static enum line_edit_event escaped(struct line_edit *edit, uint8_t byte)
{
    switch (edit->escape) {
    case ESCAPE_BEGUN:
        edit->escape = byte == '[' ? ESCAPE_SEQUENCE : byte == 'O' ? ESCAPE_SINGLE : ESCAPE_NONE;
        edit->parameters = 0;
        edit->parameter[0] = edit->parameter[1] = 0;
        return LINE_EDIT_NONE;
    case ESCAPE_SINGLE:
        edit->escape = ESCAPE_NONE;
        return sequence_end(edit, byte);
    default:
        return sequence(edit, byte);
    }
}

enum line_edit_event line_edit_input(struct line_edit *edit, uint8_t byte)
{
    bool is_control = byte < ' ' || byte == KEY_BACKSPACE, is_pair = edit->after_return;
    edit->after_return = byte == '\r';
    if (byte >= 0x80 || (byte == '\n' && is_pair))
        return LINE_EDIT_NONE;
    if (byte == KEY_ESCAPE) {
        edit->escape = ESCAPE_BEGUN;
        return LINE_EDIT_NONE;
    }
    if (byte != '\t')
        edit->after_tab = false;
    if (edit->escape != ESCAPE_NONE && !is_control)
        return escaped(edit, byte);
    edit->escape = ESCAPE_NONE; /* a control character ends what was not finished */
    char text = (char)byte;
    return is_control ? control(edit, byte) : insert(edit, &text, 1);
}

/* ---- What it looks like ---- */

/* Where the text does not fit, one column at either end says that there is more. The part that is
 * shown moves by half of its width, so that most keys change little. */
static void scroll(struct line_edit *edit, unsigned room)
{
    if (edit->cursor < edit->scroll || edit->length < room)
        edit->scroll = 0;
    if (edit->cursor - edit->scroll >= room - 1)
        edit->scroll = edit->cursor - room / 2;
    else if (edit->scroll != 0 && edit->cursor == edit->scroll)
        edit->scroll -= edit->scroll < room / 2 ? edit->scroll : room / 2;
}

void line_edit_row(struct line_edit *edit, unsigned columns, struct row *row)
{
    unsigned width = (columns < ROW_MAX ? columns : ROW_MAX) - 1;
    unsigned prompt = (unsigned)strlen(edit->ports.prompt), room;
    prompt = prompt < width / 2 ? prompt : width / 2;
    room = width - prompt;
    scroll(edit, room);
    unsigned left = edit->length - edit->scroll, count = left < room ? left : room;
    memcpy(row->text, edit->ports.prompt, prompt);
    memcpy(row->text + prompt, edit->text + edit->scroll, count);
    if (edit->scroll != 0)
        row->text[prompt] = '<';
    if (left > room)
        row->text[width - 1] = '>';
    row->length = prompt + count;
    row->cursor = prompt + edit->cursor - edit->scroll;
}

void line_edit_init(struct line_edit *edit, const struct line_edit_ports *ports)
{
    memset(edit, 0, sizeof(*edit));
    edit->ports = *ports;
}
