#include "kernel/hvc_line.h"

/* With the device lock: gives the guest what has arrived, until it takes no more. */
static void feed(struct hvc_line *hvc)
{
    for (;;) {
        if (hvc->waiting_count == 0) {
            hvc->waiting_first = 0;
            hvc->waiting_count = serial_line_read(&hvc->line, hvc->waiting, sizeof(hvc->waiting));
        }
        size_t taken = virtio_console_receive(
            hvc->console, hvc->port, &hvc->waiting[hvc->waiting_first], hvc->waiting_count);
        hvc->waiting_first += taken;
        hvc->waiting_count -= taken;
        if (taken == 0 || hvc->waiting_count > 0)
            return;
    }
}

static size_t write(void *context, const uint8_t *bytes, size_t n)
{
    struct hvc_line *hvc = context;
    return serial_line_write_some(&hvc->line, bytes, n);
}

static void writable(void *context)
{
    feed(context);
}

/* On the processor that takes the UART's interrupt: the work is the guest's own processor's, and so
 * is any wait for its device lock. */
static void notify(void *context)
{
    struct hvc_line *hvc = context;
    vcpu_request(hvc->vm->vcpu[0], VCPU_REQUEST_WORK);
}

void hvc_line_continue(struct hvc_line *hvc)
{
    feed(hvc);
    virtio_console_drain(hvc->console, hvc->port);
}

INIT enum status hvc_line_init(struct hvc_line *hvc, uint16_t io_port, struct vm *vm)
{
    enum status status = host_uart_init(&hvc->uart, io_port);
    serial_line_init(&hvc->line, &hvc->uart);
    hvc->line.input = notify;
    hvc->line.room = notify;
    hvc->line.context = hvc;
    hvc->vm = vm;
    return status;
}

INIT struct byte_stream hvc_line_stream(struct hvc_line *hvc, struct virtio_console *console,
                                        unsigned port)
{
    hvc->console = console;
    hvc->port = port;
    return (struct byte_stream){write, writable, hvc};
}
