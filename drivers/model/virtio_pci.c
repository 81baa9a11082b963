#include "drivers/model/virtio_pci.h"

#include "kernel/core/mem.h"
#include "kernel/core/panic.h"

/* BAR 0 holds the virtio structures, a page each; BAR 2 the MSI-X table. */
#define VIRTIO_BAR 0
#define VIRTIO_BAR_SIZE 0x4000u
#define MSIX_BAR 2
#define REGION_SIZE 0x1000u
#define COMMON_OFFSET 0x0000u
#define ISR_OFFSET 0x1000u
#define SETTINGS_OFFSET 0x2000u
#define NOTIFY_OFFSET 0x3000u
#define NOTIFY_MULTIPLIER 4u

#define VENDOR 0x1af4
#define DEVICE_BASE 0x1040
#define REVISION 1
#define SUBSYSTEM_BASE 0x40

/* Virtio: Virtio Structure PCI Capabilities. */
enum capability_type {
    CAPABILITY_COMMON = 1,
    CAPABILITY_NOTIFY = 2,
    CAPABILITY_ISR = 3,
    CAPABILITY_DEVICE = 4,
    CAPABILITY_ACCESS = 5,
};

/* The common part of the capabilities, behind the two bytes that all of PCI's have. */
struct capability {
    uint8_t length;
    uint8_t type;
    uint8_t bar;
    uint8_t id;
    uint8_t padding[2];
    uint32_t offset;
    uint32_t size;
    uint32_t extra; /* notify: the multiplier; access: the data window */
} PACKED;
#define CAPABILITY_SIZE 16u
#define CAPABILITY_EXTRA 16u /* where the extra doubleword stands, counted from the capability */
STATIC_ASSERT(sizeof(struct capability) + 2 == CAPABILITY_EXTRA + 4, "as Virtio has it");

static INIT void add_capability(struct virtio_pci *virtio, enum capability_type type,
                                uint32_t offset, uint32_t size)
{
    bool has_extra = type == CAPABILITY_NOTIFY;
    unsigned length = CAPABILITY_SIZE + (has_extra ? 4 : 0);
    struct capability body = {
        .length = (uint8_t)length,
        .type = (uint8_t)type,
        .bar = VIRTIO_BAR,
        .offset = offset,
        .size = size,
        .extra = NOTIFY_MULTIPLIER,
    };
    pci_function_add_capability(&virtio->function, PCI_CAPABILITY_VENDOR, &body, NULL, length);
}

/* The driver's way to the BARs through configuration space. Virtio: PCI configuration access
 * capability. */
static INIT void add_access_capability(struct virtio_pci *virtio)
{
    unsigned length = CAPABILITY_EXTRA + 4;
    struct capability body = {.length = (uint8_t)length, .type = CAPABILITY_ACCESS};
    struct capability writable = {
        .bar = 0xff, .offset = UINT32_MAX, .size = UINT32_MAX, .extra = UINT32_MAX};
    virtio->access_capability = pci_function_add_capability(
        &virtio->function, PCI_CAPABILITY_VENDOR, &body, &writable, length);
}

/* ---- Interrupts ---- */

static void set_isr(struct virtio_pci *virtio, uint8_t isr)
{
    virtio->isr = isr;
    pci_function_set_intx(&virtio->function, isr != 0);
}

void virtio_pci_interrupt(struct virtio_pci *virtio, unsigned queue)
{
    if (!virtqueue_needs_interrupt(&virtio->queue[queue]))
        return;
    if (virtio->function.msix.enabled)
        pci_msix_raise(&virtio->function.msix, virtio->queue_vector[queue]);
    else
        set_isr(virtio, virtio->isr | VIRTIO_ISR_QUEUE);
}

/* Virtio: ISR status capability: the configuration bit is set with MSI-X too. */
static void signal_config(struct virtio_pci *virtio)
{
    if ((virtio->status & VIRTIO_STATUS_DRIVER_OK) == 0)
        return;
    set_isr(virtio, virtio->isr | VIRTIO_ISR_CONFIG);
    pci_msix_raise(&virtio->function.msix, virtio->config_vector);
}

void virtio_pci_settings_changed(struct virtio_pci *virtio)
{
    virtio->generation++;
    signal_config(virtio);
}

void virtio_pci_fail(struct virtio_pci *virtio, unsigned queue, enum status reason)
{
    if (virtio->config.log != NULL)
        log_guest(virtio->config.log, "%s: queue %u needs a reset: %s", virtio->offer.type->name,
                  queue, status_text(reason));
    virtio->status |= VIRTIO_STATUS_NEEDS_RESET;
    virtio->unfinished = 0;
    signal_config(virtio);
}

/* ---- Service ---- */

void virtio_pci_serve(struct virtio_pci *virtio, unsigned queue)
{
    if (!virtio->queue[queue].enabled || !virtio_pci_is_live(virtio))
        return;
    bool is_unfinished = virtio->offer.type->service(virtio->offer.device, queue);
    if (!is_unfinished || !virtio_pci_is_live(virtio))
        return;
    virtio->unfinished |= BIT(queue);
    virtio->config.more_work(virtio->config.context);
}

void virtio_pci_continue(struct virtio_pci *virtio)
{
    uint64_t unfinished = virtio->unfinished;
    virtio->unfinished = 0;
    for (unsigned i = 0; i < virtio->offer.queues; i++)
        if ((unfinished & BIT(i)) != 0)
            virtio_pci_serve(virtio, i);
}

void virtio_pci_start(struct virtio_pci *virtio)
{
    for (unsigned i = 0; i < virtio->offer.queues; i++)
        virtio_pci_serve(virtio, i);
}

void virtio_pci_reset(struct virtio_pci *virtio)
{
    virtio->driver_features = 0;
    virtio->device_feature_select = virtio->driver_feature_select = 0;
    virtio->queue_select = 0;
    virtio->config_vector = VIRTIO_NO_VECTOR;
    virtio->status = 0;
    virtio->unfinished = 0;
    for (unsigned i = 0; i < virtio->offer.queues; i++) {
        virtqueue_reset(&virtio->queue[i], virtio->config.mem, virtio->offer.queue_size);
        virtio->queue_vector[i] = VIRTIO_NO_VECTOR;
    }
    set_isr(virtio, 0);
    virtio->offer.type->reset(virtio->offer.device);
}

/* ---- The BAR ---- */

static uint64_t settings_read(const struct virtio_pci *virtio, uint64_t offset, unsigned size)
{
    uint64_t value = 0;
    const uint8_t *settings = virtio->offer.settings;
    for (unsigned i = 0; i < size && offset + i < virtio->offer.settings_size; i++)
        value |= (uint64_t)settings[offset + i] << (8 * i);
    return value;
}

/* Reading acknowledges. Virtio: ISR status capability. */
static uint64_t isr_read(struct virtio_pci *virtio)
{
    uint64_t isr = virtio->isr;
    set_isr(virtio, 0);
    return isr;
}

static uint64_t bar_read(void *device, uint64_t offset, unsigned size)
{
    struct virtio_pci *virtio = device;
    switch (offset & ~(uint64_t)(REGION_SIZE - 1)) {
    case COMMON_OFFSET:
        return virtio_common_read(virtio, offset - COMMON_OFFSET, size);
    case ISR_OFFSET:
        return offset == ISR_OFFSET ? isr_read(virtio) : 0;
    case SETTINGS_OFFSET:
        return settings_read(virtio, offset - SETTINGS_OFFSET, size);
    }
    return 0;
}

/* The address says which queue; the value only repeats it. */
static void bar_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct virtio_pci *virtio = device;
    uint64_t queue = (offset - NOTIFY_OFFSET) / NOTIFY_MULTIPLIER;
    if (offset < REGION_SIZE)
        virtio_common_write(virtio, offset - COMMON_OFFSET, size, value);
    else if (offset >= NOTIFY_OFFSET && queue < virtio->offer.queues)
        virtio_pci_serve(virtio, (unsigned)queue);
}

static const struct bus_ops bar_ops = {bar_read, bar_write};

/* ---- Configuration space ---- */

static struct virtio_pci *from_function(struct pci_function *function)
{
    return CONTAINER_OF(function, struct virtio_pci, function);
}

static bool touches_access_data(const struct virtio_pci *virtio, unsigned offset, unsigned size)
{
    unsigned data = virtio->access_capability + CAPABILITY_EXTRA;
    return offset < data + 4 && data < offset + size;
}

/* The BAR that the access capability points at, if what it asks for can be done. */
static const struct pci_bar *access_target(struct virtio_pci *virtio, struct capability *access)
{
    memcpy(access, virtio->function.config + virtio->access_capability + 2, sizeof(*access));
    const struct pci_bar *bar = &virtio->function.bar[access->bar % PCI_BARS];
    bool is_sized = access->size == 1 || access->size == 2 || access->size == 4;
    if (access->bar >= PCI_BARS || bar->size == 0 || !is_sized ||
        !is_aligned(access->offset, access->size) || access->offset >= bar->size)
        return NULL;
    return bar;
}

static void config_reads(struct pci_function *function, unsigned offset, unsigned size)
{
    struct virtio_pci *virtio = from_function(function);
    struct capability access;
    if (!touches_access_data(virtio, offset, size))
        return;
    const struct pci_bar *bar = access_target(virtio, &access);
    if (bar == NULL)
        return;
    uint64_t value = bar->ops->read(bar->device, access.offset, access.size);
    memcpy(function->config + virtio->access_capability + CAPABILITY_EXTRA, &value, access.size);
}

static void config_written(struct pci_function *function, unsigned offset, unsigned size)
{
    struct virtio_pci *virtio = from_function(function);
    struct capability access;
    bool was_master = virtio->was_master;
    virtio->was_master = pci_function_is_master(function);
    if (virtio->was_master && !was_master)
        virtio_pci_start(virtio);
    if (!touches_access_data(virtio, offset, size))
        return;
    const struct pci_bar *bar = access_target(virtio, &access);
    if (bar != NULL)
        bar->ops->write(bar->device, access.offset, access.size,
                        access.extra & bits_size_mask(access.size));
}

static void function_reset(struct pci_function *function)
{
    struct virtio_pci *virtio = from_function(function);
    virtio->was_master = false;
    virtio_pci_reset(virtio);
}

static const struct pci_function_ops function_ops = {config_reads, config_written, function_reset};

INIT enum status virtio_pci_init(struct virtio_pci *virtio, const struct virtio_pci_config *config,
                                 const struct virtio_offer *offer)
{
    ASSERT(offer->queues >= 1 && offer->queues <= VIRTIO_QUEUES_MAX);
    ASSERT(config->more_work != NULL);
    struct pci_identity identity = {.vendor = VENDOR,
                                    .device = DEVICE_BASE + offer->type->id,
                                    .subsystem_vendor = VENDOR,
                                    .subsystem = SUBSYSTEM_BASE + offer->type->id,
                                    .revision = REVISION,
                                    .class_code = offer->type->class_code};
    *virtio = (struct virtio_pci){.config = *config, .offer = *offer};
    virtio->features = offer->features | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX |
                       VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET;
    pci_function_init(&virtio->function, &identity, &function_ops);
    pci_function_use_intx(&virtio->function);
    pci_function_set_bar(&virtio->function, VIRTIO_BAR, VIRTIO_BAR_SIZE, true, &bar_ops, virtio);
    pci_function_add_msix(&virtio->function, MSIX_BAR, offer->queues + 1, &config->msi);
    add_capability(virtio, CAPABILITY_COMMON, COMMON_OFFSET, VIRTIO_COMMON_SIZE);
    add_capability(virtio, CAPABILITY_ISR, ISR_OFFSET, 4);
    if (offer->settings_size != 0)
        add_capability(virtio, CAPABILITY_DEVICE, SETTINGS_OFFSET, offer->settings_size);
    add_capability(virtio, CAPABILITY_NOTIFY, NOTIFY_OFFSET, NOTIFY_MULTIPLIER * offer->queues);
    add_access_capability(virtio);
    virtio_pci_reset(virtio);
    return pci_bus_add(config->bus, config->slot, &virtio->function);
}
