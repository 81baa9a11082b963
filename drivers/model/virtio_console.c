#include "drivers/model/virtio_console.h"

#include "kernel/core/mem.h"

#define CONSOLE_F_SIZE BIT(0)
#define CONSOLE_F_MULTIPORT BIT(1)

#define CONTROL_RECEIVE_QUEUE 2
#define CONTROL_TRANSMIT_QUEUE 3

/* What a chain costs of a service call's budget beside its bytes. */
#define CHAIN_COST 64u

enum control_event {
    EVENT_DEVICE_READY = 0,
    EVENT_DEVICE_ADD = 1,
    EVENT_PORT_READY = 3,
    EVENT_CONSOLE_PORT = 4,
    EVENT_RESIZE = 5,
    EVENT_PORT_OPEN = 6,
    EVENT_PORT_NAME = 7,
};

struct control {
    uint32_t id;
    uint16_t event;
    uint16_t value;
};
STATIC_ASSERT(sizeof(struct control) == 8, "as Virtio has it");

/* Port 0 has the queues before the control queues, the others follow these. */
static unsigned receive_queue(unsigned port)
{
    return port == 0 ? 0 : 2 + 2 * port;
}

static unsigned transmit_queue(unsigned port)
{
    return receive_queue(port) + 1;
}

/* The port of a queue that is not for control. */
static struct virtio_console_port *port_of(struct virtio_console *console, unsigned queue)
{
    return &console->port[queue < 2 ? 0 : queue / 2 - 1];
}

static bool is_multiport(const struct virtio_console *console)
{
    return virtio_pci_has(&console->pci, CONSOLE_F_MULTIPORT);
}

/* Without multiport there are no messages: port 0 is open from the start. */
static bool is_usable(const struct virtio_console_port *port)
{
    return is_multiport(port->console) ? port->is_open : port->index == 0;
}

static void fail_unless_empty(struct virtio_console *console, unsigned queue, enum status status)
{
    if (status != STATUS_OK && status != ERR_NOT_FOUND)
        virtio_pci_fail(&console->pci, queue, status);
}

/* ---- Control messages to the driver ---- */

static uint32_t append_size(const struct virtio_console_port *port, uint8_t *tail)
{
    uint16_t size[2] = {port->config.cols, port->config.rows};
    memcpy(tail, size, sizeof(size));
    return sizeof(size);
}

/* Virtio: the name is not terminated. */
static uint32_t append_name(const struct virtio_console_port *port, uint8_t *tail)
{
    uint32_t length = (uint32_t)strlen(port->name);
    memcpy(tail, port->name, length);
    return length;
}

/* In the order in which they are sent; bit n of a port's owed stands for row n. */
static const struct message {
    uint16_t event;
    uint32_t (*append)(const struct virtio_console_port *port, uint8_t *tail);
} messages[] = {
    {EVENT_DEVICE_ADD, NULL},       {EVENT_CONSOLE_PORT, NULL}, {EVENT_RESIZE, append_size},
    {EVENT_PORT_NAME, append_name}, {EVENT_PORT_OPEN, NULL},
};
#define OWES_ADD BIT(0)
#define OWES_CONSOLE BIT(1)
#define OWES_RESIZE BIT(2)
#define OWES_NAME BIT(3)
#define OWES_OPEN BIT(4)

static enum status send_message(struct virtio_console *console, struct virtio_console_port *port,
                                unsigned row)
{
    struct virtqueue *queue = &console->pci.queue[CONTROL_RECEIVE_QUEUE];
    struct virtqueue_chain *chain = &console->chain;
    struct control control = {.id = port->index, .event = messages[row].event, .value = 1};
    uint8_t bytes[sizeof(control) + VIRTIO_CONSOLE_NAME_MAX];
    uint32_t length = sizeof(control);
    enum status status = virtqueue_pop(queue, chain);
    if (status != STATUS_OK)
        return status;
    memcpy(bytes, &control, sizeof(control));
    if (messages[row].append != NULL)
        length += messages[row].append(port, bytes + length);
    length = virtqueue_write(&chain->writable, bytes, length);
    port->owed &= (uint8_t)~BIT(row);
    return virtqueue_push(queue, chain->head, length);
}

/* Sends what is owed as long as there are buffers; a notification of the queue goes on. */
static void send_messages(struct virtio_console *console)
{
    enum status status = STATUS_OK;
    if (!virtio_pci_is_live(&console->pci) || !is_multiport(console))
        return;
    for (unsigned i = 0; i < console->ports; i++)
        for (unsigned row = 0; row < ARRAY_SIZE(messages) && status == STATUS_OK; row++)
            if ((console->port[i].owed & BIT(row)) != 0)
                status = send_message(console, &console->port[i], row);
    virtio_pci_interrupt(&console->pci, CONTROL_RECEIVE_QUEUE);
    fail_unless_empty(console, CONTROL_RECEIVE_QUEUE, status);
}

/* ---- Control messages from the driver ---- */

static void port_is_ready(struct virtio_console_port *port)
{
    port->is_ready = true;
    port->owed |= OWES_OPEN;
    if (port->config.is_console)
        port->owed |= OWES_CONSOLE;
    if (port->config.is_console && port->config.cols != 0 &&
        virtio_pci_has(&port->console->pci, CONSOLE_F_SIZE))
        port->owed |= OWES_RESIZE;
    if (port->name[0] != 0)
        port->owed |= OWES_NAME;
}

static void port_is_opened(struct virtio_console_port *port, bool is_open)
{
    port->is_open = is_open;
    if (is_open && port->is_room_owed) {
        port->is_room_owed = false;
        byte_stream_writable(&port->config.peer);
    }
}

static void handle_message(struct virtio_console *console, const struct control *control)
{
    if (control->event == EVENT_DEVICE_READY && control->value != 0) {
        for (unsigned i = 0; i < console->ports; i++)
            console->port[i].owed |= OWES_ADD;
        return;
    }
    size_t index = control->id;
#ifdef PLANTED_BUG_VIRTIO_CONSOLE /* for the fuzzer's own test: far off, wherever the console lies \
                                   */
    index <<= index < console->ports ? 0 : 20;
#else
    if (index >= console->ports)
        return;
#endif
    struct virtio_console_port *port = &console->port[index];
    if (control->event == EVENT_PORT_READY && control->value != 0)
        port_is_ready(port);
    else if (control->event == EVENT_PORT_OPEN)
        port_is_opened(port, control->value != 0);
}

static bool serve_control(struct virtio_console *console)
{
    struct virtqueue *queue = &console->pci.queue[CONTROL_TRANSMIT_QUEUE];
    enum status status = STATUS_OK;
    for (unsigned i = 0; i < VIRTIO_CONSOLE_QUEUE_SIZE && status == STATUS_OK; i++) {
        struct control control;
        status = virtqueue_pop(queue, &console->chain);
        if (status != STATUS_OK)
            break;
        uint16_t head = console->chain.head;
        uint32_t size = virtqueue_read(&console->chain.readable, &control, sizeof(control));
        status = virtqueue_push(queue, head, 0);
        if (size == sizeof(control) && is_multiport(console))
            handle_message(console, &control);
    }
    virtio_pci_interrupt(&console->pci, CONTROL_TRANSMIT_QUEUE);
    fail_unless_empty(console, CONTROL_TRANSMIT_QUEUE, status);
    send_messages(console);
    return status == STATUS_OK;
}

/* ---- Output ---- */

/* Offers the chain's bytes to the peer; returns whether all of them are through. */
static bool send_chain(struct virtio_console_port *port, uint32_t *budget)
{
    uint8_t *host;
    uint32_t length;
    while (*budget > 0 && (length = virtqueue_peek(&port->chain.readable, &host)) != 0) {
        if (length > *budget)
            length = *budget;
        size_t taken = byte_stream_write(&port->config.peer, host, length);
        if (taken != 0)
            virtqueue_skip(&port->chain.readable, (uint32_t)taken);
        *budget -= (uint32_t)taken;
        if (taken < length)
            return false;
    }
    return port->chain.readable.left == 0;
}

/* Sends chains until there are no more, or the peer is full: then ERR_BUSY, and
 * virtio_console_drain goes on. STATUS_OK: the budget is used up. */
static enum status send_chains(struct virtio_console_port *port, struct virtqueue *queue)
{
    uint32_t budget = VIRTIO_CONSOLE_BURST;
    while (budget > 0) {
        /* What the peer returned at once may have shown that another queue is broken. */
        if (!virtio_pci_is_live(&port->console->pci))
            return ERR_NOT_FOUND;
        enum status status = port->has_chain ? STATUS_OK : virtqueue_pop(queue, &port->chain);
        if (status != STATUS_OK)
            return status;
        port->has_chain = true;
        if (!send_chain(port, &budget))
            return budget == 0 ? STATUS_OK : ERR_BUSY;
        port->has_chain = false;
        status = virtqueue_push(queue, port->chain.head, 0);
        if (status != STATUS_OK)
            return status;
        budget -= budget < CHAIN_COST ? budget : CHAIN_COST;
    }
    return STATUS_OK;
}

static bool serve_output(struct virtio_console_port *port)
{
    struct virtio_console *console = port->console;
    unsigned queue = transmit_queue(port->index);
    if (port->is_sending)
        return false; /* the peer says that it has room while it is being written to */
    port->is_sending = true;
    enum status status = send_chains(port, &console->pci.queue[queue]);
    port->is_sending = false;
    virtio_pci_interrupt(&console->pci, queue);
    if (status != ERR_BUSY)
        fail_unless_empty(console, queue, status);
    return status == STATUS_OK;
}

void virtio_console_drain(struct virtio_console *console, unsigned port)
{
    if (port < console->ports)
        virtio_pci_serve(&console->pci, transmit_queue(port));
}

/* ---- Input ---- */

size_t virtio_console_receive(struct virtio_console *console, unsigned port, const uint8_t *bytes,
                              size_t n)
{
    if (port >= console->ports)
        return 0;
    struct virtio_console_port *to = &console->port[port];
    unsigned index = receive_queue(port);
    struct virtqueue *queue = &console->pci.queue[index];
    enum status status = STATUS_OK;
    size_t done = 0;
    to->is_room_owed = true;
    if (!virtio_pci_is_live(&console->pci) || !is_usable(to))
        return 0;
    while (done < n && (status = virtqueue_pop(queue, &console->chain)) == STATUS_OK) {
        uint32_t piece = n - done < UINT32_MAX ? (uint32_t)(n - done) : UINT32_MAX;
        piece = virtqueue_write(&console->chain.writable, bytes + done, piece);
        done += piece;
        if (piece == 0)
            status = ERR_INVALID; /* a receive buffer without room */
        else
            status = virtqueue_push(queue, console->chain.head, piece);
        if (status != STATUS_OK)
            break;
    }
    to->is_room_owed = done < n;
    virtio_pci_interrupt(&console->pci, index);
    fail_unless_empty(console, index, status);
    return done;
}

/* The driver added receive buffers. */
static void serve_input(struct virtio_console_port *port)
{
    if (!port->is_room_owed || !is_usable(port))
        return;
    port->is_room_owed = false;
    byte_stream_writable(&port->config.peer);
}

static size_t stream_write(void *context, const uint8_t *bytes, size_t n)
{
    struct virtio_console_port *port = context;
    return virtio_console_receive(port->console, port->index, bytes, n);
}

static void stream_writable(void *context)
{
    struct virtio_console_port *port = context;
    virtio_console_drain(port->console, port->index);
}

struct byte_stream virtio_console_stream(struct virtio_console *console, unsigned port)
{
    return (struct byte_stream){stream_write, stream_writable, &console->port[port]};
}

/* ---- The device ---- */

void virtio_console_resize(struct virtio_console *console, unsigned port, uint16_t cols,
                           uint16_t rows)
{
    if (port >= console->ports)
        return;
    struct virtio_console_port *resized = &console->port[port];
    resized->config.cols = cols;
    resized->config.rows = rows;
    if (port == 0) {
        console->settings.cols = cols;
        console->settings.rows = rows;
        virtio_pci_settings_changed(&console->pci);
    }
    if (resized->is_ready && resized->config.is_console &&
        virtio_pci_has(&console->pci, CONSOLE_F_SIZE)) {
        resized->owed |= OWES_RESIZE;
        send_messages(console);
    }
}

static bool service(void *device, unsigned queue)
{
    struct virtio_console *console = device;
    if (queue == CONTROL_TRANSMIT_QUEUE)
        return serve_control(console);
    if (queue == CONTROL_RECEIVE_QUEUE)
        send_messages(console);
    else if (queue % 2 == 1)
        return serve_output(port_of(console, queue));
    else
        serve_input(port_of(console, queue));
    return false;
}

static void reset(void *device)
{
    struct virtio_console *console = device;
    for (unsigned i = 0; i < console->ports; i++) {
        struct virtio_console_port *port = &console->port[i];
        port->owed = 0;
        port->is_ready = port->is_open = port->has_chain = false;
    }
}

static void queue_reset(void *device, unsigned queue)
{
    struct virtio_console *console = device;
    if (queue % 2 == 1 && queue != CONTROL_TRANSMIT_QUEUE)
        port_of(console, queue)->has_chain = false;
}

static const struct virtio_type console_type = {
    .name = "virtio-console",
    .id = 3,
    .class_code = 0x078000,
    .service = service,
    .reset = reset,
    .queue_reset = queue_reset,
};

void virtio_console_connect(struct virtio_console *console, unsigned port, struct byte_stream peer)
{
    if (port < console->ports)
        console->port[port].config.peer = peer;
}

static INIT void init_port(struct virtio_console *console, unsigned index,
                           const struct virtio_console_port_config *config)
{
    struct virtio_console_port *port = &console->port[index];
    *port = (struct virtio_console_port){.console = console, .config = *config, .index = index};
    for (unsigned i = 0; config->name != NULL && i < VIRTIO_CONSOLE_NAME_MAX; i++) {
        if (config->name[i] == 0)
            break;
        port->name[i] = config->name[i];
    }
}

INIT enum status virtio_console_init(struct virtio_console *console,
                                     const struct virtio_console_config *config)
{
    if (config->ports == 0 || config->ports > VIRTIO_CONSOLE_PORTS_MAX)
        return ERR_INVALID;
    console->ports = config->ports;
    for (unsigned i = 0; i < config->ports; i++)
        init_port(console, i, &config->port[i]);
    console->settings = (struct virtio_console_settings){
        .cols = config->port[0].cols, .rows = config->port[0].rows, .max_nr_ports = config->ports};
    struct virtio_offer offer = {
        .type = &console_type,
        .device = console,
        .features = CONSOLE_F_SIZE | CONSOLE_F_MULTIPORT,
        .queues = 2 * (config->ports + 1),
        .queue_size = VIRTIO_CONSOLE_QUEUE_SIZE,
        .settings = &console->settings,
        .settings_size = sizeof(console->settings),
    };
    return virtio_pci_init(&console->pci, &config->pci, &offer);
}
