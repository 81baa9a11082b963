#include "drivers/model/pvpanic.h"

static uint64_t read_port(void *device, uint64_t offset, unsigned size)
{
    (void)device;
    (void)offset;
    (void)size;
    return PVPANIC_EVENTS;
}

static void write_port(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    const struct pvpanic *port = device;
    (void)offset;
    (void)size;
    if (value & PVPANIC_EVENTS)
        port->report(port->context, (uint8_t)(value & PVPANIC_EVENTS));
}

static const struct bus_ops pvpanic_ops = {read_port, write_port};

INIT enum status pvpanic_attach(struct pvpanic *device, struct bus *bus, uint16_t port,
                                void (*report)(void *context, uint8_t events), void *context)
{
    *device = (struct pvpanic){report, context};
    return bus_add(bus, BUS_PORT, port, 1, &pvpanic_ops, device);
}
