#include "drivers/model/ps2_keyboard.h"

#define KEYBOARD_ACK 0xfa
#define KEYBOARD_RESEND 0xfe
#define KEYBOARD_SELF_TEST_OK 0xaa
#define KEYBOARD_EXTENDED 0xe0
#define TYPEMATIC_DEFAULT 0x2b

/* What the controller makes of the bytes below 0x80 that a keyboard in set 2 sends. */
static const uint8_t set_1_of_set_2[0x80] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
};

uint8_t ps2_to_set_1(uint8_t byte)
{
    if (byte < 0x80)
        return set_1_of_set_2[byte];
    return byte == 0x83 ? 0x41 : byte == 0x84 ? 0x54 : byte;
}

/* ---- Queues ---- */

bool ps2_queue_put(struct ps2_queue *queue, uint8_t byte)
{
    if (queue->count == PS2_QUEUE_SIZE)
        return false;
    queue->byte[(queue->first + queue->count++) % PS2_QUEUE_SIZE] = byte;
    return true;
}

uint8_t ps2_queue_take(struct ps2_queue *queue)
{
    uint8_t byte = queue->byte[queue->first];
    queue->first = (queue->first + 1) % PS2_QUEUE_SIZE;
    queue->count--;
    return byte;
}

static void queue_clear(struct ps2_queue *queue)
{
    queue->first = queue->count = 0;
}

/* ---- Keyboard ---- */

static void keyboard_send(struct ps2_keyboard *keyboard, uint8_t byte)
{
    if (ps2_queue_put(&keyboard->queue, byte))
        keyboard->last = byte;
}

static void keyboard_set_defaults(struct ps2_keyboard *keyboard)
{
    keyboard->set = 2;
    keyboard->typematic = TYPEMATIC_DEFAULT;
    keyboard->command = 0;
}

void ps2_keyboard_reset(struct ps2_keyboard *keyboard)
{
    queue_clear(&keyboard->queue);
    keyboard_set_defaults(keyboard);
    keyboard->leds = keyboard->last = 0;
    keyboard->scanning = true;
}

/* A parameter out of range is asked for again, and the command stays open. */
static void keyboard_parameter(struct ps2_keyboard *keyboard, uint8_t command, uint8_t value)
{
    keyboard->command = 0;
    switch (command) {
    case 0xed:
        keyboard->leds = value & 7;
        break;
    case 0xf3:
        keyboard->typematic = value & 0x7f;
        break;
    default: /* 0xf0: zero asks which set is in use */
        if (value == 0) {
            keyboard_send(keyboard, KEYBOARD_ACK);
            keyboard_send(keyboard, keyboard->set);
            return;
        }
        if (value > 2) {
            keyboard->command = command;
            keyboard_send(keyboard, KEYBOARD_RESEND);
            return;
        }
        keyboard->set = value;
    }
    keyboard_send(keyboard, KEYBOARD_ACK);
}

/* IBM PS/2: Keyboard, Commands from the System. */
static void keyboard_command(struct ps2_keyboard *keyboard, uint8_t command)
{
    switch (command) {
    case 0xee: /* echo: answered by itself */
        keyboard_send(keyboard, command);
        return;
    case 0xfe: /* resend */
        keyboard_send(keyboard, keyboard->last);
        return;
    case 0xed: /* indicators */
    case 0xf0: /* scan code set */
    case 0xf3: /* typematic rate */
        keyboard->command = command;
        break;
    case 0xf2: /* identify: an enhanced keyboard */
        keyboard_send(keyboard, KEYBOARD_ACK);
        keyboard_send(keyboard, 0xab);
        keyboard_send(keyboard, 0x83);
        return;
    case 0xf4: /* enable: the buffer is cleared */
        queue_clear(&keyboard->queue);
        keyboard->scanning = true;
        break;
    case 0xf5: /* defaults, and scanning off */
    case 0xf6: /* defaults */
        queue_clear(&keyboard->queue);
        keyboard_set_defaults(keyboard);
        keyboard->scanning = command == 0xf6;
        break;
    case 0xff: /* reset, and the result of the self-test */
        ps2_keyboard_reset(keyboard);
        keyboard_send(keyboard, KEYBOARD_ACK);
        keyboard_send(keyboard, KEYBOARD_SELF_TEST_OK);
        return;
    default: /* the commands of set 3, and what is no command */
        keyboard_send(keyboard, KEYBOARD_RESEND);
        return;
    }
    keyboard_send(keyboard, KEYBOARD_ACK);
}

/* A byte for the keyboard; a command in place of a parameter ends the command that was open. */
void ps2_keyboard_write(struct ps2_keyboard *keyboard, uint8_t value)
{
    uint8_t open = keyboard->command;
    keyboard->command = 0;
    if (open != 0 && value < 0xed)
        keyboard_parameter(keyboard, open, value);
    else
        keyboard_command(keyboard, value);
}

bool ps2_keyboard_key(struct ps2_keyboard *keyboard, uint8_t code, bool extended, bool down)
{
    /* The longest sequence, prefix, break and code, goes in whole or not at all. */
    if (!keyboard->scanning || keyboard->queue.count + 3 > PS2_QUEUE_SIZE)
        return false;
    if (extended)
        keyboard_send(keyboard, KEYBOARD_EXTENDED);
    if (keyboard->set == 1) {
        keyboard_send(keyboard, ps2_to_set_1(code) | (down ? 0 : 0x80));
    } else {
        if (!down)
            keyboard_send(keyboard, PS2_BREAK_PREFIX);
        keyboard_send(keyboard, code);
    }
    return true;
}
