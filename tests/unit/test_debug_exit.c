/* The debug exit port. */
#include "drivers/model/debug_exit.h"
#include "tests/check.h"

struct result {
    unsigned calls;
    uint32_t value;
};

static void note(void *context, uint32_t value)
{
    struct result *result = context;
    result->calls++;
    result->value = value;
}

static void sizes(void)
{
    static const unsigned good[] = {1, 2, 4};
    for (unsigned i = 0; i < 3; i++) {
        struct bus bus = {0};
        struct result result = {0};
        struct debug_exit device;
        CHECK_EQ(debug_exit_init(&device, good[i], note, &result), STATUS_OK);
        CHECK_EQ(debug_exit_attach(&device, &bus, 0xf4), STATUS_OK);
        CHECK(bus_claims(&bus, BUS_PORT, 0xf4 + good[i] - 1));
        CHECK(!bus_claims(&bus, BUS_PORT, 0xf4 + good[i]));
        CHECK_EQ(bus_read(&bus, BUS_PORT, 0xf4, good[i]), 0);
        CHECK_EQ(result.calls, 0);
        bus_write(&bus, BUS_PORT, 0xf4, good[i], 0x87654321);
        CHECK_EQ(result.calls, 1);
        CHECK_EQ(result.value, 0x87654321 & (0xffffffffu >> (32 - 8 * good[i])));
        bus_write(&bus, BUS_PORT, 0xf4, 1, 0);
        CHECK_EQ(result.calls, 2);
        CHECK_EQ(result.value, 0);
    }
    struct debug_exit device;
    for (unsigned size = 0; size < 10; size++)
        CHECK_EQ(debug_exit_init(&device, size, note, NULL),
                 size == 1 || size == 2 || size == 4 ? STATUS_OK : ERR_INVALID);
}

static void narrow_port_takes_a_wide_access_once(void)
{
    struct bus bus = {0};
    struct result result = {0};
    struct debug_exit device;
    CHECK_EQ(debug_exit_init(&device, 1, note, &result), STATUS_OK);
    CHECK_EQ(debug_exit_attach(&device, &bus, 0x501), STATUS_OK);
    bus_write(&bus, BUS_PORT, 0x501, 4, 0x11223344);
    CHECK_EQ(result.calls, 1);
    CHECK_EQ(result.value, 0x44);
}

static void bad_places(void)
{
    struct bus bus = {0};
    struct debug_exit a, b;
    CHECK_EQ(debug_exit_init(&a, 4, NULL, NULL), STATUS_OK);
    CHECK_EQ(debug_exit_init(&b, 4, NULL, NULL), STATUS_OK);
    CHECK_EQ(debug_exit_attach(&a, &bus, 0xfffd), ERR_INVALID);
    CHECK_EQ(debug_exit_attach(&a, &bus, 0xf4), STATUS_OK);
    CHECK_EQ(debug_exit_attach(&b, &bus, 0xf5), ERR_EXISTS);
    bus_write(&bus, BUS_PORT, 0xf4, 4, 1); /* nobody listens */
}

TEST_MAIN({"debug_exit: sizes", sizes},
          {"debug_exit: a narrow port takes a wide access once",
           narrow_port_takes_a_wide_access_once},
          {"debug_exit: bad places", bad_places})
