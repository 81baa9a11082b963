/*
 * The transport of every virtio device: Virtio 1.2 over PCI, modern interface, with MSI-X and
 * INTx. A device model embeds a struct virtio_pci, describes itself with a struct virtio_type and
 * answers service calls; it never sees a register.
 *
 * Everything is synchronous: the guest's notification serves the queue before it returns, up to a
 * bound of the device's own. Where work is left, config.more_work asks the owner to call
 * virtio_pci_continue soon (from a timer or the vCPU loop), with the same lock held.
 *
 * Locking: none; every caller holds the VM's device lock.
 */
#pragma once

#include "drivers/model/pci_bus.h"
#include "drivers/model/virtqueue.h"
#include "kernel/core/log.h"

#define VIRTIO_QUEUES_MAX 40

/* Device status. Virtio: Device Status Field. */
#define VIRTIO_STATUS_ACKNOWLEDGE BIT(0)
#define VIRTIO_STATUS_DRIVER BIT(1)
#define VIRTIO_STATUS_DRIVER_OK BIT(2)
#define VIRTIO_STATUS_FEATURES_OK BIT(3)
#define VIRTIO_STATUS_NEEDS_RESET BIT(6)
#define VIRTIO_STATUS_FAILED BIT(7)

/* Virtio: Reserved Feature Bits. */
#define VIRTIO_F_INDIRECT_DESC BIT(28)
#define VIRTIO_F_EVENT_IDX BIT(29)
#define VIRTIO_F_VERSION_1 BIT(32)
#define VIRTIO_F_RING_RESET BIT(40)

#define VIRTIO_NO_VECTOR 0xffff

/* ISR status bits. */
#define VIRTIO_ISR_QUEUE BIT(0)
#define VIRTIO_ISR_CONFIG BIT(1)

struct virtio_pci;

/* A kind of device: one constant of each. */
struct virtio_type {
    const char *name;    /* for messages */
    uint16_t id;         /* Virtio: Device Types */
    uint32_t class_code; /* PCI's */
    /* Serves a queue that is enabled and may have something new: pops, works, pushes, and then
     * calls virtio_pci_interrupt once. Returns true when its bound ended the work early. */
    bool (*service)(void *device, unsigned queue);
    /* The driver, or the machine, reset the device: forget every chain and all progress. */
    void (*reset)(void *device);
    /* The same for one queue; NULL where a device keeps nothing between service calls. */
    void (*queue_reset)(void *device, unsigned queue);
};

/* Where a device stands in its machine. */
struct virtio_pci_config {
    struct pci_bus *bus;
    unsigned slot;
    const struct guest_mem *mem;
    struct msi_port msi;
    struct log_budget *log; /* of the VM; NULL: silent */
    /* Work is left: the owner is to call virtio_pci_continue. Called with the device lock held. */
    void (*more_work)(void *context);
    void *context;
};

/* What one instance offers. */
struct virtio_offer {
    const struct virtio_type *type;
    void *device;
    uint64_t features;    /* the device's own; the transport adds its ring features */
    unsigned queues;      /* 1 to VIRTIO_QUEUES_MAX */
    uint16_t queue_size;  /* a power of two, at most VIRTQUEUE_SIZE_MAX */
    const void *settings; /* device configuration space, little-endian; read at each access */
    unsigned settings_size;
};

struct virtio_pci {
    struct pci_function function;
    struct virtio_pci_config config;
    struct virtio_offer offer;
    uint64_t features; /* offered in all */
    uint64_t driver_features;
    uint32_t device_feature_select, driver_feature_select;
    uint16_t queue_select, config_vector;
    uint8_t status, isr, generation;
    bool was_master;
    unsigned access_capability; /* offset of the PCI configuration access capability */
    uint64_t unfinished;        /* queues that virtio_pci_continue has to serve */
    uint16_t queue_vector[VIRTIO_QUEUES_MAX];
    struct virtqueue queue[VIRTIO_QUEUES_MAX];
};

/* Describes the PCI function and puts it on the bus. Errors are those of pci_bus_add. */
enum status MUST_CHECK virtio_pci_init(struct virtio_pci *virtio,
                                       const struct virtio_pci_config *config,
                                       const struct virtio_offer *offer);

/* Serves the queues that had work left; asks for more_work again when there still is some. */
void virtio_pci_continue(struct virtio_pci *virtio);

/* ---- For device models ---- */

/* Serves one queue as a notification does; nothing happens while the device may not work. */
void virtio_pci_serve(struct virtio_pci *virtio, unsigned queue);

/* Interrupts the driver if it wants that for what was pushed to this queue. */
void virtio_pci_interrupt(struct virtio_pci *virtio, unsigned queue);

/* The contents of offer.settings changed: a new generation, and an interrupt. */
void virtio_pci_settings_changed(struct virtio_pci *virtio);

/* The driver broke the rules of this queue: DEVICE_NEEDS_RESET, an interrupt, and nothing is served
 * until the reset. Virtio: Device Status Field. */
void virtio_pci_fail(struct virtio_pci *virtio, unsigned queue, enum status reason);

/* Whether the driver is done with its setup and nothing forbids the device to reach memory. */
static inline bool virtio_pci_is_live(const struct virtio_pci *virtio)
{
    uint8_t mask = VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_NEEDS_RESET | VIRTIO_STATUS_FAILED;
    return (virtio->status & mask) == VIRTIO_STATUS_DRIVER_OK &&
           pci_function_is_master(&virtio->function);
}

/* Whether driver and device agreed on a feature. */
static inline bool virtio_pci_has(const struct virtio_pci *virtio, uint64_t feature)
{
    return (virtio->status & VIRTIO_STATUS_FEATURES_OK) != 0 &&
           (virtio->driver_features & feature) != 0;
}

/* ---- Between the transport's two files ---- */

#define VIRTIO_COMMON_SIZE 60u

/* The common configuration structure, in virtio_common.c; accesses as those of a bus range. */
uint64_t virtio_common_read(struct virtio_pci *virtio, uint64_t offset, unsigned size);
void virtio_common_write(struct virtio_pci *virtio, uint64_t offset, unsigned size, uint64_t value);

/* Everything to the state before the driver came, as status 0 asks for. */
void virtio_pci_reset(struct virtio_pci *virtio);

/* Serves every queue: the device may work from now on. */
void virtio_pci_start(struct virtio_pci *virtio);
