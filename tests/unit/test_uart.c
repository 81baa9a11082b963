/* The 16550A model. */
#include "drivers/model/uart.h"
#include "kernel/vm/platform.h"
#include "tests/check.h"
#include "tests/fake/hands.h"

#define HZ 1843200000ull /* a thousand counts for each period of the baud generator's input */

struct rig {
    struct hands hands;
    struct bus bus;
    struct pin pin;
    struct uart uart;
    uint8_t sent[512];
    unsigned sent_count;
    unsigned sink_room;
    unsigned rooms;
    const uint8_t *feed; /* what rx_room hands in */
    unsigned feed_left;
};

static bool sink_put(void *context, uint8_t byte)
{
    struct rig *rig = context;
    if (rig->sink_room == 0)
        return false;
    rig->sink_room--;
    rig->sent[rig->sent_count++ % sizeof(rig->sent)] = byte;
    return true;
}

static void rx_room(void *context)
{
    struct rig *rig = context;
    rig->rooms++;
    while (rig->feed_left > 0 && uart_receive(&rig->uart, *rig->feed)) {
        rig->feed++;
        rig->feed_left--;
    }
}

static void rig_init(struct rig *rig)
{
    memset(rig, 0, sizeof(*rig));
    hands_init(&rig->hands, HZ);
    rig->sink_room = 1000000;
    struct uart_config config = {
        .irq = pin_line(&rig->pin, 4),
        .sink = {sink_put, rig},
        .rx_room = rx_room,
        .rx_context = rig,
        .clock = &rig->hands.clock,
        .timers = &rig->hands.timers,
    };
    uart_init(&rig->uart, &config);
    CHECK_EQ(uart_attach(&rig->uart, &rig->bus, PLATFORM_PORT_COM1), STATUS_OK);
}

static uint8_t in(struct rig *rig, unsigned reg)
{
    return (uint8_t)bus_read(&rig->bus, BUS_PORT, PLATFORM_PORT_COM1 + reg, 1);
}

static void out(struct rig *rig, unsigned reg, uint8_t value)
{
    bus_write(&rig->bus, BUS_PORT, PLATFORM_PORT_COM1 + reg, 1, value);
}

/* 115200n8, FIFOs on and empty, trigger 14, OUT2. */
static void open_port(struct rig *rig)
{
    out(rig, 3, 0x83);
    out(rig, 0, 1);
    out(rig, 1, 0);
    out(rig, 3, 0x03);
    out(rig, 2, 0xc7);
    out(rig, 4, 0x0b);
}

static void reset_values(void)
{
    struct rig rig;
    rig_init(&rig);
    CHECK_EQ(in(&rig, 1), 0);
    CHECK_EQ(in(&rig, 2), 0x01);
    CHECK_EQ(in(&rig, 3), 0);
    CHECK_EQ(in(&rig, 4), 0);
    CHECK_EQ(in(&rig, 5), 0x60);
    CHECK_EQ(in(&rig, 6), 0xb0);
    CHECK_EQ(in(&rig, 7), 0);
    CHECK_EQ(rig.pin.sets, 0);
}

static void registers_hold_what_they_have(void)
{
    struct rig rig;
    rig_init(&rig);
    for (unsigned v = 0; v < 256; v++) {
        out(&rig, 1, (uint8_t)v);
        CHECK_EQ(in(&rig, 1), v & 0x0f);
        out(&rig, 7, (uint8_t)v);
        CHECK_EQ(in(&rig, 7), v);
        out(&rig, 4, (uint8_t)v);
        CHECK_EQ(in(&rig, 4), v & 0x1f);
    }
    out(&rig, 4, 0);
    out(&rig, 1, 5);
    out(&rig, 3, 0x80);
    out(&rig, 0, 0x34);
    out(&rig, 1, 0x12);
    CHECK_EQ(in(&rig, 0), 0x34);
    CHECK_EQ(in(&rig, 1), 0x12);
    out(&rig, 3, 0x1b);
    CHECK_EQ(in(&rig, 3), 0x1b);
    CHECK_EQ(in(&rig, 1), 5);
    CHECK_EQ(rig.sent_count, 0);
    out(&rig, 5, 0xff);
    out(&rig, 6, 0xff);
    CHECK_EQ(in(&rig, 5), 0x60);
    CHECK_EQ(in(&rig, 6) & 0xf0, 0xb0);
}

static void wide_accesses_are_bytes(void)
{
    struct rig rig;
    rig_init(&rig);
    open_port(&rig);
    bus_write(&rig.bus, BUS_PORT, PLATFORM_PORT_COM1, 2, 0x0541);
    CHECK_EQ(rig.sent[0], 'A');
    CHECK_EQ(in(&rig, 1), 5);
    CHECK_EQ(bus_read(&rig.bus, BUS_PORT, PLATFORM_PORT_COM1 + 4, 4), 0x00b0600b);
}

/* What Linux's 8250 driver does to find out what the chip is. */
static void linux_finds_a_16550a(void)
{
    struct rig rig;
    rig_init(&rig);
    out(&rig, 1, 0);
    CHECK_EQ(in(&rig, 1) & 0x0f, 0);
    out(&rig, 1, 0x0f);
    CHECK_EQ(in(&rig, 1) & 0x0f, 0x0f);
    out(&rig, 1, 0);
    out(&rig, 4, 0x1a);
    CHECK_EQ(in(&rig, 6) & 0xf0, 0x90);
    out(&rig, 4, 0);
    out(&rig, 3, 0xbf); /* no enhanced feature register: the write falls into FCR */
    out(&rig, 2, 0);
    out(&rig, 3, 0);
    out(&rig, 2, 0x01);
    CHECK_EQ(in(&rig, 2) >> 6, 3);
    out(&rig, 3, 0x80);
    CHECK(in(&rig, 2) != 0);
    out(&rig, 3, 0xbf);
    CHECK(in(&rig, 2) != 0);
    out(&rig, 3, 0xe0); /* no second bank as in NS16550A Super I/O: bit 4 does not follow MCR */
    CHECK_EQ(in(&rig, 2) & 0x10, 0);
    out(&rig, 3, 0);
    out(&rig, 2, 0x21); /* no 64-byte FIFO */
    CHECK_EQ(in(&rig, 2) & 0x20, 0);
    out(&rig, 1, 0x40); /* no XScale unit enable */
    CHECK_EQ(in(&rig, 1), 0);
}

/* The same driver's count of FIFO places, in loopback. */
static void linux_counts_the_fifo(void)
{
    struct rig rig;
    rig_init(&rig);
    out(&rig, 2, 0x07);
    out(&rig, 4, 0x10);
    out(&rig, 3, 0x83);
    out(&rig, 0, 1);
    out(&rig, 1, 0);
    out(&rig, 3, 0x03);
    for (unsigned i = 0; i < 256; i++)
        out(&rig, 0, (uint8_t)i);
    unsigned count = 0;
    while ((in(&rig, 5) & 1) && count < 256)
        CHECK_EQ(in(&rig, 0), count++);
    CHECK_EQ(count, 16);
    CHECK_EQ(rig.sent_count, 0);
}

/* The same driver's tests of the transmitter's interrupt when the port is opened. */
static void linux_tests_thre(void)
{
    struct rig rig;
    rig_init(&rig);
    open_port(&rig);
    for (unsigned i = 0; i < 2; i++) {
        out(&rig, 1, 0x02);
        CHECK_EQ(in(&rig, 2) & 0x0f, 0x02);
        out(&rig, 1, 0x00);
    }
    CHECK_EQ(in(&rig, 5), 0x60);
    CHECK_EQ(rig.pin.rises, 2);
}

static void thre_interrupt(void)
{
    struct rig rig;
    rig_init(&rig);
    open_port(&rig);
    out(&rig, 1, 0x02);
    CHECK(rig.pin.level);
    CHECK_EQ(in(&rig, 2), 0xc2);
    CHECK(!rig.pin.level);
    CHECK_EQ(in(&rig, 2), 0xc1); /* reading it cleared it */
    out(&rig, 1, 0x02);          /* writing the same again enables nothing new */
    CHECK(!rig.pin.level);
    out(&rig, 0, 'x');
    CHECK(rig.pin.level);
    unsigned rises = rig.pin.rises;
    out(&rig, 0, 'y'); /* falls and rises: an edge for each */
    CHECK_EQ(rig.pin.rises, rises + 1);
    CHECK_EQ(rig.sent_count, 2);
    out(&rig, 1, 0x00);
    CHECK(!rig.pin.level);
    /* A pending one shows again when it is enabled again. */
    out(&rig, 1, 0x02);
    CHECK(rig.pin.level);
}

static void interrupt_needs_out2(void)
{
    struct rig rig;
    rig_init(&rig);
    open_port(&rig);
    out(&rig, 4, 0x03);
    out(&rig, 1, 0x02);
    CHECK(!rig.pin.level);
    CHECK_EQ(rig.pin.sets, 0);
    out(&rig, 4, 0x0b);
    CHECK(rig.pin.level);
    CHECK_EQ(rig.pin.input, 4);
    out(&rig, 4, 0x03);
    CHECK(!rig.pin.level);
}

static void receives_at_the_trigger_level(void)
{
    static const unsigned level[4] = {1, 4, 8, 14};
    for (unsigned t = 0; t < 4; t++) {
        struct rig rig;
        rig_init(&rig);
        open_port(&rig);
        out(&rig, 2, (uint8_t)(t << 6 | 1));
        out(&rig, 1, 0x01);
        for (unsigned i = 1; i <= UART_FIFO_SIZE; i++) {
            CHECK(uart_receive(&rig.uart, (uint8_t)i));
            CHECK_EQ(rig.pin.level, i >= level[t]);
            CHECK_EQ(in(&rig, 2), i >= level[t] ? 0xc4 : 0xc1);
        }
        CHECK(!uart_can_receive(&rig.uart));
        CHECK(!uart_receive(&rig.uart, 0xee));
        for (unsigned i = 1; i <= UART_FIFO_SIZE; i++) {
            CHECK_EQ(in(&rig, 5), 0x61);
            CHECK_EQ(in(&rig, 0), i);
            CHECK_EQ(rig.pin.level, UART_FIFO_SIZE - i >= level[t]);
        }
        CHECK_EQ(in(&rig, 5), 0x60);
        CHECK_EQ(in(&rig, 0), 16);
        CHECK_EQ(rig.rooms, 1);
    }
}

/* Ten bits at 115200: 160 periods a character, four characters, a thousand counts a period. */
#define TIMEOUT_8N1 (4ull * 160 * 1000)

static void times_out(void)
{
    struct rig rig;
    rig_init(&rig);
    open_port(&rig);
    out(&rig, 1, 0x01);
    CHECK(uart_receive(&rig.uart, 'a'));
    hands_turn(&rig.hands, TIMEOUT_8N1 - 2);
    CHECK(!rig.pin.level);
    CHECK(uart_receive(&rig.uart, 'b')); /* begins anew */
    hands_turn(&rig.hands, TIMEOUT_8N1 - 2);
    CHECK_EQ(in(&rig, 2), 0xc1);
    hands_turn(&rig.hands, 2);
    CHECK(rig.pin.level);
    CHECK_EQ(in(&rig, 2), 0xcc);
    CHECK_EQ(in(&rig, 2), 0xcc); /* only a read of the data ends it */
    CHECK_EQ(in(&rig, 0), 'a');
    CHECK(!rig.pin.level);
    hands_turn(&rig.hands, TIMEOUT_8N1);
    CHECK_EQ(in(&rig, 2), 0xcc);
    CHECK_EQ(in(&rig, 0), 'b');
    hands_turn(&rig.hands, 10 * TIMEOUT_8N1);
    CHECK_EQ(in(&rig, 2), 0xc1);
    CHECK_EQ(rig.hands.timers.next, TIMER_NEVER);
}

static void timeout_follows_the_format(void)
{
    struct rig rig;
    rig_init(&rig);
    open_port(&rig);
    out(&rig, 1, 0x01);
    out(&rig, 3, 0x8f); /* 8 bits, 2 stop bits, parity: 12 bits a character */
    out(&rig, 0, 12);
    out(&rig, 3, 0x0f);
    CHECK(uart_receive(&rig.uart, 'a'));
    hands_turn(&rig.hands, 4ull * 12 * 16 * 12 * 1000 - 2);
    CHECK(!rig.pin.level);
    hands_turn(&rig.hands, 4);
    CHECK(rig.pin.level);
    out(&rig, 2, 0xc3); /* emptied */
    CHECK(!rig.pin.level);
    out(&rig, 3, 0x80);
    out(&rig, 0, 0); /* a divisor of zero does not hold bytes for ever */
    out(&rig, 3, 0x00);
    CHECK(uart_receive(&rig.uart, 'a'));
    hands_turn(&rig.hands, 4ull * 7 * 16 * 1000);
    CHECK(rig.pin.level);
}

static void without_fifos(void)
{
    struct rig rig;
    rig_init(&rig);
    out(&rig, 3, 3);
    out(&rig, 4, 8);
    out(&rig, 1, 1);
    CHECK(uart_receive(&rig.uart, 'a'));
    CHECK(!uart_receive(&rig.uart, 'b'));
    CHECK_EQ(in(&rig, 2), 0x04);
    hands_turn(&rig.hands, 1000 * TIMEOUT_8N1);
    CHECK_EQ(in(&rig, 2), 0x04);
    rig.feed = (const uint8_t *)"bcd";
    rig.feed_left = 3;
    CHECK_EQ(in(&rig, 0), 'a');
    CHECK_EQ(rig.pin.rises, 2); /* the next one came at once, with an edge */
    CHECK_EQ(in(&rig, 0), 'b');
    CHECK_EQ(in(&rig, 0), 'c');
    CHECK_EQ(in(&rig, 0), 'd');
    CHECK_EQ(in(&rig, 5), 0x60);
    CHECK_EQ(rig.rooms, 4);
}

static void feeder_loses_nothing(void)
{
    struct rig rig;
    rig_init(&rig);
    open_port(&rig);
    uint8_t text[1000];
    for (unsigned i = 0; i < sizeof(text); i++)
        text[i] = (uint8_t)(i * 7);
    rig.feed = text;
    rig.feed_left = sizeof(text);
    rx_room(&rig);
    CHECK_EQ(rig.feed_left, sizeof(text) - 16);
    for (unsigned i = 0; i < sizeof(text); i++) {
        CHECK_EQ(in(&rig, 5), 0x61);
        CHECK_EQ(in(&rig, 0), text[i]);
    }
    CHECK_EQ(in(&rig, 5), 0x60);
}

static void room_comes_back_in_other_ways(void)
{
    struct rig rig;
    rig_init(&rig);
    open_port(&rig);
    for (unsigned i = 0; i < 16; i++)
        CHECK(uart_receive(&rig.uart, 'x'));
    out(&rig, 2, 0xc3);
    CHECK_EQ(rig.rooms, 1);
    out(&rig, 4, 0x10);
    CHECK(!uart_can_receive(&rig.uart));
    out(&rig, 4, 0x0b);
    CHECK_EQ(rig.rooms, 2);
    out(&rig, 4, 0x10);
    uart_reset(&rig.uart);
    CHECK_EQ(rig.rooms, 3);
    CHECK(uart_can_receive(&rig.uart));
}

static void sink_pushes_back(void)
{
    struct rig rig;
    rig_init(&rig);
    open_port(&rig);
    rig.sink_room = 1;
    out(&rig, 0, 'a');
    CHECK_EQ(in(&rig, 5), 0x60);
    out(&rig, 1, 0x02);
    in(&rig, 2);
    for (unsigned i = 0; i < 18; i++)
        out(&rig, 0, (uint8_t)('b' + i)); /* the last two find no place */
    CHECK_EQ(in(&rig, 5), 0x00);
    CHECK(!rig.pin.level);
    rig.sink_room = 15;
    uart_sink_ready(&rig.uart);
    CHECK_EQ(in(&rig, 5), 0x00);
    CHECK(!rig.pin.level);
    rig.sink_room = 5;
    uart_sink_ready(&rig.uart);
    CHECK_EQ(in(&rig, 5), 0x60);
    CHECK(rig.pin.level);
    CHECK_EQ(in(&rig, 2), 0xc2);
    CHECK_EQ(rig.sent_count, 17);
    CHECK(memcmp(rig.sent, "abcdefghijklmnopq", 17) == 0);
    /* Ready without anything waiting is no interrupt. */
    uart_sink_ready(&rig.uart);
    CHECK(!rig.pin.level);
    rig.sink_room = 0;
    out(&rig, 0, 'z');
    CHECK_EQ(in(&rig, 5), 0);
    out(&rig, 2, 0xc5); /* the guest gives the byte up */
    CHECK_EQ(in(&rig, 5), 0x60);
    CHECK(rig.pin.level);
}

static void one_byte_waits_without_fifos(void)
{
    struct rig rig;
    rig_init(&rig);
    rig.sink_room = 0;
    out(&rig, 0, 'a');
    out(&rig, 0, 'b');
    CHECK_EQ(in(&rig, 5), 0);
    out(&rig, 1, 2); /* enabling while full interrupts only when it runs empty */
    out(&rig, 4, 8);
    CHECK(!rig.pin.level);
    rig.sink_room = 2;
    uart_sink_ready(&rig.uart);
    CHECK(rig.pin.level);
    CHECK_EQ(rig.sent_count, 1);
    CHECK_EQ(rig.sent[0], 'b');
}

static void waiting_bytes_go_round_in_loopback(void)
{
    struct rig rig;
    rig_init(&rig);
    open_port(&rig);
    rig.sink_room = 0;
    out(&rig, 0, 'a');
    out(&rig, 4, 0x10);
    CHECK_EQ(in(&rig, 5), 0x61);
    CHECK_EQ(in(&rig, 0), 'a');
}

static void overruns_in_loopback(void)
{
    struct rig rig;
    rig_init(&rig);
    open_port(&rig);
    out(&rig, 4, 0x18);
    out(&rig, 1, 0x04);
    for (unsigned i = 0; i < 17; i++)
        out(&rig, 0, (uint8_t)i);
    CHECK_EQ(in(&rig, 2), 0xc6);
    CHECK(rig.pin.level); /* the interrupt works in loopback */
    CHECK_EQ(in(&rig, 5), 0x63);
    CHECK_EQ(in(&rig, 5), 0x61);
    CHECK(!rig.pin.level);
    for (unsigned i = 0; i < 16; i++)
        CHECK_EQ(in(&rig, 0), i);
    CHECK_EQ(in(&rig, 5), 0x60);
    /* Without FIFOs the new byte replaces the old. */
    out(&rig, 2, 0);
    out(&rig, 0, 1);
    out(&rig, 0, 2);
    CHECK_EQ(in(&rig, 5), 0x63);
    CHECK_EQ(in(&rig, 0), 2);
    CHECK_EQ(in(&rig, 5), 0x60);
}

static void loopback_honours_the_word_length(void)
{
    struct rig rig;
    rig_init(&rig);
    out(&rig, 4, 0x10);
    for (unsigned length = 0; length < 4; length++) {
        out(&rig, 3, (uint8_t)length);
        out(&rig, 0, 0xff);
        CHECK_EQ(in(&rig, 0), 0xffu >> (3 - length));
    }
    out(&rig, 4, 0);
    out(&rig, 3, 0);
    out(&rig, 0, 0xff);
    CHECK_EQ(rig.sent[0], 0xff); /* the line carries whole bytes */
}

static void breaks(void)
{
    struct rig rig;
    rig_init(&rig);
    open_port(&rig);
    out(&rig, 1, 0x04);
    CHECK(uart_receive(&rig.uart, 'a'));
    CHECK(uart_receive_break(&rig.uart));
    CHECK_EQ(in(&rig, 5), 0xe1); /* somewhere in the FIFO, not at its top */
    CHECK(!rig.pin.level);
    CHECK_EQ(in(&rig, 0), 'a');
    CHECK(rig.pin.level);
    CHECK_EQ(in(&rig, 2), 0xc6);
    CHECK_EQ(in(&rig, 5), 0xf1);
    CHECK_EQ(in(&rig, 5), 0x61);
    CHECK_EQ(in(&rig, 0), 0);
    /* The guest's own break comes back in loopback, once. */
    out(&rig, 4, 0x18);
    out(&rig, 3, 0x43);
    CHECK_EQ(in(&rig, 5), 0xf1);
    CHECK_EQ(in(&rig, 0), 0);
    out(&rig, 3, 0x43);
    out(&rig, 3, 0x03);
    CHECK_EQ(in(&rig, 5), 0x60);
    CHECK(!uart_receive_break(&rig.uart));
}

static void priorities(void)
{
    struct rig rig;
    rig_init(&rig);
    open_port(&rig);
    in(&rig, 6);
    out(&rig, 1, 0x0f);
    uart_set_modem(&rig.uart, 0);
    CHECK(uart_receive(&rig.uart, 'a'));
    hands_turn(&rig.hands, 2 * TIMEOUT_8N1);
    CHECK_EQ(in(&rig, 2), 0xcc);
    for (unsigned i = 0; i < 13; i++)
        CHECK(uart_receive(&rig.uart, 'b'));
    CHECK_EQ(in(&rig, 2), 0xc4);
    in(&rig, 0);
    in(&rig, 0);
    CHECK(uart_receive_break(&rig.uart));
    while (rig.uart.rx.count > 1)
        in(&rig, 0);
    CHECK_EQ(in(&rig, 2), 0xc6);
    CHECK_EQ(in(&rig, 5), 0xf1);
    in(&rig, 0);
    CHECK_EQ(in(&rig, 2), 0xc2);
    CHECK_EQ(in(&rig, 2), 0xc0);
    CHECK_EQ(in(&rig, 6), 0x0b);
    CHECK_EQ(in(&rig, 2), 0xc1);
    CHECK(!rig.pin.level);
}

static void modem_deltas(void)
{
    struct rig rig;
    rig_init(&rig);
    open_port(&rig);
    out(&rig, 1, 0x08);
    CHECK_EQ(in(&rig, 6), 0xb0);
    uart_set_modem(&rig.uart, UART_MODEM_CTS | UART_MODEM_RI);
    CHECK(rig.pin.level);
    CHECK_EQ(in(&rig, 6), 0x5a); /* DSR and DCD changed; of RI only the end counts */
    CHECK(!rig.pin.level);
    uart_set_modem(&rig.uart, UART_MODEM_CTS);
    CHECK_EQ(in(&rig, 6), 0x14);
    uart_set_modem(&rig.uart, 0xff);
    uart_set_modem(&rig.uart, UART_MODEM_CTS); /* there and back counts too */
    CHECK_EQ(in(&rig, 6), 0x1e);
}

static void modem_lines_loop_back(void)
{
    struct rig rig;
    rig_init(&rig);
    static const uint8_t expected[16] = {0x00, 0x20, 0x10, 0x30, 0x40, 0x60, 0x50, 0x70,
                                         0x80, 0xa0, 0x90, 0xb0, 0xc0, 0xe0, 0xd0, 0xf0};
    for (unsigned lines = 0; lines < 16; lines++) {
        out(&rig, 4, (uint8_t)(0x10 | lines));
        CHECK_EQ(in(&rig, 6) & 0xf0, expected[lines]);
        CHECK_EQ(in(&rig, 6) & 0x0f, 0);
    }
    out(&rig, 4, 0x10);
    CHECK_EQ(in(&rig, 6), 0x0f); /* all fell, RI's end among them */
    out(&rig, 4, 0x00);
    CHECK_EQ(in(&rig, 6), 0xbb);
}

static void fifo_switch_empties(void)
{
    struct rig rig;
    rig_init(&rig);
    open_port(&rig);
    CHECK(uart_receive(&rig.uart, 'a'));
    out(&rig, 2, 0x06); /* without the enable bit the FIFOs go off, and the data */
    CHECK_EQ(in(&rig, 5), 0x60);
    CHECK_EQ(in(&rig, 2), 0x01);
    CHECK(uart_receive(&rig.uart, 'b'));
    out(&rig, 2, 0x01);
    CHECK_EQ(in(&rig, 5), 0x60);
    CHECK(uart_receive(&rig.uart, 'c'));
    out(&rig, 2, 0x81); /* another trigger level alone empties nothing */
    CHECK_EQ(in(&rig, 5), 0x61);
    out(&rig, 2, 0x85);
    CHECK_EQ(in(&rig, 5), 0x61);
    out(&rig, 2, 0x83);
    CHECK_EQ(in(&rig, 5), 0x60);
}

static void no_sink_drops(void)
{
    struct hands hands;
    hands_init(&hands, HZ);
    struct uart uart;
    struct uart_config config = {.clock = &hands.clock, .timers = &hands.timers};
    uart_init(&uart, &config);
    for (unsigned i = 0; i < 100; i++)
        uart_ops.write(&uart, 0, 1, i);
    CHECK_EQ(uart_ops.read(&uart, 5, 1), 0x60);
}

static void two_ports_are_apart(void)
{
    struct rig a, b;
    rig_init(&a);
    rig_init(&b);
    open_port(&a);
    out(&a, 7, 0x11);
    out(&b, 7, 0x22);
    out(&a, 0, 'a');
    CHECK(uart_receive(&b.uart, 'b'));
    CHECK_EQ(in(&a, 7), 0x11);
    CHECK_EQ(in(&b, 7), 0x22);
    CHECK_EQ(b.sent_count, 0);
    CHECK_EQ(in(&a, 5), 0x60);
    CHECK_EQ(in(&b, 5), 0x61);
}

TEST_MAIN({"uart: reset values", reset_values},
          {"uart: registers hold what they have", registers_hold_what_they_have},
          {"uart: wide accesses are bytes", wide_accesses_are_bytes},
          {"uart: Linux finds a 16550A", linux_finds_a_16550a},
          {"uart: Linux counts the FIFO", linux_counts_the_fifo},
          {"uart: Linux tests THRE", linux_tests_thre}, {"uart: THRE interrupt", thre_interrupt},
          {"uart: an interrupt needs OUT2", interrupt_needs_out2},
          {"uart: receives at the trigger level", receives_at_the_trigger_level},
          {"uart: times out", times_out},
          {"uart: the timeout follows the format", timeout_follows_the_format},
          {"uart: without FIFOs", without_fifos},
          {"uart: a feeder loses nothing", feeder_loses_nothing},
          {"uart: room comes back in other ways", room_comes_back_in_other_ways},
          {"uart: the sink pushes back", sink_pushes_back},
          {"uart: one byte waits without FIFOs", one_byte_waits_without_fifos},
          {"uart: waiting bytes go round in loopback", waiting_bytes_go_round_in_loopback},
          {"uart: overruns in loopback", overruns_in_loopback},
          {"uart: loopback honours the word length", loopback_honours_the_word_length},
          {"uart: breaks", breaks}, {"uart: priorities", priorities},
          {"uart: modem deltas", modem_deltas},
          {"uart: modem lines loop back", modem_lines_loop_back},
          {"uart: the FIFO switch empties", fifo_switch_empties},
          {"uart: no sink drops", no_sink_drops},
          {"uart: two ports are apart", two_ports_are_apart})
