/*
 * A virtio console device with one or more ports. Virtio 1.2: Console Device.
 *
 * Each port meets a byte_stream, its peer. What the guest writes is offered to the peer and stays
 * in the guest's buffers until it is taken; what the peer writes fills the guest's receive buffers
 * and is taken as far as those reach, once the guest has opened the port.
 *
 * Locking: none; every caller holds the VM's device lock.
 */
#pragma once

#include "drivers/model/byte_stream.h"
#include "drivers/model/virtio_pci.h"

#define VIRTIO_CONSOLE_PORTS_MAX 16
#define VIRTIO_CONSOLE_QUEUE_SIZE 64
#define VIRTIO_CONSOLE_NAME_MAX 32
/* A service call moves at most about this many bytes before it asks to be continued. */
#define VIRTIO_CONSOLE_BURST 0x10000u

/* Device configuration layout. */
struct virtio_console_settings {
    uint16_t cols, rows;
    uint32_t max_nr_ports;
    uint32_t emerg_wr;
};

struct virtio_console_port_config {
    const char *name;    /* shown as a port's name in the guest; NULL: none; cut at 32 bytes */
    bool is_console;     /* the guest makes a terminal of it (hvcN), not a plain port (vportNpN) */
    uint16_t cols, rows; /* of the terminal; 0: unknown */
    struct byte_stream peer;
};

struct virtio_console;

struct virtio_console_port {
    struct virtio_console *console;
    struct virtio_console_port_config config;
    char name[VIRTIO_CONSOLE_NAME_MAX + 1];
    unsigned index;
    uint8_t owed;      /* control messages that wait for a buffer, one bit each */
    bool is_ready;     /* the driver has set the port up */
    bool is_open;      /* by somebody in the guest */
    bool is_sending;   /* the peer is being written to */
    bool has_chain;    /* chain is partly sent */
    bool is_room_owed; /* the peer was refused bytes */
    struct virtqueue_chain chain;
};

struct virtio_console {
    struct virtio_pci pci;
    struct virtio_console_settings settings;
    unsigned ports;
    struct virtio_console_port port[VIRTIO_CONSOLE_PORTS_MAX];
    struct virtqueue_chain chain; /* of control messages and input, never kept */
};

struct virtio_console_config {
    struct virtio_pci_config pci;
    unsigned ports; /* 1 to VIRTIO_CONSOLE_PORTS_MAX */
    const struct virtio_console_port_config *port;
};

/* Builds the device and puts it on the bus. Errors are those of pci_bus_add, and ERR_INVALID for a
 * number of ports out of range. */
enum status MUST_CHECK virtio_console_init(struct virtio_console *console,
                                           const struct virtio_console_config *config);

/* The guest's end of a port, for its peer: write takes bytes as virtio_console_receive, writable
 * goes on with output as virtio_console_drain. Valid as long as the device. */
struct byte_stream virtio_console_stream(struct virtio_console *console, unsigned port);

/* Sets the peer of a port, where it was not known at init. */
void virtio_console_connect(struct virtio_console *console, unsigned port, struct byte_stream peer);

/* Gives the guest the first of n bytes, as many as its buffers take; returns how many. When it is
 * less than n, the peer's writable is called once there is room. */
size_t virtio_console_receive(struct virtio_console *console, unsigned port, const uint8_t *bytes,
                              size_t n);

/* The peer can take output again. */
void virtio_console_drain(struct virtio_console *console, unsigned port);

/* The terminal behind a port has another size. */
void virtio_console_resize(struct virtio_console *console, unsigned port, uint16_t cols,
                           uint16_t rows);
