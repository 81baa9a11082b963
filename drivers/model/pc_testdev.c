#include "drivers/model/pc_testdev.h"

#include "kernel/core/mem.h"

static uint64_t read_echo(void *context, uint64_t offset, unsigned size)
{
    const uint8_t *echo = context;
    uint64_t value = 0;
    memcpy(&value, echo + offset, size);
    return value;
}

static void write_echo(void *context, uint64_t offset, unsigned size, uint64_t value)
{
    uint8_t *echo = context;
    memcpy(echo + offset, &value, size);
}

static uint64_t read_nothing(void *context, uint64_t offset, unsigned size)
{
    (void)context;
    (void)offset;
    (void)size;
    return UINT64_MAX;
}

/* QEMU unmaps the page and maps it again, so that its next use finds no translation of the
 * host's. Here every page of RAM is mapped for good, and what the guest can see of the port, its
 * memory unchanged, is so already. */
static void write_flush(void *context, uint64_t offset, unsigned size, uint64_t value)
{
    (void)context;
    (void)offset;
    (void)size;
    (void)value;
}

/* A port takes bytes: a wider access reaches the lines behind it, too. */
static void write_line(void *context, uint64_t offset, unsigned size, uint64_t value)
{
    const struct pc_testdev *device = context;
    for (unsigned i = 0; i < size; i++)
        irq_line_set(&device->line[offset + i], value >> (8 * i) & 0xff);
}

static const struct bus_ops echo_ops = {read_echo, write_echo};

static const struct {
    uint64_t base, length;
    struct bus_ops ops;
} ranges[] = {
    {PC_TESTDEV_FLUSH, 4, {read_nothing, write_flush}},
    {PC_TESTDEV_LINES, PC_TESTDEV_LINE_COUNT, {read_nothing, write_line}},
};

/* Byte by byte: the debug console's usual port is one of these, and then answers there. */
static INIT enum status attach_echo_bytes(struct pc_testdev *device, struct bus *bus)
{
    enum status status = STATUS_OK;
    for (unsigned i = 0; status == STATUS_OK && i < sizeof(device->echo); i++)
        if (!bus_claims(bus, BUS_PORT, PC_TESTDEV_ECHO_BYTES + i))
            status =
                bus_add(bus, BUS_PORT, PC_TESTDEV_ECHO_BYTES + i, 1, &echo_ops, &device->echo[i]);
    return status;
}

INIT enum status pc_testdev_attach(struct pc_testdev *device, struct bus *bus)
{
    enum status echo =
        bus_add(bus, BUS_PORT, PC_TESTDEV_ECHO, sizeof(device->echo), &echo_ops, device->echo);
    if (echo != STATUS_OK)
        return echo;
    for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
        enum status status =
            bus_add(bus, BUS_PORT, ranges[i].base, ranges[i].length, &ranges[i].ops, device);
        if (status != STATUS_OK)
            return status;
    }
    enum status status = bus_add(bus, BUS_MMIO, PC_TESTDEV_MEMORY, PC_TESTDEV_MEMORY_SIZE,
                                 &bus_memory_ops, &device->memory);
    return status == STATUS_OK ? attach_echo_bytes(device, bus) : status;
}

void pc_testdev_reset(struct pc_testdev *device)
{
    memset(device->echo, 0, sizeof(device->echo));
    memset(device->memory, 0, PC_TESTDEV_MEMORY_SIZE);
    for (unsigned i = 0; i < PC_TESTDEV_LINE_COUNT; i++)
        irq_line_set(&device->line[i], false);
}
