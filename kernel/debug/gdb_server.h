/*
 * gdb's line: a UART of the machine, behind which the stub serves the guests of the monitor. All of
 * it runs on the processor that takes the machine's interrupts, in the UART's; what touches a guest
 * runs on the guest's own processor (vcpu_call).
 */
#pragma once

#include "kernel/monitor.h"

/* Where the configuration has `gdb`: programs the UART and begins to listen; guests may come later.
 * ERR_NOT_FOUND: no UART is there; ERR_NO_MEMORY. */
enum status MUST_CHECK gdb_server_start(struct monitor *monitor);

/* Whether gdb is attached, and to this guest. */
bool gdb_server_attends(const struct guest *guest);

/* Whether it stands, or has ended, under a gdb that has yet to let it go on. */
bool gdb_server_holds(const struct guest *guest);

/* It was paused by somebody else: gdb, if it waits for a stop, is told, and holds it from now on.
 */
void gdb_server_tell_pause(const struct guest *guest);

/* Lets it go on, for a gdb that has gone without a word. */
void gdb_server_release(const struct guest *guest);
