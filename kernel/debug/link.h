/*
 * Channels over one serial line: what the monitor's users write and read, in frames that are
 * numbered, acknowledged and sent again. Pure: the line and the users are ports.
 *
 * Go-back-N, as in LAPB: up to LINK_WINDOW frames are under way, over all channels; the receiver
 * takes them in order only and asks for the one that it misses. Only the host's program has
 * clocks: it polls, and each frame of either side says which number comes next there, so that a
 * poll shows what got lost at the end.
 *
 * Each channel has a limit of its own that its reader raises (a grant), so that one that nobody
 * reads holds up no other; those that may send do so in turn. A byte that is written alone goes out
 * alone; while it is under way, those that follow are put together.
 *
 * Channels are numbered: LINK_CONTROL's frames have no number and are never sent again,
 * LINK_DIRECTORY's hold records about the other channels.
 *
 * Locking: link->lock, taken after the multiplexer's; the line's lock is taken with it. The users'
 * functions are called without it but for room, on the processor that has the input.
 */
#pragma once

#include "kernel/core/spinlock.h"
#include "kernel/debug/frame.h"

#define LINK_VERSION 1
#define LINK_WINDOW 32u

enum link_number {
    LINK_CONTROL,
    LINK_DIRECTORY,
    LINK_MONITOR, /* the log, and all that is not a guest's or the shell's */
    LINK_SHELL,
    LINK_GDB,
    LINK_DUMP,
    LINK_GUESTS = 8, /* the first one's console; the last is below 256 */
    LINK_CHANNELS_MAX = 256
};

/* The first byte of a frame of LINK_CONTROL. */
enum link_control {
    LINK_HELLO = 'H',   /* from the host: LINK_MAGIC, version, seconds of patience, token */
    LINK_WELCOME = 'W', /* its answer: version, 1 if all goes on as before, token */
    LINK_POLL = 'P',    /* the other side answers with at least LINK_STATE */
    LINK_STATE = 'A',   /* nothing but the header */
    LINK_REJECT = 'R',  /* send again from the number on that the header acknowledges */
    LINK_BYE = 'B',     /* plain text from here on */
};

/* The first byte of a record of LINK_DIRECTORY; the second is the channel, the third how many bytes
 * follow. Those of other kinds are skipped. */
enum link_record {
    LINK_NAME = 'N',  /* of who is at the monitor's end */
    LINK_GRANT = 'G', /* 16 bits: how many bytes may have been sent on it since the token, modulo
                         65536 */
    LINK_DROP = 'D',  /* to the monitor: nobody wants what waits there */
};

#define LINK_MAGIC "traprock"

/* A channel's user; each function may be NULL. */
struct link_user {
    size_t (*room)(void *context); /* how many bytes receive would take; with the link's lock */
    void (*receive)(void *context, const uint8_t *bytes, size_t count);
    /* link_has_room said no, or link_write did not take all, and would now. */
    void (*ready)(void *context);
    void *context;
};

struct link_port {
    void (*write)(void *context, const void *bytes, size_t count); /* all of it */
    /* Whether a frame ought to be written now; link_line_ready follows a no. */
    bool (*has_room)(void *context);
    void *context;
};

struct link_channel {
    uint8_t *ring; /* NULL: the channel does not exist */
    uint32_t size; /* a power of two */
    uint32_t head, tail;
    const char *name;
    struct link_user user;
    uint16_t sent, limit;       /* as a grant counts */
    uint16_t received, granted; /* the same of the other direction */
    uint8_t under_way;          /* frames */
    bool is_told;               /* the directory has its name */
    bool was_full;              /* ready is to be called */
};

struct link_slot {
    uint8_t channel, length;
    uint8_t payload[FRAME_PAYLOAD_MAX];
};

struct link {
    struct spinlock lock;
    struct link_port port;
    struct link_channel *channel;
    unsigned channels;
    unsigned turn;
    bool is_up;
    bool owes_state;              /* a frame came that none of ours has acknowledged yet */
    bool has_rejected;            /* the gap is told */
    uint8_t next, resend, oldest; /* to send anew, to put on the line, that is acknowledged */
    uint8_t expected;             /* from the other side */
    uint8_t record[5];            /* of the directory, as it comes in */
    unsigned record_length;
    uint64_t broken, again; /* frames that were thrown away, and sent once more */
    struct link_slot slot[LINK_WINDOW];
};

/* channel: count of them, zeroed, the caller's to keep. */
void link_init(struct link *link, const struct link_port *port, struct link_channel *channel,
               unsigned count);

/* Gives a channel to a user. ring: size bytes, a power of two. */
void link_open(struct link *link, unsigned number, const char *name, uint8_t *ring, uint32_t size,
               const struct link_user *user);

/* Another user has the other end of the channel from here on, which is told in turn with what is
 * written. False: something of the one before waits still; ready follows. */
bool MUST_CHECK link_rename(struct link *link, unsigned number, const char *name);

/* Begins: anew, or where it was when link_stop was called. */
void link_start(struct link *link, bool anew);
/* Nothing is sent any more; what waits stays for link_start. */
void link_stop(struct link *link);

/* Sends a frame of LINK_CONTROL at once. */
void link_control(struct link *link, enum link_control type, const uint8_t *bytes, unsigned count);

/* A whole frame from the line; those of LINK_CONTROL that begin or end something are the caller's
 * to look at as well. On one processor. */
void link_receive(struct link *link, const struct frame_reader *frame);

/* After frames have come: grants, acknowledges, sends and tells users that there is room. On the
 * same processor. */
void link_serve(struct link *link);

/* The line has room. On the same processor. */
void link_line_ready(struct link *link);

/* Puts bytes into the channel, as far as there is room; returns how many. 0 while the link is not
 * up. */
size_t link_write(struct link *link, unsigned number, const void *bytes, size_t count);
/* Whether link_write would take count bytes. The user's ready follows a no. */
bool link_has_room(struct link *link, unsigned number, size_t count);

/* Sends what waits in all channels, whatever limits there are, says goodbye and stops: the machine
 * is about to go off. */
void link_finish(struct link *link);
