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
    if (mux->focus != MUX_NOBODY && mux->focus >= mux->count)
        mux->focus = 0;
}

/* Everything that reaches the line passes here, so that the column is known. */
static void emit(struct mux *mux, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        mux->column = bytes[i] == '\n' || bytes[i] == '\r' ? 0 : mux->column + 1;
    mux->line.write(mux->line.context, bytes, count);
}

static void start_line(struct mux *mux)
{
    if (mux->column != 0)
        emit(mux, "\r\n", 2);
}

/* What the guest has in its buffer: as it is in focus, else as a line, finished or over-long. */
static void emit_buffer(struct mux_guest *guest)
{
    struct mux *mux = guest->mux;
    bool has_focus = guest->number == mux->focus;
    if (!has_focus) {
        start_line(mux);
        emit(mux, guest->name, strlen(guest->name));
        emit(mux, ": ", 2);
    }
    emit(mux, guest->line, guest->used);
    if (!has_focus)
        emit(mux, "\r\n", 2);
    guest->used = 0;
    mux->waiting -= guest->waits;
    guest->waits = false;
}

static bool may_write(const struct mux *mux)
{
    return mux->waiting == 0 && mux->line.has_room(mux->line.context);
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
        emit(mux, &byte, 1);
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

void mux_line_ready(struct mux *mux)
{
    spinlock_acquire(&mux->lock);
    while (mux->waiting != 0 && mux->line.has_room(mux->line.context)) {
        struct mux_guest *guest = mux->guest[mux->turn];
        mux->turn = (mux->turn + 1) % mux->count;
        if (guest->waits)
            emit_buffer(guest);
    }
    spinlock_release(&mux->lock);
    wake_blocked(mux);
}

void mux_message(struct mux *mux, const char *text, size_t count)
{
    spinlock_acquire(&mux->lock);
    start_line(mux);
    emit(mux, text, count);
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
               "  c  give the terminal to the next guest\r\n"
               "  Ctrl-%c  send Ctrl-%c to the guest\r\n",
               key, key, key);
    say(mux, text);
}

/* What the old guest still has to say comes first; what the new one wrote of its line so far
 * belongs to the terminal now. */
static void focus_next(struct mux *mux)
{
    if (mux->count == 0)
        return;
    spinlock_acquire(&mux->lock);
    if (mux->focus < mux->count)
        emit_buffer(mux->guest[mux->focus]);
    mux->focus = (mux->focus + 1) % mux->count;
    struct mux_guest *guest = mux->guest[mux->focus];
    bool is_whole = guest->waits;
    start_line(mux);
    char text[64];
    int length = fmt_format(text, sizeof(text), "traprock: the terminal is %s's\r\n", guest->name);
    emit(mux, text, (size_t)length < sizeof(text) ? (size_t)length : sizeof(text) - 1);
    emit_buffer(guest);
    if (is_whole)
        start_line(mux);
    spinlock_release(&mux->lock);
    wake_blocked(mux);
}

static void send_to_guest(struct mux *mux, uint8_t byte)
{
    if (mux->focus >= mux->count)
        return;
    struct mux_guest *guest = mux->guest[mux->focus];
    uint32_t tail = __atomic_load_n(&guest->input_tail, __ATOMIC_ACQUIRE);
    if (guest->input_head - tail == MUX_INPUT_SIZE) {
        guest->input_lost++;
        return;
    }
    guest->input[guest->input_head % MUX_INPUT_SIZE] = byte;
    __atomic_store_n(&guest->input_head, guest->input_head + 1, __ATOMIC_RELEASE);
    guest->ready(guest->context);
}

static void run_command(struct mux *mux, uint8_t key)
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
    case 'c':
        focus_next(mux);
        return;
    default:
        say(mux, "traprock: no such key; h shows those that there are\r\n");
    }
}

void mux_input(struct mux *mux, uint8_t byte)
{
    bool after_escape = mux->after_escape;
    mux->after_escape = !after_escape && byte == mux->escape;
    if (mux->after_escape)
        return;
    if (after_escape && byte != mux->escape)
        run_command(mux, byte);
    else
        send_to_guest(mux, byte);
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
