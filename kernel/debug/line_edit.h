/*
 * A line that somebody types at a terminal: editing keys, history, completion. Pure: bytes of the
 * keyboard go in, one at a time, and what the terminal's last row ought to look like comes out. A
 * line that is longer than the terminal is shown in part, around the cursor.
 *
 *     Left, Right, Ctrl-B, Ctrl-F    Home, End, Ctrl-A, Ctrl-E    Up, Down, Ctrl-P, Ctrl-N
 *     Backspace, Ctrl-H    Delete, Ctrl-D    Ctrl-K, Ctrl-U (to the end, to the start)
 *     Ctrl-W (the word before)    Ctrl-L (clears the screen)    Ctrl-C    Tab
 *
 * Keys of several bytes (ECMA-48 control sequences, as of VT100s and xterms) may arrive in pieces.
 * Bytes that mean nothing, those above 7EH too, are ignored.
 */
#pragma once

#include "kernel/debug/row.h"

#define LINE_EDIT_MAX 256u    /* bytes of a line, with its NUL */
#define LINE_EDIT_HISTORY 32u /* lines, a power of two */

/* What has come of a byte. */
enum line_edit_event {
    LINE_EDIT_NONE,
    LINE_EDIT_LINE,    /* text is the line; then line_edit_next */
    LINE_EDIT_CANCEL,  /* Ctrl-C; then line_edit_next */
    LINE_EDIT_END,     /* Ctrl-D in an empty line */
    LINE_EDIT_CLEAR,   /* Ctrl-L */
    LINE_EDIT_CHOICES, /* a second Tab in a row, where there are several ways to go on */
    LINE_EDIT_BELL,    /* nothing came of it, and the user should know */
};

/* A look for what a word can become. */
struct completion {
    const char *line; /* up to the cursor; not NUL-terminated */
    unsigned length;
    unsigned word; /* where in it the word begins that is to be completed */
    /* Of what was offered and begins with the word: */
    unsigned count;
    unsigned common; /* how many bytes of first all of them have */
    char first[LINE_EDIT_MAX];
    void (*each)(void *context, const char *candidate); /* gets them; may be NULL */
    void *context;
};

/* A candidate, NUL-terminated; what is no word of printable ASCII that fits into a line is left
 * out.
 */
void completion_offer(struct completion *completion, const char *candidate);

struct line_edit_ports {
    const char *prompt;
    /* Offers what the word could become. NULL: there is no completion. */
    void (*complete)(void *context, struct completion *completion);
    void *context;
};

struct line_edit {
    struct line_edit_ports ports;
    char text[LINE_EDIT_MAX]; /* NUL-terminated printable ASCII */
    unsigned length, cursor;
    unsigned scroll; /* the first byte that is shown */
    /* A key of several bytes is under way. */
    uint8_t escape;           /* enum escape_state */
    uint8_t parameters;       /* of a control sequence so far */
    uint16_t parameter[2];    /* the first two */
    bool after_return;        /* the last byte was a carriage return: a line feed belongs to it */
    bool after_tab;           /* that could not go on */
    uint64_t lines;           /* ever put into the history */
    unsigned back;            /* how far back in it the line is; 0: it is a new one */
    char kept[LINE_EDIT_MAX]; /* the new one, while back != 0 */
    char history[LINE_EDIT_HISTORY][LINE_EDIT_MAX];
};

/* *edit: an empty line, no history. */
void line_edit_init(struct line_edit *edit, const struct line_edit_ports *ports);

/* A byte of the keyboard. */
enum line_edit_event MUST_CHECK line_edit_input(struct line_edit *edit, uint8_t byte);

/* Begins a new line; the old one, if it is not empty, becomes the history's last where keep says
 * so and it does not repeat that. */
void line_edit_next(struct line_edit *edit, bool keep);

/* What the terminal's last row has to look like; columns: how many it has, at least 20. */
void line_edit_row(struct line_edit *edit, unsigned columns, struct row *row);

/* Offers each way to go on from the cursor to each(), with LINE_EDIT_CHOICES. */
void line_edit_choices(struct line_edit *edit, void (*each)(void *context, const char *candidate),
                       void *context);
