/*
 * A guest's symbols, from a file such as Linux's System.map: lines `ADDRESS TYPE NAME`, addresses
 * in hexadecimal, in order of addresses. It is used where it lies, and not trusted. Pure.
 */
#pragma once

#include "kernel/debug/line_edit.h"

#define SYSTEM_MAP_NAME_MAX 128u /* with the NUL; longer names are cut */

struct system_map {
    const char *text; /* NULL: there are none */
    uint64_t size;
};

/* The name of what begins at address or before it, and how far it is to there; false: nothing
 * within a MiB. */
bool system_map_at(const struct system_map *map, uint64_t address, char name[SYSTEM_MAP_NAME_MAX],
                   uint64_t *offset);

/* The address of a name: the first of that name in the file. */
bool system_map_find(const struct system_map *map, const char *name, uint64_t *address);

/* Offers all names. */
void system_map_offer(const struct system_map *map, struct completion *completion);
