/* Any sequence of port accesses, inputs and INTA cycles, against a slow second opinion. */
#include <stdlib.h>

#include "kernel/core/bits.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/apic_world.h"

static struct world world;

/* The input that may interrupt, looking from the highest priority down; -1: none. */
static int wanted(const struct pic_chip *chip, bool master)
{
    for (unsigned i = 0; chip->expects == PIC_READY && i < 8; i++) {
        unsigned input = (chip->top + i) & 7, bit = 1u << input;
        bool serves = (chip->isr & bit) && !(chip->special_mask && (chip->imr & bit));
        bool asks = (chip->irr & bit) && !(chip->imr & bit);
        bool nested = master && input == 2 && (chip->icw4 & 0x10);
        if (asks && (!serves || nested))
            return (int)input;
        if (serves)
            return -1;
    }
    return -1;
}

static void require_consistent(void)
{
    const struct pic_chip *master = &world.pic.chip[0], *slave = &world.pic.chip[1];
    bool cascaded = !(master->icw1 & 2);
    REQUIRE(world.pic.output_level == (wanted(master, true) >= 0));
    REQUIRE(world.cpu[0].lapic.lint[0] == world.pic.output_level);
    REQUIRE(!(master->irr & 4) == !(cascaded && wanted(slave, false) >= 0));
    for (unsigned i = 0; i < 2; i++) {
        const struct pic_chip *chip = &world.pic.chip[i];
        REQUIRE(chip->top < 8 && (chip->base & 7) == 0 && chip->expects <= PIC_ICW4);
        REQUIRE(((chip->irr ^ chip->lines) & chip->elcr) == 0);
        REQUIRE((chip->elcr & ~(i == 0 ? 0xf8u : 0xdeu)) == 0);
    }
}

static void acknowledge(void)
{
    struct pic_chip *master = &world.pic.chip[0], *slave = &world.pic.chip[1];
    int input = wanted(master, true);
    unsigned expected = master->base | (input < 0 ? 7u : (unsigned)input);
    struct pic_chip *server = master;
    if (input == 2 && !(master->icw1 & 2)) {
        server = slave;
        input = wanted(slave, false);
        expected = slave->base | (input < 0 ? 7u : (unsigned)input);
    }
    REQUIRE(pic_acknowledge(&world.pic) == expected);
    if (input < 0)
        return;
    REQUIRE(!(server->isr >> input & 1) == !!(server->icw4 & 2));
    REQUIRE(!(server->irr >> input & 1) || (server->elcr >> input & 1));
}

static void step(uint8_t command, uint8_t operand)
{
    static const uint8_t port[4] = {0x20, 0x21, 0xa0, 0xa1};
    switch (command & 7) {
    case 0:
    case 1:
        pic_put(&world, port[command >> 3 & 3], operand);
        break;
    case 2:
        pic_get(&world, port[command >> 3 & 3]);
        break;
    case 3:
    case 4:
        pic_set_line(&world.pic, operand & 31, operand & 32);
        break;
    case 5:
        acknowledge();
        break;
    case 6:
        pic_elcr_ops.write(&world.pic, command >> 3 & 1, 1, operand);
        REQUIRE((pic_elcr_ops.read(&world.pic, command >> 3 & 1, 1) & ~(uint64_t)operand) == 0);
        break;
    default:
        if (operand == 0)
            pic_program(&world, command >> 3);
        else if (operand == 1)
            pic_reset(&world.pic);
        else
            pic_bus_ops.write(&world.pic.chip[operand & 1], 0, 2, (uint64_t)operand << 8 | command);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    REQUIRE(world_make(&world, 1));
    for (; size >= 2; data += 2, size -= 2) {
        step(data[0], data[1]);
        require_consistent();
    }
    return 0;
}
