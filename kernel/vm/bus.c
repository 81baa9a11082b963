#include "kernel/vm/bus.h"

#include "kernel/core/bits.h"
#include "kernel/core/mem.h"

/* Index of the first range whose last address is not below address. */
static unsigned lower_bound(const struct bus *bus, enum bus_space space, uint64_t address)
{
    unsigned low = 0, high = bus->count[space];
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (bus->range[space][middle].last < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const struct bus_range *find(const struct bus *bus, enum bus_space space, uint64_t address)
{
    unsigned i = lower_bound(bus, space, address);
    if (i == bus->count[space] || bus->range[space][i].base > address)
        return NULL;
    return &bus->range[space][i];
}

static COLD const struct bus_range *find_anew(struct bus *bus, enum bus_space space,
                                              uint64_t address)
{
    const struct bus_range *range = find(bus, space, address);
    if (range != NULL)
        bus->last_hit[space] = (unsigned)(range - bus->range[space]);
    return range;
}

/* The range that holds all of an access, NULL where there is none. Guests come to the same device
 * again and again. An index that is stale after a change of the table is only a wrong guess: the
 * entries past the count are empty ranges. */
static inline const struct bus_range *find_whole(struct bus *bus, enum bus_space space,
                                                 uint64_t address, unsigned size)
{
    const struct bus_range *range = &bus->range[space][bus->last_hit[space]];
    if (address - range->base > range->last - range->base || range->ops == NULL)
        range = find_anew(bus, space, address);
    return range != NULL && range->last - address >= size - 1 ? range : NULL;
}

enum status bus_add(struct bus *bus, enum bus_space space, uint64_t base, uint64_t length,
                    const struct bus_ops *ops, void *device)
{
    uint64_t last = base + length - 1;
    if (length == 0 || last < base || (space == BUS_PORT && last > 0xffff))
        return ERR_INVALID;
    unsigned count = bus->count[space];
    struct bus_range *range = bus->range[space];
    unsigned i = lower_bound(bus, space, base);
    if (i < count && range[i].base <= last)
        return ERR_EXISTS;
    if (count == BUS_RANGES_MAX)
        return ERR_NO_SPACE;
    memmove(&range[i + 1], &range[i], (count - i) * sizeof(range[0]));
    range[i] = (struct bus_range){base, last, ops, device};
    bus->count[space] = count + 1;
    return STATUS_OK;
}

void bus_remove(struct bus *bus, enum bus_space space, uint64_t base, const void *device)
{
    unsigned i = lower_bound(bus, space, base);
    struct bus_range *range = bus->range[space];
    if (i == bus->count[space] || range[i].base != base || range[i].device != device)
        return;
    bus->count[space]--;
    memmove(&range[i], &range[i + 1], (bus->count[space] - i) * sizeof(range[0]));
    range[bus->count[space]] = (struct bus_range){0};
}

bool bus_claims(const struct bus *bus, enum bus_space space, uint64_t address)
{
    return find(bus, space, address) != NULL;
}

/* The ports wrap at 64 KiB, as the address lines do. */
static uint64_t byte_address(enum bus_space space, uint64_t address, unsigned i)
{
    return space == BUS_PORT ? (address + i) & 0xffff : address + i;
}

static COLD uint64_t read_bytes(struct bus *bus, enum bus_space space, uint64_t address,
                                unsigned size)
{
    uint64_t value = 0;
    if (size == 1)
        return 0xff;
    for (unsigned i = 0; i < size; i++)
        value |= bus_read(bus, space, byte_address(space, address, i), 1) << (8 * i);
    return value;
}

uint64_t bus_read(struct bus *bus, enum bus_space space, uint64_t address, unsigned size)
{
    const struct bus_range *range = find_whole(bus, space, address, size);
    if (__builtin_expect(range == NULL, 0))
        return read_bytes(bus, space, address, size);
    return range->ops->read(range->device, address - range->base, size) & bits_size_mask(size);
}

static COLD void write_bytes(struct bus *bus, enum bus_space space, uint64_t address, unsigned size,
                             uint64_t value)
{
    for (unsigned i = 0; size > 1 && i < size; i++)
        bus_write(bus, space, byte_address(space, address, i), 1, value >> (8 * i) & 0xff);
}

void bus_write(struct bus *bus, enum bus_space space, uint64_t address, unsigned size,
               uint64_t value)
{
    const struct bus_range *range = find_whole(bus, space, address, size);
    if (__builtin_expect(range == NULL, 0))
        write_bytes(bus, space, address, size, value);
    else
        range->ops->write(range->device, address - range->base, size, value & bits_size_mask(size));
}
