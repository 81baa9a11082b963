/* The small devices of QEMU and Bochs for test programs. */
#include "drivers/model/debug_console.h"
#include "drivers/model/ib700.h"
#include "drivers/model/pc_testdev.h"
#include "drivers/model/pvpanic.h"
#include "drivers/model/shutdown_port.h"
#include "tests/check.h"
#include "tests/fake/hands.h"

/* ---- debug console ---- */

struct output {
    char text[16];
    unsigned used;
};

static bool take(void *context, uint8_t byte)
{
    struct output *output = context;
    if (output->used == sizeof(output->text) - 1)
        return false;
    output->text[output->used++] = (char)byte;
    return true;
}

static void debug_console_passes_bytes_on(void)
{
    struct bus bus = {0};
    struct output output = {0};
    struct byte_sink sink = {take, &output};
    struct debug_console console;
    CHECK_EQ(debug_console_attach(&console, &sink, &bus, 0xe9), STATUS_OK);
    CHECK_EQ(bus_read(&bus, BUS_PORT, 0xe9, 1), 0xe9);
    CHECK_EQ(bus_read(&bus, BUS_PORT, 0xe8, 1), 0xff);
    CHECK_EQ(output.used, 0);
    for (const char *next = "hello"; *next != '\0'; next++)
        bus_write(&bus, BUS_PORT, 0xe9, 1, (uint8_t)*next);
    CHECK_STR(output.text, "hello");
    bus_write(&bus, BUS_PORT, 0xe9, 2, 0x7821); /* one byte of a wider access is the port's */
    CHECK_STR(output.text, "hello!");
    for (unsigned i = 0; i < 40; i++)
        bus_write(&bus, BUS_PORT, 0xe9, 1, '.');
    CHECK_STR(output.text, "hello!.........");
}

/* ---- shutdown port ---- */

static void count(void *context)
{
    ++*(unsigned *)context;
}

static void say(struct bus *bus, const char *text)
{
    for (; *text != '\0'; text++)
        bus_write(bus, BUS_PORT, 0x8900, 1, (uint8_t)*text);
}

static void shutdown_wants_the_whole_word(void)
{
    static const char *const not_it[] = {"shutdown", "Shutdow", "n", "Shut down", "ShutdowN", ""};
    struct bus bus = {0};
    struct shutdown_port port;
    unsigned offs = 0;
    CHECK_EQ(shutdown_port_attach(&port, &bus, 0x8900, count, &offs), STATUS_OK);
    CHECK_EQ(bus_read(&bus, BUS_PORT, 0x8900, 1), 0xff);
    for (unsigned i = 0; i < ARRAY_SIZE(not_it); i++) {
        shutdown_port_reset(&port);
        say(&bus, not_it[i]);
        CHECK_EQ(offs, 0);
    }
    shutdown_port_reset(&port);
    say(&bus, "xSShutSShutdown");
    CHECK_EQ(offs, 1);
    say(&bus, "Shutdown");
    CHECK_EQ(offs, 2);
    say(&bus, "Shut");
    shutdown_port_reset(&port);
    say(&bus, "down");
    CHECK_EQ(offs, 2);
}

/* ---- pvpanic ---- */

struct panics {
    unsigned calls;
    uint8_t events;
};

static void note_panic(void *context, uint8_t events)
{
    struct panics *panics = context;
    panics->calls++;
    panics->events = events;
}

static void pvpanic_reports_what_it_offers(void)
{
    struct bus bus = {0};
    struct pvpanic device;
    struct panics panics = {0};
    CHECK_EQ(pvpanic_attach(&device, &bus, 0x505, note_panic, &panics), STATUS_OK);
    CHECK_EQ(bus_read(&bus, BUS_PORT, 0x505, 1), 3);
    bus_write(&bus, BUS_PORT, 0x505, 1, 0);
    bus_write(&bus, BUS_PORT, 0x505, 1, 0xfc);
    CHECK_EQ(panics.calls, 0);
    bus_write(&bus, BUS_PORT, 0x505, 1, PVPANIC_CRASH_LOADED | 0x80);
    CHECK_EQ(panics.calls, 1);
    CHECK_EQ(panics.events, PVPANIC_CRASH_LOADED);
    bus_write(&bus, BUS_PORT, 0x505, 1, PVPANIC_PANICKED);
    CHECK_EQ(panics.calls, 2);
    CHECK_EQ(panics.events, PVPANIC_PANICKED);
}

/* ---- ib700 ---- */

#define HZ 1000ull

static void watchdog_counts_down(void)
{
    for (unsigned value = 0; value < 32; value++) {
        struct hands hands;
        struct bus bus = {0};
        struct ib700 watchdog;
        unsigned expired = 0;
        hands_init(&hands, HZ);
        CHECK_EQ(ib700_attach(&watchdog, &bus, &hands.clock, &hands.timers, count, &expired),
                 STATUS_OK);
        uint64_t seconds = 30 - 2 * (value & 15);
        bus_write(&bus, BUS_PORT, IB700_PORT_START, 1, value);
        if (seconds != 0)
            hands_turn(&hands, seconds * HZ - 1);
        CHECK_EQ(expired, 0);
        hands_turn(&hands, 1);
        CHECK_EQ(expired, 1);
        hands_turn(&hands, 100 * HZ); /* once */
        CHECK_EQ(expired, 1);
    }
}

static void watchdog_is_wound_up_and_stopped(void)
{
    struct hands hands;
    struct bus bus = {0};
    struct ib700 watchdog;
    unsigned expired = 0;
    hands_init(&hands, HZ);
    CHECK_EQ(ib700_attach(&watchdog, &bus, &hands.clock, &hands.timers, count, &expired),
             STATUS_OK);
    CHECK_EQ(hands.timers.next, TIMER_NEVER);
    for (unsigned i = 0; i < 10; i++) {
        bus_write(&bus, BUS_PORT, IB700_PORT_START, 1, 10);
        hands_turn(&hands, 9 * HZ);
    }
    CHECK_EQ(expired, 0);
    bus_write(&bus, BUS_PORT, IB700_PORT_STOP, 1, 0);
    hands_turn(&hands, 100 * HZ);
    CHECK_EQ(expired, 0);
    bus_write(&bus, BUS_PORT, IB700_PORT_START, 1, 14);
    ib700_reset(&watchdog);
    hands_turn(&hands, 100 * HZ);
    CHECK_EQ(expired, 0);
}

/* ---- pc-testdev ---- */

static uint8_t memory[PC_TESTDEV_MEMORY_SIZE];

static void echo_keeps_bytes_at_every_width(void)
{
    static const uint16_t base[] = {PC_TESTDEV_ECHO, PC_TESTDEV_ECHO_BYTES};
    struct bus bus = {0};
    struct pc_testdev device = {.memory = memory};
    CHECK_EQ(pc_testdev_attach(&device, &bus), STATUS_OK);
    for (unsigned i = 0; i < 2; i++) {
        bus_write(&bus, BUS_PORT, base[i], 4, 0x12345678);
        CHECK_EQ(bus_read(&bus, BUS_PORT, base[1 - i], 4), 0x12345678);
        CHECK_EQ(bus_read(&bus, BUS_PORT, base[i] + 1, 1), 0x56);
        CHECK_EQ(bus_read(&bus, BUS_PORT, base[i] + 2, 2), 0x1234);
        bus_write(&bus, BUS_PORT, base[i] + 1, 2, 0xabcd);
        CHECK_EQ(bus_read(&bus, BUS_PORT, base[i], 4), 0x12abcd78);
        bus_write(&bus, BUS_PORT, base[i] + 3, 1, 0x99);
        CHECK_EQ(bus_read(&bus, BUS_PORT, base[i], 4), 0x99abcd78);
    }
    bus_write(&bus, BUS_PORT, PC_TESTDEV_FLUSH, 4, 0x1000);
    pc_testdev_reset(&device);
    CHECK_EQ(bus_read(&bus, BUS_PORT, PC_TESTDEV_ECHO, 4), 0);
}

static void lines_follow_their_ports(void)
{
    struct bus bus = {0};
    struct pc_testdev device = {.memory = memory};
    struct pin pin[PC_TESTDEV_LINE_COUNT] = {0};
    for (unsigned i = 0; i < PC_TESTDEV_LINE_COUNT; i++)
        if (i != 2)
            device.line[i] = pin_line(&pin[i], i);
    CHECK_EQ(pc_testdev_attach(&device, &bus), STATUS_OK);
    for (unsigned i = 0; i < PC_TESTDEV_LINE_COUNT; i++) {
        bus_write(&bus, BUS_PORT, PC_TESTDEV_LINES + i, 1, i + 1);
        for (unsigned j = 0; j < PC_TESTDEV_LINE_COUNT; j++)
            CHECK_EQ(pin[j].level, j == i && i != 2);
        bus_write(&bus, BUS_PORT, PC_TESTDEV_LINES + i, 1, 0);
        CHECK(!pin[i].level);
    }
    bus_write(&bus, BUS_PORT, PC_TESTDEV_LINES + 22, 2, 0x0100);
    CHECK(!pin[22].level && pin[23].level);
    bus_write(&bus, BUS_PORT, PC_TESTDEV_LINES + 23, 4, 0); /* only its first byte is a line's */
    CHECK(!pin[23].level);
    bus_write(&bus, BUS_PORT, PC_TESTDEV_LINES + 5, 1, 1);
    pc_testdev_reset(&device);
    CHECK(!pin[5].level);
}

static void memory_is_a_devices(void)
{
    struct bus bus = {0};
    struct pc_testdev device = {.memory = memory};
    CHECK_EQ(pc_testdev_attach(&device, &bus), STATUS_OK);
    uint64_t last = PC_TESTDEV_MEMORY + PC_TESTDEV_MEMORY_SIZE - 8;
    bus_write(&bus, BUS_MMIO, PC_TESTDEV_MEMORY, 8, 0x1122334455667788);
    CHECK_EQ(bus_read(&bus, BUS_MMIO, PC_TESTDEV_MEMORY + 3, 2), 0x4455);
    bus_write(&bus, BUS_MMIO, last, 8, 0xa1a2a3a4a5a6a7a8);
    bus_write(&bus, BUS_MMIO, last + 2, 1, 0);
    CHECK_EQ(bus_read(&bus, BUS_MMIO, last, 8), 0xa1a2a3a4a500a7a8);
    CHECK_EQ(bus_read(&bus, BUS_MMIO, last + 8, 1), 0xff);
    pc_testdev_reset(&device);
    CHECK_EQ(bus_read(&bus, BUS_MMIO, last, 8), 0);
}

static void debug_console_has_its_port_beside_the_echo(void)
{
    struct bus bus = {0};
    struct output output = {0};
    struct byte_sink sink = {take, &output};
    struct debug_console console;
    struct pc_testdev device = {.memory = memory};
    CHECK_EQ(debug_console_attach(&console, &sink, &bus, 0xe9), STATUS_OK);
    CHECK_EQ(pc_testdev_attach(&device, &bus), STATUS_OK);
    bus_write(&bus, BUS_PORT, PC_TESTDEV_ECHO, 4, 0x12345678);
    CHECK_EQ(bus_read(&bus, BUS_PORT, PC_TESTDEV_ECHO_BYTES, 4), 0x1234e978);
    bus_write(&bus, BUS_PORT, PC_TESTDEV_ECHO_BYTES, 4, 0xaabb21dd);
    CHECK_STR(output.text, "!");
    CHECK_EQ(bus_read(&bus, BUS_PORT, PC_TESTDEV_ECHO, 4), 0xaabb56dd);
}

static void places_may_be_taken(void)
{
    struct bus bus = {0};
    struct output output = {0};
    struct byte_sink sink = {take, &output};
    struct debug_console console;
    struct shutdown_port port;
    struct pvpanic pvpanic;
    struct hands hands;
    struct ib700 watchdog;
    struct pc_testdev device = {.memory = memory};
    hands_init(&hands, HZ);
    CHECK_EQ(pc_testdev_attach(&device, &bus), STATUS_OK);
    CHECK_EQ(pc_testdev_attach(&device, &bus), ERR_EXISTS);
    CHECK_EQ(debug_console_attach(&console, &sink, &bus, 0xe4), ERR_EXISTS);
    CHECK_EQ(shutdown_port_attach(&port, &bus, 0xe0, NULL, NULL), ERR_EXISTS);
    CHECK_EQ(pvpanic_attach(&pvpanic, &bus, 0xea, NULL, NULL), ERR_EXISTS);
    CHECK_EQ(debug_console_attach(&console, &sink, &bus, IB700_PORT_START), STATUS_OK);
    CHECK_EQ(ib700_attach(&watchdog, &bus, &hands.clock, &hands.timers, NULL, NULL), ERR_EXISTS);
}

TEST_MAIN({"debug console passes bytes on", debug_console_passes_bytes_on},
          {"shutdown wants the whole word", shutdown_wants_the_whole_word},
          {"pvpanic reports what it offers", pvpanic_reports_what_it_offers},
          {"watchdog counts down", watchdog_counts_down},
          {"watchdog is wound up and stopped", watchdog_is_wound_up_and_stopped},
          {"echo keeps bytes at every width", echo_keeps_bytes_at_every_width},
          {"lines follow their ports", lines_follow_their_ports},
          {"memory is a device's", memory_is_a_devices},
          {"debug console has its port beside the echo",
           debug_console_has_its_port_beside_the_echo},
          {"places may be taken", places_may_be_taken}, )
