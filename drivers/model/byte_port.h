/* Devices with an eight-bit data bus: a wider access is made byte by byte, lowest address first, as
 * the ISA bus does it. */
#pragma once

#include "kernel/core/types.h"

typedef uint8_t byte_port_reader(void *device, unsigned offset);
typedef void byte_port_writer(void *device, unsigned offset, uint8_t value);

static COLD __attribute__((unused)) uint64_t byte_port_read_wide(void *device, unsigned offset,
                                                                 unsigned size,
                                                                 byte_port_reader *read)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)read(device, offset + i) << (8 * i);
    return value;
}

static inline uint64_t byte_port_read(void *device, uint64_t offset, unsigned size,
                                      byte_port_reader *read)
{
    if (__builtin_expect(size != 1, 0))
        return byte_port_read_wide(device, (unsigned)offset, size, read);
    return read(device, (unsigned)offset);
}

static COLD __attribute__((unused)) void byte_port_write_wide(void *device, unsigned offset,
                                                              unsigned size, uint64_t value,
                                                              byte_port_writer *write)
{
    for (unsigned i = 0; i < size; i++)
        write(device, offset + i, (uint8_t)(value >> (8 * i)));
}

static inline void byte_port_write(void *device, uint64_t offset, unsigned size, uint64_t value,
                                   byte_port_writer *write)
{
    if (__builtin_expect(size != 1, 0))
        byte_port_write_wide(device, (unsigned)offset, size, value, write);
    else
        write(device, (unsigned)offset, (uint8_t)value);
}
