#include "drivers/model/debug_exit.h"

static uint64_t read_port(void *device, uint64_t offset, unsigned size)
{
    (void)device;
    (void)offset;
    (void)size;
    return 0;
}

/* Any write inside the range counts, with the value as it was written. */
static void write_port(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    const struct debug_exit *port = device;
    (void)offset;
    (void)size;
    if (port->exit != NULL)
        port->exit(port->context, (uint32_t)value);
}

const struct bus_ops debug_exit_ops = {read_port, write_port};

INIT enum status debug_exit_init(struct debug_exit *device, unsigned size,
                                 void (*exit)(void *context, uint32_t value), void *context)
{
    if (size != 1 && size != 2 && size != 4)
        return ERR_INVALID;
    *device = (struct debug_exit){exit, context, size};
    return STATUS_OK;
}

INIT enum status debug_exit_attach(struct debug_exit *device, struct bus *bus, uint16_t base)
{
    return bus_add(bus, BUS_PORT, base, device->size, &debug_exit_ops, device);
}
