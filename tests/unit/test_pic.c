/* The 8259A pair. */
#include "tests/unit/apic_world.h"

#include "tests/check.h"

static struct world world;

static void start(uint8_t icw4)
{
    CHECK(world_make(&world, 1));
    pic_program(&world, icw4);
}

static void raise_irq(unsigned irq)
{
    pic_set_line(&world.pic, irq, false);
    pic_set_line(&world.pic, irq, true);
}

static bool output(void)
{
    return world.cpu[0].lapic.lint[0];
}

static void starts_masked(void)
{
    CHECK(world_make(&world, 1));
    CHECK_EQ(pic_get(&world, 0x21), 0xff);
    raise_irq(0);
    CHECK(!output());
    CHECK_EQ(pic_get(&world, 0x20), 1);
    /* As Linux probes: what is written to the mask reads back. */
    pic_put(&world, 0x21, 0xfb);
    CHECK_EQ(pic_get(&world, 0x21), 0xfb);
}

static void latches_edges_and_nests(void)
{
    start(1);
    raise_irq(5);
    CHECK(output());
    CHECK_EQ(pic_acknowledge(&world.pic), 0x35);
    CHECK(!output());
    /* The line is still high, which is no new edge. */
    pic_set_line(&world.pic, 5, true);
    CHECK_EQ(pic_get(&world, 0x20), 0);
    raise_irq(6); /* lower: waits */
    CHECK(!output());
    raise_irq(1); /* higher: interrupts */
    CHECK(output());
    CHECK_EQ(pic_acknowledge(&world.pic), 0x31);
    pic_put(&world, 0x20, 0x0b);
    CHECK_EQ(pic_get(&world, 0x20), 0x22);
    pic_put(&world, 0x20, 0x20); /* ends 1, the highest */
    CHECK_EQ(pic_get(&world, 0x20), 0x20);
    CHECK(!output());
    pic_put(&world, 0x20, 0x65); /* ends 5 */
    CHECK(output());
    pic_put(&world, 0x20, 0x0a);
    CHECK_EQ(pic_get(&world, 0x20), 0x40);
    CHECK_EQ(pic_acknowledge(&world.pic), 0x36);
}

static void pulse_is_latched(void)
{
    start(1);
    struct irq_line line = {pic_set_line, &world.pic, 4};
    irq_line_pulse(&line);
    CHECK(output());
    CHECK_EQ(pic_acknowledge(&world.pic), 0x34);
}

static void slave_cascades(void)
{
    start(1);
    raise_irq(12);
    CHECK(output());
    CHECK_EQ(pic_get(&world, 0x20), 0x04);
    CHECK_EQ(pic_get(&world, 0xa0), 0x10);
    CHECK_EQ(pic_acknowledge(&world.pic), 0x3c);
    pic_put(&world, 0x20, 0x0b);
    pic_put(&world, 0xa0, 0x0b);
    CHECK_EQ(pic_get(&world, 0x20), 0x04);
    CHECK_EQ(pic_get(&world, 0xa0), 0x10);
    raise_irq(8); /* higher in the slave, but the master serves IR2 */
    CHECK(!output());
    pic_put(&world, 0x20, 0x62);
    CHECK(output());
    CHECK_EQ(pic_acknowledge(&world.pic), 0x38);
    pic_put(&world, 0xa0, 0x20);
    CHECK_EQ(pic_get(&world, 0xa0), 0x10);
    pic_put(&world, 0x20, 0x20);
    pic_put(&world, 0xa0, 0x20);
    CHECK_EQ(pic_get(&world, 0xa0), 0);
    CHECK_EQ(pic_get(&world, 0x20), 0);
    /* IRQ 2 itself is not a pin. */
    raise_irq(2);
    CHECK(!output());
    pic_set_line(&world.pic, 16, true);
    pic_set_line(&world.pic, 1000, true);
    CHECK(!output());
}

static void special_fully_nested_slave_interrupts_itself(void)
{
    start(0x11);
    raise_irq(12);
    CHECK_EQ(pic_acknowledge(&world.pic), 0x3c);
    raise_irq(13); /* lower in the slave */
    raise_irq(3);  /* lower in the master */
    CHECK(!output());
    raise_irq(9);
    CHECK(output());
    CHECK_EQ(pic_acknowledge(&world.pic), 0x39);
    raise_irq(0);
    CHECK_EQ(pic_acknowledge(&world.pic), 0x30);
}

static void spurious_without_request(void)
{
    start(1);
    pic_set_elcr(&world.pic, 0x0820);
    pic_set_line(&world.pic, 5, true);
    CHECK(output());
    pic_set_line(&world.pic, 5, false); /* gone before the INTA cycle */
    CHECK(!output());
    CHECK_EQ(pic_acknowledge(&world.pic), 0x37);
    pic_put(&world, 0x20, 0x0b);
    CHECK_EQ(pic_get(&world, 0x20), 0); /* not in service */
    /* A request that the mask takes away leaves a spurious one, too. */
    raise_irq(4);
    pic_put(&world, 0x21, 0x10);
    CHECK_EQ(pic_acknowledge(&world.pic), 0x37);
}

static void level_follows_the_line(void)
{
    start(1);
    CHECK_EQ(pic_elcr_ops.read(&world.pic, 0, 1), 0);
    pic_elcr_ops.write(&world.pic, 0, 2, 0xffff);
    CHECK_EQ(pic_elcr_ops.read(&world.pic, 0, 2), 0xdef8);
    CHECK_EQ(pic_elcr_ops.read(&world.pic, 1, 1), 0xde);
    pic_set_line(&world.pic, 11, true);
    CHECK_EQ(pic_acknowledge(&world.pic), 0x3b);
    CHECK(!output());
    pic_put(&world, 0xa0, 0x20);
    pic_put(&world, 0x20, 0x20);
    CHECK(output()); /* still asserted: again */
    CHECK_EQ(pic_acknowledge(&world.pic), 0x3b);
    pic_set_line(&world.pic, 11, false);
    pic_put(&world, 0xa0, 0x20);
    pic_put(&world, 0x20, 0x20);
    CHECK(!output());
    /* ICW1 forgets edges, but not levels. */
    pic_set_line(&world.pic, 1, true);
    pic_set_line(&world.pic, 5, true);
    pic_program(&world, 1);
    CHECK_EQ(pic_get(&world, 0x20), 0x20);
}

static void auto_eoi_and_rotation(void)
{
    start(3);
    raise_irq(3);
    CHECK_EQ(pic_acknowledge(&world.pic), 0x33);
    pic_put(&world, 0x20, 0x0b);
    CHECK_EQ(pic_get(&world, 0x20), 0);
    pic_put(&world, 0x20, 0x80); /* rotate in automatic EOI mode */
    raise_irq(3);
    raise_irq(4);
    CHECK_EQ(pic_acknowledge(&world.pic), 0x33);
    raise_irq(3); /* the lowest now */
    CHECK_EQ(pic_acknowledge(&world.pic), 0x34);
    CHECK_EQ(pic_acknowledge(&world.pic), 0x33);
}

static void rotates_on_command(void)
{
    start(1);
    pic_put(&world, 0x20, 0xc4); /* IR4 is the lowest: IR5 the highest */
    raise_irq(3);
    raise_irq(4);
    raise_irq(5);
    CHECK_EQ(pic_acknowledge(&world.pic), 0x35);
    pic_put(&world, 0x20, 0xa0); /* EOI, and IR5 becomes the lowest */
    CHECK_EQ(pic_acknowledge(&world.pic), 0x33);
    raise_irq(5);
    CHECK(!output());
    pic_put(&world, 0x20, 0xe3); /* specific EOI, and IR3 the lowest */
    CHECK_EQ(pic_acknowledge(&world.pic), 0x34);
    pic_put(&world, 0x20, 0x40); /* no operation */
    pic_put(&world, 0x20, 0x20);
    CHECK_EQ(pic_acknowledge(&world.pic), 0x35);
}

static void special_mask_mode_lets_lower_in(void)
{
    start(1);
    raise_irq(3);
    CHECK_EQ(pic_acknowledge(&world.pic), 0x33);
    raise_irq(6);
    CHECK(!output());
    pic_put(&world, 0x20, 0x68);
    CHECK(!output());
    pic_put(&world, 0x21, 0x08); /* masking what is in service enables the others */
    CHECK(output());
    CHECK_EQ(pic_acknowledge(&world.pic), 0x36);
    pic_put(&world, 0x20, 0x20); /* does not end the masked one */
    pic_put(&world, 0x20, 0x0b);
    CHECK_EQ(pic_get(&world, 0x20), 0x08);
    pic_put(&world, 0x20, 0x48);
    raise_irq(6);
    CHECK(!output());
}

static void polls(void)
{
    start(1);
    pic_put(&world, 0x20, 0x0c);
    CHECK_EQ(pic_get(&world, 0x20), 0);
    raise_irq(6);
    raise_irq(10);
    pic_put(&world, 0x20, 0x0c);
    CHECK_EQ(pic_get(&world, 0x20), 0x82);
    pic_put(&world, 0xa0, 0x0c);
    CHECK_EQ(pic_get(&world, 0xa1), 0x82); /* either port answers */
    pic_put(&world, 0xa0, 0x0b);
    CHECK_EQ(pic_get(&world, 0xa0), 0x04);
    CHECK(!output());
    CHECK_EQ(pic_get(&world, 0x21), 0); /* the poll was one read */
}

static void initialisation_may_be_short(void)
{
    CHECK(world_make(&world, 1));
    pic_put(&world, 0x20, 0x12); /* single, no ICW4 */
    raise_irq(1);
    CHECK(!output()); /* not ready before ICW2 */
    pic_put(&world, 0x21, 0x47);
    CHECK(output());
    CHECK_EQ(pic_acknowledge(&world.pic), 0x41);
    pic_put(&world, 0x21, 0x5a); /* this is the mask already */
    CHECK_EQ(pic_get(&world, 0x21), 0x5a);
    /* With ICW4 but single: no ICW3. */
    pic_put(&world, 0x20, 0x13);
    pic_put(&world, 0x21, 0x60);
    pic_put(&world, 0x21, 0x03);
    raise_irq(7);
    CHECK_EQ(pic_acknowledge(&world.pic), 0x67);
    pic_put(&world, 0x20, 0x0b);
    CHECK_EQ(pic_get(&world, 0x20), 0);
    /* ICW1 in the middle begins anew. */
    pic_put(&world, 0x20, 0x11);
    pic_put(&world, 0x21, 0x20);
    pic_program(&world, 1);
    raise_irq(7);
    CHECK_EQ(pic_acknowledge(&world.pic), 0x37);
}

static void ports_are_on_the_bus(void)
{
    struct bus bus = {0};
    start(1);
    CHECK_EQ(pic_attach(&world.pic, &bus), STATUS_OK);
    CHECK_EQ(pic_attach(&world.pic, &bus), ERR_EXISTS);
    bus_write(&bus, BUS_PORT, 0x21, 1, 0xa5);
    bus_write(&bus, BUS_PORT, 0xa1, 1, 0x5a);
    CHECK_EQ(bus_read(&bus, BUS_PORT, 0x20, 2), 0xa500);
    CHECK_EQ(bus_read(&bus, BUS_PORT, 0xa1, 1), 0x5a);
    bus_write(&bus, BUS_PORT, 0x4d1, 1, 0xff);
    CHECK_EQ(bus_read(&bus, BUS_PORT, 0x4d0, 2), 0xde00);
}

static void reset_keeps_lines(void)
{
    start(1);
    pic_set_elcr(&world.pic, 0x20);
    pic_set_line(&world.pic, 5, true);
    CHECK(output());
    pic_reset(&world.pic);
    CHECK(!output());
    CHECK_EQ(world.pic.chip[0].elcr, 0);
    pic_program(&world, 1);
    CHECK(!output());
    pic_set_elcr(&world.pic, 0x20);
    CHECK(output());
}

TEST_MAIN({"starts_masked", starts_masked}, {"latches_edges_and_nests", latches_edges_and_nests},
          {"pulse_is_latched", pulse_is_latched}, {"slave_cascades", slave_cascades},
          {"special_fully_nested_slave_interrupts_itself",
           special_fully_nested_slave_interrupts_itself},
          {"spurious_without_request", spurious_without_request},
          {"level_follows_the_line", level_follows_the_line},
          {"auto_eoi_and_rotation", auto_eoi_and_rotation},
          {"rotates_on_command", rotates_on_command},
          {"special_mask_mode_lets_lower_in", special_mask_mode_lets_lower_in}, {"polls", polls},
          {"initialisation_may_be_short", initialisation_may_be_short},
          {"ports_are_on_the_bus", ports_are_on_the_bus}, {"reset_keeps_lines", reset_keeps_lines})
