/*
 * The log is the machine's, hence a global: whoever has something to say holds no handle.
 *
 * Locking: log.lock, a leaf: sinks run under it. The monitor runs with interrupts off, so only a
 * panic (an NMI, a fault in a sink) can meet a lock that its own processor holds; it breaks it.
 */
#include "kernel/core/log.h"

#include "kernel/core/fmt.h"
#include "kernel/core/mem.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/time.h"

struct log {
    struct spinlock lock;
    bool broken;
    unsigned sink_count;
    struct log_sink sink[LOG_SINKS_MAX];
    uint64_t written; /* bytes ever put into the ring */
    char ring[LOG_RING_SIZE];
};

static struct log the_log;
static uint32_t max_level = LOG_INFO; /* apart: the rest starts as zeros and takes no room */

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static bool lock(struct log *log)
{
    if (__atomic_load_n(&log->broken, __ATOMIC_ACQUIRE))
        return false;
    while (!spinlock_try(&log->lock)) {
        if (__atomic_load_n(&log->broken, __ATOMIC_ACQUIRE))
            return false;
        __builtin_ia32_pause();
    }
    return true;
}

static void unlock(struct log *log, bool locked)
{
    if (locked)
        spinlock_release(&log->lock);
}

void log_break_lock(void)
{
    __atomic_store_n(&the_log.broken, true, __ATOMIC_RELEASE);
}

static void ring_put(struct log *log, const char *text, size_t length)
{
    uint64_t at = log->written % LOG_RING_SIZE;
    size_t first = length < LOG_RING_SIZE - at ? length : LOG_RING_SIZE - at;
    memcpy(log->ring + at, text, first);
    memcpy(log->ring, text + first, length - first);
    log->written += length;
}

/* Moves a position that may lie within a line behind that line's newline. */
static uint64_t next_line(const struct log *log, uint64_t position)
{
    while (position < log->written && log->ring[position++ % LOG_RING_SIZE] != '\n')
        ;
    return position;
}

/* Where the oldest whole line begins. */
static uint64_t first_line(const struct log *log)
{
    uint64_t start = log->written > LOG_RING_SIZE ? log->written - LOG_RING_SIZE : 0;
    return start > 0 ? next_line(log, start) : 0;
}

/* One line of the ring, which may lie around its end. */
static INIT void write_range(const struct log *log, const struct log_sink *sink, uint64_t start,
                             uint64_t end)
{
    char line[LOG_LINE_MAX + 1];
    size_t length = end - start < sizeof(line) ? end - start : sizeof(line);
    for (size_t i = 0; i < length; i++)
        line[i] = log->ring[(start + i) % LOG_RING_SIZE];
    sink->write(sink->context, line, length);
}

INIT void log_add_sink(const struct log_sink *sink)
{
    struct log *log = &the_log;
    bool locked = lock(log);
    if (log->sink_count < LOG_SINKS_MAX) {
        log->sink[log->sink_count++] = *sink;
        uint64_t start = first_line(log), end;
        for (; start < log->written; start = end) {
            end = next_line(log, start);
            write_range(log, sink, start, end);
        }
    }
    unlock(log, locked);
}

INIT void log_replace_sink(const void *context, const struct log_sink *sink)
{
    struct log *log = &the_log;
    bool locked = lock(log);
    for (unsigned i = 0; i < log->sink_count; i++)
        if (log->sink[i].context == context)
            log->sink[i] = *sink;
    unlock(log, locked);
}

enum log_level log_level(void)
{
    return (enum log_level)__atomic_load_n(&max_level, __ATOMIC_RELAXED);
}

size_t log_copy(char *to, size_t size)
{
    const struct log *log = &the_log;
    bool locked = lock(&the_log);
    uint64_t start = first_line(log);
    if (log->written - start > size)
        start = next_line(log, log->written - size);
    size_t count = (size_t)(log->written - start);
    for (size_t i = 0; i < count; i++)
        to[i] = log->ring[(start + i) % LOG_RING_SIZE];
    unlock(&the_log, locked);
    return count;
}

void log_set_level(enum log_level level)
{
    __atomic_store_n(&max_level, (uint32_t)level, __ATOMIC_RELAXED);
}

/* snprintf's result, cut to what is in the buffer. */
static size_t limited(int length, size_t size)
{
    return (size_t)length < size ? (size_t)length : size - 1;
}

static size_t format_line(char line[LOG_LINE_MAX + 1], enum log_level level, const char *format,
                          va_list args)
{
    uint64_t us = time_now_ns() / 1000;
    size_t size = LOG_LINE_MAX; /* one more is kept for the newline */
    size_t length =
        limited(fmt_format(line, size, "[%4lu.%06lu] ", us / 1000000, us % 1000000), size);
    if (level != LOG_INFO)
        length += limited(fmt_format(line + length, size - length, "%s: ", level_names[level]),
                          size - length);
    length += limited(fmt_vformat(line + length, size - length, format, args), size - length);
    line[length++] = '\n';
    return length;
}

void log_vwrite(enum log_level level, const char *format, va_list args)
{
    struct log *log = &the_log;
    char line[LOG_LINE_MAX + 1];
    if ((uint32_t)level > __atomic_load_n(&max_level, __ATOMIC_RELAXED))
        return;
    size_t length = format_line(line, level, format, args);
    bool locked = lock(log);
    ring_put(log, line, length);
    for (unsigned i = 0; i < log->sink_count; i++)
        log->sink[i].write(log->sink[i].context, line, length);
    unlock(log, locked);
}

void log_write(enum log_level level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_vwrite(level, format, args);
    va_end(args);
}

#define GUEST_LINE_NS 1000000000ull

/* Whether a line may be written now; *suppressed: how many before it were not. */
static bool take(struct log_budget *budget, uint32_t *suppressed)
{
    uint64_t now = time_now_ns();
    spinlock_acquire(&budget->lock);
    bool has = budget->left != 0, may = has || now >= budget->next_ns;
    *suppressed = may ? budget->suppressed : 0;
    budget->suppressed = may ? 0 : budget->suppressed + 1;
    budget->next_ns = may ? now + GUEST_LINE_NS : budget->next_ns;
    budget->left -= has;
    spinlock_release(&budget->lock);
    return may;
}

static void tell_suppressed(const struct log_budget *budget, uint32_t suppressed)
{
    if (suppressed != 0)
        log_write(LOG_WARN, "%s: %u messages suppressed", budget->owner, suppressed);
}

bool log_guest_may_report(struct log_budget *budget, uint32_t lines)
{
    uint64_t now = time_now_ns();
    spinlock_acquire(&budget->lock);
    bool may = now >= budget->report_ns;
    if (may)
        budget->report_ns = now + lines * GUEST_LINE_NS;
    else
        budget->suppressed += lines;
    spinlock_release(&budget->lock);
    return may;
}

void log_guest(struct log_budget *budget, const char *format, ...)
{
    char line[LOG_LINE_MAX];
    uint32_t suppressed;
    if (!take(budget, &suppressed))
        return;
    va_list args;
    va_start(args, format);
    fmt_vformat(line, sizeof(line), format, args);
    va_end(args);
    tell_suppressed(budget, suppressed);
    log_write(LOG_WARN, "%s: %s", budget->owner, line);
}

void log_guest_end(struct log_budget *budget)
{
    tell_suppressed(budget, budget->suppressed);
    budget->suppressed = 0;
}

void log_flush(void)
{
    struct log *log = &the_log;
    bool locked = lock(log);
    for (unsigned i = 0; i < log->sink_count; i++)
        if (log->sink[i].flush != NULL)
            log->sink[i].flush(log->sink[i].context);
    unlock(log, locked);
}
