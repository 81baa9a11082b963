/*
 * The PC's keyboard controller (Intel 8042 with the PS/2's auxiliary interface) with a keyboard on
 * its first interface and nothing on its second, and port 0x92 (fast A20 and reset).
 *
 * The keyboard sends scan codes of set 2, or of set 1 when asked, and the controller translates as
 * its command byte says, so what is typed goes in once and comes out as the guest expects it.
 *
 * Locking: the caller holds the VM's device lock. The callbacks are called from inside an access:
 * they note what is to happen and return.
 */
#pragma once

#include "drivers/model/ps2_keyboard.h"
#include "kernel/vm/bus.h"
#include "kernel/vm/irq_line.h"

struct i8042_config {
    struct irq_line keyboard_irq; /* IRQ 1 */
    struct irq_line aux_irq;      /* IRQ 12 */
    void (*reset)(void *context); /* the processor's reset line was pulsed */
    void (*set_a20)(void *context, bool enabled);
    void *context;
};

struct i8042 {
    struct i8042_config config;
    struct ps2_keyboard keyboard;
    uint8_t ram[32];     /* the controller's; byte 0 is the command byte */
    uint8_t output;      /* the output buffer */
    uint8_t status;      /* output-related status bits that belong to it */
    uint8_t command;     /* a controller command waits for its parameter; 0: none */
    uint8_t output_port; /* A20 and reset */
    bool break_prefix;   /* the translation has swallowed an 0xf0 */
    bool last_was_command;
    bool keyboard_level; /* the two interrupt lines */
    bool aux_level;
    bool system_flag;                     /* the self-test was passed */
    struct ps2_queue reply;               /* the controller's own answers */
    uint8_t reply_status[PS2_QUEUE_SIZE]; /* beside reply.byte */
};

/* As firmware leaves it: self-test done, keyboard on, with interrupt and translation, auxiliary
 * interface off. */
void i8042_init(struct i8042 *kbc, const struct i8042_config *config);
void i8042_reset(struct i8042 *kbc);

/* Claims ports 0x60, 0x64 and 0x92. Errors of bus_add. */
enum status MUST_CHECK i8042_attach(struct i8042 *kbc, struct bus *bus);
extern const struct bus_ops i8042_data_ops;
extern const struct bus_ops i8042_command_ops;
extern const struct bus_ops i8042_port_92_ops;

/* A key goes down or up; code is its make code in set 2, extended those that have the prefix 0xe0.
 * False: dropped, since the keyboard's buffer is full or the guest has switched scanning off. */
bool i8042_key(struct i8042 *kbc, uint8_t code, bool extended, bool down);
