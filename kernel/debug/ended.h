/*
 * Guests that have ended. One stays as it is, with its memory, EPT and VMCS, for the shell and gdb,
 * until it is started again, another takes its place (run = sequence), or the machine is done with;
 * one that has died while gdb is attached to it stands first, so that gdb sees where.
 */
#pragma once

#include "kernel/monitor.h"

/* Whether a guest that ends so has died: nobody wanted it. */
bool ended_is_death(enum vm_outcome outcome);

/* The guest has left its processor for good: a vm_stop from here on lets it go where it stands. */
void ended_begin(struct guest *guest);

/* A life of the guest is over, by its end or by a reset: says why, where that is called for, and
 * lets gdb look if it was its end. On the guest's processor. */
void ended_examine(struct guest *guest);

/* The guest, which has ended, is kept; where there is nothing to keep, it is released. On its
 * processor. */
void ended_keep(struct guest *guest);

/* All guests have ended: if it is for good, those that are kept are released. Returns how many
 * pages those have that stay. */
uint64_t ended_settle(struct monitor *monitor, bool is_for_good);
