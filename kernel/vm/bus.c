#include "kernel/vm/bus.h"

#include "kernel/core/bits.h"
#include "kernel/core/mem.h"

static uint64_t last_of(const struct bus_range *range)
{
    return range->base + range->length - 1;
}

/* Index of the first range whose last address is not below address. */
static unsigned lower_bound(const struct bus *bus, enum bus_space space, uint64_t address)
{
    unsigned low = 0, high = bus->count[space];
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (last_of(&bus->range[space][middle]) < address)
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

static void forget_hit(struct bus *bus, enum bus_space space)
{
    bus->hit[space].length = 0;
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
    range[i] = (struct bus_range){base, length, ops, device};
    bus->count[space] = count + 1;
    forget_hit(bus, space);
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
    forget_hit(bus, space);
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

/* The range that holds all of an access, NULL where there is none: noted for the next access. */
static const struct bus_range *find_whole(struct bus *bus, enum bus_space space, uint64_t address,
                                          unsigned size)
{
    const struct bus_range *range = find(bus, space, address);
    if (range == NULL)
        return NULL;
    bus->hit[space] = *range;
    return bus_range_holds(range, address, size) ? range : NULL;
}

uint64_t bus_read_anew(struct bus *bus, enum bus_space space, uint64_t address, unsigned size)
{
    const struct bus_range *range = find_whole(bus, space, address, size);
    if (range != NULL)
        return range->ops->read(range->device, address - range->base, size) & bits_size_mask(size);
    if (size == 1)
        return 0xff;
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= bus_read(bus, space, byte_address(space, address, i), 1) << (8 * i);
    return value;
}

void bus_write_anew(struct bus *bus, enum bus_space space, uint64_t address, unsigned size,
                    uint64_t value)
{
    const struct bus_range *range = find_whole(bus, space, address, size);
    if (range != NULL) {
        range->ops->write(range->device, address - range->base, size, value & bits_size_mask(size));
        return;
    }
    for (unsigned i = 0; size > 1 && i < size; i++)
        bus_write(bus, space, byte_address(space, address, i), 1, value >> (8 * i) & 0xff);
}

static uint64_t read_memory(void *device, uint64_t offset, unsigned size)
{
    uint8_t *const *memory = device;
    uint64_t value = 0;
    memcpy(&value, *memory + offset, size);
    return value;
}

static void write_memory(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    uint8_t *const *memory = device;
#ifdef PLANTED_BUG_QEMU_DEVICES /* for the fuzzer's own test */
    size = 8;
#endif
    memcpy(*memory + offset, &value, size);
}

const struct bus_ops bus_memory_ops = {read_memory, write_memory};
