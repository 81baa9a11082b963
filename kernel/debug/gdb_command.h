/* What gdb's `monitor` command does. Pure. */
#pragma once

#include "kernel/debug/gdb_stub.h"

/* Runs a command: one of its own, else one of the monitor's shell. Writes what it says into the
 * reply under way, or sends it before and makes the reply OK. */
void gdb_command_run(struct gdb_stub *stub, const char *text);
