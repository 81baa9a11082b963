/* What a function of the debugger says into a struct text. */
#pragma once

#include <string.h>

#include "kernel/debug/text.h"
#include "tests/check.h"

static char said[16384];
static size_t said_length;

static void said_put(void *context, const char *bytes, size_t count)
{
    (void)context;
    CHECK(count < sizeof(said) - said_length);
    memcpy(said + said_length, bytes, count);
    said_length += count;
    said[said_length] = 0;
}

static const struct text text = {said_put, NULL};

static bool says(const char *what)
{
    return strstr(said, what) != NULL;
}
