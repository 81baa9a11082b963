/* The ACPI fixed hardware and the reset control register. */
#include "drivers/model/acpi_pm.h"
#include "kernel/vm/platform.h"
#include "tests/check.h"
#include "tests/fake/hands.h"

#define HZ (PLATFORM_PM_TIMER_HZ * 10ull)

struct rig {
    struct hands hands;
    struct bus bus;
    struct pin pin;
    struct acpi_pm pm;
    unsigned power_offs, resets;
};

static void power_off(void *context)
{
    ((struct rig *)context)->power_offs++;
}

static void reset(void *context)
{
    ((struct rig *)context)->resets++;
}

static void rig_init(struct rig *rig, bool timer_32bit)
{
    memset(rig, 0, sizeof(*rig));
    hands_init(&rig->hands, HZ);
    struct acpi_pm_config config = {
        .sci = pin_line(&rig->pin, PLATFORM_IRQ_SCI),
        .clock = &rig->hands.clock,
        .timers = &rig->hands.timers,
        .timer_32bit = timer_32bit,
        .power_off = power_off,
        .reset = reset,
        .context = rig,
    };
    acpi_pm_init(&rig->pm, &config);
    CHECK_EQ(acpi_pm_attach(&rig->pm, &rig->bus), STATUS_OK);
    CHECK_EQ(
        bus_add(&rig->bus, BUS_PORT, PLATFORM_PORT_RESET_CONTROL, 1, &reset_control_ops, &rig->pm),
        STATUS_OK);
}

static uint64_t in(struct rig *rig, unsigned port, unsigned size)
{
    return bus_read(&rig->bus, BUS_PORT, port, size);
}

static void out(struct rig *rig, unsigned port, unsigned size, uint64_t value)
{
    bus_write(&rig->bus, BUS_PORT, port, size, value);
}

static void timer_counts(void)
{
    for (int wide = 0; wide < 2; wide++) {
        struct rig rig;
        rig_init(&rig, wide);
        CHECK_EQ(in(&rig, 0x608, 4), 0);
        hands_turn(&rig.hands, 9);
        CHECK_EQ(in(&rig, 0x608, 4), 0);
        hands_turn(&rig.hands, 1);
        CHECK_EQ(in(&rig, 0x608, 4), 1);
        hands_turn(&rig.hands, 10ull * 0x123455);
        CHECK_EQ(in(&rig, 0x608, 4), 0x123456);
        CHECK_EQ(in(&rig, 0x608, 2), 0x3456);
        CHECK_EQ(in(&rig, 0x60a, 1), 0x12);
        out(&rig, 0x608, 4, 0);
        CHECK_EQ(in(&rig, 0x608, 4), 0x123456);
        hands_turn(&rig.hands, 10ull << 24);
        CHECK_EQ(in(&rig, 0x608, 4), wide ? 0x1123456 : 0x123456);
        hands_turn(&rig.hands, 10ull << 32);
        CHECK_EQ(in(&rig, 0x608, 4), wide ? 0x1123456 : 0x123456);
        CHECK_EQ(acpi_pm_timer(&rig.pm), wide ? 0x1123456 : 0x123456);
    }
}

static void timer_interrupts_on_each_carry(void)
{
    for (int wide = 0; wide < 2; wide++) {
        struct rig rig;
        rig_init(&rig, wide);
        uint64_t half = 10ull << (wide ? 31 : 23);
        out(&rig, 0x602, 2, 0x0001);
        for (unsigned i = 1; i <= 4; i++) {
            hands_turn(&rig.hands, half - 1);
            CHECK(!rig.pin.level);
            CHECK_EQ(in(&rig, 0x600, 2), 0);
            hands_turn(&rig.hands, 1);
            CHECK(rig.pin.level);
            CHECK_EQ(rig.pin.rises, i);
            CHECK_EQ(rig.pin.input, 9);
            CHECK_EQ(rig.hands.timers.next, TIMER_NEVER);
            CHECK_EQ(in(&rig, 0x600, 2), 1);
            out(&rig, 0x600, 2, 0x0001);
            CHECK(!rig.pin.level);
        }
        /* Not enabled, the status is set all the same, and costs no deadline. */
        out(&rig, 0x602, 2, 0);
        CHECK_EQ(rig.hands.timers.next, TIMER_NEVER);
        hands_turn(&rig.hands, 2 * half);
        CHECK_EQ(in(&rig, 0x600, 2), 1);
        CHECK(!rig.pin.level);
        out(&rig, 0x602, 2, 1);
        CHECK(rig.pin.level);
    }
}

static void carry_in_the_moment_of_a_write_is_kept(void)
{
    struct rig rig;
    rig_init(&rig, false);
    rig.hands.now += 10ull << 23; /* the timer queue did not run */
    out(&rig, 0x602, 2, 0x0001);
    CHECK(rig.pin.level);
    out(&rig, 0x600, 1, 0x01);
    CHECK(!rig.pin.level);
    CHECK_EQ(in(&rig, 0x600, 2), 0);
}

static void status_and_enable(void)
{
    struct rig rig;
    rig_init(&rig, true);
    out(&rig, 0x602, 2, 0xffff);
    CHECK_EQ(in(&rig, 0x602, 2), 0x0721);
    out(&rig, 0x602, 2, 0x0100);
    acpi_pm_raise(&rig.pm, ACPI_PM_SLEEP_BUTTON);
    CHECK(!rig.pin.level);
    acpi_pm_raise(&rig.pm, ACPI_PM_POWER_BUTTON);
    CHECK(rig.pin.level);
    CHECK_EQ(in(&rig, 0x600, 4), 0x01000300);
    out(&rig, 0x600, 2, 0x0200); /* one bit clears alone */
    CHECK(rig.pin.level);
    CHECK_EQ(in(&rig, 0x600, 2), 0x0100);
    out(&rig, 0x600, 1, 0xff); /* the wrong byte */
    CHECK(rig.pin.level);
    out(&rig, 0x601, 1, 0xff);
    CHECK(!rig.pin.level);
    CHECK_EQ(in(&rig, 0x600, 2), 0);
    /* Events of nobody, and the timer's, cannot be raised from outside. */
    acpi_pm_raise(&rig.pm, 0xf8df & ~(ACPI_PM_GLOBAL_LOCK));
    CHECK_EQ(in(&rig, 0x600, 2), 0);
    acpi_pm_raise(&rig.pm, ACPI_PM_GLOBAL_LOCK | ACPI_PM_RTC);
    CHECK_EQ(in(&rig, 0x600, 2), 0x0420);
    out(&rig, 0x603, 1, 0x04);
    CHECK(rig.pin.level);
}

static void acpi_mode_by_smi_command(void)
{
    struct rig rig;
    rig_init(&rig, true);
    CHECK_EQ(in(&rig, 0x604, 2), 0x0001);
    out(&rig, 0x602, 2, 0x0100);
    acpi_pm_raise(&rig.pm, ACPI_PM_POWER_BUTTON);
    CHECK(rig.pin.level);
    out(&rig, 0xb2, 1, PLATFORM_SMI_ACPI_DISABLE);
    CHECK_EQ(in(&rig, 0x604, 2), 0);
    CHECK(!rig.pin.level);
    out(&rig, 0x604, 2, 0x0001); /* not the guest's to set */
    CHECK_EQ(in(&rig, 0x604, 2), 0);
    out(&rig, 0xb2, 1, 0x55);
    CHECK_EQ(in(&rig, 0x604, 2), 0);
    CHECK_EQ(in(&rig, 0xb2, 1), 0x55);
    out(&rig, 0xb2, 1, PLATFORM_SMI_ACPI_ENABLE);
    CHECK_EQ(in(&rig, 0x604, 2), 1);
    CHECK(rig.pin.level);
    out(&rig, 0xb3, 1, 0x99);
    CHECK_EQ(in(&rig, 0xb3, 1), 0x99);
    CHECK_EQ(in(&rig, 0xb2, 2), 0x9900 | PLATFORM_SMI_ACPI_ENABLE);
}

static void control_and_power_off(void)
{
    struct rig rig;
    rig_init(&rig, true);
    out(&rig, 0x604, 2, 0xffff & ~0x2000);
    CHECK_EQ(in(&rig, 0x604, 2), 0x1c03);
    for (unsigned type = 0; type < 8; type++) {
        /* As ACPICA does it: first the type, then with SLP_EN. */
        out(&rig, 0x604, 2, type << 10);
        CHECK_EQ(rig.power_offs, type > PLATFORM_SLP_TYP_S5);
        out(&rig, 0x604, 2, type << 10 | 0x2000); /* 0x2000 for S5, as people write by heart */
        CHECK_EQ(rig.power_offs, 1);
        CHECK_EQ(in(&rig, 0x604, 2), type << 10 | 1);
    }
    out(&rig, 0x605, 1, PLATFORM_SLP_TYP_S5 << 2 | 0x20); /* one byte does it too */
    CHECK_EQ(rig.power_offs, 2);
    CHECK_EQ(rig.resets, 0);
}

static void gpe_block_is_empty(void)
{
    struct rig rig;
    rig_init(&rig, true);
    out(&rig, PLATFORM_GPE0, 4, 0xffffffff);
    CHECK_EQ(in(&rig, PLATFORM_GPE0, 4), 0xffff0000);
    CHECK(!rig.pin.level);
    out(&rig, PLATFORM_GPE0 + 2, 1, 0x12);
    out(&rig, PLATFORM_GPE0 + 3, 1, 0x34);
    CHECK_EQ(in(&rig, PLATFORM_GPE0 + 2, 2), 0x3412);
    /* The gaps in the block. */
    out(&rig, 0x606, 2, 0xffff);
    out(&rig, 0x610, 4, 0xffffffff);
    CHECK_EQ(in(&rig, 0x606, 2), 0);
    CHECK_EQ(in(&rig, 0x60c, 4), 0);
    CHECK_EQ(in(&rig, 0x61c, 4), 0);
}

static void reset_control(void)
{
    struct rig rig;
    rig_init(&rig, true);
    CHECK_EQ(in(&rig, 0xcf9, 1), 0);
    /* Linux: reboot=pci. */
    out(&rig, 0xcf9, 1, 0x02);
    CHECK_EQ(in(&rig, 0xcf9, 1), 0x02);
    CHECK_EQ(rig.resets, 0);
    out(&rig, 0xcf9, 1, 0x06);
    CHECK_EQ(rig.resets, 1);
    CHECK_EQ(in(&rig, 0xcf9, 1), 0x02);
    out(&rig, 0xcf9, 1, 0x0a);
    CHECK_EQ(in(&rig, 0xcf9, 1), 0x0a);
    out(&rig, 0xcf9, 1, 0x0e);
    CHECK_EQ(rig.resets, 2);
    out(&rig, 0xcf9, 1, 0xf1);
    CHECK_EQ(in(&rig, 0xcf9, 1), 0);
    out(&rig, 0xcf9, 1, PLATFORM_RESET_VALUE);
    CHECK_EQ(rig.resets, 3);
}

static void reset_clears(void)
{
    struct rig rig;
    rig_init(&rig, true);
    out(&rig, 0x602, 2, 0x0101);
    acpi_pm_raise(&rig.pm, ACPI_PM_POWER_BUTTON);
    out(&rig, 0xb2, 1, PLATFORM_SMI_ACPI_DISABLE);
    out(&rig, PLATFORM_GPE0 + 2, 2, 0xffff);
    out(&rig, 0xcf9, 1, 0x02);
    hands_turn(&rig.hands, 1000);
    acpi_pm_reset(&rig.pm);
    CHECK(!rig.pin.level);
    CHECK_EQ(in(&rig, 0x600, 4), 0);
    CHECK_EQ(in(&rig, 0x604, 2), 1);
    CHECK_EQ(in(&rig, 0x608, 4), 100);
    CHECK_EQ(in(&rig, PLATFORM_GPE0, 4), 0);
    CHECK_EQ(in(&rig, 0xb2, 2), 0);
    CHECK_EQ(in(&rig, 0xcf9, 1), 0);
    CHECK_EQ(rig.hands.timers.next, TIMER_NEVER);
}

static void two_are_apart(void)
{
    struct rig a, b;
    rig_init(&a, true);
    rig_init(&b, false);
    out(&a, 0x602, 2, 0x0101);
    acpi_pm_raise(&a.pm, ACPI_PM_POWER_BUTTON);
    CHECK(a.pin.level);
    CHECK(!b.pin.level);
    CHECK_EQ(in(&b, 0x600, 4), 0);
    out(&b, 0xcf9, 1, 6);
    CHECK_EQ(a.resets, 0);
    CHECK_EQ(b.resets, 1);
}

TEST_MAIN({"acpi_pm: the timer counts", timer_counts},
          {"acpi_pm: the timer interrupts on each carry", timer_interrupts_on_each_carry},
          {"acpi_pm: a carry in the moment of a write is kept",
           carry_in_the_moment_of_a_write_is_kept},
          {"acpi_pm: status and enable", status_and_enable},
          {"acpi_pm: ACPI mode by SMI command", acpi_mode_by_smi_command},
          {"acpi_pm: control and power-off", control_and_power_off},
          {"acpi_pm: the GPE block is empty", gpe_block_is_empty},
          {"acpi_pm: reset control", reset_control}, {"acpi_pm: reset clears", reset_clears},
          {"acpi_pm: two are apart", two_are_apart})
