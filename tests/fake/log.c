/* Link-time doubles of the log and of panic for host builds. */
#include <stdio.h>
#include <stdlib.h>

#include "kernel/core/log.h"
#include "kernel/core/panic.h"

static void print(const char *prefix, const char *format, va_list args)
{
    if (getenv("CHECK_LOG") == NULL)
        return;
    fputs(prefix, stdout);
    vprintf(format, args);
    putchar('\n');
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

void panic(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    abort();
}
