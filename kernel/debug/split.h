/*
 * The console's line as several: once the host's program (kernel/debug/host) has said hello, the
 * monitor's messages, the shell, gdb, dumps and each guest's console are channels of a link. Before
 * that, and when the program has gone, the line is a plain terminal, and nothing here is in the way
 * of a byte.
 *
 * It ends by the program's goodbye, or when nothing has come from it for as long as its hello said.
 * After that, what a person types is what it would be without this.
 *
 * All functions but split_write and split_has_room are called on processor 0.
 */
#pragma once

#include "kernel/debug/link.h"
#include "kernel/monitor.h"

struct split;

/* On the console's line, which the multiplexer has already; NULL: no console, or no memory. */
struct split *split_start(struct monitor *monitor);

/* Gives a channel (LINK_GDB, LINK_DUMP) to a user, with a buffer of size bytes, a power of two and
 * whole pages, for what it writes. At the start. ERR_NO_MEMORY. */
enum status MUST_CHECK split_open(struct split *split, enum link_number number, const char *name,
                                  uint32_t size, const struct link_user *user);

/* Whether the host's program is there. split may be NULL. */
bool split_is_on(const struct split *split);

/* Writes to a channel, as far as there is room; returns how many bytes, 0 while the program is not
 * there. What was taken arrives whole and in order, also when the line is noisy, or cut for a
 * while, unless another program comes in its place. */
size_t split_write(struct split *split, enum link_number number, const void *bytes, size_t count);

/* Whether split_write would take count bytes. The user's ready follows a no once half of the buffer
 * is free, also when the program comes only then. */
bool split_has_room(struct split *split, enum link_number number, size_t count);
