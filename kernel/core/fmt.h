/* printf-style formatting into a buffer, freestanding. */
#pragma once

#include <stdarg.h>

#include "kernel/core/types.h"

/*
 * Formats into buffer, always NUL-terminated when size > 0; returns the length that the whole text
 * has, as snprintf does. Conversions: % c s d i u x X p, with flags '-', '0', '#', a width and a
 * precision (numbers or '*'), and the length modifiers hh, h, l, ll, z.
 */
int fmt_format(char *buffer, size_t size, const char *format, ...) PRINTF(3, 4);
int fmt_vformat(char *buffer, size_t size, const char *format, va_list args);
