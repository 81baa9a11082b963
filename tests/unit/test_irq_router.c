/* The wiring of devices to the two interrupt controllers. */
#include "tests/unit/apic_world.h"

#include "tests/check.h"

static struct world world;

static void start(void)
{
    CHECK(world_make(&world, 1));
    apic_enable(&world, 0);
    pic_program(&world, 1);
}

static void isa_irqs_drive_both(void)
{
    start();
    for (unsigned irq = 0; irq < 16; irq++) {
        if (irq == 2)
            continue;
        struct irq_line line = irq_router_line(&world.router, irq);
        irq_line_set(&line, true);
        CHECK_EQ(world.ioapic.lines & ~1u, 1u << (irq == 0 ? 2 : irq));
        CHECK_EQ(world.pic.chip[irq / 8].lines, 1u << irq % 8);
        irq_line_set(&line, false);
        CHECK_EQ(world.ioapic.lines & ~1u, 0);
        CHECK_EQ(world.pic.chip[irq / 8].lines, 0);
    }
}

static void shared_lines_are_wired_or(void)
{
    start();
    ioapic_route(&world, 16, 0, 0x8061);
    struct irq_line a = irq_router_line(&world.router, 16);
    struct irq_line b = irq_router_line(&world.router, 16);
    irq_line_set(&a, true);
    irq_line_set(&a, true);
    irq_line_set(&b, true);
    irq_line_set(&a, false);
    CHECK_EQ(lapic_acknowledge(&world.cpu[0].lapic), 0x61);
    lapic_eoi(&world.cpu[0].lapic);
    CHECK_EQ(lapic_acknowledge(&world.cpu[0].lapic), 0x61);
    irq_line_set(&b, false);
    irq_line_set(&b, false);
    lapic_eoi(&world.cpu[0].lapic);
    CHECK(!lapic_has_interrupt(&world.cpu[0].lapic));
    CHECK_EQ(world.pic.chip[0].lines | world.pic.chip[1].lines, 0);
}

static void pirqs_share_a_pic_input(void)
{
    start();
    struct irq_line a = irq_router_line(&world.router, 16), b = irq_router_line(&world.router, 17);
    struct irq_line c = irq_router_line(&world.router, 11);
    irq_router_route_pirq(&world.router, 0, 11);
    irq_line_set(&a, true);
    irq_line_set(&b, true);
    CHECK_EQ(world.pic.chip[1].lines, 8);
    irq_router_route_pirq(&world.router, 1, 11); /* while asserted */
    irq_line_set(&a, false);
    CHECK_EQ(world.pic.chip[1].lines, 8);
    irq_line_set(&c, true);
    irq_router_route_pirq(&world.router, 1, 10);
    CHECK_EQ(world.pic.chip[1].lines, 12);
    irq_line_set(&c, false);
    CHECK_EQ(world.pic.chip[1].lines, 4);
    static const uint8_t none[] = {0, 1, 2, 16, 0x80, 0xff};
    for (unsigned i = 0; i < ARRAY_SIZE(none); i++) {
        irq_router_route_pirq(&world.router, 1, 10);
        CHECK_EQ(world.pic.chip[1].lines, 4);
        irq_router_route_pirq(&world.router, 1, none[i]);
        CHECK_EQ(world.pic.chip[1].lines, 0);
    }
    irq_router_route_pirq(&world.router, 8, 10);
    irq_router_route_pirq(&world.router, UINT32_MAX, 10);
    irq_line_set(&b, false);
    CHECK_EQ(world.ioapic.lines & ~1u, 0);
}

/* What Linux checks at boot: the timer through pin 2, and with that masked, through the 8259A and
 * LINT0 as ExtINT. */
static void timer_by_every_way(void)
{
    start();
    struct lapic *lapic = &world.cpu[0].lapic;
    struct irq_line timer = irq_router_line(&world.router, 0);
    pic_put(&world, 0x21, 0xff);
    ioapic_route(&world, 2, 0, 0x30);
    irq_line_pulse(&timer);
    CHECK_EQ(lapic_acknowledge(lapic), 0x30);
    lapic_eoi(lapic);
    CHECK(!lapic_has_interrupt(lapic));
    ioapic_route(&world, 2, 0, 0x10030);
    pic_program(&world, 1);
    apic_write(&world, 0, 0x350, 0x700);
    for (unsigned i = 0; i < 3; i++) {
        irq_line_pulse(&timer);
        CHECK_EQ(lapic_acknowledge(lapic), 0x30);
        pic_put(&world, 0x20, 0x60);
        CHECK(!lapic_has_interrupt(lapic));
    }
}

TEST_MAIN({"isa_irqs_drive_both", isa_irqs_drive_both},
          {"shared_lines_are_wired_or", shared_lines_are_wired_or},
          {"pirqs_share_a_pic_input", pirqs_share_a_pic_input},
          {"timer_by_every_way", timer_by_every_way})
