/* Any sequence of accesses to the ACPI block, the reset and SMI ports, the keyboard controller and
 * the debug exit: the interrupt lines agree with the registers, queues keep their bounds, and only
 * the documented writes power off or reset. */
#include <stdlib.h>

#include "drivers/model/acpi_pm.h"
#include "drivers/model/debug_exit.h"
#include "drivers/model/i8042.h"
#include "kernel/vm/platform.h"
#include "tests/fake/hands.h"
#include "tests/fuzz/fuzz.h"

struct world {
    struct hands hands;
    struct bus bus;
    struct pin sci, keyboard, aux;
    struct acpi_pm pm;
    struct i8042 kbc;
    struct debug_exit debug_exit;
    unsigned power_offs, pm_resets, kbc_resets, exits;
    bool a20;
    uint32_t exit_value;
    uint64_t last_timer;
    bool acpi_mode;
};

static struct world world;

static void power_off(void *context)
{
    (void)context;
    world.power_offs++;
}

static void pm_reset(void *context)
{
    (void)context;
    world.pm_resets++;
}

static void kbc_reset(void *context)
{
    (void)context;
    world.kbc_resets++;
}

static void set_a20(void *context, bool enabled)
{
    (void)context;
    REQUIRE(enabled != world.a20);
    world.a20 = enabled;
}

static void note_exit(void *context, uint32_t value)
{
    (void)context;
    world.exits++;
    world.exit_value = value;
}

static const uint16_t ports[16] = {0x600, 0x602, 0x604, 0x605, 0x608, 0x620, 0x622, 0x60,
                                   0x64,  0x60,  0x64,  0x92,  0xb2,  0xcf9, 0xf4,  0x601};

static void check_lines(void)
{
    const struct acpi_pm *pm = &world.pm;
    bool sci = world.acpi_mode && (pm->status & pm->enable);
    REQUIRE(world.sci.level == sci);
    REQUIRE((pm->control & 1) == world.acpi_mode);
    REQUIRE((pm->enable & ~0x0721) == 0 && (pm->status & ~0x0721) == 0);
    REQUIRE(world.hands.timers.next > world.hands.now);
    uint64_t status = bus_read(&world.bus, BUS_PORT, 0x64, 1);
    uint8_t config = world.kbc.ram[0];
    bool full = status & 1, aux = status & 0x20;
    REQUIRE((status & 0x12) == 0x10); /* never busy, never locked */
    REQUIRE(world.keyboard.level == (full && !aux && (config & 1)));
    REQUIRE(world.aux.level == (full && aux && (config & 2)));
    REQUIRE(world.kbc.reply.count <= PS2_QUEUE_SIZE);
    REQUIRE(world.kbc.keyboard.queue.count <= PS2_QUEUE_SIZE);
    REQUIRE(world.kbc.keyboard.set == 1 || world.kbc.keyboard.set == 2);
    REQUIRE(world.a20 == (bus_read(&world.bus, BUS_PORT, 0x92, 1) >> 1 & 1));
    /* Nothing waits behind an empty output buffer, except for an interface that is off. */
    REQUIRE(full || world.kbc.reply.count == 0);
    REQUIRE(full || (config & 0x10) || world.kbc.keyboard.queue.count == 0);
}

/* Where the write goes to one register with a plain meaning, its effect is known beforehand. */
static void guest_write(uint16_t port, unsigned size, uint32_t value)
{
    unsigned power_offs = world.power_offs, resets = world.pm_resets;
    unsigned kbc_resets = world.kbc_resets, exits = world.exits;
    uint8_t waiting = world.kbc.command;
    if (port == 0xb2 && (uint8_t)value == PLATFORM_SMI_ACPI_ENABLE)
        world.acpi_mode = true;
    if (port == 0xb2 && (uint8_t)value == PLATFORM_SMI_ACPI_DISABLE)
        world.acpi_mode = false;
    bus_write(&world.bus, BUS_PORT, port, size, value);
    if (port == 0x604 && size >= 2)
        REQUIRE(world.power_offs - power_offs == ((value & 0x3c00) == 0x2000));
    if (port >= 0x608)
        REQUIRE(world.power_offs == power_offs);
    REQUIRE(world.pm_resets - resets == (port == 0xcf9 && (value & 4)));
    if (port == 0x64)
        REQUIRE(world.kbc_resets - kbc_resets == ((value & 0xf1) == 0xf0));
    else if (port == 0x60)
        REQUIRE(world.kbc_resets - kbc_resets == (waiting == 0xd1 && !(value & 1)));
    else if (port == 0x92)
        REQUIRE(world.kbc_resets - kbc_resets == (value & 1));
    else
        REQUIRE(world.kbc_resets == kbc_resets);
    REQUIRE(world.exits - exits == (port == 0xf4));
    REQUIRE(port != 0xf4 || size != 4 || world.exit_value == value);
}

static void guest_read(uint16_t port, unsigned size)
{
    uint64_t value = bus_read(&world.bus, BUS_PORT, port, size);
    if (port == 0x608 && size == 4) {
        REQUIRE(value == (acpi_pm_timer(&world.pm) & 0xffffffff));
        REQUIRE(world.pm.config.timer_32bit || value <= 0xffffff);
    }
    if (port == 0xcf9)
        REQUIRE((value & 0xf5) == 0 || size > 1);
}

static void outside(uint8_t what, uint8_t value)
{
    switch (what & 3) {
    case 0:
        hands_turn(&world.hands, (uint64_t)value << (what >> 2 & 31));
        break;
    case 1:
        acpi_pm_raise(&world.pm, (uint16_t)(value * 0x0101));
        break;
    case 2:
        i8042_key(&world.kbc, value, what & 4, what & 8);
        break;
    default:
        world.acpi_mode = true;
        acpi_pm_reset(&world.pm);
        i8042_reset(&world.kbc);
    }
}

static void world_init(bool timer_32bit)
{
    world = (struct world){.a20 = true, .acpi_mode = true};
    hands_init(&world.hands, 2899886433ull);
    struct acpi_pm_config pm = {
        .sci = pin_line(&world.sci, 9),
        .clock = &world.hands.clock,
        .timers = &world.hands.timers,
        .timer_32bit = timer_32bit,
        .power_off = power_off,
        .reset = pm_reset,
    };
    struct i8042_config kbc = {
        .keyboard_irq = pin_line(&world.keyboard, 1),
        .aux_irq = pin_line(&world.aux, 12),
        .reset = kbc_reset,
        .set_a20 = set_a20,
    };
    acpi_pm_init(&world.pm, &pm);
    i8042_init(&world.kbc, &kbc);
    REQUIRE(acpi_pm_attach(&world.pm, &world.bus) == STATUS_OK);
    REQUIRE(i8042_attach(&world.kbc, &world.bus) == STATUS_OK);
    REQUIRE(bus_add(&world.bus, BUS_PORT, 0xcf9, 1, &reset_control_ops, &world.pm) == STATUS_OK);
    REQUIRE(debug_exit_init(&world.debug_exit, 4, note_exit, NULL) == STATUS_OK);
    REQUIRE(debug_exit_attach(&world.debug_exit, &world.bus, 0xf4) == STATUS_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    world_init(data[0] & 1);
    for (size_t i = 1; i + 2 < size; i += 3) {
        uint8_t op = data[i];
        uint32_t value = (uint32_t)(data[i + 1] | data[i + 2] << 8) * 0x00010001u;
        unsigned width = 1u << (op >> 4 & 3) % 3;
        if (op < 0xa0)
            guest_write(ports[op & 15], width,
                        width == 4 ? value : value & ((1u << 8 * width) - 1));
        else if (op < 0xd0)
            guest_read(ports[op & 15], width);
        else
            outside(data[i + 1], data[i + 2]);
        check_lines();
    }
    return 0;
}
