#include "kernel/console/mux.h"

#include "kernel/core/fmt.h"
#include "kernel/core/mem.h"

void mux_init(struct mux *mux, const struct mux_line *line, const struct mux_commands *commands,
              uint8_t escape)
{
    memset(mux, 0, sizeof(*mux));
    mux->line = *line;
    mux->commands = *commands;
    mux->escape = escape;
}

struct mux_guest *mux_add(struct mux *mux, const char *name, void (*input_ready)(void *context),
                          void *context)
{
    if (mux->count == MUX_GUESTS_MAX)
        return NULL;
    struct mux_guest *guest = &mux->guest[mux->count];
    *guest = (struct mux_guest){
        .mux = mux,
        .name = name,
        .number = mux->count++,
        .input_ready = input_ready,
        .context = context,
    };
    return guest;
}

void mux_remove_last(struct mux *mux)
{
    if (mux->count == 0)
        return;
    mux->count--;
    if (mux->focus >= mux->count)
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

/* A finished, or over-long, line of a guest that is not in focus. */
static void emit_guest_line(struct mux_guest *guest)
{
    struct mux *mux = guest->mux;
    start_line(mux);
    emit(mux, guest->name, strlen(guest->name));
    emit(mux, ": ", 2);
    emit(mux, guest->line, guest->used);
    emit(mux, "\r\n", 2);
    guest->used = 0;
}

static void collect(struct mux_guest *guest, uint8_t byte)
{
    if (byte == '\n') {
        emit_guest_line(guest);
    } else if (byte != '\r') {
        guest->line[guest->used++] = (char)byte;
#ifndef PLANTED_BUG_MUX /* for the fuzzer's own test */
        if (guest->used == MUX_LINE_MAX)
            emit_guest_line(guest);
#endif
    }
}

bool mux_put(void *context, uint8_t byte)
{
    struct mux_guest *guest = context;
    struct mux *mux = guest->mux;
    spinlock_acquire(&mux->lock);
    if (guest->number == mux->focus) {
        char c = (char)byte;
        emit(mux, &c, 1);
    } else {
        collect(guest, byte);
    }
    spinlock_release(&mux->lock);
    return true;
}

void mux_message(struct mux *mux, const char *text, size_t count)
{
    spinlock_acquire(&mux->lock);
    start_line(mux);
    emit(mux, text, count);
    spinlock_release(&mux->lock);
}

static void flush_guest(struct mux_guest *guest)
{
    if (guest->used != 0)
        emit_guest_line(guest);
}

void mux_flush(struct mux *mux)
{
    spinlock_acquire(&mux->lock);
    for (unsigned i = 0; i < mux->count; i++)
        flush_guest(&mux->guest[i]);
    spinlock_release(&mux->lock);
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

/* What the next guest wrote of its line so far belongs to the terminal now. */
static void focus_next(struct mux *mux)
{
    if (mux->count == 0)
        return;
    spinlock_acquire(&mux->lock);
    mux->focus = (mux->focus + 1) % mux->count;
    struct mux_guest *guest = &mux->guest[mux->focus];
    start_line(mux);
    char text[64];
    int length = fmt_format(text, sizeof(text), "traprock: the terminal is %s's\r\n", guest->name);
    emit(mux, text, (size_t)length < sizeof(text) ? (size_t)length : sizeof(text) - 1);
    emit(mux, guest->line, guest->used);
    guest->used = 0;
    spinlock_release(&mux->lock);
}

static void send_to_guest(struct mux *mux, uint8_t byte)
{
    if (mux->focus >= mux->count)
        return;
    struct mux_guest *guest = &mux->guest[mux->focus];
    uint32_t tail = __atomic_load_n(&guest->input_tail, __ATOMIC_ACQUIRE);
    if (guest->input_head - tail == MUX_INPUT_SIZE) {
        guest->input_lost++;
        return;
    }
    guest->input[guest->input_head % MUX_INPUT_SIZE] = byte;
    __atomic_store_n(&guest->input_head, guest->input_head + 1, __ATOMIC_RELEASE);
    guest->input_ready(guest->context);
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
