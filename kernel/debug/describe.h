/*
 * A guest's state in words, for a person to read: what the shell's commands and the report of a
 * guest's end say alike. Pure.
 */
#pragma once

#include "kernel/debug/system_map.h"
#include "kernel/debug/text.h"
#include "kernel/vm/debug.h"
#include "kernel/vm/page_walk.h"

/* Every register, the bits by their names. */
void describe_registers(const struct text *text, const struct system_map *symbols,
                        const struct vcpu_registers *registers);

/* "es", ..., "tr" with what its descriptor says, in one line. */
void describe_segment(const struct text *text, const char *name, const struct segment *segment,
                      bool is_long);

/* ` <NAME+OFFSET>` where the symbols know the address. */
void describe_symbol(const struct text *text, const struct system_map *symbols, uint64_t address);

/* A line for each level of the walk, the bits of its entry spelled out. */
void describe_walk(const struct text *text, const struct page_walk *walk);

struct bit_text {
    uint64_t bit;
    const char *set, *clear;
};

void describe_flags(const struct text *text, uint64_t value, const struct bit_text *bits,
                    unsigned count);

/* "; maps 2 MiB" */
void describe_page_size(const struct text *text, uint64_t size);
