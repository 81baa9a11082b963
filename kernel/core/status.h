/* What a function that can fail returns: zero, or one of these negative reasons. */
#pragma once

#include "kernel/core/types.h"

enum status {
    STATUS_OK = 0,
    ERR_INVALID = -1,     /* malformed input or argument */
    ERR_NOT_FOUND = -2,   /* no such thing */
    ERR_NO_MEMORY = -3,   /* not enough frames */
    ERR_NO_SPACE = -4,    /* a fixed table is full, or a buffer too small */
    ERR_EXISTS = -5,      /* overlaps with or repeats what is there */
    ERR_UNSUPPORTED = -6, /* well-formed, but not offered here */
    ERR_RANGE = -7,       /* an address or number outside what is allowed */
    ERR_FAULT = -8,       /* the guest gets an exception; see the out-parameter */
    ERR_TRUNCATED = -9,   /* the input ends too early */
    ERR_BUSY = -10,       /* in use */
    ERR_TIMEOUT = -11,
};

/* A short English phrase for a status, for messages. */
static inline const char *status_text(enum status status)
{
    switch (status) {
    case STATUS_OK:
        return "ok";
    case ERR_INVALID:
        return "malformed";
    case ERR_NOT_FOUND:
        return "not found";
    case ERR_NO_MEMORY:
        return "not enough memory";
    case ERR_NO_SPACE:
        return "no room";
    case ERR_EXISTS:
        return "already there";
    case ERR_UNSUPPORTED:
        return "not supported";
    case ERR_RANGE:
        return "out of range";
    case ERR_FAULT:
        return "fault";
    case ERR_TRUNCATED:
        return "truncated";
    case ERR_BUSY:
        return "busy";
    case ERR_TIMEOUT:
        return "timed out";
    }
    return "unknown status";
}
