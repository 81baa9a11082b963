/* The monitor's log: levels, a ring in memory, and sinks (serial line, framebuffer). */
#pragma once

#include <stdarg.h>

#include "kernel/core/spinlock.h"
#include "kernel/core/status.h"
#include "kernel/core/types.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Where lines go besides the ring. write() gets whole lines with their newline, is called with the
 * log's lock held (a panic calls it without), must not log, and must end in bounded time. flush()
 * waits, bounded too, until everything has left the machine; may be NULL. */
struct log_sink {
    void (*write)(void *context, const char *text, size_t length);
    void (*flush)(void *context);
    void *context;
};

#define LOG_SINKS_MAX 4
#define LOG_LINE_MAX 240u /* bytes of a line, without its newline */
#define LOG_RING_SIZE 65536u

/* Adds a sink, which first gets what the ring holds; ignored when there are LOG_SINKS_MAX. */
void log_add_sink(const struct log_sink *sink);
/* Puts sink in the place of the one with this context, without what the ring holds. */
void log_replace_sink(const void *context, const struct log_sink *sink);
/* Lines above this level are neither kept nor shown; LOG_INFO at the start. */
void log_set_level(enum log_level level);
enum log_level log_level(void);
/* The ring's last whole lines, as many as fit into size bytes; returns how many bytes they have. */
size_t log_copy(char *to, size_t size);
void log_flush(void);
/* From now on lines do not wait for the lock: whoever held it will not run again. */
void log_break_lock(void);

/* Writes one line; a newline is added. Safe in any context, interrupts and panics included; the
 * line is cut at 240 bytes. Never called per guest access: see log_guest. */
void log_write(enum log_level level, const char *format, ...) PRINTF(2, 3);
void log_vwrite(enum log_level level, const char *format, va_list args);

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

/* What a guest can cause is limited, so that it cannot flood the log: some lines at once, then one
 * a second, which says how many were left out. Reports have a share of their own. Every VM owns one
 * budget. */
struct log_budget {
    const char *owner;   /* the VM's name, put before each line */
    uint32_t left;       /* lines that may still be written at once */
    uint32_t suppressed; /* since the last one that was written */
    uint64_t next_ns;    /* time_now_ns() of the next one when none is left; */
    uint64_t report_ns;  /* of the next report */
    struct spinlock lock;
};

/* Whether a report of so many lines may be written with log_write now, whatever else was said. The
 * next one then may when a line a second would have come as far. False: its lines count as left
 * out. */
bool log_guest_may_report(struct log_budget *budget, uint32_t lines);

void log_guest(struct log_budget *budget, const char *format, ...) PRINTF(2, 3);
/* Says how many lines were left out, at the guest's end. */
void log_guest_end(struct log_budget *budget);
