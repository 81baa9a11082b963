/* Devices with an eight-bit data bus: a wider access is made byte by byte, lowest address first, as
 * the ISA bus does it. */
#pragma once

#include "kernel/core/types.h"

static inline uint64_t byte_port_read(void *device, uint64_t offset, unsigned size,
                                      uint8_t (*read)(void *device, unsigned offset))
{
    uint64_t value = read(device, (unsigned)offset);
    for (unsigned i = 1; i < size; i++)
        value |= (uint64_t)read(device, (unsigned)offset + i) << (8 * i);
    return value;
}

static inline void byte_port_write(void *device, uint64_t offset, unsigned size, uint64_t value,
                                   void (*write)(void *device, unsigned offset, uint8_t value))
{
    for (unsigned i = 0; i < size; i++)
        write(device, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));
}
