#include "kernel/console/mux.h"

#include "kernel/core/fmt.h"
#include "kernel/core/mem.h"

INIT void mux_init(struct mux *mux, const struct mux_line *line,
                   const struct mux_commands *commands, uint8_t escape, unsigned focus)
{
    memset(mux, 0, sizeof(*mux));
    mux->line = *line;
    mux->commands = *commands;
    mux->escape = escape;
    mux->focus = focus;
}

INIT enum status mux_add(struct mux *mux, struct mux_guest *guest, const char *name,
                         void (*ready)(void *context), void *context)
{
    if (mux->count == MUX_GUESTS_MAX)
        return ERR_NO_SPACE;
    *guest = (struct mux_guest){
        .mux = mux,
        .name = name,
        .number = mux->count,
        .ready = ready,
        .context = context,
    };
    mux->guest[mux->count++] = guest;
    return STATUS_OK;
}

INIT void mux_remove_last(struct mux *mux)
{
    if (mux->count == 0)
        return;
    mux->count--;
    mux->waiting -= mux->guest[mux->count]->waits;
    mux->turn = 0;
    if (mux->focus < MUX_SHELL && mux->focus >= mux->count)
        mux->focus = 0;
}

/* Everything that reaches the line passes here, so that the column is known. */
void mux_emit(struct mux *mux, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        mux->column = bytes[i] == '\n' || bytes[i] == '\r' ? 0 : mux->column + 1;
    mux->line.write(mux->line.context, bytes, count);
}

static void start_line(struct mux *mux)
{
    if (mux->focus == MUX_SHELL && mux->shell->hide(mux->shell->context))
        mux->column = 0;
    if (mux->column != 0)
        mux_emit(mux, "\r\n", 2);
}

/* After lines that start_line began. */
static void end_lines(struct mux *mux)
{
    if (mux->focus == MUX_SHELL)
        mux->shell->show(mux->shell->context);
}

/* What the guest has in its buffer: as it is in focus, else as a line, finished or over-long. */
static void emit_buffer(struct mux_guest *guest)
{
    struct mux *mux = guest->mux;
    bool has_focus = guest->number == mux->focus;
    if (!has_focus) {
        start_line(mux);
        mux_emit(mux, guest->name, strlen(guest->name));
        mux_emit(mux, ": ", 2);
    }
    mux_emit(mux, guest->line, guest->used);
    if (!has_focus) {
        mux_emit(mux, "\r\n", 2);
        end_lines(mux);
    }
    guest->used = 0;
    mux->waiting -= guest->waits;
    guest->waits = false;
}

static bool has_room(const struct mux *mux)
{
    bool is_held = mux->is_held && mux->focus == MUX_SHELL;
    return !is_held && mux->line.has_room(mux->line.context);
}

static bool may_write(const struct mux *mux)
{
    return mux->waiting == 0 && has_room(mux);
}

static void wait_for_turn(struct mux_guest *guest)
{
    guest->mux->waiting += !guest->waits;
    guest->waits = true;
}

/* In focus: straight to the line, unless somebody waits already. */
static bool put_raw(struct mux_guest *guest, char byte)
{
    struct mux *mux = guest->mux;
    if (may_write(mux)) {
        mux_emit(mux, &byte, 1);
        return true;
    }
    if (guest->used == MUX_LINE_MAX)
        return false;
    guest->line[guest->used++] = byte;
    wait_for_turn(guest);
    return true;
}

static bool put_in_line(struct mux_guest *guest, char byte)
{
    struct mux_divert *divert = guest->mux->divert;
    if (divert != NULL)
        return divert->put(divert, guest, (uint8_t)byte);
    if (guest->waits)
        return false;
    if (byte == '\r')
        return true;
    if (byte != '\n')
        guest->line[guest->used++] = byte;
#ifdef PLANTED_BUG_MUX /* for the fuzzer's own test */
    if (byte != '\n')
        return true;
#endif
    if (byte != '\n' && guest->used < MUX_LINE_MAX)
        return true;
    if (may_write(guest->mux))
        emit_buffer(guest);
    else
        wait_for_turn(guest);
    return true;
}

bool mux_put(void *context, uint8_t byte)
{
    struct mux_guest *guest = context;
    struct mux *mux = guest->mux;
    spinlock_acquire(&mux->lock);
    bool taken =
        guest->number == mux->focus ? put_raw(guest, (char)byte) : put_in_line(guest, (char)byte);
    guest->is_blocked = !taken;
    spinlock_release(&mux->lock);
    return taken;
}

/* Without the lock: tells those who could not write, and can now. */
static void wake_blocked(struct mux *mux)
{
    for (unsigned i = 0; i < mux->count; i++) {
        struct mux_guest *guest = mux->guest[i];
        spinlock_acquire(&mux->lock);
        bool wakes = guest->is_blocked && !guest->waits;
        guest->is_blocked = guest->is_blocked && !wakes;
        spinlock_release(&mux->lock);
        if (wakes)
            guest->ready(guest->context);
    }
}

static void serve_guests(struct mux *mux)
{
    spinlock_acquire(&mux->lock);
    while (mux->waiting != 0 && has_room(mux)) {
        struct mux_guest *guest = mux->guest[mux->turn];
        mux->turn = (mux->turn + 1) % mux->count;
        if (guest->waits)
            emit_buffer(guest);
    }
    spinlock_release(&mux->lock);
    wake_blocked(mux);
}

void mux_line_ready(struct mux *mux)
{
    if (mux->focus == MUX_SHELL)
        mux->shell->ready(mux->shell->context);
    serve_guests(mux);
}

void mux_hold(struct mux *mux, bool holds)
{
    mux->is_held = holds;
    if (!holds)
        serve_guests(mux);
}

void mux_message(struct mux *mux, const char *text, size_t count)
{
    spinlock_acquire(&mux->lock);
    start_line(mux);
    mux_emit(mux, text, count);
    end_lines(mux);
    spinlock_release(&mux->lock);
}

void mux_flush(struct mux_guest *guest)
{
    struct mux *mux = guest->mux;
    spinlock_acquire(&mux->lock);
    if (guest->used != 0)
        emit_buffer(guest);
    spinlock_release(&mux->lock);
    wake_blocked(mux);
}

static void say(struct mux *mux, const char *text)
{
    mux_message(mux, text, strlen(text));
}

static void show_help(struct mux *mux)
{
    char text[512];
    char key = (char)(mux->escape + '@');
    fmt_format(text, sizeof(text),
               "traprock: keys after Ctrl-%c:\r\n"
               "  h  this help\r\n"
               "  s  status of the guests\r\n"
               "  r  reset the guest in focus\r\n"
               "  x  power off\r\n"
               "  n  give the terminal to the next guest\r\n"
               "  c  the monitor's shell, and back\r\n"
               "  Ctrl-%c  send Ctrl-%c to the guest\r\n",
               key, key, key);
    say(mux, text);
}

/* With the lock, what the new one wrote of its line so far belongs to the terminal now. */
static void announce(struct mux *mux)
{
    struct mux_guest *guest = mux->focus < mux->count ? mux->guest[mux->focus] : NULL;
    const char *owner = guest != NULL             ? guest->name
                        : mux->focus == MUX_SHELL ? "the monitor"
                                                  : "nobody";
    bool is_whole = guest != NULL && guest->waits;
    char text[64];
    start_line(mux);
    int length = fmt_format(text, sizeof(text), "traprock: the terminal is %s's\r\n", owner);
    mux_emit(mux, text, (size_t)length < sizeof(text) ? (size_t)length : sizeof(text) - 1);
    if (guest != NULL)
        emit_buffer(guest);
    if (is_whole)
        start_line(mux);
}

/* What the old guest still has to say comes first. */
void mux_set_focus(struct mux *mux, unsigned focus)
{
    bool was_shell = mux->focus == MUX_SHELL;
    spinlock_acquire(&mux->lock);
    if (mux->focus < mux->count)
        emit_buffer(mux->guest[mux->focus]);
    if (was_shell)
        start_line(mux); /* its row goes */
    else
        mux->before = mux->focus;
    mux->focus = focus;
    announce(mux);
    spinlock_release(&mux->lock);
    if (was_shell != (focus == MUX_SHELL))
        mux->shell->focus(mux->shell->context, !was_shell);
    wake_blocked(mux);
}

unsigned mux_focus_before(const struct mux *mux)
{
    bool is_there = mux->before < mux->count;
    return is_there || mux->count == 0 || mux->before == MUX_NOBODY ? mux->before : 0;
}

void mux_end_shell(struct mux *mux)
{
    if (mux->divert != NULL)
        mux->divert->end(mux->divert);
    if (mux->focus != MUX_SHELL)
        return;
    spinlock_acquire(&mux->lock);
    mux->focus = mux_focus_before(mux);
    start_line(mux);
    spinlock_release(&mux->lock);
}

static void focus_next(struct mux *mux)
{
    unsigned last = mux->focus == MUX_SHELL ? mux->before : mux->focus;
    if (mux->count != 0)
        mux_set_focus(mux, (last + 1) % mux->count);
}

static void focus_shell(struct mux *mux)
{
    mux_set_focus(mux, mux->focus == MUX_SHELL ? mux_focus_before(mux) : MUX_SHELL);
}

COLD void mux_type(struct mux_guest *guest, uint8_t byte)
{
    if (mux_input_room(guest) == 0) {
        guest->input_lost++;
        return;
    }
    guest->input[guest->input_head % MUX_INPUT_SIZE] = byte;
    __atomic_store_n(&guest->input_head, guest->input_head + 1, __ATOMIC_RELEASE);
    guest->ready(guest->context);
}

static void send_to_focus(struct mux *mux, uint8_t byte)
{
    if (mux->focus == MUX_SHELL)
        mux->shell->input(mux->shell->context, byte);
    if (mux->focus < mux->count)
        mux_type(mux->guest[mux->focus], byte);
}

static COLD void run_command(struct mux *mux, uint8_t key)
{
    const struct mux_commands *commands = &mux->commands;
    switch (key) {
    case 'h':
    case '?':
        show_help(mux);
        return;
    case 's':
        commands->status(commands->context);
        return;
    case 'r':
        if (mux->focus < mux->count)
            commands->reset(commands->context, mux->focus);
        return;
    case 'x':
        commands->power_off(commands->context);
        return;
    case 'n':
        focus_next(mux);
        return;
    case 'c':
        if (mux->shell != NULL) {
            focus_shell(mux);
            return;
        }
        /* fall through */
    default:
        say(mux, "traprock: no such key; h shows those that there are\r\n");
    }
}

COLD void mux_input(struct mux *mux, uint8_t byte)
{
    bool after_escape = mux->after_escape;
    mux->after_escape = !after_escape && byte == mux->escape;
    if (mux->after_escape)
        return;
    if (after_escape && byte != mux->escape)
        run_command(mux, byte);
    else
        send_to_focus(mux, byte);
}

bool mux_take_input(struct mux_guest *guest, uint8_t *byte)
{
    if (!mux_has_input(guest))
        return false;
    *byte = guest->input[guest->input_tail % MUX_INPUT_SIZE];
    __atomic_store_n(&guest->input_tail, guest->input_tail + 1, __ATOMIC_RELEASE);
    return true;
}

bool mux_has_input(const struct mux_guest *guest)
{
    return __atomic_load_n(&guest->input_head, __ATOMIC_ACQUIRE) != guest->input_tail;
}
