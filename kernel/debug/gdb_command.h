/* What gdb's `monitor` command does. Pure. */
#pragma once

#include "kernel/debug/gdb_stub.h"

/* Runs a command: one of its own, else one of the monitor's shell. Writes what it says into the
 * reply under way, or leaves it as the stub's output. */
void gdb_command_run(struct gdb_stub *stub, const char *text);

/* This guest, which is there, is gdb's from here on: one that was attached goes on, without gdb's
 * points. */
void gdb_command_choose_guest(struct gdb_stub *stub, unsigned guest);

/* Sends of the stub's output what the line has room for. True: it was all, and the reply is OK. */
bool MUST_CHECK gdb_command_continue(struct gdb_stub *stub);

/* Text for the user, before the reply, which becomes OK. gdb: Remote Protocol, `O` packets. */
void gdb_command_output(struct gdb_stub *stub, const char *text, size_t length);
