/* Where words go: into a shell's output, or line by line into the log. Pure. */
#pragma once

#include "kernel/core/types.h"

struct text {
    void (*put)(void *context, const char *bytes, size_t count);
    void *context;
};

/* At most 511 bytes; a newline ends a line. */
void text_print(const struct text *text, const char *format, ...) PRINTF(2, 3);
