/* Any sequence of accesses and pauses. Half of the inputs drive one channel beside a reference that
 * is stepped clock by clock; the others touch every port, with long sleeps and late timers. */
#include <stdlib.h>

#include "drivers/model/pit.h"
#include "tests/fake/hands.h"
#include "tests/fake/pit_reference.h"
#include "tests/fuzz/fuzz.h"

struct world {
    struct hands hands;
    struct pin pin;
    struct pit pit;
    struct pit_reference reference;
    unsigned channel;
};

static struct world world;

static void out(unsigned port, uint8_t value)
{
    pit_ops.write(&world.pit, port, 1, value);
}

static uint8_t in(unsigned port)
{
    return (uint8_t)pit_ops.read(&world.pit, port, 1);
}

static unsigned latched(unsigned channel)
{
    out(3, (uint8_t)(channel << 6));
    unsigned low = in(channel);
    return low | (unsigned)in(channel) << 8;
}

static uint32_t to_bcd(uint32_t n)
{
    return n / 1000 % 10 << 12 | n / 100 % 10 << 8 | n / 10 % 10 << 4 | n % 10;
}

/* ---- Beside the reference ---- */

static void compare(void)
{
    const struct pit_reference *reference = &world.reference;
    uint32_t count = reference->bcd ? to_bcd(reference->count) : reference->count;
    REQUIRE(latched(world.channel) == count);
    REQUIRE(pit_output(&world.pit, world.channel) == reference->output);
    out(3, (uint8_t)(0xe0 | 2u << world.channel));
    REQUIRE((in(world.channel) >> 6 & 1) == reference->null_count);
}

static void step(void)
{
    bool was = world.reference.output;
    unsigned rises = world.pin.rises;
    pit_reference_step(&world.reference);
    hands_turn(&world.hands, 1);
    bool rose = !was && world.reference.output;
    if (world.channel == 0)
        REQUIRE(world.pin.rises - rises == rose);
    compare();
}

static void write_count(uint32_t count, unsigned pause)
{
    struct pit_reference *reference = &world.reference;
    uint32_t modulus = pit_reference_modulus(reference);
    bool periodic = reference->mode == 2 || reference->mode == 3;
    count = count % modulus;
    if (periodic && count == 1)
        count = 2; /* one is no count for these modes */
    uint32_t raw = reference->bcd ? to_bcd(count) : count;
    out(world.channel, (uint8_t)raw);
    if (reference->mode == 0)
        pit_reference_stop(reference);
    while (pause-- > 0)
        step();
    out(world.channel, (uint8_t)(raw >> 8));
    pit_reference_write_count(reference, count != 0 ? count : modulus);
}

static void beside_the_reference(const uint8_t *data, size_t size)
{
    world.reference.gate = world.channel == 0;
    out(3, (uint8_t)(world.channel << 6 | 0x30));
    pit_reference_program(&world.reference, 0, false);
    for (size_t i = 0; i + 2 < size; i += 3) {
        uint8_t value = data[i + 1];
        switch (data[i] & 3) {
        case 0:
            out(3, (uint8_t)(world.channel << 6 | 0x30 | value % 6 << 1 | value >> 7));
            pit_reference_program(&world.reference, value % 6, value >> 7);
            break;
        case 1:
            write_count(value | (data[i] & 4 ? (uint32_t)data[i + 2] << 8 : 0), data[i] >> 6);
            break;
        case 2:
            if (world.channel == 2) {
                pit_port_b_ops.write(&world.pit, 0, 1, value & 1);
                pit_reference_set_gate(&world.reference, value & 1);
            }
            break;
        default:
            for (unsigned n = value & 31; n > 0; n--)
                step();
        }
        compare();
    }
}

/* ---- Every port ---- */

static void check(void)
{
    for (unsigned i = 0; i < PIT_CHANNELS; i++) {
        const struct pit_channel *channel = &world.pit.channel[i];
        REQUIRE(channel->mode <= 5 && channel->access >= 1 && channel->access <= 3);
        REQUIRE(!channel->loaded || (channel->initial >= 1 && channel->initial <= 65536));
    }
    /* A deadline that has passed fires once, and the next lies ahead. */
    timers_run(&world.hands.timers, world.hands.now);
    REQUIRE(world.hands.timers.next > world.hands.now);
}

static void every_port(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i + 1 < size; i += 2) {
        uint8_t op = data[i], value = data[i + 1];
        if (op < 0x70)
            out(op & 3, value);
        else if (op < 0x90)
            in(op & 3);
        else if (op < 0xa0)
            pit_port_b_ops.write(&world.pit, 0, 1, value);
        else if (op < 0xb0)
            REQUIRE((pit_port_b_ops.read(&world.pit, 0, 1) & ~0x3full) == 0);
        else if (op < 0xc0)
            pit_ops.write(&world.pit, 0, 4, value * 0x01020408u);
        else
            world.hands.now += (uint64_t)value << (op & 31);
        check();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    bool reference = data[0] & 1;
    world = (struct world){.channel = data[0] & 2};
    hands_init(&world.hands, reference ? PIT_HZ : 2899886433ull);
    struct irq_line line = pin_line(&world.pin, 0);
    pit_init(&world.pit, &line, &world.hands.clock, &world.hands.timers);
    if (reference)
        beside_the_reference(data + 1, size - 1);
    else
        every_port(data + 1, size - 1);
    return 0;
}
