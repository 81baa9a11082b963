/* The I/O APIC. */
#include "tests/unit/apic_world.h"

#include "tests/check.h"

static struct world world;

static struct lapic *cpu(unsigned index)
{
    return &world.cpu[index].lapic;
}

static void start(void)
{
    CHECK(world_make(&world, 2));
    apic_enable(&world, 0);
    apic_enable(&world, 1);
}

static void set_line(unsigned pin, bool level)
{
    ioapic_set_line(&world.ioapic, pin, level);
}

static uint32_t low(unsigned pin)
{
    return ioapic_get(&world, (uint8_t)(0x10 + 2 * pin));
}

static void registers(void)
{
    start();
    CHECK_EQ(ioapic_get(&world, 0), 0);
    CHECK_EQ(ioapic_get(&world, 1), 0x00170020);
    ioapic_put(&world, 0, 0xffffffff);
    CHECK_EQ(ioapic_get(&world, 0), 0x0f000000);
    CHECK_EQ(ioapic_get(&world, 2), 0x0f000000);
    ioapic_put(&world, 1, 0);
    CHECK_EQ(ioapic_get(&world, 1), 0x00170020);
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        CHECK_EQ(low(pin), 0x10000);
    ioapic_put(&world, 0x3e, 0xffffffff);
    ioapic_put(&world, 0x3f, 0xffffffff);
    CHECK_EQ(ioapic_get(&world, 0x3e), 0x1afff);
    CHECK_EQ(ioapic_get(&world, 0x3f), 0xff000000);
    static const uint8_t absent[] = {3, 0xf, 0x40, 0x41, 0x80, 0xff};
    for (unsigned i = 0; i < ARRAY_SIZE(absent); i++) {
        ioapic_put(&world, absent[i], 0xffffffff);
        CHECK_EQ(ioapic_get(&world, absent[i]), 0);
    }
    ioapic_bus_ops.write(&world.ioapic, 0, 1, 1);
    CHECK_EQ(ioapic_bus_ops.read(&world.ioapic, 0, 4), 1);
    CHECK_EQ(ioapic_bus_ops.read(&world.ioapic, 0x12, 1), 0x17);
    CHECK_EQ(ioapic_bus_ops.read(&world.ioapic, 0x10, 8), 0x170020);
    CHECK_EQ(ioapic_bus_ops.read(&world.ioapic, 0x18, 4), 0);
    CHECK_EQ(ioapic_bus_ops.read(&world.ioapic, 0xff8, 8), 0);
    ioapic_bus_ops.write(&world.ioapic, 0, 4, 0x10);
    ioapic_bus_ops.write(&world.ioapic, 0x10, 1, 0x55); /* not a whole register */
    CHECK_EQ(low(0), 0x10000);
    ioapic_bus_ops.write(&world.ioapic, 0xff8, 8, UINT64_MAX);
}

static void edges(void)
{
    start();
    ioapic_route(&world, 4, 1, 0x31);
    set_line(4, true);
    set_line(4, true);
    CHECK(!lapic_has_interrupt(cpu(0)));
    CHECK_EQ(lapic_acknowledge(cpu(1)), 0x31);
    lapic_eoi(cpu(1));
    CHECK(!lapic_has_interrupt(cpu(1)));
    CHECK_EQ(low(4), 0x31);
    set_line(4, false);
    /* On a masked pin an edge is lost. */
    ioapic_route(&world, 4, 1, 0x10031);
    set_line(4, true);
    ioapic_route(&world, 4, 1, 0x31);
    CHECK(!lapic_has_interrupt(cpu(1)));
    set_line(4, false);
    set_line(4, true);
    CHECK(lapic_has_interrupt(cpu(1)));
    set_line(24, true);
    set_line(UINT32_MAX, true);
}

static void levels_come_again_after_eoi(void)
{
    start();
    ioapic_route(&world, 16, 0, 0xa061);
    set_line(16, true);
    CHECK_EQ(low(16), 0xe061); /* remote IRR */
    CHECK_EQ(lapic_acknowledge(cpu(0)), 0x61);
    CHECK(!lapic_has_interrupt(cpu(0)));
    lapic_eoi(cpu(0));
    CHECK_EQ(low(16), 0xe061);
    CHECK_EQ(lapic_acknowledge(cpu(0)), 0x61);
    set_line(16, false);
    CHECK_EQ(low(16), 0xe061); /* until the EOI */
    lapic_eoi(cpu(0));
    CHECK_EQ(low(16), 0xa061);
    CHECK(!lapic_has_interrupt(cpu(0)));
}

/* As Linux moves and masks a level interrupt that is in service. */
static void masked_level_waits(void)
{
    start();
    ioapic_route(&world, 17, 0, 0x18062);
    set_line(17, true);
    CHECK_EQ(low(17), 0x18062);
    ioapic_route(&world, 17, 0, 0x8062);
    CHECK_EQ(lapic_acknowledge(cpu(0)), 0x62);
    ioapic_put(&world, 0x32, 0x18062);
    lapic_eoi(cpu(0));
    CHECK(!lapic_has_interrupt(cpu(0)));
    CHECK_EQ(low(17), 0x18062);
    ioapic_put(&world, 0x32, 0x8062);
    CHECK(lapic_has_interrupt(cpu(0)));
}

static void eoi_register_and_edge_trick(void)
{
    start();
    apic_write(&world, 0, 0xf0, 0x11ff); /* no EOI broadcast */
    ioapic_route(&world, 18, 0, 0x8063);
    ioapic_route(&world, 19, 0, 0x8063);
    set_line(18, true);
    set_line(19, true);
    CHECK_EQ(lapic_acknowledge(cpu(0)), 0x63);
    lapic_eoi(cpu(0));
    CHECK(!lapic_has_interrupt(cpu(0)));
    ioapic_bus_ops.write(&world.ioapic, 0x40, 4, 0x64);
    CHECK(!lapic_has_interrupt(cpu(0)));
    set_line(19, false);
    ioapic_bus_ops.write(&world.ioapic, 0x40, 4, 0x63);
    CHECK_EQ(low(18), 0xc063);
    CHECK_EQ(low(19), 0x8063);
    /* Masked and edge, then level again: the remote IRR is gone. */
    ioapic_put(&world, 0x34, 0x10063);
    CHECK_EQ(low(18), 0x10063);
    set_line(18, false);
    ioapic_put(&world, 0x34, 0x8063);
    CHECK_EQ(low(18), 0x8063);
}

static void not_accepted_is_pending(void)
{
    start();
    apic_write(&world, 0, 0xf0, 0xff);
    ioapic_route(&world, 20, 0, 0x8065);
    set_line(20, true);
    CHECK_EQ(low(20), 0x9065);
    apic_enable(&world, 0);
    ioapic_route(&world, 20, 0, 0x8065);
    CHECK_EQ(low(20), 0xc065);
    CHECK_EQ(lapic_acknowledge(cpu(0)), 0x65);
    /* An illegal vector is never accepted. */
    ioapic_route(&world, 21, 0, 0x8005);
    set_line(21, true);
    CHECK_EQ(low(21), 0x9005);
}

static void other_delivery_modes(void)
{
    start();
    ioapic_route(&world, 5, 1, 0x8400); /* NMI is an edge in any case */
    set_line(5, true);
    CHECK_EQ(world.cpu[1].nmis, 1);
    CHECK_EQ(low(5), 0x8400);
    ioapic_route(&world, 6, 1, 0x500);
    set_line(6, true);
    CHECK_EQ(world.cpu[1].inits, 1);
    ioapic_route(&world, 7, 1, 0x600);
    set_line(7, true);
    CHECK_EQ(world.cpu[1].sipis, 0);
    apic_write(&world, 0, 0xd0, 0x01000000);
    apic_write(&world, 1, 0xd0, 0x02000000);
    apic_write(&world, 0, 0x80, 0x20);
    ioapic_route(&world, 8, 3, 0x970);
    set_line(8, true);
    CHECK(!lapic_has_interrupt(cpu(0)));
    CHECK_EQ(lapic_acknowledge(cpu(1)), 0x70);
    ioapic_route(&world, 9, 3, 0x871);
    set_line(9, true);
    CHECK(lapic_has_interrupt(cpu(0)));
    CHECK_EQ(cpu(1)->highest_irr, 0x71);
}

/* The 8259A through pin 0 in ExtINT mode, as the MP specification's virtual wire mode via the I/O
 * APIC has it. */
static void extint_through_pin_0(void)
{
    start();
    pic_program(&world, 1);
    ioapic_route(&world, 0, 1, 0x700);
    pic_set_line(&world.pic, 3, true);
    pic_set_line(&world.pic, 4, true);
    CHECK(lapic_has_interrupt(cpu(1)));
    CHECK(!lapic_has_interrupt(cpu(0)));
    CHECK_EQ(lapic_acknowledge(cpu(1)), 0x33);
    CHECK(!lapic_has_interrupt(cpu(1)));
    pic_put(&world, 0x20, 0x20);
    CHECK_EQ(lapic_acknowledge(cpu(1)), 0x34);
    /* A request that the 8259A takes back is spurious. */
    pic_put(&world, 0x20, 0x20);
    pic_set_elcr(&world.pic, 0x20);
    pic_set_line(&world.pic, 5, true);
    pic_set_line(&world.pic, 5, false);
    CHECK_EQ(lapic_acknowledge(cpu(1)), 0x37);
}

static void on_the_bus_and_reset(void)
{
    struct bus bus = {0};
    start();
    CHECK_EQ(ioapic_attach(&world.ioapic, &bus, IOAPIC_DEFAULT_BASE), STATUS_OK);
    bus_write(&bus, BUS_MMIO, 0xfec00000, 4, 0x10);
    bus_write(&bus, BUS_MMIO, 0xfec00010, 4, 0x8030);
    CHECK_EQ(bus_read(&bus, BUS_MMIO, 0xfec00010, 4), 0x8030);
    set_line(0, true);
    ioapic_reset(&world.ioapic);
    CHECK_EQ(low(0), 0x10000);
    ioapic_route(&world, 0, 0, 0x8030); /* the line has stayed */
    CHECK_EQ(low(0), 0xc030);
}

TEST_MAIN({"registers", registers}, {"edges", edges},
          {"levels_come_again_after_eoi", levels_come_again_after_eoi},
          {"masked_level_waits", masked_level_waits},
          {"eoi_register_and_edge_trick", eoi_register_and_edge_trick},
          {"not_accepted_is_pending", not_accepted_is_pending},
          {"other_delivery_modes", other_delivery_modes},
          {"extint_through_pin_0", extint_through_pin_0},
          {"on_the_bus_and_reset", on_the_bus_and_reset})
