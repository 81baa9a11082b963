/* The monitor's log: levels, a ring in memory, and sinks (serial line, framebuffer). */
#pragma once

#include <stdarg.h>

#include "kernel/core/types.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Writes one line; a newline is added. Safe in any context, interrupts and panics included; the
 * line is cut at 240 bytes. Never called per guest access: see log_guest. */
void log_write(enum log_level level, const char *format, ...) PRINTF(2, 3);
void log_vwrite(enum log_level level, const char *format, va_list args);

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

/* What a guest can cause is limited to a budget of lines for its whole life, so that it cannot
 * flood the log; every VM owns one budget. */
struct log_budget {
    const char *owner; /* the VM's name, put before each line */
    uint32_t left;     /* lines that may still be written */
};

void log_guest(struct log_budget *budget, const char *format, ...) PRINTF(2, 3);
