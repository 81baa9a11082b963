/*
 * A guest's bus: which device model answers at which port or guest-physical address.
 *
 * Locking: none here. Whoever calls holds the VM's device lock, and so do the models' timers and
 * interrupt lines; a model never locks.
 */
#pragma once

#include "kernel/core/bits.h"
#include "kernel/core/status.h"
#include "kernel/core/types.h"

enum bus_space { BUS_PORT, BUS_MMIO, BUS_SPACES };

#define BUS_RANGES_MAX 64

struct bus_ops {
    /* offset is from the range's base; size is 1, 2, 4 or 8 bytes (ports: never 8), and the access
     * lies wholly inside the range. A read returns the value in its low bytes. */
    uint64_t (*read)(void *device, uint64_t offset, unsigned size);
    void (*write)(void *device, uint64_t offset, unsigned size, uint64_t value);
};

/* Of a device that is memory and nothing else; device is the address of a pointer to its bytes,
 * which are frames of its own. */
extern const struct bus_ops bus_memory_ops;

struct bus_range {
    uint64_t base;
    uint64_t length; /* bytes; 0: empty */
    const struct bus_ops *ops;
    void *device;
};

struct bus {
    struct bus_range range[BUS_SPACES][BUS_RANGES_MAX]; /* sorted by base */
    unsigned count[BUS_SPACES];
    /* A copy of what was found last, looked at first: guests come to the same device again and
     * again. Empty after every change of the table. */
    struct bus_range hit[BUS_SPACES];
};

/* Claims [base, base + length). ERR_INVALID: empty or wrapping; ERR_EXISTS: overlaps another;
 * ERR_NO_SPACE: table full. */
enum status MUST_CHECK bus_add(struct bus *bus, enum bus_space space, uint64_t base,
                               uint64_t length, const struct bus_ops *ops, void *device);

/* Gives up the range that begins at base and belongs to device (a PCI BAR that moves); a no-op
 * where there is none. */
void bus_remove(struct bus *bus, enum bus_space space, uint64_t base, const void *device);

/* Whether a device answers at address. */
bool bus_claims(const struct bus *bus, enum bus_space space, uint64_t address);

/* The accesses that the last hit does not answer. */
COLD uint64_t bus_read_anew(struct bus *bus, enum bus_space space, uint64_t address, unsigned size);
COLD void bus_write_anew(struct bus *bus, enum bus_space space, uint64_t address, unsigned size,
                         uint64_t value);

static inline bool bus_range_holds(const struct bus_range *range, uint64_t address, unsigned size)
{
    uint64_t offset = address - range->base;
    return offset < range->length && range->length - offset >= size;
}

/* One access as the processor makes it. Nobody there reads as all ones and ignores writes; an
 * access that straddles the edge of a range is made byte by byte. Bytes above size read as zero.
 * Inlined into the exits. */
static inline uint64_t bus_read(struct bus *bus, enum bus_space space, uint64_t address,
                                unsigned size)
{
    const struct bus_range *hit = &bus->hit[space];
    if (__builtin_expect(!bus_range_holds(hit, address, size), 0))
        return bus_read_anew(bus, space, address, size);
    return hit->ops->read(hit->device, address - hit->base, size) & bits_size_mask(size);
}

static inline void bus_write(struct bus *bus, enum bus_space space, uint64_t address, unsigned size,
                             uint64_t value)
{
    const struct bus_range *hit = &bus->hit[space];
    if (__builtin_expect(!bus_range_holds(hit, address, size), 0))
        bus_write_anew(bus, space, address, size, value);
    else
        hit->ops->write(hit->device, address - hit->base, size, value & bits_size_mask(size));
}
