#include "drivers/model/pit.h"

#include "drivers/model/byte_port.h"
#include "kernel/vm/platform.h"

/* Intel: 82C54, Control Word Format. */
#define CONTROL_PORT 3
#define SELECT_SHIFT 6
#define SELECT_READ_BACK 3
#define ACCESS_SHIFT 4
#define ACCESS_LATCH 0

/* Read-Back Command: the latches are active low. */
#define READ_BACK_NO_COUNT 0x20
#define READ_BACK_NO_STATUS 0x10
#define READ_BACK_CHANNEL(n) (0x02u << (n))

/* Port 0x61. */
#define PORT_B_GATE2 0x01
#define PORT_B_SPEAKER 0x02
#define PORT_B_WRITABLE 0x0f /* with the two disable bits of the NMI sources that are not there */
#define PORT_B_REFRESH 0x10  /* toggles with each refresh of a PC/AT's memory */
#define PORT_B_OUTPUT2 0x20
#define REFRESH_TICKS 18

#define SPEAKER_CHANNEL 2

/* ---- Channel 0's interrupt ---- */

/*
 * Rising edges are what the interrupt input latches. Of a periodic output only they are shown, as a
 * short pulse down in front of each, so that a period costs one deadline. Edges that nobody came to
 * see in time melt into one, as they would in the controller.
 */
static void update_irq(struct pit *pit, uint64_t tick, bool rose)
{
    struct pit_channel *ch = &pit->channel[0];
    rose |= pit_channel_see_edges(ch, tick);
    bool level = ch->mode == 0 ? pit_channel_output(ch, tick) : true;
    if (rose && pit->irq_level)
        irq_line_set(&pit->irq, false);
    if (rose || level != pit->irq_level)
        irq_line_set(&pit->irq, level || rose);
    if (rose && !level)
        irq_line_set(&pit->irq, false);
    pit->irq_level = level;
    pit->wake = pit_channel_next_event(ch, tick);
    timer_arm(&pit->timer, ticks_deadline(&pit->ticks, pit->wake));
}

/* What the present tick is, with what happened to channel 0 until then done. */
static uint64_t catch_up(struct pit *pit)
{
    uint64_t tick = ticks_now(&pit->ticks);
    if (tick >= pit->wake)
        update_irq(pit, tick, pit_channel_advance(&pit->channel[0], tick));
    return tick;
}

/* Arms the timer again in any case, also where the caller's clock ran a little ahead of ours. */
static void fire(void *owner, uint64_t now)
{
    struct pit *pit = owner;
    uint64_t tick = ticks_now(&pit->ticks);
    (void)now;
    update_irq(pit, tick, pit_channel_advance(&pit->channel[0], tick));
}

/* ---- Writes ---- */

static void read_back(struct pit *pit, uint64_t tick, uint8_t command)
{
    for (unsigned i = 0; i < PIT_CHANNELS; i++) {
        struct pit_channel *ch = &pit->channel[i];
        if (!(command & READ_BACK_CHANNEL(i)))
            continue;
        pit_channel_advance(ch, tick);
        if (!(command & READ_BACK_NO_COUNT))
            pit_channel_latch_count(ch, tick);
        if (!(command & READ_BACK_NO_STATUS))
            pit_channel_latch_status(ch, tick);
    }
}

static void write_control(struct pit *pit, uint64_t tick, uint8_t control)
{
    unsigned select = control >> SELECT_SHIFT;
    if (select == SELECT_READ_BACK) {
        read_back(pit, tick, control);
        return;
    }
    struct pit_channel *ch = &pit->channel[select];
    if ((control >> ACCESS_SHIFT & 3) == ACCESS_LATCH)
        pit_channel_latch_count(ch, tick);
    else
        pit_channel_program(ch, tick, control);
}

static void write_port(void *device, unsigned offset, uint8_t value)
{
    struct pit *pit = device;
    uint64_t tick = catch_up(pit);
    unsigned select = offset == CONTROL_PORT ? value >> SELECT_SHIFT : offset;
    /* The read-back command advances what it looks at by itself. */
    if (select < PIT_CHANNELS)
        pit_channel_advance(&pit->channel[select], tick);
    if (offset == CONTROL_PORT)
        write_control(pit, tick, value);
    else
        pit_channel_write(&pit->channel[select], tick, value);
    if (select == 0)
        update_irq(pit, tick, false);
}

/* ---- Reads ---- */

static uint8_t read_port(void *device, unsigned offset)
{
    struct pit *pit = device;
    if (offset == CONTROL_PORT)
        return 0xff; /* nothing drives the bus */
    struct pit_channel *ch = &pit->channel[offset];
    uint64_t tick = catch_up(pit);
    pit_channel_advance(ch, tick);
    return pit_channel_read(ch, tick);
}

static uint8_t read_port_b(void *device, unsigned offset)
{
    struct pit *pit = device;
    (void)offset;
    uint64_t tick = ticks_now(&pit->ticks);
    uint8_t value = pit->port_b;
    if (tick / REFRESH_TICKS & 1)
        value |= PORT_B_REFRESH;
    if (pit_output(pit, SPEAKER_CHANNEL))
        value |= PORT_B_OUTPUT2;
    return value;
}

static void write_port_b(void *device, unsigned offset, uint8_t value)
{
    struct pit *pit = device;
    (void)offset;
    uint64_t tick = ticks_now(&pit->ticks);
    struct pit_channel *ch = &pit->channel[SPEAKER_CHANNEL];
    pit_channel_advance(ch, tick);
    pit->port_b = value & PORT_B_WRITABLE;
    pit_channel_set_gate(ch, tick, value & PORT_B_GATE2);
}

static uint64_t pit_read(void *device, uint64_t offset, unsigned size)
{
    return byte_port_read(device, offset, size, read_port);
}

static void pit_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    byte_port_write(device, offset, size, value, write_port);
}

static uint64_t port_b_read(void *device, uint64_t offset, unsigned size)
{
    return byte_port_read(device, offset, size, read_port_b);
}

static void port_b_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    byte_port_write(device, offset, size, value, write_port_b);
}

const struct bus_ops pit_ops = {pit_read, pit_write};
const struct bus_ops pit_port_b_ops = {port_b_read, port_b_write};

bool pit_output(struct pit *pit, unsigned channel)
{
    struct pit_channel *ch = &pit->channel[channel];
    uint64_t tick = catch_up(pit);
    pit_channel_advance(ch, tick);
    return pit_channel_output(ch, tick);
}

bool pit_speaker(struct pit *pit)
{
    return (pit->port_b & PORT_B_SPEAKER) && pit_output(pit, SPEAKER_CHANNEL);
}

void pit_reset(struct pit *pit)
{
    for (unsigned i = 0; i < PIT_CHANNELS; i++)
        pit_channel_init(&pit->channel[i], i != SPEAKER_CHANNEL);
    pit->port_b = 0;
    update_irq(pit, ticks_now(&pit->ticks), false);
}

INIT void pit_init(struct pit *pit, const struct irq_line *irq, const struct clock *clock,
                   struct timer_queue *timers)
{
    *pit = (struct pit){.irq = *irq};
    ticks_init(&pit->ticks, clock, PIT_HZ);
    timer_init(&pit->timer, timers, fire, pit);
    pit_reset(pit);
}

INIT enum status pit_attach(struct pit *pit, struct bus *bus)
{
    enum status status =
        bus_add(bus, BUS_PORT, PLATFORM_PORT_PIT, PLATFORM_PORT_PIT_SIZE, &pit_ops, pit);
    if (status != STATUS_OK)
        return status;
    return bus_add(bus, BUS_PORT, PLATFORM_PORT_SYSTEM_CONTROL_B, 1, &pit_port_b_ops, pit);
}
