/* Any sequence of register accesses, arriving bytes and sink moods: bytes keep their order, and the
 * interrupt line says what IIR says. */
#include <stdlib.h>

#include "drivers/model/uart.h"
#include "tests/fake/hands.h"
#include "tests/fuzz/fuzz.h"

#define LCR 3
#define MCR 4
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10

/* What must come out in the order in which it went in; unsure after the guest emptied a FIFO or
 * closed the loop, until the model's own is empty. */
struct line {
    uint8_t byte[UART_FIFO_SIZE + 1];
    unsigned count;
    bool unsure;
};

struct world {
    struct hands hands;
    struct pin pin;
    struct uart uart;
    struct line in, out;
    unsigned sink_room;
};

static struct world world;

static void line_put(struct line *line, uint8_t byte)
{
    REQUIRE(line->unsure || line->count < UART_FIFO_SIZE + 1);
    if (!line->unsure)
        line->byte[line->count++] = byte;
}

static void line_take(struct line *line, uint8_t byte)
{
    if (line->unsure)
        return;
    REQUIRE(line->count > 0 && line->byte[0] == byte);
    line->count--;
    for (unsigned i = 0; i < line->count; i++)
        line->byte[i] = line->byte[i + 1];
}

static void line_doubt(struct line *line)
{
    line->count = 0;
    line->unsure = true;
}

static bool sink_put(void *context, uint8_t byte)
{
    (void)context;
    if (world.sink_room == 0)
        return false;
    world.sink_room--;
    line_take(&world.out, byte);
    return true;
}

static void check(void)
{
    struct uart *uart = &world.uart;
    unsigned depth = uart->fcr & 1 ? UART_FIFO_SIZE : 1;
    REQUIRE(uart->rx.count <= depth && uart->tx.count <= depth);
    REQUIRE(uart->rx.first < UART_FIFO_SIZE && uart->tx.first < UART_FIFO_SIZE);
    REQUIRE(world.hands.timers.next == TIMER_NEVER || uart->rx.count > 0);
    /* A look at a copy changes nothing. */
    struct uart copy = *uart;
    copy.config.irq.set = NULL;
    uint8_t iir = (uint8_t)uart_ops.read(&copy, 2, 1);
    REQUIRE((iir & 0x30) == 0 && (iir >> 6 == 0 || iir >> 6 == 3));
    REQUIRE(world.pin.level == (!(iir & 1) && (uart->mcr & MCR_OUT2)));
    uint8_t lsr = (uint8_t)uart_ops.read(&copy, 5, 1);
    REQUIRE(((lsr & 0x60) == 0x60) == (uart->tx.count == 0) && ((lsr & 0x60) % 0x60) == 0);
    REQUIRE((lsr & 1) == (uart->rx.count > 0));
    if (!(uart->mcr & MCR_LOOP) && uart->rx.count == 0)
        world.in = (struct line){.count = 0};
    if (!(uart->mcr & MCR_LOOP) && uart->tx.count == 0)
        world.out = (struct line){.count = 0};
}

static void guest_write(unsigned reg, uint8_t value)
{
    struct uart *uart = &world.uart;
    bool is_data = reg == 0 && !(uart->lcr & 0x80) && !(uart->mcr & MCR_LOOP);
    if (reg == 2 || (reg == MCR && ((uart->mcr ^ value) & MCR_LOOP))) {
        line_doubt(&world.in);
        line_doubt(&world.out);
    }
    if (is_data && !(uart->fcr & 1) && uart->tx.count == 1)
        line_doubt(&world.out);
    else if (is_data && uart->tx.count < UART_FIFO_SIZE)
        line_put(&world.out, value);
    uart_ops.write(uart, reg, 1, value);
}

static void guest_read(unsigned reg)
{
    struct uart *uart = &world.uart;
    bool is_data = reg == 0 && !(uart->lcr & 0x80) && uart->rx.count > 0;
    uint64_t value = uart_ops.read(uart, reg, 1);
    REQUIRE(value <= 0xff);
    if (is_data)
        line_take(&world.in, (uint8_t)value);
}

static void outside(uint8_t what, uint8_t value)
{
    bool could = uart_can_receive(&world.uart);
    switch (what % 6) {
    case 0:
        if (could)
            line_put(&world.in, value);
        REQUIRE(uart_receive(&world.uart, value) == could);
        break;
    case 1:
        if (could)
            line_put(&world.in, 0);
        REQUIRE(uart_receive_break(&world.uart) == could);
        break;
    case 2:
        world.sink_room = value % 32;
        uart_sink_ready(&world.uart);
        break;
    case 3:
        uart_set_modem(&world.uart, value);
        break;
    case 4:
        hands_turn(&world.hands, (uint64_t)value * value * value);
        break;
    default: /* a wide access; where it goes is the register's business */
        line_doubt(&world.in);
        line_doubt(&world.out);
        uart_ops.write(&world.uart, value & 4, 4, value * 0x01030507u);
        uart_ops.read(&world.uart, value & 4, 4);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    world = (struct world){.sink_room = 4};
    hands_init(&world.hands, 1000000000);
    struct uart_config config = {
        .irq = pin_line(&world.pin, 4),
        .sink = {sink_put, NULL},
        .clock = &world.hands.clock,
        .timers = &world.hands.timers,
    };
    uart_init(&world.uart, &config);
    for (size_t i = 0; i + 1 < size; i += 2) {
        uint8_t op = data[i], value = data[i + 1];
        if (op < 0x60)
            guest_write(op & 7, value);
        else if (op < 0xa0)
            guest_read(op & 7);
        else
            outside(op, value);
        check();
    }
    return 0;
}
