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
