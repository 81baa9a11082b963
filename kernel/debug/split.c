#include "kernel/debug/split.h"

#include "kernel/core/fmt.h"
#include "kernel/core/hw.h"
#include "kernel/core/log.h"
#include "kernel/core/mem.h"
#include "kernel/core/paging.h"
#include "kernel/core/time.h"
#include "kernel/debug/debugger.h"

#define MONITOR_RING 16384u
#define SHELL_RING 4096u
#define GUEST_RING 2048u
#define HELLO_LENGTH 15u /* with its type: magic, version, patience, token */
#define PATIENCE_LEAST 2u

struct split {
    struct monitor *monitor;
    struct debug_shell *shell; /* the console's; NULL: none */
    bool is_on;
    struct link link;
    struct frame_reader reader;
    uint8_t held[FRAME_WIRE_MAX]; /* what may be a frame, while the line is a plain one */
    unsigned held_count;
    uint64_t heard, patience; /* TSC: when a frame came last, and how long none may come */
    uint32_t token;           /* of what the program and the link know of each other; 0: nothing */
    struct mux_divert divert;
    struct mux_line plain, framed; /* the multiplexer's line */
    unsigned focus;                /* who had the terminal before */
    uint64_t missing;              /* bytes of messages that found no room */
    void (*next_tick)(void *context);
    void *next_tick_context;
    struct split_guest {
        struct split *split;
        unsigned number;
    } guest[CONFIG_VMS_MAX];
    struct link_channel channel[LINK_GUESTS + CONFIG_VMS_MAX];
};

/* ---- The multiplexer's side ----------------------------------------------------------------- */

static struct split *of_divert(struct mux_divert *divert)
{
    return CONTAINER_OF(divert, struct split, divert);
}

static bool put_guest(struct mux_divert *divert, const struct mux_guest *guest, uint8_t byte)
{
    struct link *link = &of_divert(divert)->link;
    unsigned number = LINK_GUESTS + guest->number;
    return link_rename(link, number, guest->name) && link_write(link, number, &byte, 1) == 1;
}

static void write_message(void *context, const char *bytes, size_t count)
{
    struct split *self = context;
    char text[64];
    if (self->missing != 0) {
        int length =
            fmt_format(text, sizeof(text), "[%lu bytes are missing here]\r\n", self->missing);
        if (!link_has_room(&self->link, LINK_MONITOR, (size_t)length + count)) {
            self->missing += count;
            return;
        }
        self->missing = 0;
        (void)link_write(&self->link, LINK_MONITOR, text, (size_t)length);
    }
    self->missing += count - link_write(&self->link, LINK_MONITOR, bytes, count);
}

static bool has_room(void *context)
{
    (void)context;
    return true;
}

/* With the multiplexer's lock. */
static void restore_line(struct split *self)
{
    struct mux *mux = &self->monitor->mux;
    if (mux->divert == NULL)
        return;
    mux->divert = NULL;
    mux->line = self->plain;
    mux->focus = self->focus;
    mux->column = 1; /* the next message begins a line, behind the last frame */
}

/* On any processor: what is said next is the last, and plain. */
static void finish(struct mux_divert *divert)
{
    struct split *self = of_divert(divert);
    struct mux *mux = &self->monitor->mux;
    spinlock_acquire(&mux->lock);
    link_finish(&self->link);
    restore_line(self);
    self->token = 0;
    spinlock_release(&mux->lock);
}

/* ---- Guests' and the shell's channels ------------------------------------------------------- */

/* NULL: it is not there, or not any more. */
static struct mux_guest *find_guest(void *context)
{
    const struct split_guest *guest = context;
    const struct mux *mux = &guest->split->monitor->mux;
    return guest->number < mux->count ? mux->guest[guest->number] : NULL;
}

static size_t guest_room(void *context)
{
    const struct mux_guest *guest = find_guest(context);
    return guest != NULL ? mux_input_room(guest) : 0;
}

static void guest_receive(void *context, const uint8_t *bytes, size_t count)
{
    struct mux_guest *guest = find_guest(context);
    while (guest != NULL && count-- > 0)
        mux_type(guest, *bytes++);
}

/* Wakes all who wait. */
static void guest_ready(void *context)
{
    const struct split_guest *guest = context;
    mux_line_ready(&guest->split->monitor->mux);
}

static size_t shell_room(void *context)
{
    const struct split *self = context;
    const struct shell *shell = &self->shell->shell;
    return SHELL_TYPED_MAX - (shell->typed_head - shell->typed_tail);
}

static void shell_receive(void *context, const uint8_t *bytes, size_t count)
{
    struct split *self = context;
    while (count-- > 0)
        shell_input(&self->shell->shell, *bytes++);
}

static void shell_ready(void *context)
{
    struct split *self = context;
    shell_continue(&self->shell->shell);
}

/* Guests come and go; those that are there have their names in the directory. */
static void name_guests(struct split *self)
{
    const struct mux *mux = &self->monitor->mux;
    for (unsigned i = 0; i < mux->count; i++)
        (void)!link_rename(&self->link, LINK_GUESTS + i, mux->guest[i]->name);
}

/* ---- To frames and back --------------------------------------------------------------------- */

static bool is_silent(const struct split *self)
{
    return time_now() - self->heard > self->patience;
}

static void move_shell(struct split *self, bool to_link)
{
    struct debug_shell *debug = self->shell;
    if (debug == NULL)
        return;
    struct mux *mux = &self->monitor->mux;
    shell_leave(&debug->shell);
    debug->shell.ports =
        to_link ? shell_terminal_on_link(&debug->terminal, &debug->shell, &self->link, LINK_SHELL)
                : shell_terminal_on_mux(&debug->terminal, &debug->shell, mux);
    if (to_link)
        shell_enter(&debug->shell);
}

static void go_plain(struct split *self)
{
    struct mux *mux = &self->monitor->mux;
    spinlock_acquire(&mux->lock);
    restore_line(self);
    spinlock_release(&mux->lock);
    link_stop(&self->link);
    self->is_on = false;
    move_shell(self, false);
    mux_line_ready(mux);
}

/* Processor 0's local APIC timer, which may have a user. */
static void tick(void *context)
{
    struct split *self = context;
    if (self->next_tick != NULL)
        self->next_tick(self->next_tick_context);
    else if (self->is_on)
        host_lapic_timer_arm(&self->monitor->machine->lapic, time_now() + time_tsc_hz());
    if (self->is_on && is_silent(self))
        go_plain(self);
}

static void start_clock(struct split *self)
{
    struct host_lapic *lapic = &self->monitor->machine->lapic;
    if (lapic->tick != tick) {
        self->next_tick = lapic->tick;
        self->next_tick_context = lapic->tick_context;
        lapic->tick_context = self;
        lapic->tick = tick;
    }
    if (self->next_tick == NULL)
        host_lapic_timer_arm(lapic, time_now() + time_tsc_hz());
}

/* What the terminal shows so far comes to its end first. */
static void take_line(struct split *self)
{
    struct mux *mux = &self->monitor->mux;
    mux_end_shell(mux);
    for (unsigned i = 0; i < mux->count; i++)
        mux_flush(mux->guest[i]);
    spinlock_acquire(&mux->lock);
    self->focus = mux->focus;
    self->plain = mux->line;
    mux->line = self->framed;
    mux->focus = MUX_NOBODY;
    mux->column = 0;
    mux->divert = &self->divert;
    spinlock_release(&mux->lock);
    mux_line_ready(mux);
}

static uint32_t read_token(const uint8_t *bytes)
{
    uint32_t token = 0;
    for (unsigned i = 0; i < 4; i++)
        token |= (uint32_t)bytes[i] << (8 * i);
    return token;
}

static void welcome(struct split *self, bool goes_on)
{
    uint8_t answer[6] = {LINK_VERSION, goes_on};
    for (unsigned i = 0; i < 4; i++)
        answer[2 + i] = (uint8_t)(self->token >> (8 * i));
    link_control(&self->link, LINK_WELCOME, answer, sizeof(answer));
}

static void begin(struct split *self)
{
    const uint8_t *hello = frame_payload(&self->reader);
    uint8_t seconds = hello[10];
    bool goes_on = self->token != 0 && read_token(hello + 11) == self->token;
    self->patience = time_tsc_hz() * (seconds < PATIENCE_LEAST ? PATIENCE_LEAST : seconds);
    self->heard = time_now();
    if (!goes_on)
        self->token = (uint32_t)hw_rdtsc() | 1;
    link_start(&self->link, !goes_on);
    if (!self->is_on)
        take_line(self);
    if (!self->is_on || !goes_on)
        move_shell(self, true);
    self->is_on = true;
    welcome(self, goes_on);
    link_receive(&self->link, &self->reader);
    start_clock(self);
}

/* ---- Input ---------------------------------------------------------------------------------- */

static bool is_hello(const struct frame_reader *reader)
{
    const uint8_t *payload = frame_payload(reader);
    return reader->header.channel == LINK_CONTROL && reader->length >= HELLO_LENGTH &&
           payload[0] == LINK_HELLO &&
           memcmp(payload + 1, LINK_MAGIC, sizeof(LINK_MAGIC) - 1) == 0 &&
           payload[sizeof(LINK_MAGIC)] >= LINK_VERSION;
}

static bool is_goodbye(const struct frame_reader *reader)
{
    return reader->header.channel == LINK_CONTROL && reader->length > 0 &&
           *frame_payload(reader) == LINK_BYE;
}

static void take_frame(struct split *self)
{
    if (is_hello(&self->reader)) {
        begin(self);
    } else if (self->is_on) {
        self->heard = time_now();
        name_guests(self);
        link_receive(&self->link, &self->reader);
        if (is_goodbye(&self->reader))
            go_plain(self);
    }
}

/* What looked like a frame is what somebody has typed. */
static void release_held(struct split *self)
{
    unsigned count = self->held_count;
    self->held_count = 0;
    for (unsigned i = 0; i < count; i++)
        mux_input(&self->monitor->mux, self->held[i]);
}

static void hold(struct split *self, uint8_t byte)
{
    if (self->held_count == sizeof(self->held)) {
        self->reader.is_inside = false;
        release_held(self);
    }
    self->held[self->held_count++] = byte;
}

static void take_plain_byte(struct split *self, uint8_t byte, enum frame_event event)
{
    switch (event) {
    case FRAME_WHOLE: /* a program that has not noticed yet that nobody listens */
        self->held_count = 0;
        break;
    case FRAME_NOTHING:
        hold(self, byte);
        break;
    case FRAME_BROKEN:
        if (byte == FRAME_START)
            release_held(self);
        hold(self, byte);
        if (byte != FRAME_START)
            release_held(self);
        break;
    case FRAME_PLAIN:
        mux_input(&self->monitor->mux, byte);
        break;
    }
}

static void take_byte(struct split *self, uint8_t byte)
{
    enum frame_event event = frame_reader_put(&self->reader, byte);
    if (self->is_on && event == FRAME_PLAIN && is_silent(self))
        go_plain(self);
    if (!self->is_on)
        take_plain_byte(self, byte, event);
    if (event == FRAME_WHOLE)
        take_frame(self);
    self->link.broken += event == FRAME_BROKEN;
}

static void input(void *context)
{
    struct split *self = context;
    uint8_t byte;
    while (serial_line_read(&self->monitor->line, &byte, 1) == 1)
        take_byte(self, byte);
    if (self->is_on)
        link_serve(&self->link);
}

static void line_is_ready(void *context)
{
    struct split *self = context;
    if (self->is_on)
        link_line_ready(&self->link);
    mux_line_ready(&self->monitor->mux);
}

/* ---- The link's side of the line ------------------------------------------------------------ */

static void write_line(void *context, const void *bytes, size_t count)
{
    struct split *self = context;
    serial_line_write(&self->monitor->line, bytes, count);
}

static bool line_has_room(void *context)
{
    struct split *self = context;
    return serial_line_has_room(&self->monitor->line);
}

bool split_is_on(const struct split *split)
{
    return split != NULL && split->is_on;
}

size_t split_write(struct split *split, enum link_number number, const void *bytes, size_t count)
{
    return link_write(&split->link, number, bytes, count);
}

bool split_has_room(struct split *split, enum link_number number, size_t count)
{
    return link_has_room(&split->link, number, count);
}

/* ---- The start ------------------------------------------------------------------------------ */

static INIT void *allocate(struct monitor *monitor, uint64_t size)
{
    hpa_t frame;
    uint64_t count = align_up(size, PAGE_SIZE) / PAGE_SIZE;
    enum status status = pages_alloc(&monitor->machine->pages, count, PAGE_SIZE, PAGE_HEAP,
                                     PAGE_OWNER_MONITOR, &frame);
    return status == STATUS_OK ? memset(phys_to_virt(frame), 0, count * PAGE_SIZE) : NULL;
}

INIT enum status split_open(struct split *self, enum link_number number, const char *name,
                            uint32_t size, const struct link_user *user)
{
    uint8_t *ring = allocate(self->monitor, size);
    if (ring == NULL)
        return ERR_NO_MEMORY;
    link_open(&self->link, number, name, ring, size, user);
    return STATUS_OK;
}

static INIT enum status open_channels(struct split *self)
{
    struct monitor *monitor = self->monitor;
    const struct config *config = monitor->machine->config;
    uint32_t guests = config->run == CONFIG_RUN_SEQUENCE ? 1 : config->vm_count;
    struct link_user shell = {shell_room, shell_receive, shell_ready, self};
    uint8_t *ring = allocate(monitor, PAGE_SIZE + (uint64_t)guests * GUEST_RING);
    if (ring == NULL)
        return ERR_NO_MEMORY;
    link_open(&self->link, LINK_DIRECTORY, NULL, ring, PAGE_SIZE, NULL);
    for (uint32_t i = 0; i < guests; i++) {
        struct link_user guest = {guest_room, guest_receive, guest_ready, &self->guest[i]};
        self->guest[i] = (struct split_guest){self, i};
        link_open(&self->link, LINK_GUESTS + i, NULL, ring + PAGE_SIZE + i * GUEST_RING, GUEST_RING,
                  &guest);
    }
    enum status status = split_open(self, LINK_MONITOR, "log", MONITOR_RING, NULL);
    if (status == STATUS_OK && self->shell != NULL)
        status = split_open(self, LINK_SHELL, "shell", SHELL_RING, &shell);
    return status;
}

INIT struct split *split_start(struct monitor *monitor)
{
    struct split *self = monitor->has_line ? allocate(monitor, sizeof(*self)) : NULL;
    if (self == NULL)
        return NULL;
    struct link_port port = {write_line, line_has_room, self};
    self->monitor = monitor;
    self->shell = monitor->shell[0];
    self->framed = (struct mux_line){write_message, has_room, self};
    self->divert = (struct mux_divert){put_guest, finish};
    link_init(&self->link, &port, self->channel, ARRAY_SIZE(self->channel));
    if (open_channels(self) != STATUS_OK)
        return NULL;
    monitor->line.input = input;
    monitor->line.room = line_is_ready;
    monitor->line.context = self;
    return self;
}
