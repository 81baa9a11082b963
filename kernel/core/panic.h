/* The end of the machine: for Traprock's own mistakes, never for what a guest or user does. */
#pragma once

#include "kernel/core/types.h"

NORETURN void panic(const char *format, ...) PRINTF(1, 2);

/* Stays in release builds. */
#define ASSERT(condition)                                                                          \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0))                                                     \
            panic("%s:%d: assertion failed: %s", __FILE__, __LINE__, #condition);                  \
    } while (0)

struct cpu_frame;
struct symbols;

/* What a panic needs from others; each may be NULL. They run with interrupts off on the processor
 * that panics, must not panic themselves, and must end in bounded time. */
struct panic_ports {
    const struct symbols *symbols;
    void (*stop_others)(void *context);     /* an NMI to every other processor */
    void (*last_exits)(void *context);      /* logs what the guests did last */
    NORETURN void (*finish)(void *context); /* after everything is shown; NULL: halts */
    void *context;
};

void panic_set_ports(const struct panic_ports *ports);

/* Panic for an exception in the monitor, with its registers. */
NORETURN void panic_frame(const struct cpu_frame *frame);

/* Whether some processor panics; the others stop when they see it. */
bool panic_in_progress(void);
/* The same, but not this one. */
bool panic_elsewhere(void);
NORETURN void panic_halt(void);
