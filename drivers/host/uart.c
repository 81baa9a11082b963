#include "drivers/host/uart.h"

#include "kernel/core/bits.h"
#include "kernel/core/hw.h"
#include "kernel/core/panic.h"
#include "kernel/core/time.h"

/* National Semiconductor PC16550D: Registers. */
#define REG_DATA 0
#define REG_DIVISOR_LOW 0 /* with LCR_DLAB */
#define REG_DIVISOR_HIGH 1
#define REG_IER 1
#define REG_IIR 2
#define REG_FCR 2
#define REG_LCR 3
#define REG_MCR 4
#define REG_LSR 5
#define REG_MSR 6

#define IER_RECEIVE 0x01
#define IER_TRANSMIT 0x02
#define IIR_NONE 0x01
#define IIR_FIFO 0xc0
#define FCR_ENABLE_AND_CLEAR 0x07
#define LCR_8N1 0x03
#define LCR_DLAB 0x80
#define MCR_DTR 0x01
#define MCR_RTS 0x02
#define MCR_OUT2 0x08 /* lets the interrupt through on PCs */
#define MCR_LOOP 0x10
#define LSR_READY 0x01
#define LSR_OVERRUN 0x02
#define LSR_THRE 0x20
#define LSR_TEMT 0x40
#define LSR_ABSENT 0xff

#define DIVISOR_115200 1
#define FIFO_DEPTH 16
#define TRIES_WITHOUT_CLOCK 100000
#define RECEIVE_BURST 256 /* bytes at one go, so that a stream cannot hold the processor */

static uint8_t read(const struct host_uart *uart, uint16_t reg)
{
    return hw_inb((uint16_t)(uart->port + reg));
}

static void write(const struct host_uart *uart, uint16_t reg, uint8_t value)
{
    hw_outb((uint16_t)(uart->port + reg), value);
}

/* The modem lines, looped back, appear in the status: DTR, RTS, OUT1, OUT2 as DSR, CTS, RI, DCD. */
static INIT bool answers(const struct host_uart *uart)
{
    write(uart, REG_IER, 0);
    if (read(uart, REG_IER) != 0)
        return false;
    write(uart, REG_MCR, MCR_LOOP | MCR_RTS | MCR_OUT2);
    if ((read(uart, REG_MSR) & 0xf0) != 0x90)
        return false;
    write(uart, REG_MCR, MCR_LOOP | MCR_DTR);
    return (read(uart, REG_MSR) & 0xf0) == 0x20;
}

static INIT uint8_t irq_of(uint16_t port)
{
    static const struct {
        uint16_t port;
        uint8_t irq;
    } known[] = {{UART_COM1, 4}, {UART_COM2, 3}, {0x3e8, 4}, {0x2e8, 3}};
    for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
        if (known[i].port == port)
            return known[i].irq;
    return 0;
}

INIT enum status host_uart_init(struct host_uart *uart, uint16_t port)
{
    *uart = (struct host_uart){.port = port, .irq = irq_of(port), .fifo_depth = 1};
    if (port > UINT16_MAX - 7)
        return ERR_NOT_FOUND;
    host_uart_drain(uart); /* what the firmware printed last */
    if (!answers(uart))
        return ERR_NOT_FOUND;
    write(uart, REG_LCR, LCR_DLAB | LCR_8N1);
    write(uart, REG_DIVISOR_LOW, DIVISOR_115200);
    write(uart, REG_DIVISOR_HIGH, 0);
    write(uart, REG_LCR, LCR_8N1);
    write(uart, REG_FCR, FCR_ENABLE_AND_CLEAR);
    if ((read(uart, REG_IIR) & IIR_FIFO) == IIR_FIFO)
        uart->fifo_depth = FIFO_DEPTH;
    write(uart, REG_MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
    return STATUS_OK;
}

/* Waits, bounded, for any of the bits in the line status. */
static bool wait_for(const struct host_uart *uart, uint8_t bits)
{
    uint64_t start = time_now(), limit = time_from_ns(UART_STUCK_US * 1000ull);
    for (unsigned tries = 0;; tries++) {
        uint8_t status = read(uart, REG_LSR);
        if (status == LSR_ABSENT)
            return false;
        if (status & bits)
            return true;
        if (limit != 0 ? time_now() - start > limit : tries > TRIES_WITHOUT_CLOCK)
            return false;
        hw_pause();
    }
}

/* Fills the transmitter, which is empty. */
static size_t fill(const struct host_uart *uart, const uint8_t *bytes, size_t count)
{
    size_t sent = 0;
    while (sent < count && sent < uart->fifo_depth)
        write(uart, REG_DATA, bytes[sent++]);
    return sent;
}

static bool is_ready(const struct host_uart *uart)
{
    uint8_t status = read(uart, REG_LSR);
    return status != LSR_ABSENT && (status & LSR_THRE) != 0;
}

static void transmit(struct host_uart *uart, const uint8_t *bytes, size_t count)
{
    while (count > 0) {
        bool ready = uart->stuck ? is_ready(uart) : wait_for(uart, LSR_THRE);
        uart->stuck = !ready;
        if (!ready) {
            uart->dropped += count;
            return;
        }
        size_t sent = fill(uart, bytes, count);
        bytes += sent;
        count -= sent;
    }
}

/* A panic takes no lock: who holds it may never run again. */
static bool lock(struct host_uart *uart)
{
    while (!spinlock_try(&uart->lock)) {
        if (panic_in_progress())
            return false;
        hw_pause();
    }
    return true;
}

static void unlock(struct host_uart *uart, bool locked)
{
    if (locked)
        spinlock_release(&uart->lock);
}

void host_uart_write(struct host_uart *uart, const void *bytes, size_t count)
{
    bool locked = lock(uart);
    transmit(uart, bytes, count);
    unlock(uart, locked);
}

size_t host_uart_write_some(struct host_uart *uart, const void *bytes, size_t count)
{
    bool locked = lock(uart);
    size_t sent = is_ready(uart) ? fill(uart, bytes, count) : 0;
    if (sent > 0)
        uart->stuck = false;
    unlock(uart, locked);
    return sent;
}

void host_uart_drain(struct host_uart *uart)
{
    if (!wait_for(uart, LSR_TEMT))
        return;
    /* The stop bit is on the wire, a sink behind the chip may still want a character's time. */
    if (time_tsc_hz() != 0)
        time_busy_wait_us(200);
}

static void put(struct host_uart *uart, uint8_t byte)
{
    uint32_t head = uart->rx_head;
    if (head - __atomic_load_n(&uart->rx_tail, __ATOMIC_ACQUIRE) == UART_RX_SIZE) {
        uart->overruns++;
        return;
    }
    uart->rx[head % UART_RX_SIZE] = byte;
    __atomic_store_n(&uart->rx_head, head + 1, __ATOMIC_RELEASE);
}

void host_uart_receive(struct host_uart *uart)
{
    bool locked = lock(uart);
    for (unsigned i = 0; i < RECEIVE_BURST; i++) {
        uint8_t status = read(uart, REG_LSR);
        if (status == LSR_ABSENT || !(status & LSR_READY))
            break;
        if (status & LSR_OVERRUN)
            uart->overruns++;
        put(uart, read(uart, REG_DATA));
    }
    unlock(uart, locked);
}

size_t host_uart_read(struct host_uart *uart, void *bytes, size_t count)
{
    uint8_t *to = bytes;
    uint32_t tail = uart->rx_tail;
    uint32_t head = __atomic_load_n(&uart->rx_head, __ATOMIC_ACQUIRE);
    size_t taken = 0;
    while (tail != head && taken < count)
        to[taken++] = uart->rx[tail++ % UART_RX_SIZE];
    __atomic_store_n(&uart->rx_tail, tail, __ATOMIC_RELEASE);
    return taken;
}

bool host_uart_has_input(const struct host_uart *uart)
{
    return __atomic_load_n(&uart->rx_head, __ATOMIC_ACQUIRE) != uart->rx_tail;
}

INIT void host_uart_enable_receive_interrupt(struct host_uart *uart)
{
    uart->interrupts |= IER_RECEIVE;
    write(uart, REG_IER, uart->interrupts);
    /* What arrived before gives no new edge. */
    host_uart_receive(uart);
}

void host_uart_enable_transmit_interrupt(struct host_uart *uart, bool enable)
{
    uint8_t bits = enable ? IER_TRANSMIT : 0;
    uart->interrupts = (uint8_t)((uart->interrupts & ~IER_TRANSMIT) | bits);
    write(uart, REG_IER, uart->interrupts);
}

void host_uart_interrupt_again(struct host_uart *uart)
{
    write(uart, REG_IER, 0);
    write(uart, REG_IER, uart->interrupts);
}

bool host_uart_interrupt_pending(struct host_uart *uart)
{
    return !(read(uart, REG_IIR) & IIR_NONE);
}

static void sink_write(void *context, const char *text, size_t length)
{
    size_t done = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] != '\n')
            continue;
        host_uart_write(context, text + done, i - done);
        host_uart_write(context, "\r\n", 2);
        done = i + 1;
    }
    host_uart_write(context, text + done, length - done);
}

static void sink_flush(void *context)
{
    host_uart_drain(context);
}

INIT struct log_sink host_uart_log_sink(struct host_uart *uart)
{
    return (struct log_sink){.write = sink_write, .flush = sink_flush, .context = uart};
}
