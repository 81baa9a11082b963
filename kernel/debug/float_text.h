/* A floating-point number in decimal, as gdb and printf's %.17g and %.9g write it, without floating
 * point. Pure. */
#pragma once

#include "kernel/core/types.h"

#define FLOAT_TEXT_MAX 32

/* The IEEE 754 number of 8 bytes, or of 4: rounded to nearest, ties to even, from its exact value.
 */
void float_describe(uint64_t bits, unsigned size, char text[FLOAT_TEXT_MAX]);
