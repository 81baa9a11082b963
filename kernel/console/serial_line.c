#include "kernel/console/serial_line.h"

#define INTERRUPT_ROUNDS 16
/* What a writer waits for at a time while the ring is full, or its line is drained: 5 ms, so that
 * input is not lost. */
#define FORCED_BYTES 64

INIT void serial_line_init(struct serial_line *line, struct host_uart *uart)
{
    *line = (struct serial_line){.uart = uart, .limit = SERIAL_LINE_SIZE};
}

/* With the lock: sends count bytes of the ring, or what it has, through the line, which may be
 * stuck but then drops. */
static void force(struct serial_line *line, uint32_t count)
{
    while (line->tail != line->head && count > 0) {
        uint32_t first = line->tail % SERIAL_LINE_SIZE;
        uint32_t run = line->head - line->tail;
        if (run > SERIAL_LINE_SIZE - first)
            run = SERIAL_LINE_SIZE - first;
        if (run > count)
            run = count;
        count -= run;
        host_uart_write(line->uart, &line->ring[first], run);
        line->tail += run;
    }
}

/* With the lock: gives the transmitter what it takes at once; its interrupt asks for more. */
static void push(struct serial_line *line)
{
    while (line->tail != line->head) {
        uint32_t first = line->tail % SERIAL_LINE_SIZE;
        uint32_t run = line->head - line->tail;
        if (run > SERIAL_LINE_SIZE - first)
            run = SERIAL_LINE_SIZE - first;
        size_t sent = host_uart_write_some(line->uart, &line->ring[first], run);
        line->tail += (uint32_t)sent;
        if (sent < run)
            break;
    }
    bool pending = line->tail != line->head;
    if (pending && !line->is_served) {
        force(line, UINT32_MAX);
    } else if (pending != line->transmitting) {
        line->transmitting = pending;
        if (!line->is_polled)
            host_uart_enable_transmit_interrupt(line->uart, pending);
    }
}

static size_t append(struct serial_line *line, const uint8_t *bytes, size_t count, uint32_t limit)
{
    size_t taken = 0;
    while (taken < count && line->head - line->tail < limit)
        line->ring[line->head++ % SERIAL_LINE_SIZE] = bytes[taken++];
    return taken;
}

size_t serial_line_write_some(struct serial_line *line, const void *bytes, size_t count)
{
    spinlock_acquire(&line->lock);
    size_t taken = append(line, bytes, count, line->limit);
    line->was_full = line->was_full || taken < count;
    if (!line->transmitting)
        push(line);
    spinlock_release(&line->lock);
    return taken;
}

bool serial_line_has_room(struct serial_line *line)
{
    spinlock_acquire(&line->lock);
    bool has_room = line->head - line->tail < line->limit;
    line->was_full = line->was_full || !has_room;
    spinlock_release(&line->lock);
    return has_room;
}

void serial_line_write(struct serial_line *line, const void *bytes, size_t count)
{
    const uint8_t *next = bytes;
    spinlock_acquire(&line->lock);
    while (count > 0) {
        size_t taken = append(line, next, count, SERIAL_LINE_SIZE);
        next += taken;
        count -= taken;
        if (count > 0)
            force(line, FORCED_BYTES);
    }
    if (!line->transmitting)
        push(line);
    spinlock_release(&line->lock);
}

void serial_line_drain(struct serial_line *line)
{
    spinlock_acquire(&line->lock);
    for (uint32_t end = line->head; (int32_t)(end - line->tail) > 0;) {
        force(line, line->uart->stuck ? UINT32_MAX : FORCED_BYTES);
        spinlock_release(&line->lock);
        host_uart_drain(line->uart); /* long enough for whoever else wants the lock */
        spinlock_acquire(&line->lock);
    }
    spinlock_release(&line->lock);
    host_uart_drain(line->uart);
}

void serial_line_abandon(struct serial_line *line)
{
    force(line, UINT32_MAX);
}

size_t serial_line_read(struct serial_line *line, void *bytes, size_t count)
{
    return host_uart_read(line->uart, bytes, count);
}

INIT void serial_line_start(struct serial_line *line, bool is_polled)
{
    line->is_served = true;
    line->is_polled = is_polled;
    if (!is_polled)
        host_uart_enable_receive_interrupt(line->uart);
}

void serial_line_interrupt(void *context)
{
    struct serial_line *line = context;
    spinlock_acquire(&line->lock);
    /* Bounded: a UART that never stops asking, as one without a line behind it whose transmitter is
     * always empty, must not hold the processor. */
    unsigned rounds = 0;
    do {
        if (rounds++ == INTERRUPT_ROUNDS) {
            host_uart_interrupt_again(line->uart);
            break;
        }
        host_uart_receive(line->uart);
        push(line);
    } while (host_uart_interrupt_pending(line->uart));
    bool has_room = line->was_full && line->head - line->tail < line->limit / 2;
    if (has_room)
        line->was_full = false;
    spinlock_release(&line->lock);
    if (has_room && line->room != NULL)
        line->room(line->context);
    if (line->input != NULL && host_uart_has_input(line->uart))
        line->input(line->context);
}
