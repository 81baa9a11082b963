/*
 * What a guest must and must not say on its consoles, each a stream of lines of its own: looks at
 * each byte that goes out there, and tells when that decides how the guest ends. Pure; carriage
 * returns do not count.
 */
#pragma once

#include "kernel/vm/config.h"
#include "kernel/vm/regex.h"

#define WATCH_PATTERNS_MAX (CONFIG_PATTERNS_MAX + 1) /* of the configuration, and on-panic's */
#define WATCH_RECENT 256u                            /* bytes that are kept; a power of two */
#define WATCH_STREAMS_MAX (CONFIG_HVCS_MAX + 1) /* serial port and debug console, and each hvc */

/* Makes the program of the VM's expect and reject, in their order, and of on-panic. *which is the
 * pattern of the configuration that an error is about. Errors as regex_add. */
enum status MUST_CHECK watch_compile(struct regex_program *program, const struct config_vm *config,
                                     unsigned *which, struct regex_error *error);

/* Whether the VM's console needs a watch. */
static inline bool watch_is_needed(const struct config_vm *config)
{
    return config->pattern_count != 0 || config_looks_for_panic(config);
}

enum watch_event {
    WATCH_REJECTED, /* something came that must not */
    WATCH_PANICKED, /* the kernel's message that it panics */
    WATCH_COMPLETE, /* all has come that must */
    WATCH_LINE_END, /* the line has ended in which that was */
};

struct watch;

struct watch_stream {
    struct watch *watch;
    uint64_t count;            /* bytes so far */
    char recent[WATCH_RECENT]; /* the last of them */
    struct regex regex;
    uint64_t room[REGEX_ROOM / 8];
};

struct watch {
    const struct config_vm *config;
    void (*tell)(void *context, enum watch_event event);
    void *context;
    unsigned expected, rejected, panicked; /* which patterns are of that kind, a bit each */
    unsigned seen;                         /* patterns that have matched */
    /* The text of the match that decides most, and the line of its pattern; 0: there is none. */
    char text[WATCH_RECENT];
    unsigned length;
    uint32_t line;
    struct regex_program program;
    unsigned streams;
    struct watch_stream stream[WATCH_STREAMS_MAX]; /* as many as there are; there is no more */
};

/* Bytes that a watch of so many streams takes. */
static inline uint64_t watch_size(unsigned streams)
{
    return offsetof(struct watch, stream) + streams * sizeof(struct watch_stream);
}

/* In memory of watch_size(streams) bytes. The program is made of the configuration, which was
 * accepted with its patterns. */
void watch_init(struct watch *watch, unsigned streams, const struct config_vm *config,
                void (*tell)(void *context, enum watch_event event), void *context);

/* A byte has gone out. */
void watch_put(struct watch_stream *stream, uint8_t byte);

/* Nothing more comes, unless the guest starts anew: what stands at an end may match. */
void watch_end(struct watch *watch);

/* Looks for the panic's message anew. */
void watch_forget_panic(struct watch *watch);

static inline bool watch_is_rejected(const struct watch *watch)
{
    return watch->seen & watch->rejected;
}

static inline bool watch_is_panicked(const struct watch *watch)
{
    return watch->seen & watch->panicked;
}

/* There are expectations, and all are met. */
static inline bool watch_is_complete(const struct watch *watch)
{
    return watch->expected != 0 && (watch->seen & watch->expected) == watch->expected;
}

/* The line of the first expectation that is not met; 0: there is none. */
uint32_t watch_missing(const struct watch *watch);
