/*
 * A port of a guest's virtio console whose other end is a serial port of the machine. What the
 * guest writes waits in its own buffers while the line is busy; what arrives waits in the UART's
 * ring until the guest takes it.
 *
 * Locking: the stream's functions and hvc_line_continue run with the VM's device lock; the line's
 * interrupt takes none, and asks the VM's vCPU 0 for its work.
 */
#pragma once

#include "drivers/model/virtio_console.h"
#include "kernel/console/serial_line.h"
#include "kernel/vm/vm.h"

struct hvc_line {
    struct host_uart uart;
    struct serial_line line;
    struct vm *vm;
    struct virtio_console *console;
    unsigned port;
    uint8_t waiting[64]; /* read from the line, not yet taken by the guest */
    size_t waiting_first, waiting_count;
};

/* Programs the UART at io_port. ERR_NOT_FOUND: there is none. */
enum status MUST_CHECK hvc_line_init(struct hvc_line *hvc, uint16_t io_port, struct vm *vm);

/* What the line's interrupt has asked for: takes bytes from the line, and gives it some. */
void hvc_line_continue(struct hvc_line *hvc);

/* The peer for port number port of console, which may not be initialised yet. */
struct byte_stream hvc_line_stream(struct hvc_line *hvc, struct virtio_console *console,
                                   unsigned port);
