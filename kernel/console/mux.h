/*
 * One serial line for several users: the guests' serial ports, the monitor's own messages, and the
 * person at the terminal, who reaches the monitor with an escape key. Pure: the line, the guests
 * and the commands are ports.
 *
 * One guest has the focus, or nobody: its bytes pass through as they are, and what is typed goes to
 * it. The lines of the others appear whole, with the guest's name before them, when the guest in
 * focus is not in the middle of a line.
 *
 * The line is slower than any guest. While it has no room, each guest has a buffer of one line;
 * what finds that full stays in the guest's own device (mux_put returns false), so that only the
 * guest waits. Buffers go out in turn, one after the other, whoever writes how much. The monitor's
 * own messages wait for nobody's turn.
 *
 * Keys after the escape key (Ctrl-A unless configured otherwise):
 *     h, ?   help                 r   reset the guest in focus
 *     s      status               x   power off
 *     n      next guest           the escape key itself: sends it to the guest, or to the shell
 *     c      the monitor's shell, or from there back to the guest
 *
 * The shell keeps the last row of the terminal up to date while it has the focus; lines of others
 * appear above it.
 *
 * Locking: mux->lock, taken after a VM's device lock and held across the line's functions and the
 * shell's hide and show only.
 * Input comes from one processor at a time.
 */
#pragma once

#include "kernel/core/spinlock.h"
#include "kernel/core/status.h"
#include "kernel/core/types.h"

#define MUX_GUESTS_MAX 128
#define MUX_NOBODY UINT32_MAX      /* in place of a guest's number */
#define MUX_SHELL (UINT32_MAX - 1) /* the same */
#define MUX_LINE_MAX 256
#define MUX_INPUT_SIZE 1024u /* a power of two */

struct mux_line {
    /* Sends all of it, in order; may wait for the line, never for anything else. */
    void (*write)(void *context, const char *bytes, size_t count);
    /* Whether guests may write: less waits than the line sends within a blink. When it has said no,
     * mux_line_ready is called once that has changed. */
    bool (*has_room)(void *context);
    void *context;
};

/* What the keys do. Called without the lock. */
struct mux_commands {
    void (*status)(void *context);
    void (*reset)(void *context, unsigned guest);
    void (*power_off)(void *context);
    void *context;
};

/* The monitor's shell, on the processor that has the input; hide and show, with the lock, on any.
 */
struct mux_shell {
    void (*input)(void *context, uint8_t byte);
    void (*ready)(void *context);           /* the line has room again */
    void (*focus)(void *context, bool has); /* it has the terminal, or no longer */
    /* Lines of others follow, and have come. hide returns whether it erased its row, so that the
     * cursor is at the start of an empty line; show may write it anew, both by mux_emit. */
    bool (*hide)(void *context);
    void (*show)(void *context);
    void *context;
};

struct mux;
struct mux_guest;

/* What the debugger puts in the terminal's place while each guest has a line of its own
 * (kernel/debug/split.h). With the lock but for end. */
struct mux_divert {
    /* A byte of a guest; false: not taken, mux_line_ready follows. */
    bool (*put)(struct mux_divert *divert, const struct mux_guest *guest, uint8_t byte);
    void (*end)(struct mux_divert *divert); /* from mux_end_shell: there is a terminal again */
};

/* One guest's serial port. */
struct mux_guest {
    struct mux *mux;
    const char *name;
    unsigned number;
    /* Tells the guest's side, which takes no lock for it, that mux_take_input has something, or
     * that mux_put takes bytes again. */
    void (*ready)(void *context);
    void *context;
    char line[MUX_LINE_MAX]; /* what it wrote of a line while not in focus, or while it waits */
    unsigned used;
    bool waits;      /* for its turn: in focus with any byte, else with a whole line */
    bool is_blocked; /* a byte was not taken */
    uint8_t input[MUX_INPUT_SIZE];
    uint32_t input_head, input_tail; /* free-running */
    uint64_t input_lost;             /* bytes that found the ring full */
};

struct mux {
    struct spinlock lock;
    struct mux_line line;
    struct mux_commands commands;
    uint8_t escape;
    bool after_escape;
    unsigned column;               /* of the line as the terminal shows it: 0 is its start */
    unsigned focus;                /* a guest's number, MUX_NOBODY or MUX_SHELL */
    unsigned before;               /* the focus before the shell's */
    bool is_held;                  /* guests wait, since the shell shows something */
    const struct mux_shell *shell; /* NULL: there is none */
    struct mux_divert *divert;     /* NULL: none; else nobody has the focus */
    unsigned count;
    unsigned waiting; /* guests that wait for their turn */
    unsigned turn;    /* the guest that is looked at first */
    struct mux_guest *guest[MUX_GUESTS_MAX];
};

/* focus: the number of the guest that has it first, or MUX_NOBODY. */
void mux_init(struct mux *mux, const struct mux_line *line, const struct mux_commands *commands,
              uint8_t escape, unsigned focus);

/* A further guest, which is the caller's to keep; their numbers count from 0. ERR_NO_SPACE:
 * MUX_GUESTS_MAX are there. */
enum status MUST_CHECK mux_add(struct mux *mux, struct mux_guest *guest, const char *name,
                               void (*ready)(void *context), void *context);

/* Takes the last mux_add back: that guest has come to nothing, or to its end. On the processor that
 * has the input. */
void mux_remove_last(struct mux *mux);

/* A byte that the guest sent; matches struct byte_sink's put (context is the mux_guest). False: not
 * taken, ready() follows. */
bool mux_put(void *guest, uint8_t byte);

/* The line has room again. */
void mux_line_ready(struct mux *mux);

/* Whole lines of the monitor's own; each starts at the beginning of a line. */
void mux_message(struct mux *mux, const char *text, size_t count);

/* A byte from the terminal. */
void mux_input(struct mux *mux, uint8_t byte);

/* The next byte for the guest; false: there is none. */
bool mux_take_input(struct mux_guest *guest, uint8_t *byte);
/* Whether mux_take_input would return one. */
bool mux_has_input(const struct mux_guest *guest);

/* The same past the focus: a byte for the guest, which is lost if there is no room for it. */
void mux_type(struct mux_guest *guest, uint8_t byte);
/* How many bytes there is room for. */
static inline uint32_t mux_input_room(const struct mux_guest *guest)
{
    return MUX_INPUT_SIZE -
           (guest->input_head - __atomic_load_n(&guest->input_tail, __ATOMIC_ACQUIRE));
}

/* Gives the focus to a guest, MUX_NOBODY or MUX_SHELL, and says so on the terminal. On the
 * processor that has the input. */
void mux_set_focus(struct mux *mux, unsigned focus);

/* Who had it before the shell. */
unsigned mux_focus_before(const struct mux *mux);

/* Takes the terminal from the shell, if that has it, or from whoever diverts it, without a word:
 * what follows is the last, and begins a line that whoever reads it by program finds. */
void mux_end_shell(struct mux *mux);

/* For the shell. Bytes for the line, with the lock; and whether the guests wait. */
void mux_emit(struct mux *mux, const char *bytes, size_t count);
void mux_hold(struct mux *mux, bool holds);

/* Writes what waits of this guest, unfinished lines too: at its end. */
void mux_flush(struct mux_guest *guest);
