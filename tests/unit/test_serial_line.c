/* A line whose ring its interrupt empties: who waits for it does not keep it from others. */
#include <string.h>

#include "kernel/console/serial_line.h"
#include "tests/check.h"

#define FIFO 16u

static struct host_uart uart;
static struct serial_line line;
static uint8_t sent[4 * SERIAL_LINE_SIZE];
static size_t sent_count, at_once; /* what has left, and what the transmitter takes */
static unsigned drains, again, asks, rooms, inputs;
static size_t longest, held; /* bytes that were waited for with the lock */
static bool has_input, transmits, receives;
static void (*on_drain)(void);

static bool is_locked(void)
{
    bool is_free = spinlock_try(&line.lock);
    if (is_free)
        spinlock_release(&line.lock);
    return !is_free;
}

void host_uart_write(struct host_uart *of, const void *bytes, size_t count)
{
    CHECK(of == &uart && is_locked());
    held += count;
    longest = held > longest ? held : longest;
    if (of->stuck) {
        of->dropped += count;
        return;
    }
    CHECK(sent_count + count <= sizeof(sent));
    memcpy(sent + sent_count, bytes, count);
    sent_count += count;
}

size_t host_uart_write_some(struct host_uart *of, const void *bytes, size_t count)
{
    CHECK(of == &uart && is_locked());
    count = count < at_once ? count : at_once;
    memcpy(sent + sent_count, bytes, count);
    sent_count += count;
    at_once -= count;
    return count;
}

void host_uart_drain(struct host_uart *of)
{
    CHECK(of == &uart && !is_locked());
    held = 0;
    drains++;
    if (on_drain != NULL)
        on_drain();
}

void host_uart_receive(struct host_uart *of)
{
    CHECK(of == &uart);
}

size_t host_uart_read(struct host_uart *of, void *bytes, size_t count)
{
    CHECK(of == &uart && count > 0);
    *(uint8_t *)bytes = 'i';
    has_input = false;
    return 1;
}

bool host_uart_has_input(const struct host_uart *of)
{
    CHECK(of == &uart);
    return has_input;
}

void host_uart_enable_receive_interrupt(struct host_uart *of)
{
    CHECK(of == &uart);
    receives = true;
}

void host_uart_enable_transmit_interrupt(struct host_uart *of, bool enable)
{
    CHECK(of == &uart);
    transmits = enable;
}

bool host_uart_interrupt_pending(struct host_uart *of)
{
    CHECK(of == &uart);
    return asks != 0 && asks-- != 0;
}

void host_uart_interrupt_again(struct host_uart *of)
{
    CHECK(of == &uart);
    again++;
}

static void room(void *context)
{
    CHECK(context == &line && !is_locked());
    rooms++;
}

static void input(void *context)
{
    uint8_t byte;
    CHECK(context == &line && !is_locked());
    inputs++;
    CHECK_EQ(serial_line_read(&line, &byte, 1), 1);
}

static void start(bool is_polled)
{
    uart = (struct host_uart){.fifo_depth = FIFO};
    sent_count = at_once = longest = held = 0;
    drains = again = asks = rooms = inputs = 0;
    transmits = receives = has_input = false;
    on_drain = NULL;
    serial_line_init(&line, &uart);
    line.room = room;
    line.input = input;
    line.context = &line;
    serial_line_start(&line, is_polled);
}

static uint8_t byte_at(size_t at)
{
    return (uint8_t)(at * 7 + at / 256);
}

/* Lets count bytes wait: the transmitter takes none. */
static void fill(size_t count)
{
    static uint8_t bytes[SERIAL_LINE_SIZE];
    for (size_t i = 0; i < count; i++)
        bytes[i] = byte_at(i);
    serial_line_write(&line, bytes, count);
    CHECK_EQ(sent_count, 0);
}

static void check_sent(size_t count)
{
    CHECK(sent_count >= count);
    for (size_t i = 0; i < count; i++)
        CHECK_EQ(sent[i], byte_at(i));
}

static void drains_whole(void)
{
    static const size_t counts[] = {0, 1, 64, 65, 1000, SERIAL_LINE_SIZE};
    for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
        start(false);
        line.head = line.tail = UINT32_MAX - 500; /* it wraps */
        fill(counts[i]);
        serial_line_drain(&line);
        CHECK_EQ(sent_count, counts[i]);
        check_sent(counts[i]);
        CHECK(drains >= 1);
    }
}

static void gives_the_lock_back(void)
{
    start(false);
    fill(SERIAL_LINE_SIZE);
    serial_line_drain(&line);
    CHECK(longest > 0 && longest <= 64);
    CHECK(drains >= SERIAL_LINE_SIZE / 64);
}

/* A guest that floods, and the line's interrupt on another processor. */
static void comes_between(void)
{
    static const uint8_t more[64];
    serial_line_write(&line, more, sizeof(more));
    at_once = FIFO;
    serial_line_interrupt(&line);
}

static void drains_what_was_there(void)
{
    start(false);
    fill(1000);
    on_drain = comes_between;
    serial_line_drain(&line);
    check_sent(1000);
    CHECK(sent_count < 1000 + 64 + FIFO + 1);
    CHECK(line.head != line.tail);
}

static void stick(void)
{
    uart.stuck = true;
}

/* Each wait for one that is stuck takes its time. */
static void a_stuck_line_is_waited_for_once(void)
{
    start(false);
    fill(SERIAL_LINE_SIZE);
    on_drain = stick;
    serial_line_drain(&line);
    CHECK_EQ(sent_count, 64);
    CHECK_EQ(uart.dropped, SERIAL_LINE_SIZE - 64);
    CHECK(drains <= 3);
}

static void a_panic_sends_all_past_the_lock(void)
{
    start(false);
    fill(SERIAL_LINE_SIZE);
    spinlock_acquire(&line.lock);
    serial_line_abandon(&line);
    CHECK_EQ(sent_count, SERIAL_LINE_SIZE);
    check_sent(SERIAL_LINE_SIZE);
}

static void its_interrupt_empties_it(void)
{
    start(false);
    CHECK(receives);
    line.limit = 256;
    fill(1000);
    CHECK(transmits);
    CHECK(!serial_line_has_room(&line));
    CHECK_EQ(serial_line_write_some(&line, "more", 4), 0);
    for (unsigned taken = 0; taken < 1000; taken += FIFO) {
        CHECK_EQ(rooms, taken > 1000 - 128);
        at_once = FIFO;
        serial_line_interrupt(&line);
    }
    check_sent(1000);
    CHECK(!transmits);
    CHECK(serial_line_has_room(&line));
    at_once = 2;
    CHECK_EQ(serial_line_write_some(&line, "more", 4), 4);
    CHECK_EQ(sent_count, 1002);
}

static void its_interrupt_is_bounded(void)
{
    start(false);
    asks = 1000;
    has_input = true;
    serial_line_interrupt(&line);
    CHECK_EQ(again, 1);
    CHECK_EQ(inputs, 1);
}

static void a_polled_one_has_no_interrupt(void)
{
    start(true);
    fill(10);
    CHECK(!receives && !transmits);
    at_once = FIFO;
    serial_line_interrupt(&line);
    check_sent(10);
}

/* Before it is served, output waits for the line; and who writes more than the ring has. */
static void writers_wait(void)
{
    start(false);
    line.is_served = false;
    serial_line_write(&line, "early", 5);
    CHECK_EQ(sent_count, 5);
    start(false);
    fill(SERIAL_LINE_SIZE);
    serial_line_write(&line, "more", 4);
    CHECK_EQ(sent_count, 64);
}

TEST_MAIN({"drains_whole", drains_whole}, {"gives_the_lock_back", gives_the_lock_back},
          {"drains_what_was_there", drains_what_was_there},
          {"a_stuck_line_is_waited_for_once", a_stuck_line_is_waited_for_once},
          {"a_panic_sends_all_past_the_lock", a_panic_sends_all_past_the_lock},
          {"its_interrupt_empties_it", its_interrupt_empties_it},
          {"its_interrupt_is_bounded", its_interrupt_is_bounded},
          {"a_polled_one_has_no_interrupt", a_polled_one_has_no_interrupt},
          {"writers_wait", writers_wait})
