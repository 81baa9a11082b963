/* Where the configuration names a file, for messages. Pure. */
#pragma once

#include "kernel/core/types.h"

/* The number of the first line, counted from 1, that has the file's name in its value; 0: none. */
unsigned conf_line_of(const char *text, size_t size, const char *name);
