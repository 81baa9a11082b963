#include "drivers/model/i8042.h"

#include "kernel/vm/platform.h"

/* IBM PS/2 Hardware Interface Technical Reference: Keyboard and Auxiliary Device Controller. */
#define STATUS_OUTPUT_FULL 0x01
#define STATUS_SYSTEM 0x04
#define STATUS_COMMAND 0x08
#define STATUS_UNLOCKED 0x10 /* the keylock switch */
#define STATUS_AUX 0x20
#define STATUS_TIMEOUT 0x40

#define COMMAND_BYTE 0 /* its place in the controller's RAM */
#define CONFIG_KEYBOARD_IRQ 0x01
#define CONFIG_AUX_IRQ 0x02
#define CONFIG_SYSTEM 0x04
#define CONFIG_KEYBOARD_OFF 0x10
#define CONFIG_AUX_OFF 0x20
#define CONFIG_TRANSLATE 0x40

#define OUTPUT_PORT_NO_RESET 0x01
#define OUTPUT_PORT_A20 0x02
#define OUTPUT_PORT_KEYBOARD_FULL 0x10 /* the two interrupt lines */
#define OUTPUT_PORT_AUX_FULL 0x20
#define OUTPUT_PORT_IDLE 0xc0 /* clock and data of the keyboard */
#define INPUT_PORT 0xa0       /* keyboard not inhibited, no manufacturing jumper */

#define PORT_92_RESET 0x01
#define PORT_92_A20 0x02

#define NO_DEVICE 0xfe /* what the controller answers when the auxiliary device does not */

/* ---- The output buffer ---- */

static bool is_aux(const struct i8042 *kbc)
{
    return kbc->status & STATUS_AUX;
}

static void set_line(const struct irq_line *line, bool *level, bool to)
{
    if (*level != to)
        irq_line_set(line, to);
    *level = to;
}

/* The lines follow the output buffer, so each byte gives an edge of its own. */
static void update_irqs(struct i8042 *kbc)
{
    bool full = kbc->status & STATUS_OUTPUT_FULL;
    uint8_t config = kbc->ram[COMMAND_BYTE];
    set_line(&kbc->config.keyboard_irq, &kbc->keyboard_level,
             full && !is_aux(kbc) && (config & CONFIG_KEYBOARD_IRQ));
    set_line(&kbc->config.aux_irq, &kbc->aux_level,
             full && is_aux(kbc) && (config & CONFIG_AUX_IRQ));
}

static void output_byte(struct i8042 *kbc, uint8_t byte, uint8_t status)
{
    kbc->output = byte;
    kbc->status = STATUS_OUTPUT_FULL | status;
}

/* Takes keyboard bytes until one comes out of the translation, where 0xf0 only marks the next. */
static void output_from_keyboard(struct i8042 *kbc)
{
    while (kbc->keyboard.queue.count > 0) {
        uint8_t byte = ps2_queue_take(&kbc->keyboard.queue);
        if (kbc->ram[COMMAND_BYTE] & CONFIG_TRANSLATE) {
            if (byte == PS2_BREAK_PREFIX) {
                kbc->break_prefix = true;
                continue;
            }
            byte = ps2_to_set_1(byte) | (kbc->break_prefix ? 0x80 : 0);
        }
        kbc->break_prefix = false;
        output_byte(kbc, byte, 0);
        return;
    }
}

/* Fills the output buffer when it is empty. */
static void refill(struct i8042 *kbc)
{
    if (!(kbc->status & STATUS_OUTPUT_FULL)) {
        if (kbc->reply.count > 0) {
            uint8_t status = kbc->reply_status[kbc->reply.first];
            output_byte(kbc, ps2_queue_take(&kbc->reply), status);
        } else if (!(kbc->ram[COMMAND_BYTE] & CONFIG_KEYBOARD_OFF)) {
            output_from_keyboard(kbc);
        }
    }
    update_irqs(kbc);
}

/* Answers that a guest never fetches are dropped once they fill the queue. */
static void reply(struct i8042 *kbc, uint8_t byte, uint8_t status)
{
    unsigned slot = (kbc->reply.first + kbc->reply.count) % PS2_QUEUE_SIZE;
    if (ps2_queue_put(&kbc->reply, byte))
        kbc->reply_status[slot] = status;
}

bool i8042_key(struct i8042 *kbc, uint8_t code, bool extended, bool down)
{
    bool taken = ps2_keyboard_key(&kbc->keyboard, code, extended, down);
    refill(kbc);
    return taken;
}

/* ---- The controller ---- */

static void set_a20(struct i8042 *kbc, bool enabled)
{
    bool was = kbc->output_port & OUTPUT_PORT_A20;
    kbc->output_port = (uint8_t)((kbc->output_port & ~OUTPUT_PORT_A20) | (enabled ? 2 : 0));
    if (was != enabled && kbc->config.set_a20 != NULL)
        kbc->config.set_a20(kbc->config.context, enabled);
}

static void pulse_reset(const struct i8042 *kbc)
{
    if (kbc->config.reset != NULL)
        kbc->config.reset(kbc->config.context);
}

static uint8_t read_output_port(const struct i8042 *kbc)
{
    uint8_t value = kbc->output_port | OUTPUT_PORT_IDLE;
    if (kbc->status & STATUS_OUTPUT_FULL)
        value |= is_aux(kbc) ? OUTPUT_PORT_AUX_FULL : OUTPUT_PORT_KEYBOARD_FULL;
    return value;
}

static void write_output_port(struct i8042 *kbc, uint8_t value)
{
    set_a20(kbc, value & OUTPUT_PORT_A20);
    if (!(value & OUTPUT_PORT_NO_RESET))
        pulse_reset(kbc);
}

static void set_config(struct i8042 *kbc, uint8_t value)
{
    kbc->ram[COMMAND_BYTE] = value;
    kbc->system_flag = value & CONFIG_SYSTEM;
}

/* Commands whose parameter follows at port 0x60. */
static void controller_parameter(struct i8042 *kbc, uint8_t command, uint8_t value)
{
    switch (command) {
    case 0x60:
        set_config(kbc, value);
        break;
    case 0x61 ... 0x7f:
        kbc->ram[command & 0x1f] = value;
        break;
    case 0xd1:
        write_output_port(kbc, value);
        break;
    case 0xd2: /* as if the keyboard had sent it, without translation */
        reply(kbc, value, 0);
        break;
    case 0xd3: /* as if the auxiliary device had sent it */
        reply(kbc, value, STATUS_AUX);
        break;
    default: /* 0xd4: nobody answers the auxiliary interface */
        reply(kbc, NO_DEVICE, STATUS_AUX | STATUS_TIMEOUT);
        break;
    }
}

static void controller_command(struct i8042 *kbc, uint8_t command)
{
    uint8_t *config = &kbc->ram[COMMAND_BYTE];
    switch (command) {
    case 0x20 ... 0x3f: /* read the controller's RAM */
        reply(kbc, kbc->ram[command & 0x1f], 0);
        break;
    case 0x60 ... 0x7f: /* write it */
    case 0xd1 ... 0xd4:
        kbc->command = command;
        break;
    case 0xa7:
        *config |= CONFIG_AUX_OFF;
        break;
    case 0xa8:
        *config &= ~CONFIG_AUX_OFF;
        break;
    case 0xa9: /* interface tests: no fault */
    case 0xab:
        reply(kbc, 0x00, 0);
        break;
    case 0xaa: /* self-test: passed */
        set_config(kbc, *config | CONFIG_SYSTEM);
        reply(kbc, 0x55, 0);
        break;
    case 0xad:
        *config |= CONFIG_KEYBOARD_OFF;
        break;
    case 0xae:
        *config &= ~CONFIG_KEYBOARD_OFF;
        break;
    case 0xc0:
        reply(kbc, INPUT_PORT, 0);
        break;
    case 0xd0:
        reply(kbc, read_output_port(kbc), 0);
        break;
    case 0xdd: /* A20 off and on, by controllers newer than IBM's */
    case 0xdf:
        set_a20(kbc, command == 0xdf);
        break;
    case 0xe0: /* test inputs: clock and data idle */
        reply(kbc, 0x00, 0);
        break;
    case 0xf0 ... 0xff: /* pulse the output lines whose bits are zero: bit 0 is the reset */
        if (!(command & OUTPUT_PORT_NO_RESET))
            pulse_reset(kbc);
        break;
    default: /* no command */
        break;
    }
}

/* ---- Ports ---- */

static uint64_t data_read(void *device, uint64_t offset, unsigned size)
{
    struct i8042 *kbc = device;
    (void)offset;
    (void)size;
    uint8_t byte = kbc->output;
    if (kbc->status & STATUS_OUTPUT_FULL) {
        kbc->status = 0;
        update_irqs(kbc); /* the line falls before the next byte raises it */
        refill(kbc);
    }
    return byte;
}

static void data_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8042 *kbc = device;
    (void)offset;
    (void)size;
    uint8_t command = kbc->command;
    kbc->last_was_command = false;
    kbc->command = 0;
    if (command != 0) {
        controller_parameter(kbc, command, (uint8_t)value);
    } else {
        /* A byte for the keyboard switches its interface on. */
        kbc->ram[COMMAND_BYTE] &= ~CONFIG_KEYBOARD_OFF;
        ps2_keyboard_write(&kbc->keyboard, (uint8_t)value);
    }
    refill(kbc);
}

static uint64_t command_read(void *device, uint64_t offset, unsigned size)
{
    const struct i8042 *kbc = device;
    (void)offset;
    (void)size;
    return (uint64_t)(kbc->status | STATUS_UNLOCKED | (kbc->system_flag ? STATUS_SYSTEM : 0) |
                      (kbc->last_was_command ? STATUS_COMMAND : 0));
}

static void command_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8042 *kbc = device;
    (void)offset;
    (void)size;
    kbc->last_was_command = true;
    kbc->command = 0;
    controller_command(kbc, (uint8_t)value);
    refill(kbc);
}

static uint64_t port_92_read(void *device, uint64_t offset, unsigned size)
{
    const struct i8042 *kbc = device;
    (void)offset;
    (void)size;
    return kbc->output_port & OUTPUT_PORT_A20 ? PORT_92_A20 : 0;
}

static void port_92_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8042 *kbc = device;
    (void)offset;
    (void)size;
    set_a20(kbc, value & PORT_92_A20);
    if (value & PORT_92_RESET)
        pulse_reset(kbc);
}

const struct bus_ops i8042_data_ops = {data_read, data_write};
const struct bus_ops i8042_command_ops = {command_read, command_write};
const struct bus_ops i8042_port_92_ops = {port_92_read, port_92_write};

/* ---- Set-up ---- */

void i8042_reset(struct i8042 *kbc)
{
    set_a20(kbc, true);
    ps2_keyboard_reset(&kbc->keyboard);
    kbc->reply.first = kbc->reply.count = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(kbc->ram); i++)
        kbc->ram[i] = 0;
    set_config(kbc, CONFIG_KEYBOARD_IRQ | CONFIG_SYSTEM | CONFIG_AUX_OFF | CONFIG_TRANSLATE);
    kbc->output = kbc->status = kbc->command = 0;
    kbc->break_prefix = kbc->last_was_command = false;
    update_irqs(kbc);
}

INIT void i8042_init(struct i8042 *kbc, const struct i8042_config *config)
{
    *kbc = (struct i8042){
        .config = *config,
        .output_port = OUTPUT_PORT_NO_RESET | OUTPUT_PORT_A20,
    };
    i8042_reset(kbc);
}

INIT enum status i8042_attach(struct i8042 *kbc, struct bus *bus)
{
    static const struct {
        uint16_t port;
        const struct bus_ops *ops;
    } ports[] = {
        {PLATFORM_PORT_KEYBOARD_DATA, &i8042_data_ops},
        {PLATFORM_PORT_KEYBOARD_COMMAND, &i8042_command_ops},
        {PLATFORM_PORT_SYSTEM_CONTROL_A, &i8042_port_92_ops},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(ports); i++) {
        enum status status = bus_add(bus, BUS_PORT, ports[i].port, 1, ports[i].ops, kbc);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}
