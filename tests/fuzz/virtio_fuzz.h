/*
 * What the virtio fuzz targets share: the actions of a guest that knows the device's layout but not
 * its manners. Small RAM keeps a run short.
 */
#pragma once

#define GUEST_RAM_SIZE 0x10000u

#include "tests/fuzz/fuzz.h"
#include "tests/virtio_guest.h"

/* An address: mostly in RAM or near a border of it, at times anything. */
static inline uint64_t fuzz_address(struct fuzz_input *input)
{
    uint64_t kind = fuzz_take(input, 1), offset = fuzz_take(input, 2);
    switch (kind & 7) {
    case 0:
        return fuzz_take(input, 8);
    case 1:
        return 2 * GUEST_RAM_SIZE - 32 + offset % 64;
    case 2:
        return GUEST_RAM_SIZE - 32 + offset % 64;
    case 3:
        return guest_ram_base[2] + offset % GUEST_RAM_SIZE;
    default:
        return GUEST_RAM_SIZE + offset;
    }
}

static inline uint32_t fuzz_length(struct fuzz_input *input)
{
    uint64_t kind = fuzz_take(input, 1);
    if (kind == 0)
        return (uint32_t)fuzz_take(input, 4);
    return (uint32_t)(kind < 64 ? fuzz_take(input, 2) : kind & 63);
}

struct fuzz_guest {
    struct guest_machine *machine;
    struct guest_driver driver;
    struct virtio_pci *virtio;
    unsigned queues;
    /* An action that only this kind of device knows; may be NULL. */
    void (*act)(struct fuzz_guest *guest, struct fuzz_input *input);
    struct virtqueue enabled[VIRTIO_QUEUES_MAX]; /* as they were when they were enabled */
};

/* Writes one descriptor somewhere into a table, half of the time one that fits the queue. */
static inline void fuzz_descriptor(struct fuzz_guest *guest, struct fuzz_input *input,
                                   uint64_t table, unsigned entries)
{
    unsigned at = (unsigned)fuzz_below(input, entries);
    struct guest_desc desc = {fuzz_address(input), fuzz_length(input),
                              (uint16_t)fuzz_take(input, 1), (uint16_t)fuzz_take(input, 1)};
    if ((desc.flags & 0x80) != 0)
        desc.next = (uint16_t)((at + 1) % entries);
    desc.flags &= 7;
    guest_put_desc(&guest->driver, table, at, desc);
}

static inline void fuzz_bring_up(struct fuzz_guest *guest, struct fuzz_input *input)
{
    uint64_t refused = fuzz_take(input, 4);
    uint64_t wanted = guest->virtio->features & (~refused | VIRTIO_F_VERSION_1);
    guest_config_write(guest->machine, guest->driver.slot, PCI_COMMAND, 2,
                       PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    if (!guest_driver_negotiate(&guest->driver, wanted))
        return;
    for (uint16_t i = 0; i < guest->queues; i++)
        guest_driver_queue(&guest->driver, i, 16, i);
    guest_driver_start(&guest->driver);
}

/* One access to the BAR with the structures, of any kind. */
static inline void fuzz_bar(struct fuzz_guest *guest, struct fuzz_input *input)
{
    uint64_t choice = fuzz_take(input, 1);
    uint64_t offset = (choice & 3) << 12 | fuzz_below(input, (choice & 4) != 0 ? 4096 : 64);
    unsigned size = 1u << (choice >> 3 & 3);
    struct bus *bus = &guest->machine->bus;
    if ((choice & 0x80) != 0)
        bus_read(bus, BUS_MMIO, guest->driver.common + offset, size);
    else
        bus_write(bus, BUS_MMIO, guest->driver.common + offset, size,
                  (choice & 0x40) != 0 ? fuzz_take(input, 8) : fuzz_take(input, 1));
}

static inline void fuzz_config(struct fuzz_guest *guest, struct fuzz_input *input)
{
    uint64_t choice = fuzz_take(input, 1);
    unsigned offset = (unsigned)fuzz_below(input, (choice & 4) != 0 ? 4092 : 252);
    unsigned size = 1u << (choice & 1) << (choice >> 1 & 1);
    if ((choice & 0x80) != 0)
        guest_config_read(guest->machine, guest->driver.slot, offset, size);
    else
        guest_config_write(guest->machine, guest->driver.slot, offset, size,
                           (uint32_t)fuzz_take(input, 4));
}

/* Makes a chain of well-formed descriptors available, cut where the input says, and notifies. */
static inline void fuzz_submit(struct fuzz_guest *guest, struct fuzz_input *input, unsigned queue,
                               const struct guest_desc *buffers, unsigned count)
{
    struct guest_desc cut[16];
    unsigned pieces = 0;
    if (guest->driver.queue[queue].size == 0)
        return;
    for (unsigned i = 0; i < count && pieces + 2 <= ARRAY_SIZE(cut); i++) {
        uint32_t first = (uint32_t)fuzz_take(input, 1);
        cut[pieces] = buffers[i];
        if (first < buffers[i].length) {
            cut[pieces++].length = first;
            cut[pieces] = buffers[i];
            cut[pieces].address += first;
            cut[pieces].length -= first;
        }
        pieces++;
    }
    guest_add(&guest->driver, queue, cut, pieces);
    if (fuzz_take(input, 1) % 4 != 3)
        guest_notify(&guest->driver, queue);
}

/* One action of the guest, or of the owner that continues the device's work. */
static inline void fuzz_step(struct fuzz_guest *guest, struct fuzz_input *input)
{
    uint64_t action = fuzz_take(input, 1);
    unsigned index = (unsigned)(fuzz_take(input, 1) % guest->queues);
    struct guest_queue *queue = &guest->driver.queue[index];
    bool has_rings = queue->size != 0;
    switch (action % 16) {
    case 0:
        fuzz_bring_up(guest, input);
        break;
    case 1:
        fuzz_bar(guest, input);
        break;
    case 2:
        fuzz_config(guest, input);
        break;
    case 3:
        virtio_pci_continue(guest->virtio);
        break;
    case 4: /* eight bytes anywhere in RAM, rings included */
        guest_put(guest->machine, fuzz_below(input, 2 * GUEST_RAM_SIZE - 8),
                  &(uint64_t){fuzz_take(input, 8)}, 8);
        break;
    case 5: /* an indirect table's entry, at the start of the second region */
        fuzz_descriptor(guest, input, GUEST_RAM_SIZE, 16);
        break;
    case 6:
        if (action == 6)
            pci_bus_reset(&guest->machine->pci);
        break;
    case 7:
    case 8:
        if (has_rings)
            fuzz_descriptor(guest, input, queue->desc, 16);
        break;
    case 9:
    case 10:
    case 11:
    case 12:
        if (guest->act != NULL)
            guest->act(guest, input);
        break;
    default:
        if (has_rings)
            guest_make_available(&guest->driver, index, (uint16_t)fuzz_below(input, 18));
        if (has_rings && (action & 0x80) == 0)
            guest_notify(&guest->driver, index);
    }
}

/* What holds for every device after every action. */
static inline void fuzz_check(struct fuzz_guest *guest)
{
    for (unsigned i = 0; i < guest->queues; i++) {
        const struct virtqueue *queue = &guest->virtio->queue[i];
        struct virtqueue *before = &guest->enabled[i];
        if (queue->enabled && before->enabled)
            guest_require(queue->descriptors == before->descriptors &&
                              queue->driver == before->driver && queue->device == before->device &&
                              queue->size == before->size,
                          "a queue changed while it was enabled");
        bool needs_reset = (guest->virtio->status & VIRTIO_STATUS_NEEDS_RESET) != 0;
        guest_require(!needs_reset || guest->virtio->unfinished == 0, "work after a failure");
        *before = *queue;
    }
}

/* Runs the input against a device that stands in slot; act may be NULL. */
static inline void fuzz_run(struct guest_machine *machine, struct virtio_pci *virtio, unsigned slot,
                            const uint8_t *data, size_t size,
                            void (*act)(struct fuzz_guest *guest, struct fuzz_input *input),
                            void (*check)(void *context), void *context)
{
    struct fuzz_guest guest = {.machine = machine, .virtio = virtio, .act = act};
    struct fuzz_input input = {data, data + size};
    guest.queues = virtio->offer.queues;
    guest_driver_find(&guest.driver, machine, slot);
    fuzz_bring_up(&guest, &input);
    for (unsigned steps = 0; steps < 400 && !fuzz_is_done(&input); steps++) {
        fuzz_step(&guest, &input);
        fuzz_check(&guest);
        check(context);
    }
}
