/*
 * The guest's side of PCI and virtio for tests and fuzz targets: a machine of bus, RAM and PCI
 * host bridge, and a small driver that finds a device's structures through its capabilities, sets
 * queues up and moves buffers. All state is in the structs.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/model/virtio_pci.h"

/* Two regions that meet, with host memory apart, then a hole, then a third. */
#ifndef GUEST_RAM_SIZE
#define GUEST_RAM_SIZE 0x40000u
#endif
#define GUEST_RAM_COUNT 3
#define GUEST_GUARD 4096u
#define GUEST_GUARD_BYTE 0xa5

static const uint64_t guest_ram_base[GUEST_RAM_COUNT] = {0, GUEST_RAM_SIZE, 0x100000};

struct guest_machine {
    struct bus bus;
    struct guest_mem mem;
    struct pci_bus pci;
    struct log_budget log;
    uint8_t *ram[GUEST_RAM_COUNT]; /* with a guard in front and behind */
    unsigned messages;             /* message-signalled interrupts so far */
    uint64_t message_address;      /* of the last one */
    uint32_t message_data;
    unsigned message_count[64]; /* by the data's low bits */
    bool wire[PLATFORM_PCI_GSI_COUNT];
    unsigned more_work; /* how often a device asked to be continued */
    uint8_t reset_control;
};

static inline void guest_on_message(void *receiver, uint64_t address, uint32_t data)
{
    struct guest_machine *machine = receiver;
    machine->messages++;
    machine->message_address = address;
    machine->message_data = data;
    machine->message_count[data % 64]++;
}

static inline void guest_on_wire(void *controller, unsigned input, bool level)
{
    struct guest_machine *machine = controller;
    machine->wire[input] = level;
}

static inline void guest_on_more_work(void *context)
{
    struct guest_machine *machine = context;
    machine->more_work++;
}

static inline uint64_t guest_reset_read(void *device, uint64_t offset, unsigned size)
{
    struct guest_machine *machine = device;
    return offset == 0 && size == 1 ? machine->reset_control : 0xee;
}

static inline void guest_reset_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct guest_machine *machine = device;
    if (offset == 0 && size == 1)
        machine->reset_control = (uint8_t)value;
}

static const struct bus_ops guest_reset_ops = {guest_reset_read, guest_reset_write};

static inline void guest_require(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "guest_require: %s\n", what);
        abort();
    }
}

static inline struct guest_machine *guest_new(void)
{
    struct guest_machine *machine = calloc(1, sizeof(*machine));
    bool is_built = true;
    machine->log = (struct log_budget){.owner = "test", .left = 1000};
    for (unsigned i = 0; i < GUEST_RAM_COUNT; i++) {
        machine->ram[i] = malloc(GUEST_RAM_SIZE + 2 * GUEST_GUARD);
        memset(machine->ram[i], GUEST_GUARD_BYTE, GUEST_RAM_SIZE + 2 * GUEST_GUARD);
        memset(machine->ram[i] + GUEST_GUARD, 0, GUEST_RAM_SIZE);
        is_built &= guest_mem_add(&machine->mem, GPA(guest_ram_base[i]), GUEST_RAM_SIZE,
                                  machine->ram[i] + GUEST_GUARD) == STATUS_OK;
    }
    struct pci_bus_config config = {
        .bus = &machine->bus,
        .mem = &machine->mem,
        .window_base = PLATFORM_PCI_MMIO,
        .window_size = PLATFORM_PCI_MMIO_SIZE,
        .ecam_base = PLATFORM_ECAM,
        .ecam_size = PLATFORM_ECAM_SIZE,
        .reset_control_ops = &guest_reset_ops,
        .reset_control = machine,
    };
    for (unsigned i = 0; i < PLATFORM_PCI_GSI_COUNT; i++)
        config.intx[i] = (struct irq_line){guest_on_wire, machine, i};
    is_built &= pci_bus_init(&machine->pci, &config) == STATUS_OK;
    guest_require(is_built, "machine");
    return machine;
}

/* Whether nothing was written beside the guest's RAM. */
static inline bool guest_guards_hold(const struct guest_machine *machine)
{
    for (unsigned i = 0; i < GUEST_RAM_COUNT; i++)
        for (unsigned j = 0; j < GUEST_GUARD; j++)
            if (machine->ram[i][j] != GUEST_GUARD_BYTE ||
                machine->ram[i][GUEST_GUARD + GUEST_RAM_SIZE + j] != GUEST_GUARD_BYTE)
                return false;
    return true;
}

static inline void guest_free(struct guest_machine *machine)
{
    guest_require(guest_guards_hold(machine), "a byte beside the guest's RAM was written");
    for (unsigned i = 0; i < GUEST_RAM_COUNT; i++)
        free(machine->ram[i]);
    free(machine);
}

static inline struct virtio_pci_config guest_slot(struct guest_machine *machine, unsigned slot)
{
    return (struct virtio_pci_config){
        .bus = &machine->pci,
        .slot = slot,
        .mem = &machine->mem,
        .msi = {guest_on_message, machine},
        .log = &machine->log,
        .more_work = guest_on_more_work,
        .context = machine,
    };
}

/* ---- RAM ---- */

static inline void guest_put(struct guest_machine *machine, uint64_t gpa, const void *from,
                             uint64_t size)
{
    guest_require(guest_mem_write(&machine->mem, GPA(gpa), from, size) == STATUS_OK, "put");
}

static inline void guest_get(struct guest_machine *machine, uint64_t gpa, void *to, uint64_t size)
{
    guest_require(guest_mem_read(&machine->mem, GPA(gpa), to, size) == STATUS_OK, "get");
}

static inline void guest_put_16(struct guest_machine *machine, uint64_t gpa, uint16_t value)
{
    guest_put(machine, gpa, &value, sizeof(value));
}

static inline uint16_t guest_get_16(struct guest_machine *machine, uint64_t gpa)
{
    uint16_t value;
    guest_get(machine, gpa, &value, sizeof(value));
    return value;
}

static inline uint8_t guest_get_8(struct guest_machine *machine, uint64_t gpa)
{
    uint8_t value;
    guest_get(machine, gpa, &value, sizeof(value));
    return value;
}

/* ---- PCI ---- */

static inline uint64_t guest_ecam(unsigned slot, unsigned offset)
{
    return PLATFORM_ECAM + ((uint64_t)slot << 15) + offset;
}

static inline uint32_t guest_config_read(struct guest_machine *machine, unsigned slot,
                                         unsigned offset, unsigned size)
{
    return (uint32_t)bus_read(&machine->bus, BUS_MMIO, guest_ecam(slot, offset), size);
}

static inline void guest_config_write(struct guest_machine *machine, unsigned slot, unsigned offset,
                                      unsigned size, uint32_t value)
{
    bus_write(&machine->bus, BUS_MMIO, guest_ecam(slot, offset), size, value);
}

/* The offset of the nth capability of this id, and for vendor capabilities of this virtio type
 * (0: any); 0 when there is none. */
static inline unsigned guest_capability(struct guest_machine *machine, unsigned slot, uint8_t id,
                                        uint8_t type)
{
    unsigned at = guest_config_read(machine, slot, PCI_CAPABILITIES, 1);
    for (unsigned i = 0; at != 0 && i < 48; i++) {
        bool is_it = guest_config_read(machine, slot, at, 1) == id &&
                     (type == 0 || guest_config_read(machine, slot, at + 3, 1) == type);
        if (is_it)
            return at;
        at = guest_config_read(machine, slot, at + 1, 1);
    }
    return 0;
}

static inline uint64_t guest_bar(struct guest_machine *machine, unsigned slot, unsigned index)
{
    uint64_t low = guest_config_read(machine, slot, PCI_BAR(index), 4);
    uint64_t high =
        (low & PCI_BAR_TYPE_64) != 0 ? guest_config_read(machine, slot, PCI_BAR(index + 1), 4) : 0;
    return high << 32 | (low & ~15ull);
}

/* ---- The virtio driver ---- */

#define COMMON_DEVICE_FEATURE_SELECT 0
#define COMMON_DEVICE_FEATURE 4
#define COMMON_DRIVER_FEATURE_SELECT 8
#define COMMON_DRIVER_FEATURE 12
#define COMMON_CONFIG_VECTOR 16
#define COMMON_NUM_QUEUES 18
#define COMMON_STATUS 20
#define COMMON_GENERATION 21
#define COMMON_QUEUE_SELECT 22
#define COMMON_QUEUE_SIZE 24
#define COMMON_QUEUE_VECTOR 26
#define COMMON_QUEUE_ENABLE 28
#define COMMON_QUEUE_NOTIFY_OFF 30
#define COMMON_QUEUE_DESC 32
#define COMMON_QUEUE_DRIVER 40
#define COMMON_QUEUE_DEVICE 48
#define COMMON_QUEUE_RESET 58

#define TEST_DESC_NEXT 1
#define TEST_DESC_WRITE 2
#define TEST_DESC_INDIRECT 4

struct guest_desc {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
};

struct guest_queue {
    unsigned index;
    uint16_t size, avail, seen; /* indices: next to make available, next used to look at */
    uint16_t next_desc;
    uint64_t desc, driver, device;
    uint64_t notify; /* the register's address */
};

struct guest_driver {
    struct guest_machine *machine;
    unsigned slot;
    uint64_t common, isr, settings, notify;
    uint32_t notify_multiplier;
    uint64_t offered, wanted;
    struct guest_queue queue[VIRTIO_QUEUES_MAX];
};

static inline uint64_t guest_structure(struct guest_driver *driver, uint8_t type)
{
    unsigned at = guest_capability(driver->machine, driver->slot, PCI_CAPABILITY_VENDOR, type);
    if (at == 0)
        return 0;
    unsigned bar = guest_config_read(driver->machine, driver->slot, at + 4, 1);
    uint32_t offset = guest_config_read(driver->machine, driver->slot, at + 8, 4);
    return guest_bar(driver->machine, driver->slot, bar) + offset;
}

static inline uint32_t guest_common_read(struct guest_driver *driver, unsigned offset,
                                         unsigned size)
{
    return (uint32_t)bus_read(&driver->machine->bus, BUS_MMIO, driver->common + offset, size);
}

static inline void guest_common_write(struct guest_driver *driver, unsigned offset, unsigned size,
                                      uint64_t value)
{
    bus_write(&driver->machine->bus, BUS_MMIO, driver->common + offset, size, value);
}

static inline uint8_t guest_status(struct guest_driver *driver)
{
    return (uint8_t)guest_common_read(driver, COMMON_STATUS, 1);
}

static inline void guest_set_status(struct guest_driver *driver, uint8_t bits)
{
    guest_common_write(driver, COMMON_STATUS, 1, guest_status(driver) | bits);
}

/* Finds the structures and turns on memory decoding and bus mastering. */
static inline void guest_driver_find(struct guest_driver *driver, struct guest_machine *machine,
                                     unsigned slot)
{
    memset(driver, 0, sizeof(*driver));
    driver->machine = machine;
    driver->slot = slot;
    guest_config_write(machine, slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    driver->common = guest_structure(driver, 1);
    driver->notify = guest_structure(driver, 2);
    driver->isr = guest_structure(driver, 3);
    driver->settings = guest_structure(driver, 4);
    unsigned notify = guest_capability(machine, slot, PCI_CAPABILITY_VENDOR, 2);
    driver->notify_multiplier = guest_config_read(machine, slot, notify + 16, 4);
}

/* Resets the device and agrees on wanted features; returns whether the device did. */
static inline bool guest_driver_negotiate(struct guest_driver *driver, uint64_t wanted)
{
    guest_common_write(driver, COMMON_STATUS, 1, 0);
    guest_set_status(driver, VIRTIO_STATUS_ACKNOWLEDGE);
    guest_set_status(driver, VIRTIO_STATUS_DRIVER);
    driver->offered = 0;
    for (unsigned i = 0; i < 2; i++) {
        guest_common_write(driver, COMMON_DEVICE_FEATURE_SELECT, 4, i);
        driver->offered |= (uint64_t)guest_common_read(driver, COMMON_DEVICE_FEATURE, 4)
                           << (32 * i);
        guest_common_write(driver, COMMON_DRIVER_FEATURE_SELECT, 4, i);
        guest_common_write(driver, COMMON_DRIVER_FEATURE, 4, (uint32_t)(wanted >> (32 * i)));
    }
    driver->wanted = wanted;
    guest_set_status(driver, VIRTIO_STATUS_FEATURES_OK);
    return (guest_status(driver) & VIRTIO_STATUS_FEATURES_OK) != 0;
}

/* Where queue index has its rings: 8 KiB each from 0x1000 on. */
static inline uint64_t guest_ring_base(unsigned index)
{
    return 0x1000 + 0x2000 * (uint64_t)index;
}

static inline void guest_driver_queue(struct guest_driver *driver, unsigned index, uint16_t size,
                                      uint16_t vector)
{
    struct guest_queue *queue = &driver->queue[index];
    uint64_t base = guest_ring_base(index);
    *queue = (struct guest_queue){.index = index,
                                  .size = size,
                                  .desc = base,
                                  .driver = base + 16 * (uint64_t)size,
                                  .device = base + 0x1800};
    uint8_t zero[0x2000] = {0};
    guest_put(driver->machine, base, zero, sizeof(zero));
    guest_common_write(driver, COMMON_QUEUE_SELECT, 2, index);
    guest_common_write(driver, COMMON_QUEUE_SIZE, 2, size);
    guest_common_write(driver, COMMON_QUEUE_VECTOR, 2, vector);
    guest_common_write(driver, COMMON_QUEUE_DESC, 4, (uint32_t)queue->desc);
    guest_common_write(driver, COMMON_QUEUE_DESC + 4, 4, 0);
    guest_common_write(driver, COMMON_QUEUE_DRIVER, 8, queue->driver);
    guest_common_write(driver, COMMON_QUEUE_DEVICE, 8, queue->device);
    guest_common_write(driver, COMMON_QUEUE_ENABLE, 2, 1);
    queue->notify = driver->notify + driver->notify_multiplier * guest_common_read(driver, 30, 2);
}

static inline void guest_driver_start(struct guest_driver *driver)
{
    guest_set_status(driver, VIRTIO_STATUS_DRIVER_OK);
}

/* Turns MSI-X on; vector n sends data n to 0xfee00000. */
static inline void guest_driver_use_msix(struct guest_driver *driver)
{
    struct guest_machine *machine = driver->machine;
    unsigned at = guest_capability(machine, driver->slot, PCI_CAPABILITY_MSIX, 0);
    uint32_t where = guest_config_read(machine, driver->slot, at + PCI_MSIX_TABLE, 4);
    unsigned vectors =
        (guest_config_read(machine, driver->slot, at + PCI_MSIX_CONTROL, 2) & 0x7ff) + 1;
    uint64_t table = guest_bar(machine, driver->slot, where & 7) + (where & ~7u);
    for (unsigned i = 0; i < vectors; i++) {
        bus_write(&machine->bus, BUS_MMIO, table + 16 * i, 8, 0xfee00000);
        bus_write(&machine->bus, BUS_MMIO, table + 16 * i + 8, 4, i);
        bus_write(&machine->bus, BUS_MMIO, table + 16 * i + 12, 4, 0);
    }
    guest_config_write(machine, driver->slot, at + PCI_MSIX_CONTROL, 2, PCI_MSIX_CONTROL_ENABLE);
}

static inline void guest_notify(struct guest_driver *driver, unsigned index)
{
    bus_write(&driver->machine->bus, BUS_MMIO, driver->queue[index].notify, 2, index);
}

/* Writes descriptor number at of a table. */
static inline void guest_put_desc(struct guest_driver *driver, uint64_t table, unsigned at,
                                  struct guest_desc desc)
{
    guest_put(driver->machine, table + 16 * (uint64_t)at, &desc, sizeof(desc));
}

/* Puts a head into the available ring. */
static inline void guest_make_available(struct guest_driver *driver, unsigned index, uint16_t head)
{
    struct guest_queue *queue = &driver->queue[index];
    guest_put_16(driver->machine, queue->driver + 4 + 2 * (queue->avail % queue->size), head);
    guest_put_16(driver->machine, queue->driver + 2, ++queue->avail);
}

/* Chains count buffers (flags: TEST_DESC_WRITE or 0) from the queue's own table and makes them
 * available; returns the head. */
static inline uint16_t guest_add(struct guest_driver *driver, unsigned index,
                                 const struct guest_desc *buffers, unsigned count)
{
    struct guest_queue *queue = &driver->queue[index];
    uint16_t head = queue->next_desc;
    for (unsigned i = 0; i < count; i++) {
        struct guest_desc desc = buffers[i];
        uint16_t at = (uint16_t)((head + i) % queue->size);
        desc.next = (uint16_t)((at + 1) % queue->size);
        desc.flags |= i + 1 < count ? TEST_DESC_NEXT : 0;
        guest_put_desc(driver, queue->desc, at, desc);
    }
    queue->next_desc = (uint16_t)((head + count) % queue->size);
    guest_make_available(driver, index, head);
    return head;
}

/* The next used entry: whether there is one, its head and length. */
static inline bool guest_used(struct guest_driver *driver, unsigned index, uint32_t *head,
                              uint32_t *length)
{
    struct guest_queue *queue = &driver->queue[index];
    if (guest_get_16(driver->machine, queue->device + 2) == queue->seen)
        return false;
    uint64_t entry = queue->device + 4 + 8 * (queue->seen % queue->size);
    guest_get(driver->machine, entry, head, 4);
    guest_get(driver->machine, entry + 4, length, 4);
    queue->seen++;
    return true;
}
