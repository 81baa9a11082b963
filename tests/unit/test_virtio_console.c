/* The console device and its ports, the loopback, and flow control in both directions. */
#include "drivers/model/loopback.h"
#include "drivers/model/virtio_console.h"
#include "tests/check.h"
#include "tests/virtio_guest.h"

#define SLOT 6
#define PORTS 2
#define QUEUES (2 + 2 * PORTS)
#define FEATURES (VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC)
#define F_SIZE BIT(0)
#define F_MULTIPORT BIT(1)

#define CONTROL_RX 2
#define CONTROL_TX 3
#define RX(port) ((port) == 0 ? 0u : 2u + 2u * (port))
#define TX(port) (RX(port) + 1)

/* Buffers: control messages, and one page for each receive buffer. */
#define CONTROL_OUT 0x18000u
#define CONTROL_IN 0x18100u
#define OUT_DATA 0x20000u
#define IN_DATA 0x30000u

enum {
    DEVICE_READY = 0,
    DEVICE_ADD = 1,
    PORT_READY = 3,
    CONSOLE_PORT = 4,
    RESIZE = 5,
    PORT_OPEN = 6,
    PORT_NAME = 7,
};

/* A peer that takes at most `room` bytes. */
struct sink {
    uint8_t bytes[256];
    size_t count, room;
    unsigned told; /* how often it heard that the guest has room */
};

static size_t sink_write(void *context, const uint8_t *bytes, size_t n)
{
    struct sink *sink = context;
    if (n > sink->room)
        n = sink->room;
    memcpy(sink->bytes + sink->count, bytes, n);
    sink->count += n;
    sink->room -= n;
    return n;
}

static void sink_told(void *context)
{
    ((struct sink *)context)->told++;
}

static struct guest_machine *machine;
static struct guest_driver driver;
static struct virtio_console *console;
static struct sink sinks[PORTS];

static void set_up(uint64_t features)
{
    machine = guest_new();
    console = calloc(1, sizeof(*console));
    memset(sinks, 0, sizeof(sinks));
    for (unsigned i = 0; i < PORTS; i++)
        sinks[i].room = sizeof(sinks[i].bytes);
    struct virtio_console_port_config ports[PORTS] = {
        {.is_console = true, .cols = 80, .rows = 25, .peer = {sink_write, sink_told, &sinks[0]}},
        {.name = "org.traprock.0", .peer = {sink_write, sink_told, &sinks[1]}},
    };
    struct virtio_console_config config = {guest_slot(machine, SLOT), PORTS, ports};
    CHECK_EQ(virtio_console_init(console, &config), STATUS_OK);
    guest_driver_find(&driver, machine, SLOT);
    guest_driver_use_msix(&driver);
    CHECK(guest_driver_negotiate(&driver, FEATURES | features));
    unsigned queues = (features & F_MULTIPORT) != 0 ? QUEUES : 2;
    for (uint16_t i = 0; i < queues; i++)
        guest_driver_queue(&driver, i, 16, i + 1);
    guest_driver_start(&driver);
}

static void tear_down(void)
{
    free(console);
    guest_free(machine);
}

static void add_buffer(unsigned queue, uint64_t address, uint32_t length, uint16_t flags)
{
    struct guest_desc buffer = {address, length, flags, 0};
    guest_add(&driver, queue, &buffer, 1);
    guest_notify(&driver, queue);
}

static void add_control_buffers(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        add_buffer(CONTROL_RX, CONTROL_IN + 64 * i, 64, TEST_DESC_WRITE);
}

static void send_control(uint32_t id, uint16_t event, uint16_t value)
{
    uint16_t words[4] = {(uint16_t)id, (uint16_t)(id >> 16), event, value};
    uint32_t head, length;
    guest_put(machine, CONTROL_OUT, words, 8);
    add_buffer(CONTROL_TX, CONTROL_OUT, 8, 0);
    CHECK(guest_used(&driver, CONTROL_TX, &head, &length));
}

static unsigned next_control;

/* Checks the next control message from the device: its payload is compared when given. */
static void expect_control(uint32_t id, uint16_t event, const void *payload, uint32_t size)
{
    uint32_t head, length;
    uint8_t bytes[64];
    CHECK(guest_used(&driver, CONTROL_RX, &head, &length));
    CHECK_EQ(length, 8 + size);
    guest_get(machine, CONTROL_IN + 64 * next_control++, bytes, 64);
    CHECK_EQ(bytes[0], id);
    CHECK_EQ(bytes[4], event);
    CHECK_EQ(bytes[6], 1);
    CHECK(memcmp(bytes + 8, payload, size) == 0);
}

static void no_more_control(void)
{
    uint32_t head, length;
    CHECK(!guest_used(&driver, CONTROL_RX, &head, &length));
}

/* What Linux's driver does at probe. */
static void bring_ports_up(void)
{
    next_control = 0;
    add_control_buffers(10);
    send_control(0xffffffff, DEVICE_READY, 1);
    expect_control(0, DEVICE_ADD, "", 0);
    expect_control(1, DEVICE_ADD, "", 0);
    send_control(0, PORT_READY, 1);
    send_control(1, PORT_READY, 1);
}

static void ports_are_announced(void)
{
    static const uint16_t size[2] = {80, 25}, resized[2] = {132, 50};
    set_up(F_SIZE | F_MULTIPORT);
    CHECK_EQ(guest_config_read(machine, SLOT, 0, 4), 0x10431af4);
    CHECK_EQ(guest_common_read(&driver, COMMON_NUM_QUEUES, 2), QUEUES);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, driver.settings, 2), 80);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, driver.settings + 2, 2), 25);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, driver.settings + 4, 4), PORTS);
    bring_ports_up();
    expect_control(0, CONSOLE_PORT, "", 0);
    expect_control(0, RESIZE, size, 4);
    expect_control(0, PORT_OPEN, "", 0);
    expect_control(1, PORT_NAME, "org.traprock.0", 14);
    expect_control(1, PORT_OPEN, "", 0);
    no_more_control();
    unsigned interrupts = machine->message_count[0];
    virtio_console_resize(console, 0, 132, 50);
    CHECK_EQ(machine->message_count[0], interrupts);
    expect_control(0, RESIZE, resized, 4);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, driver.settings, 2), 132);
    virtio_console_resize(console, 1, 1, 1); /* no terminal */
    virtio_console_resize(console, PORTS, 1, 1);
    no_more_control();
    tear_down();
}

/* Messages wait until there are buffers, and are not lost or repeated. */
static void control_messages_wait_for_buffers(void)
{
    set_up(F_MULTIPORT);
    next_control = 0;
    send_control(0, DEVICE_READY, 1);
    no_more_control();
    for (unsigned i = 0; i < PORTS; i++) {
        add_buffer(CONTROL_RX, CONTROL_IN + 64 * i, 64, TEST_DESC_WRITE);
        expect_control(i, DEVICE_ADD, "", 0);
    }
    add_buffer(CONTROL_RX, CONTROL_IN + 64 * PORTS, 64, TEST_DESC_WRITE);
    no_more_control();
    tear_down();
}

static void hostile_control_messages_do_nothing(void)
{
    uint32_t head, length;
    set_up(F_MULTIPORT);
    next_control = 0;
    add_control_buffers(8);
    send_control(PORTS, PORT_READY, 1);
    send_control(0xfffffffe, PORT_OPEN, 1);
    send_control(0, PORT_READY, 0);
    send_control(0, DEVICE_READY, 0);
    send_control(0, 0xffff, 0xffff);
    add_buffer(CONTROL_TX, CONTROL_OUT, 7, 0);
    CHECK(guest_used(&driver, CONTROL_TX, &head, &length));
    no_more_control();
    CHECK_EQ(guest_status(&driver), 15);
    tear_down();
}

static void single_port_works_without_multiport(void)
{
    uint32_t head, length;
    set_up(F_SIZE);
    guest_put(machine, OUT_DATA, "hello", 5);
    add_buffer(TX(0), OUT_DATA, 5, 0);
    CHECK(guest_used(&driver, TX(0), &head, &length));
    CHECK_EQ(length, 0);
    CHECK(sinks[0].count == 5 && memcmp(sinks[0].bytes, "hello", 5) == 0);
    CHECK_EQ(virtio_console_receive(console, 0, (const uint8_t *)"abc", 3), 0);
    CHECK_EQ(virtio_console_receive(console, 1, (const uint8_t *)"abc", 3), 0);
    CHECK_EQ(virtio_console_receive(console, PORTS, (const uint8_t *)"abc", 3), 0);
    add_buffer(RX(0), IN_DATA, 2, TEST_DESC_WRITE);
    CHECK_EQ(sinks[0].told, 1);
    CHECK_EQ(virtio_console_receive(console, 0, (const uint8_t *)"abc", 3), 2);
    CHECK(guest_used(&driver, RX(0), &head, &length));
    CHECK_EQ(length, 2);
    CHECK_EQ(guest_get_8(machine, IN_DATA + 1), 'b');
    add_buffer(RX(0), IN_DATA, 64, TEST_DESC_WRITE);
    CHECK_EQ(sinks[0].told, 2);
    CHECK_EQ(virtio_console_receive(console, 0, (const uint8_t *)"c", 1), 1);
    CHECK(guest_used(&driver, RX(0), &head, &length));
    CHECK_EQ(length, 1);
    add_buffer(RX(0), IN_DATA, 64, TEST_DESC_WRITE);
    CHECK_EQ(sinks[0].told, 2); /* nobody waits */
    /* A resize is a change of configuration here. */
    guest_common_write(&driver, COMMON_CONFIG_VECTOR, 2, 0);
    virtio_console_resize(console, 0, 100, 30);
    CHECK_EQ(machine->message_count[0], 1);
    tear_down();
}

static void input_waits_for_the_port_to_open(void)
{
    set_up(F_MULTIPORT);
    bring_ports_up();
    add_buffer(RX(1), IN_DATA, 64, TEST_DESC_WRITE);
    CHECK_EQ(virtio_console_receive(console, 1, (const uint8_t *)"early", 5), 0);
    CHECK_EQ(sinks[1].told, 0);
    send_control(1, PORT_OPEN, 1);
    CHECK_EQ(sinks[1].told, 1);
    CHECK_EQ(virtio_console_receive(console, 1, (const uint8_t *)"early", 5), 5);
    send_control(1, PORT_OPEN, 0);
    add_buffer(RX(1), IN_DATA, 64, TEST_DESC_WRITE);
    CHECK_EQ(virtio_console_receive(console, 1, (const uint8_t *)"late", 4), 0);
    tear_down();
}

static void output_waits_for_the_peer(void)
{
    uint32_t head, length;
    set_up(F_MULTIPORT);
    bring_ports_up();
    sinks[1].room = 3;
    guest_put(machine, OUT_DATA, "0123456789", 10);
    struct guest_desc buffers[] = {{OUT_DATA, 2, 0, 0}, {OUT_DATA + 2, 8, 0, 0}};
    guest_add(&driver, TX(1), buffers, 2);
    guest_notify(&driver, TX(1));
    CHECK_EQ(sinks[1].count, 3);
    CHECK(!guest_used(&driver, TX(1), &head, &length));
    virtio_console_drain(console, 1); /* still full */
    CHECK_EQ(sinks[1].count, 3);
    sinks[1].room = 6;
    virtio_console_drain(console, 1);
    CHECK(!guest_used(&driver, TX(1), &head, &length));
    sinks[1].room = 6;
    virtio_console_drain(console, 1);
    CHECK(guest_used(&driver, TX(1), &head, &length));
    CHECK(sinks[1].count == 10 && memcmp(sinks[1].bytes, "0123456789", 10) == 0);
    CHECK_EQ(machine->more_work, 0);
    /* Half a chain is forgotten by a reset. */
    sinks[1].room = 1;
    guest_add(&driver, TX(1), buffers, 2);
    guest_notify(&driver, TX(1));
    guest_common_write(&driver, COMMON_STATUS, 1, 0);
    sinks[1].room = 100;
    virtio_console_drain(console, 1);
    CHECK_EQ(sinks[1].count, 11);
    tear_down();
}

static void broken_rings_stop_the_device_only(void)
{
    set_up(F_MULTIPORT);
    bring_ports_up();
    send_control(1, PORT_OPEN, 1);
    add_buffer(RX(1), IN_DATA, 64, 0); /* no room in a receive buffer */
    CHECK_EQ(virtio_console_receive(console, 1, (const uint8_t *)"x", 1), 0);
    CHECK((guest_status(&driver) & VIRTIO_STATUS_NEEDS_RESET) != 0);
    virtio_console_drain(console, 1);
    virtio_console_resize(console, 0, 1, 1);
    tear_down();
}

/* ---- 1 MiB through the loopback ---- */

#define TOTAL 0x100000u

static uint8_t pattern(uint32_t i)
{
    return (uint8_t)(i * 2654435761u >> 24);
}

static void post_receive_buffer(uint16_t head, uint32_t size)
{
    guest_put_desc(&driver, driver.queue[RX(1)].desc, head,
                   (struct guest_desc){IN_DATA + 4096u * head, size, TEST_DESC_WRITE, 0});
    guest_make_available(&driver, RX(1), head);
}

/* Posts an output buffer of size bytes that continue the pattern at from. */
static void post_output(uint32_t from, uint32_t size, uint16_t head)
{
    uint8_t bytes[4096];
    for (uint32_t i = 0; i < size; i++)
        bytes[i] = pattern(from + i);
    uint64_t address = OUT_DATA + 4096u * head;
    guest_put(machine, address, bytes, size);
    guest_put_desc(&driver, driver.queue[TX(1)].desc, head,
                   (struct guest_desc){address, size, 0, 0});
    guest_make_available(&driver, TX(1), head);
}

/* Takes what came, checks that it continues the pattern at from, and posts the buffers again. */
static uint32_t collect(uint32_t from, uint32_t size)
{
    uint32_t head, length;
    while (guest_used(&driver, RX(1), &head, &length)) {
        uint8_t bytes[4096];
        guest_get(machine, IN_DATA + 4096u * head, bytes, length);
        for (uint32_t i = 0; i < length; i++)
            CHECK_EQ(bytes[i], pattern(from + i));
        from += length;
        post_receive_buffer((uint16_t)head, size);
    }
    return from;
}

static void echo_total(uint32_t out_size, uint32_t in_size, size_t ring_size)
{
    static uint8_t ring[8192];
    struct loopback loopback;
    set_up(F_MULTIPORT);
    loopback_init(&loopback, ring, ring_size);
    virtio_console_connect(console, 1,
                           loopback_connect(&loopback, virtio_console_stream(console, 1)));
    bring_ports_up();
    send_control(1, PORT_OPEN, 1);
    for (uint16_t i = 0; i < 16; i++)
        post_receive_buffer(i, in_size);
    guest_notify(&driver, RX(1));
    uint32_t sent = 0, received = 0, head, length, rounds = 0;
    uint16_t free_heads = 0xffff;
    while (received < TOTAL) {
        CHECK(rounds++ < TOTAL);
        for (uint16_t i = 0; i < 16 && sent < TOTAL; i++) {
            if ((free_heads & 1u << i) == 0)
                continue;
            uint32_t size = TOTAL - sent < out_size ? TOTAL - sent : out_size;
            post_output(sent, size, i);
            sent += size;
            free_heads &= (uint16_t) ~(1u << i);
        }
        guest_notify(&driver, TX(1));
        received = collect(received, in_size);
        guest_notify(&driver, RX(1));
        virtio_pci_continue(&console->pci);
        received = collect(received, in_size);
        guest_notify(&driver, RX(1));
        while (guest_used(&driver, TX(1), &head, &length))
            free_heads |= (uint16_t)(1u << head);
    }
    CHECK_EQ(received, TOTAL);
    CHECK_EQ(loopback.count, 0);
    CHECK_EQ(guest_status(&driver), 15);
    tear_down();
}

static void a_mebibyte_each_way_is_complete(void)
{
    echo_total(4096, 4096, 8192);
    echo_total(4096, 777, 1000);
    echo_total(1000, 4096, 4096);
    echo_total(4096, 64, 33);
}

static void loopback_forgets_at_reset(void)
{
    uint8_t ring[4];
    struct sink sink = {.room = 1};
    struct loopback loopback;
    loopback_init(&loopback, ring, sizeof(ring));
    struct byte_stream end =
        loopback_connect(&loopback, (struct byte_stream){sink_write, sink_told, &sink});
    CHECK_EQ(end.write(end.context, (const uint8_t *)"abcdefgh", 8), 5);
    CHECK_EQ(sink.count, 1);
    sink.room = 2;
    end.writable(end.context);
    CHECK_EQ(sink.told, 1);
    loopback_reset(&loopback);
    sink.room = 10;
    end.writable(end.context);
    CHECK_EQ(sink.count, 3);
    CHECK(memcmp(sink.bytes, "abc", 3) == 0);
    CHECK_EQ(sink.told, 1);
}

static void port_counts_are_checked(void)
{
    machine = guest_new();
    console = calloc(1, sizeof(*console));
    struct virtio_console_port_config ports[VIRTIO_CONSOLE_PORTS_MAX + 1] = {0};
    struct virtio_console_config config = {guest_slot(machine, SLOT), 0, ports};
    CHECK_EQ(virtio_console_init(console, &config), ERR_INVALID);
    config.ports = VIRTIO_CONSOLE_PORTS_MAX + 1;
    CHECK_EQ(virtio_console_init(console, &config), ERR_INVALID);
    config.ports = VIRTIO_CONSOLE_PORTS_MAX;
    ports[0].name = "a name that is longer than all of the room for it";
    CHECK_EQ(virtio_console_init(console, &config), STATUS_OK);
    CHECK_EQ(strlen(console->port[0].name), VIRTIO_CONSOLE_NAME_MAX);
    tear_down();
}

TEST_MAIN({"ports_are_announced", ports_are_announced},
          {"control_messages_wait_for_buffers", control_messages_wait_for_buffers},
          {"hostile_control_messages_do_nothing", hostile_control_messages_do_nothing},
          {"single_port_works_without_multiport", single_port_works_without_multiport},
          {"input_waits_for_the_port_to_open", input_waits_for_the_port_to_open},
          {"output_waits_for_the_peer", output_waits_for_the_peer},
          {"broken_rings_stop_the_device_only", broken_rings_stop_the_device_only},
          {"a_mebibyte_each_way_is_complete", a_mebibyte_each_way_is_complete},
          {"loopback_forgets_at_reset", loopback_forgets_at_reset},
          {"port_counts_are_checked", port_counts_are_checked})
