/*
 * The dump of a guest that is under way, one at a time, and its way over the channel for dumps to
 * the program at the other end of the line. docs/debugging.md has the records as a table.
 */
#pragma once

#include "kernel/debug/core_dump.h"
#include "kernel/monitor.h"

#define DUMP_RECORD 32u /* bytes before a record's payload */
#define DUMP_REQUEST 5u /* bytes from the host, at most */
#define DUMP_LOOKS 256u /* blocks that one request looks at */

struct dump {
    struct guest *guest;
    bool resumes;           /* the guest ran before */
    uint64_t exits, resets; /* that it had had: it still stands where it did */
    struct paging paging;
    struct core_piece piece;
    struct core_dump core;
    /* The record that is on its way over the channel, with its payload behind it. */
    uint32_t sent, length;
    uint8_t record[DUMP_RECORD + DEFLATE_ROOM(CORE_BLOCK)];
};

/* Opens the channel, where the console's line can have any. At the start. */
void dump_start(struct monitor *monitor);

/* The dump of this guest, if it is still true: one of another, or of what has gone on since, is
 * given up. NULL: there is none. */
struct dump *dump_current(struct monitor *monitor, const struct guest *guest);

/* Holds the guest, which may run, and begins its dump. ERR_NO_MEMORY; errors of vm_pause. */
enum status MUST_CHECK dump_begin(struct guest *guest);

/* It is over, whatever came of it, and the guest goes on if it ran. */
void dump_end(struct monitor *monitor);

/* Tells the program at the other end of the line of the dump; it asks for what it wants. False: no
 * program is there. */
bool dump_offer(struct monitor *monitor);
