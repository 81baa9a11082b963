#include "drivers/model/debug_console.h"

static uint64_t read_port(void *device, uint64_t offset, unsigned size)
{
    (void)device;
    (void)offset;
    (void)size;
    return DEBUG_CONSOLE_READBACK;
}

static void write_port(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    const struct debug_console *console = device;
    (void)offset;
    (void)size;
    (void)byte_sink_put(&console->sink, (uint8_t)value);
}

static const struct bus_ops debug_console_ops = {read_port, write_port};

INIT enum status debug_console_attach(struct debug_console *console, const struct byte_sink *sink,
                                      struct bus *bus, uint16_t port)
{
    console->sink = *sink;
    return bus_add(bus, BUS_PORT, port, 1, &debug_console_ops, console);
}
