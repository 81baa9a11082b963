/*
 * One counter of an 8254 (Intel: 82C54 CHMOS Programmable Interval Timer), apart from time: every
 * function is told the tick, the number of the present CLK pulse.
 *
 * Nothing runs while nobody looks: a channel keeps the tick at which its counting element was
 * loaded, and counts, output and edges follow from the ticks since then. A count is loaded at the
 * tick after the write that completes it. Ticks that a channel is told never go backwards.
 */
#pragma once

#include "kernel/core/types.h"

#define PIT_NEVER UINT64_MAX

struct pit_channel {
    uint8_t mode;   /* 0 to 5 */
    uint8_t access; /* 1: low byte, 2: high byte, 3: low then high */
    bool bcd;
    bool gate;

    /* The count register, and how far the guest has come in writing it. */
    uint16_t reload;
    uint8_t low_byte; /* written, waiting for the high one */
    bool write_high;  /* the second of two bytes is written next */
    bool written;     /* a whole count since the control word */
    bool null_count;  /* it has not reached the counting element */
    bool load_at_end; /* of the present period, and not at the next tick */
    uint64_t load_tick;

    /* The counting element: initial was loaded `elapsed` counts before the tick of start while it
     * counts, and stands still at `elapsed` while it does not. */
    bool loaded; /* since the control word; until then it shows `frozen` */
    bool counting;
    uint32_t initial; /* 1 to 65536, or to 10000 in BCD */
    uint64_t start;
    uint64_t elapsed;
    uint32_t frozen;
    uint64_t edges; /* rising edges of the output since the load that the interrupt line has seen */

    /* What the guest reads next. */
    bool read_high;
    bool count_latched;
    bool status_latched;
    uint16_t latched_count;
    uint8_t latched_status;
};

/* As after power-on: idle, output low, until programmed. */
void pit_channel_init(struct pit_channel *ch, bool gate);

/* Brings the channel up to tick: before any of the functions below. Returns whether a count was
 * loaded and the output rose, up to that load, without pit_channel_see_edges having seen it. */
bool pit_channel_advance(struct pit_channel *ch, uint64_t tick);

/* A control word with this channel's number; a byte at its port; a new level at its gate. */
void pit_channel_program(struct pit_channel *ch, uint64_t tick, uint8_t control);
void pit_channel_write(struct pit_channel *ch, uint64_t tick, uint8_t value);
void pit_channel_set_gate(struct pit_channel *ch, uint64_t tick, bool gate);

/* The Counter Latch Command, and the Read-Back Command for the status. */
void pit_channel_latch_count(struct pit_channel *ch, uint64_t tick);
void pit_channel_latch_status(struct pit_channel *ch, uint64_t tick);

/* The byte that a read of its port gives: status, latched or running count. */
uint8_t pit_channel_read(struct pit_channel *ch, uint64_t tick);

/* The output pin. */
bool pit_channel_output(const struct pit_channel *ch, uint64_t tick);

/* Whether the output rose since the last call or load. */
bool pit_channel_see_edges(struct pit_channel *ch, uint64_t tick);

/* The tick of the next rising edge or load, or PIT_NEVER. */
uint64_t pit_channel_next_event(const struct pit_channel *ch, uint64_t tick);
