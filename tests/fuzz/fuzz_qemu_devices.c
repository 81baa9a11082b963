/* Any sequence of accesses to the small devices of QEMU and Bochs, and sleeps: registers and memory
 * give back what they were given, lines follow their ports, the word ends the guest exactly when it
 * is complete, and the watchdog bites exactly when its time is over. */
#include <stdlib.h>
#include <string.h>

#include "drivers/model/debug_console.h"
#include "drivers/model/ib700.h"
#include "drivers/model/pc_testdev.h"
#include "drivers/model/pvpanic.h"
#include "drivers/model/shutdown_port.h"
#include "tests/fake/hands.h"
#include "tests/fuzz/fuzz.h"

#define HZ 100ull
#define PORT_CONSOLE 0xec
#define PORT_SHUTDOWN 0x8900
#define PORT_PVPANIC 0x505

struct world {
    struct hands hands;
    struct bus bus;
    struct pc_testdev testdev;
    struct debug_console console;
    struct shutdown_port shutdown;
    struct pvpanic pvpanic;
    struct ib700 watchdog;
    struct pin pin[PC_TESTDEV_LINE_COUNT];
    unsigned bytes, offs, panics, bites;
    uint64_t bites_at; /* TIMER_NEVER: the watchdog does not run */
    char said[8];
    uint8_t echo[4];
};

static struct world world;
static uint8_t memory[PC_TESTDEV_MEMORY_SIZE], reference[PC_TESTDEV_MEMORY_SIZE];

static bool take(void *context, uint8_t byte)
{
    (void)context;
    (void)byte;
    world.bytes++;
    return byte & 1;
}

static void off(void *context)
{
    (void)context;
    world.offs++;
}

static void panicked(void *context, uint8_t events)
{
    (void)context;
    REQUIRE(events != 0 && (events & ~PVPANIC_EVENTS) == 0);
    world.panics++;
}

static void bite(void *context)
{
    (void)context;
    REQUIRE(world.hands.now >= world.bites_at);
    world.bites_at = TIMER_NEVER;
    world.bites++;
}

static void build(void)
{
    struct byte_sink sink = {take, NULL};
    memset(&world, 0, sizeof(world));
    memset(memory, 0, sizeof(memory));
    memset(reference, 0, sizeof(reference));
    hands_init(&world.hands, HZ);
    world.bites_at = TIMER_NEVER;
    world.testdev.memory = memory;
    for (unsigned i = 0; i < PC_TESTDEV_LINE_COUNT; i++)
        world.testdev.line[i] = pin_line(&world.pin[i], i);
    struct bus *bus = &world.bus;
    REQUIRE(pc_testdev_attach(&world.testdev, bus) == STATUS_OK);
    REQUIRE(debug_console_attach(&world.console, &sink, bus, PORT_CONSOLE) == STATUS_OK);
    REQUIRE(shutdown_port_attach(&world.shutdown, bus, PORT_SHUTDOWN, off, NULL) == STATUS_OK);
    REQUIRE(pvpanic_attach(&world.pvpanic, bus, PORT_PVPANIC, panicked, NULL) == STATUS_OK);
    REQUIRE(ib700_attach(&world.watchdog, bus, &world.hands.clock, &world.hands.timers, bite,
                         NULL) == STATUS_OK);
}

/* What the write of a byte at a port must have done, but for the testdev's. */
static void follow(uint64_t port, uint8_t value)
{
    if (port == IB700_PORT_START)
        world.bites_at = world.hands.now + (30 - 2 * (value & 15)) * HZ;
    if (port == IB700_PORT_STOP)
        world.bites_at = TIMER_NEVER;
    if (port >= PC_TESTDEV_ECHO && port < PC_TESTDEV_ECHO + 4)
        world.echo[port - PC_TESTDEV_ECHO] = value;
    if (port >= PC_TESTDEV_ECHO_BYTES && port < PC_TESTDEV_ECHO_BYTES + 4)
        world.echo[port - PC_TESTDEV_ECHO_BYTES] = value;
    if (port != PORT_SHUTDOWN)
        return;
    memmove(world.said, world.said + 1, 7);
    world.said[7] = (char)value;
}

static void write_port(struct fuzz_input *input, uint64_t port, unsigned size)
{
    uint64_t value = fuzz_take(input, size);
    unsigned offs = world.offs, panics = world.panics;
    bool reports = port <= PORT_PVPANIC && port + size > PORT_PVPANIC &&
                   (value >> (8 * (PORT_PVPANIC - port)) & PVPANIC_EVENTS) != 0;
    bool speaks = port <= PORT_SHUTDOWN && port + size > PORT_SHUTDOWN;
    bus_write(&world.bus, BUS_PORT, port, size, value);
    for (unsigned i = 0; i < size; i++) {
        follow(port + i, (uint8_t)(value >> (8 * i)));
        uint64_t line = port + i - PC_TESTDEV_LINES;
        if (line < PC_TESTDEV_LINE_COUNT)
            REQUIRE(world.pin[line].level == ((value >> (8 * i) & 0xff) != 0));
    }
    REQUIRE(world.panics - panics == reports);
    REQUIRE(world.offs - offs == (speaks && memcmp(world.said, "Shutdown", 8) == 0));
    for (unsigned i = 0; i < 4; i++)
        REQUIRE(bus_read(&world.bus, BUS_PORT, PC_TESTDEV_ECHO + i, 1) == world.echo[i]);
}

static void touch_memory(struct fuzz_input *input, unsigned size)
{
    uint64_t offset = fuzz_below(input, PC_TESTDEV_MEMORY_SIZE - 7);
    uint64_t value = fuzz_take(input, size), expected = 0;
    bus_write(&world.bus, BUS_MMIO, PC_TESTDEV_MEMORY + offset, size, value);
    memcpy(reference + offset, &value, size);
    offset = fuzz_below(input, PC_TESTDEV_MEMORY_SIZE - 7);
    memcpy(&expected, reference + offset, 8);
    REQUIRE(bus_read(&world.bus, BUS_MMIO, PC_TESTDEV_MEMORY + offset, 8) == expected);
}

static void reset(void)
{
    shutdown_port_reset(&world.shutdown);
    pc_testdev_reset(&world.testdev);
    ib700_reset(&world.watchdog);
    memset(world.said, 0, sizeof(world.said));
    memset(world.echo, 0, sizeof(world.echo));
    memset(reference, 0, sizeof(reference));
    world.bites_at = TIMER_NEVER;
    for (unsigned i = 0; i < PC_TESTDEV_LINE_COUNT; i++)
        REQUIRE(!world.pin[i].level);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t ports[] = {PC_TESTDEV_ECHO,  PC_TESTDEV_FLUSH, PC_TESTDEV_ECHO_BYTES,
                                     PC_TESTDEV_LINES, PORT_CONSOLE,     PORT_SHUTDOWN,
                                     PORT_PVPANIC,     IB700_PORT_STOP,  IB700_PORT_START};
    struct fuzz_input input = {data, data + size};
    build();
    while (!fuzz_is_done(&input)) {
        unsigned op = (unsigned)fuzz_take(&input, 1), width = 1u << (op >> 4 & 3);
        uint64_t port = ports[op % ARRAY_SIZE(ports)] + (op >> 6);
        if (op == 0xff)
            reset();
        else if ((op & 15) == 15)
            hands_turn(&world.hands, fuzz_below(&input, 4000));
        else if ((op & 15) >= 13)
            touch_memory(&input, width);
        else if ((op & 15) == 12)
            (void)bus_read(&world.bus, BUS_PORT, fuzz_take(&input, 2), width > 4 ? 4 : width);
        else
            write_port(&input, port, width > 4 ? 4 : width);
        REQUIRE(world.hands.timers.next == world.bites_at);
    }
    return 0;
}
