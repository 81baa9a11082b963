/*
 * A PS/2 keyboard (IBM PS/2 Hardware Interface Technical Reference: Keyboard), which answers the
 * commands of the system and sends scan codes of set 2, or of set 1 when asked. What it sends waits
 * in its queue until the controller takes it.
 */
#pragma once

#include "kernel/core/types.h"

#define PS2_QUEUE_SIZE 32
#define PS2_BREAK_PREFIX 0xf0 /* before the code of a key that goes up, in set 2 */

/* Bytes on their way to the output buffer. */
struct ps2_queue {
    uint8_t byte[PS2_QUEUE_SIZE];
    unsigned first;
    unsigned count;
};

struct ps2_keyboard {
    struct ps2_queue queue; /* what it has sent and the controller has not taken */
    uint8_t command;        /* waits for its parameter; 0: none */
    uint8_t last;           /* the last byte sent, for Resend */
    uint8_t set;            /* scan code set 1 or 2 */
    uint8_t leds;
    uint8_t typematic;
    bool scanning;
};

/* Appends a byte; false: full, the byte is dropped. Takes the oldest: only while count > 0. */
bool ps2_queue_put(struct ps2_queue *queue, uint8_t byte);
uint8_t ps2_queue_take(struct ps2_queue *queue);

/* What the keyboard controller's translation makes of a byte of set 2. */
uint8_t ps2_to_set_1(uint8_t byte);

/* As after power-on, with the self-test's result already fetched. */
void ps2_keyboard_reset(struct ps2_keyboard *keyboard);

/* A byte from the system: a command, or the parameter of one. */
void ps2_keyboard_write(struct ps2_keyboard *keyboard, uint8_t value);

/* A key goes down or up; code is its make code in set 2, extended those that have the prefix 0xe0.
 * False: dropped, since the buffer is full or scanning is off. */
bool ps2_keyboard_key(struct ps2_keyboard *keyboard, uint8_t code, bool extended, bool down);
