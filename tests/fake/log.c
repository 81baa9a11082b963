/* Link-time doubles of the log and of panic for host builds. */
#include "tests/fake/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/core/log.h"
#include "kernel/core/panic.h"

jmp_buf *fake_panic_jump;

static char text[32768];
static size_t length;
static bool is_kept; /* only where a test looks: fuzzers log a lot */

const char *fake_log_text(void)
{
    return text;
}

void fake_log_clear(void)
{
    is_kept = true;
    length = 0;
    text[0] = '\0';
}

static void keep(const char *format, va_list args)
{
    size_t room = sizeof(text) - length - 2; /* of the newline and the end */
    int count = vsnprintf(text + length, room, format, args);
    if (count < 0 || (size_t)count >= room) {
        text[length] = '\0';
        return;
    }
    length += (size_t)count;
    text[length++] = '\n';
    text[length] = '\0';
}

static void print(const char *prefix, const char *format, va_list args)
{
    if (getenv("CHECK_LOG") != NULL) {
        va_list again;
        va_copy(again, args);
        fputs(prefix, stdout);
        vprintf(format, again);
        putchar('\n');
        va_end(again);
    }
    if (is_kept)
        keep(format, args);
}

void log_vwrite(enum log_level level, const char *format, va_list args)
{
    (void)level;
    print("# log: ", format, args);
}

void log_write(enum log_level level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_vwrite(level, format, args);
    va_end(args);
}

bool log_guest_may_report(struct log_budget *budget, uint32_t lines)
{
    (void)lines;
    bool may = budget->report_ns == 0;
    budget->report_ns = UINT64_MAX;
    return may;
}

void log_guest(struct log_budget *budget, const char *format, ...)
{
    if (budget->left == 0)
        return;
    budget->left--;
    va_list args;
    va_start(args, format);
    print("# guest log: ", format, args);
    va_end(args);
}

void log_flush(void)
{
}

void panic(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (fake_panic_jump != NULL)
        keep(format, args);
    else
        vprintf(format, args);
    va_end(args);
    if (fake_panic_jump != NULL)
        longjmp(*fake_panic_jump, 1);
    putchar('\n');
    abort();
}
