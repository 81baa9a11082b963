/* What gdb's `monitor` command does. Pure. */
#pragma once

#include "kernel/debug/gdb_stub.h"

/* Runs a command and writes what it says into the reply under way. text is changed. */
void gdb_command_run(struct gdb_stub *stub, char *text);
