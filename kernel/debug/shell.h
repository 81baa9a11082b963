/*
 * The monitor's command line: reads a line, finds the command, and shows what that has printed, a
 * page at a time. Pure: the terminal and the commands are ports.
 *
 * A command runs to its end at once and prints into a buffer, which then goes to the terminal as
 * fast as that takes it; so a command's own time is all that it can hold anybody up. One that may
 * have more to say than there is room for says it in pieces, the next when the last has been shown.
 * While output is under way, Ctrl-C drops the rest, and what else is typed is kept for later, as
 * far as there is room.
 */
#pragma once

#include "kernel/core/status.h"
#include "kernel/debug/line_edit.h"
#include "kernel/debug/text.h"

#define SHELL_WORDS_MAX 16u
#define SHELL_TYPED_MAX 256u /* bytes typed ahead, a power of two */
#define SHELL_OUTPUT_MAX 98304u
#define SHELL_PIECE 8192u /* of output that is printed in pieces: one ends behind so much */
#define SHELL_COLUMNS 80u
#define SHELL_ROWS 24u

struct shell;

/* A constant each. */
struct shell_command {
    const char *name;
    const char *arguments; /* as in `help`: NAME, [NAME]; "": none */
    const char *summary;   /* a few words */
    const char *help;      /* what else there is to say, lines with their newlines; may be "" */
    /* argument[0] is the command's name as typed, with the /FORMAT that may follow it. */
    void (*run)(struct shell *shell, unsigned count, char *const argument[]);
    /* Offers what the last word of its arguments could be; NULL: nothing. */
    void (*complete)(struct shell *shell, struct completion *completion);
    uint8_t least, most; /* how many arguments it takes */
    uint8_t flags;       /* SHELL_* */
};

#define SHELL_WHOLE 1u       /* does what cannot be undone: its name has to be written out */
#define SHELL_FORMAT 2u      /* takes a /FORMAT */
#define SHELL_AFTER_PANIC 4u /* may be used after a panic of the monitor */

/* What the terminal's last row does. */
enum shell_row {
    SHELL_ROW_SHOW,  /* shows the row */
    SHELL_ROW_LEAVE, /* shows the row, and goes on in the next line */
    SHELL_ROW_ERASE, /* becomes empty */
};

struct shell_ports {
    void (*write)(void *context, const char *bytes, size_t count);
    /* Whether write and row ought to be called now. When it has said no, shell_continue is called
     * once that has changed. */
    bool (*has_room)(void *context);
    /* row: NULL with SHELL_ROW_ERASE. */
    void (*row)(void *context, enum shell_row how, const struct row *row);
    /* A command's output begins, which others should not mix theirs into, or has ended. */
    void (*hold)(void *context, bool holds);
    /* The user is done with the shell (Ctrl-D). */
    void (*leave)(void *context);
    void *context;
};

enum shell_state {
    SHELL_EDITS, /* a line is typed */
    SHELL_SHOWS, /* output is on its way */
    SHELL_ASKS,  /* so it is, and waits at the end of a page */
};

struct shell {
    struct shell_ports ports;
    const struct shell_command *const *tables; /* of commands, in turn; NULL ends them */
    void *context;                             /* the commands' */
    enum shell_state state;
    bool is_panic; /* only what is SHELL_AFTER_PANIC */
    unsigned columns, rows;
    unsigned rows_left;       /* of the page */
    unsigned used, next, cut; /* bytes of output: there, shown so far, that found no room */
    void (*more)(struct shell *shell); /* prints the next piece of it; NULL: that is all */
    bool is_inside;                    /* what is there begins in the middle of a line */
    uint32_t typed_head, typed_tail;   /* free-running */
    uint8_t typed[SHELL_TYPED_MAX];
    struct line_edit edit;
    char line[LINE_EDIT_MAX]; /* the command's words */
    char output[SHELL_OUTPUT_MAX];
};

/* tables: arrays of commands, each ended by one without a name; the array of them by NULL. */
void shell_init(struct shell *shell, const struct shell_ports *ports,
                const struct shell_command *const *tables, void *context);

/* The terminal is the shell's from here on: shows the prompt. */
void shell_enter(struct shell *shell);

/* It is somebody else's: output under way and what was typed ahead are dropped. */
void shell_leave(struct shell *shell);

/* A byte from the terminal. */
void shell_input(struct shell *shell, uint8_t byte);

/* The terminal has room again. */
void shell_continue(struct shell *shell);

/* Runs a command without a terminal: what it prints, and in *length how much that is; the caller's
 * until the next one. For a shell that is used in no other way. */
const char *shell_execute(struct shell *shell, const char *line, size_t *length);
/* The next piece of that; NULL: it was all. */
const char *shell_execute_more(struct shell *shell, size_t *length);

/* ---- For commands ---- */

/* Output: text in which a newline ends a line. What does not fit any more is counted, and the
 * output's end says so. */
void shell_print(struct shell *shell, const char *format, ...) PRINTF(2, 3);
void shell_write(struct shell *shell, const char *text, size_t count);
struct text shell_text(struct shell *shell);

/* Output in pieces. Whether this one is long enough; and that more will print the next one, once
 * this has been shown, unless the user has had enough. It may say the same again. */
bool shell_is_piece(const struct shell *shell);
void shell_go_on(struct shell *shell, void (*more)(struct shell *shell));

/* A number as C writes it: decimal, 0x and hexadecimal; a message where it is none. */
bool MUST_CHECK shell_number(struct shell *shell, const char *text, uint64_t *value);

/* `help`, for a table of commands. */
void shell_help(struct shell *shell, unsigned count, char *const argument[]);
void shell_complete_commands(struct shell *shell, struct completion *completion);
