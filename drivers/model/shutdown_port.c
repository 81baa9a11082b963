#include "drivers/model/shutdown_port.h"

static const char word[] = "Shutdown";

static uint64_t read_port(void *device, uint64_t offset, unsigned size)
{
    (void)device;
    (void)offset;
    (void)size;
    return UINT64_MAX;
}

/* No letter of the word but its first begins it anew. */
static void write_port(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct shutdown_port *port = device;
    (void)offset;
    (void)size;
    if ((char)value != word[port->matched])
        port->matched = 0;
    if ((char)value == word[port->matched])
        port->matched++;
    if (word[port->matched] != '\0')
        return;
    port->matched = 0;
    port->power_off(port->context);
}

static const struct bus_ops shutdown_port_ops = {read_port, write_port};

enum status shutdown_port_attach(struct shutdown_port *device, struct bus *bus, uint16_t port,
                                 void (*power_off)(void *context), void *context)
{
    *device = (struct shutdown_port){.power_off = power_off, .context = context};
    return bus_add(bus, BUS_PORT, port, 1, &shutdown_port_ops, device);
}

void shutdown_port_reset(struct shutdown_port *device)
{
    device->matched = 0;
}
