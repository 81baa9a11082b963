#include "drivers/model/uart.h"

#include "drivers/model/byte_port.h"
#include "kernel/vm/platform.h"

/* Register offsets, with the latch access bit clear. */
enum {
    REG_DATA = 0, /* RBR, THR; divisor latch low */
    REG_IER = 1,  /* divisor latch high */
    REG_IIR = 2,  /* FCR when written */
    REG_LCR = 3,
    REG_MCR = 4,
    REG_LSR = 5,
    REG_MSR = 6,
    REG_SCR = 7,
};

#define IER_ERBFI 0x01 /* received data available, character timeout */
#define IER_ETBEI 0x02 /* transmitter holding register empty */
#define IER_ELSI 0x04  /* receiver line status */
#define IER_EDSSI 0x08 /* modem status */
#define IER_BITS 0x0f

#define IIR_MODEM_STATUS 0x00
#define IIR_NONE 0x01
#define IIR_THR_EMPTY 0x02
#define IIR_RECEIVED_DATA 0x04
#define IIR_LINE_STATUS 0x06
#define IIR_CHARACTER_TIMEOUT 0x0c
#define IIR_FIFOS_ENABLED 0xc0

#define FCR_ENABLE 0x01
#define FCR_RESET_RX 0x02
#define FCR_RESET_TX 0x04
#define FCR_TRIGGER_SHIFT 6

#define LCR_WORD_LENGTH 0x03
#define LCR_STOP_BITS 0x04
#define LCR_PARITY 0x08
#define LCR_BREAK 0x40
#define LCR_DLAB 0x80

#define MCR_DTR 0x01
#define MCR_RTS 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10
#define MCR_BITS 0x1f

#define LSR_DATA_READY 0x01
#define LSR_OVERRUN 0x02
#define LSR_BREAK 0x10
#define LSR_THR_EMPTY 0x20
#define LSR_TRANSMITTER_EMPTY 0x40
#define LSR_FIFO_ERROR 0x80

#define MSR_LINES 0xf0
#define MSR_DELTAS 0x0f
#define MSR_RING_TRAILING_EDGE 0x04

/* The baud generator divides 1.8432 MHz by 16 times the divisor. */
#define BAUD_INPUT_HZ 1843200u
#define BAUD_PERIODS_PER_BIT 16u
#define TIMEOUT_CHARACTERS 4u

static const uint8_t trigger_level[4] = {1, 4, 8, 14};

/* ---- FIFOs ---- */

static bool fifos_enabled(const struct uart *uart)
{
    return uart->fcr & FCR_ENABLE;
}

/* In 16450 mode, the holding registers are FIFOs of one. */
static unsigned fifo_depth(const struct uart *uart)
{
    return fifos_enabled(uart) ? UART_FIFO_SIZE : 1;
}

static void fifo_push(struct uart_fifo *fifo, uint8_t byte, uint8_t error)
{
    unsigned i = (fifo->first + fifo->count++) % UART_FIFO_SIZE;
    fifo->byte[i] = byte;
    fifo->error[i] = error;
}

static uint8_t fifo_pop(struct uart_fifo *fifo)
{
    uint8_t byte = fifo->byte[fifo->first];
    fifo->first = (fifo->first + 1) % UART_FIFO_SIZE;
    fifo->count--;
    return byte;
}

static bool fifo_has_error(const struct uart_fifo *fifo)
{
    for (unsigned i = 0; i < fifo->count; i++)
        if (fifo->error[(fifo->first + i) % UART_FIFO_SIZE] != 0)
            return true;
    return false;
}

/* ---- Interrupts ---- */

/* The errors of the byte that is next to be read, and an overrun. */
static uint8_t line_errors(const struct uart *uart)
{
    uint8_t errors = uart->overrun ? LSR_OVERRUN : 0;
    return uart->rx.count > 0 ? errors | uart->rx.error[uart->rx.first] : errors;
}

static bool is_data_due(const struct uart *uart)
{
    unsigned level = fifos_enabled(uart) ? trigger_level[uart->fcr >> FCR_TRIGGER_SHIFT] : 1;
    return uart->rx.count >= level;
}

/* PC16550D: Interrupt Identification Register; from the highest priority down. */
static uint8_t interrupt_source(const struct uart *uart)
{
    if ((uart->ier & IER_ELSI) && line_errors(uart) != 0)
        return IIR_LINE_STATUS;
    if ((uart->ier & IER_ERBFI) && is_data_due(uart))
        return IIR_RECEIVED_DATA;
    if ((uart->ier & IER_ERBFI) && uart->timed_out)
        return IIR_CHARACTER_TIMEOUT;
    if ((uart->ier & IER_ETBEI) && uart->thre_pending)
        return IIR_THR_EMPTY;
    if ((uart->ier & IER_EDSSI) && (uart->msr & MSR_DELTAS))
        return IIR_MODEM_STATUS;
    return IIR_NONE;
}

/* A PC gates the interrupt with OUT2. The gate is the register's bit, as in a Super I/O chip, so
 * that a self-test in loopback sees its interrupts. */
static void update_irq(struct uart *uart)
{
    bool level = (uart->mcr & MCR_OUT2) && interrupt_source(uart) != IIR_NONE;
    if (level == uart->irq_level)
        return;
    uart->irq_level = level;
    irq_line_set(&uart->config.irq, level);
}

/* ---- Receiver ---- */

/* The time of four characters of the present format, from the last byte that came or was read. */
static void restart_timeout(struct uart *uart)
{
    if (!fifos_enabled(uart) || uart->rx.count == 0 || uart->timed_out) {
        timer_cancel(&uart->rx_timeout);
        return;
    }
    uint64_t bits = 1 + 5 + (uart->lcr & LCR_WORD_LENGTH) + !!(uart->lcr & LCR_PARITY) + 1 +
                    !!(uart->lcr & LCR_STOP_BITS);
    /* A divisor of zero stops a real generator; here it counts as one, so that bytes still come. */
    uint64_t divisor = uart->divisor != 0 ? uart->divisor : 1;
    uint64_t periods = TIMEOUT_CHARACTERS * bits * BAUD_PERIODS_PER_BIT * divisor;
    timer_arm(&uart->rx_timeout,
              clock_now(uart->config.clock) + ratio_apply(uart->to_clock, periods));
}

static void fire_timeout(void *owner, uint64_t now)
{
    struct uart *uart = owner;
    (void)now;
    uart->timed_out = true;
    update_irq(uart);
}

static void receiver_take(struct uart *uart, uint8_t byte, uint8_t error)
{
    fifo_push(&uart->rx, byte, error);
    uart->had_room = uart_can_receive(uart);
    restart_timeout(uart);
    update_irq(uart);
}

static void receiver_clear(struct uart *uart)
{
    uart->rx.first = uart->rx.count = 0;
    uart->timed_out = false;
    timer_cancel(&uart->rx_timeout);
}

/* Tells the feeder when room has come back. Last in an access: the feeder may call uart_receive. */
static void offer_room(struct uart *uart)
{
    bool room = uart_can_receive(uart);
    bool appeared = room && !uart->had_room;
    uart->had_room = room;
    if (appeared && uart->config.rx_room != NULL)
        uart->config.rx_room(uart->config.rx_context);
}

static uint8_t receiver_read(struct uart *uart)
{
    /* An empty receiver keeps showing the byte that was read last. */
    if (uart->rx.count == 0)
        return uart->rx.byte[(uart->rx.first + UART_FIFO_SIZE - 1) % UART_FIFO_SIZE];
    uint8_t byte = fifo_pop(&uart->rx);
    uart->timed_out = false;
    restart_timeout(uart);
    update_irq(uart);
    return byte;
}

bool uart_can_receive(const struct uart *uart)
{
    return !(uart->mcr & MCR_LOOP) && uart->rx.count < fifo_depth(uart);
}

bool uart_receive(struct uart *uart, uint8_t byte)
{
    if (!uart_can_receive(uart))
        return false;
    receiver_take(uart, byte, 0);
    return true;
}

bool uart_receive_break(struct uart *uart)
{
    if (!uart_can_receive(uart))
        return false;
    receiver_take(uart, 0, LSR_BREAK);
    return true;
}

/* What the transmitter sends comes back. An overrun keeps a FIFO's bytes and loses the new one,
 * while without FIFOs the new byte takes the place of the old. */
static void loop_back(struct uart *uart, uint8_t byte, uint8_t error)
{
    unsigned width = 5 + (uart->lcr & LCR_WORD_LENGTH);
    byte &= (1u << width) - 1;
    if (uart->rx.count < fifo_depth(uart)) {
        receiver_take(uart, byte, error);
        return;
    }
    uart->overrun = true;
#ifdef PLANTED_BUG_UART
    fifo_push(&uart->rx, byte, error);
#endif
    if (!fifos_enabled(uart)) {
        uart->rx.byte[uart->rx.first] = byte;
        uart->rx.error[uart->rx.first] = error;
    }
    update_irq(uart);
}

/* ---- Transmitter ---- */

static void transmitter_drain(struct uart *uart)
{
    unsigned waiting = uart->tx.count;
    while (uart->tx.count > 0) {
        uint8_t byte = uart->tx.byte[uart->tx.first];
        if (uart->mcr & MCR_LOOP)
            loop_back(uart, byte, 0);
        else if (!byte_sink_put(&uart->config.sink, byte))
            return;
        fifo_pop(&uart->tx);
    }
    if (waiting > 0)
        uart->thre_pending = true;
    update_irq(uart);
}

static void transmitter_write(struct uart *uart, uint8_t byte)
{
    /* The line falls for an instant even if the byte leaves at once: an edge-triggered input sees
     * one interrupt for each time that the holding register ran empty. */
    uart->thre_pending = false;
    update_irq(uart);
    if (uart->tx.count == fifo_depth(uart)) {
        /* The guest writes without looking: a FIFO drops the byte, a holding register is replaced.
         */
        if (!fifos_enabled(uart))
            uart->tx.byte[uart->tx.first] = byte;
        return;
    }
    fifo_push(&uart->tx, byte, 0);
    transmitter_drain(uart);
}

static void transmitter_clear(struct uart *uart)
{
    if (uart->tx.count > 0)
        uart->thre_pending = true;
    uart->tx.first = uart->tx.count = 0;
}

void uart_sink_ready(struct uart *uart)
{
    transmitter_drain(uart);
}

/* ---- Modem lines ---- */

/* Brings the modem status register up to date with the pins, or in loopback with the outputs, and
 * notes what changed. Of the ring indicator only the end counts. */
static void update_modem(struct uart *uart)
{
    uint8_t lines = uart->modem_input;
    if (uart->mcr & MCR_LOOP)
        lines = (uart->mcr & MCR_RTS ? UART_MODEM_CTS : 0) |
                (uart->mcr & MCR_DTR ? UART_MODEM_DSR : 0) |
                (uart->mcr & MCR_OUT1 ? UART_MODEM_RI : 0) |
                (uart->mcr & MCR_OUT2 ? UART_MODEM_DCD : 0);
    uint8_t delta = (lines ^ uart->msr) >> 4;
    if (lines & UART_MODEM_RI)
        delta &= ~MSR_RING_TRAILING_EDGE;
    uart->msr = lines | (uart->msr & MSR_DELTAS) | delta;
    update_irq(uart);
}

void uart_set_modem(struct uart *uart, uint8_t lines)
{
    uart->modem_input = lines & MSR_LINES;
    update_modem(uart);
}

/* ---- Registers ---- */

static uint8_t read_iir(struct uart *uart)
{
    uint8_t source = interrupt_source(uart);
    if (source == IIR_THR_EMPTY) {
        uart->thre_pending = false;
        update_irq(uart);
    }
    return fifos_enabled(uart) ? source | IIR_FIFOS_ENABLED : source;
}

static uint8_t read_lsr(struct uart *uart)
{
    uint8_t lsr = line_errors(uart);
    if (uart->rx.count > 0)
        lsr |= LSR_DATA_READY;
    if (uart->tx.count == 0)
        lsr |= LSR_THR_EMPTY | LSR_TRANSMITTER_EMPTY;
    if (fifos_enabled(uart) && fifo_has_error(&uart->rx))
        lsr |= LSR_FIFO_ERROR;
    uart->overrun = false;
    if (uart->rx.count > 0)
        uart->rx.error[uart->rx.first] = 0;
    update_irq(uart);
    return lsr;
}

static uint8_t read_msr(struct uart *uart)
{
    uint8_t msr = uart->msr;
    uart->msr &= MSR_LINES;
    update_irq(uart);
    return msr;
}

static void write_ier(struct uart *uart, uint8_t value)
{
    uint8_t enabled = value & ~uart->ier;
    uart->ier = value & IER_BITS;
    /* Enabling the transmitter's interrupt while the transmitter is empty gives one. */
    if ((enabled & IER_ETBEI) && uart->tx.count == 0)
        uart->thre_pending = true;
    update_irq(uart);
}

/* PC16550D: FIFO Control Register. Switching the FIFOs on or off empties them; the other bits count
 * only in a write that has the enable bit. */
static void write_fcr(struct uart *uart, uint8_t value)
{
    bool toggled = (value ^ uart->fcr) & FCR_ENABLE;
    uart->fcr = value & FCR_ENABLE ? value & ~(FCR_RESET_RX | FCR_RESET_TX) : 0;
    if (toggled || (value & (FCR_ENABLE | FCR_RESET_RX)) == (FCR_ENABLE | FCR_RESET_RX))
        receiver_clear(uart);
    if (toggled || (value & (FCR_ENABLE | FCR_RESET_TX)) == (FCR_ENABLE | FCR_RESET_TX))
        transmitter_clear(uart);
    update_irq(uart);
}

static void write_lcr(struct uart *uart, uint8_t value)
{
    bool break_begins = (value & ~uart->lcr) & LCR_BREAK;
    uart->lcr = value;
    if (break_begins && (uart->mcr & MCR_LOOP))
        loop_back(uart, 0, LSR_BREAK);
}

static void write_mcr(struct uart *uart, uint8_t value)
{
    uart->mcr = value & MCR_BITS;
    update_modem(uart);
    /* Bytes that wait for the sink go round as soon as the loop is closed. */
    if (uart->mcr & MCR_LOOP)
        transmitter_drain(uart);
}

static uint8_t read_register(void *device, unsigned offset)
{
    struct uart *uart = device;
    bool dlab = uart->lcr & LCR_DLAB;
    switch (offset) {
    case REG_DATA:
        return dlab ? (uint8_t)uart->divisor : receiver_read(uart);
    case REG_IER:
        return dlab ? (uint8_t)(uart->divisor >> 8) : uart->ier;
    case REG_IIR:
        return read_iir(uart);
    case REG_LCR:
        return uart->lcr;
    case REG_MCR:
        return uart->mcr;
    case REG_LSR:
        return read_lsr(uart);
    case REG_MSR:
        return read_msr(uart);
    default:
        return uart->scr;
    }
}

static void write_register(void *device, unsigned offset, uint8_t value)
{
    struct uart *uart = device;
    bool dlab = uart->lcr & LCR_DLAB;
    switch (offset) {
    case REG_DATA:
        if (dlab)
            uart->divisor = (uart->divisor & 0xff00) | value;
        else
            transmitter_write(uart, value);
        break;
    case REG_IER:
        if (dlab)
            uart->divisor = (uint16_t)(value << 8) | (uart->divisor & 0xff);
        else
            write_ier(uart, value);
        break;
    case REG_IIR:
        write_fcr(uart, value);
        break;
    case REG_LCR:
        write_lcr(uart, value);
        break;
    case REG_MCR:
        write_mcr(uart, value);
        break;
    case REG_SCR:
        uart->scr = value;
        break;
    default: /* LSR and MSR are read-only: their writes are for a factory's tests */
        break;
    }
}

static uint64_t uart_read(void *device, uint64_t offset, unsigned size)
{
    uint64_t value = byte_port_read(device, offset, size, read_register);
    offer_room(device);
    return value;
}

static void uart_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    byte_port_write(device, offset, size, value, write_register);
    offer_room(device);
}

const struct bus_ops uart_ops = {uart_read, uart_write};

void uart_reset(struct uart *uart)
{
    receiver_clear(uart);
    uart->tx.first = uart->tx.count = 0;
    uart->overrun = false;
    uart->thre_pending = false;
    uart->ier = uart->fcr = uart->lcr = uart->mcr = uart->scr = 0;
    uart->msr = uart->modem_input;
    uart->divisor = 1;
    update_irq(uart);
    offer_room(uart);
}

INIT void uart_init(struct uart *uart, const struct uart_config *config)
{
    *uart = (struct uart){
        .config = *config,
        .to_clock = ratio_make(BAUD_INPUT_HZ, config->clock->hz),
        .had_room = true,
        .modem_input = UART_MODEM_CTS | UART_MODEM_DSR | UART_MODEM_DCD,
    };
    timer_init(&uart->rx_timeout, config->timers, fire_timeout, uart);
    uart_reset(uart);
}

INIT enum status uart_attach(struct uart *uart, struct bus *bus, uint16_t base)
{
    return bus_add(bus, BUS_PORT, base, PLATFORM_PORT_UART_SIZE, &uart_ops, uart);
}
