/* The registers of the common configuration structure and the status state machine behind them.
 * Virtio 1.2: Common configuration structure layout, Device Initialization. */
#include "drivers/model/virtio_pci.h"
#include "kernel/core/mem.h"

/* The structure as the driver reads it. */
struct common {
    uint32_t device_feature_select;
    uint32_t device_feature;
    uint32_t driver_feature_select;
    uint32_t driver_feature;
    uint16_t config_msix_vector;
    uint16_t num_queues;
    uint8_t device_status;
    uint8_t config_generation;
    uint16_t queue_select;
    uint16_t queue_size;
    uint16_t queue_msix_vector;
    uint16_t queue_enable;
    uint16_t queue_notify_off;
    uint32_t queue_address[6]; /* descriptor area, driver area, device area: low and high halves */
    uint16_t queue_notify_data;
    uint16_t queue_reset;
};
STATIC_ASSERT(sizeof(struct common) == VIRTIO_COMMON_SIZE, "as Virtio has it");

static struct virtqueue *selected(struct virtio_pci *virtio)
{
    unsigned select = virtio->queue_select;
    return select < virtio->offer.queues ? &virtio->queue[select] : NULL;
}

/* Bits 32 x select and up; a driver may ask for any. */
static uint32_t feature_word(uint64_t features, uint32_t select)
{
    return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

static void read_queue(struct virtio_pci *virtio, struct common *common)
{
    const struct virtqueue *queue = selected(virtio);
    common->queue_msix_vector = VIRTIO_NO_VECTOR;
    if (queue == NULL)
        return;
    uint64_t address[] = {queue->descriptors, queue->driver, queue->device};
    common->queue_size = queue->size;
    common->queue_msix_vector = virtio->queue_vector[virtio->queue_select];
    common->queue_enable = queue->enabled;
    common->queue_notify_off = virtio->queue_select;
    memcpy(common->queue_address, address, sizeof(address));
    common->queue_notify_data = virtio->queue_select;
}

uint64_t virtio_common_read(struct virtio_pci *virtio, uint64_t offset, unsigned size)
{
    struct common common = {
        .device_feature_select = virtio->device_feature_select,
        .device_feature = feature_word(virtio->features, virtio->device_feature_select),
        .driver_feature_select = virtio->driver_feature_select,
        .driver_feature = feature_word(virtio->driver_features, virtio->driver_feature_select),
        .config_msix_vector = virtio->config_vector,
        .num_queues = (uint16_t)virtio->offer.queues,
        .device_status = virtio->status,
        .config_generation = virtio->generation,
        .queue_select = virtio->queue_select,
    };
    uint64_t value = 0;
    if (offset >= sizeof(common) || size > sizeof(common) - offset)
        return 0;
    read_queue(virtio, &common);
    memcpy(&value, (const uint8_t *)&common + offset, size);
    return value;
}

static void write_device_feature_select(struct virtio_pci *virtio, unsigned offset, uint32_t value)
{
    (void)offset;
    virtio->device_feature_select = value;
}

static void write_driver_feature_select(struct virtio_pci *virtio, unsigned offset, uint32_t value)
{
    (void)offset;
    virtio->driver_feature_select = value;
}

/* Frozen once both sides agreed. */
static void write_driver_feature(struct virtio_pci *virtio, unsigned offset, uint32_t value)
{
    (void)offset;
    if (virtio->driver_feature_select >= 2 || (virtio->status & VIRTIO_STATUS_FEATURES_OK) != 0)
        return;
    unsigned shift = 32 * virtio->driver_feature_select;
    virtio->driver_features &= ~(MASK(31, 0) << shift);
    virtio->driver_features |= (uint64_t)value << shift;
}

/* A vector that does not exist reads back as none. Virtio: MSI-X Vector Configuration. */
static uint16_t accepted_vector(const struct virtio_pci *virtio, uint32_t value)
{
    return value < virtio->function.msix.vectors ? (uint16_t)value : VIRTIO_NO_VECTOR;
}

static void write_config_vector(struct virtio_pci *virtio, unsigned offset, uint32_t value)
{
    (void)offset;
    virtio->config_vector = accepted_vector(virtio, value);
}

static bool is_acceptable(const struct virtio_pci *virtio)
{
    return (virtio->driver_features & ~virtio->features) == 0 &&
           (virtio->driver_features & VIRTIO_F_VERSION_1) != 0;
}

/* Bits can only be added; a step that is not due, or features that cannot be had, stay clear. */
static void write_status(struct virtio_pci *virtio, unsigned offset, uint32_t value)
{
    (void)offset;
    if (value == 0) {
        virtio_pci_reset(virtio);
        return;
    }
    uint8_t settable = VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FAILED;
    if (is_acceptable(virtio))
        settable |= VIRTIO_STATUS_FEATURES_OK;
    if ((virtio->status & VIRTIO_STATUS_FEATURES_OK) != 0)
        settable |= VIRTIO_STATUS_DRIVER_OK;
    uint8_t added = (uint8_t)value & settable & (uint8_t)~virtio->status;
    virtio->status |= added;
    if ((added & VIRTIO_STATUS_DRIVER_OK) != 0)
        virtio_pci_start(virtio);
}

static void write_queue_select(struct virtio_pci *virtio, unsigned offset, uint32_t value)
{
    (void)offset;
    virtio->queue_select = (uint16_t)value;
}

static void write_queue_size(struct virtio_pci *virtio, unsigned offset, uint32_t value)
{
    struct virtqueue *queue = selected(virtio);
    (void)offset;
    bool is_power_of_two = value != 0 && (value & (value - 1)) == 0;
    if (queue != NULL && !queue->enabled && is_power_of_two && value <= virtio->offer.queue_size)
        queue->size = (uint16_t)value;
}

static void write_queue_vector(struct virtio_pci *virtio, unsigned offset, uint32_t value)
{
    (void)offset;
    if (selected(virtio) != NULL)
        virtio->queue_vector[virtio->queue_select] = accepted_vector(virtio, value);
}

/* Only after the features are settled, as they decide how the rings work. */
static void write_queue_enable(struct virtio_pci *virtio, unsigned offset, uint32_t value)
{
    struct virtqueue *queue = selected(virtio);
    (void)offset;
    if (queue == NULL || queue->enabled || value != 1 ||
        (virtio->status & VIRTIO_STATUS_FEATURES_OK) == 0)
        return;
    queue->indirect = virtio_pci_has(virtio, VIRTIO_F_INDIRECT_DESC);
    queue->event_index = virtio_pci_has(virtio, VIRTIO_F_EVENT_IDX);
    enum status status = virtqueue_enable(queue);
    if (status != STATUS_OK)
        virtio_pci_fail(virtio, virtio->queue_select, status);
}

/* Frozen while the queue is enabled. */
static void write_queue_address(struct virtio_pci *virtio, unsigned offset, uint32_t value)
{
    struct virtqueue *queue = selected(virtio);
#ifdef PLANTED_BUG_VIRTIO_PCI /* for the fuzzer's own test */
    if (queue == NULL)
        return;
#else
    if (queue == NULL || queue->enabled)
        return;
#endif
    unsigned half = (offset - offsetof(struct common, queue_address)) / 4;
    uint64_t *address[] = {&queue->descriptors, &queue->driver, &queue->device};
    memcpy((uint8_t *)address[half / 2] + half % 2 * 4, &value, 4);
}

/* Done at once, so that queue_reset always reads as 0. Virtio: Virtqueue Reset. */
static void write_queue_reset(struct virtio_pci *virtio, unsigned offset, uint32_t value)
{
    struct virtqueue *queue = selected(virtio);
    (void)offset;
    if (queue == NULL || value != 1 || !virtio_pci_has(virtio, VIRTIO_F_RING_RESET))
        return;
    unsigned index = virtio->queue_select;
    virtqueue_reset(queue, virtio->config.mem, virtio->offer.queue_size);
    virtio->unfinished &= ~BIT(index);
    if (virtio->offer.type->queue_reset != NULL)
        virtio->offer.type->queue_reset(virtio->offer.device, index);
}

#define FIELD(name, handler)                                                                       \
    {                                                                                              \
        offsetof(struct common, name), sizeof(((struct common *)NULL)->name), handler              \
    }
#define ADDRESS(half)                                                                              \
    {                                                                                              \
        offsetof(struct common, queue_address) + 4 * (half), 4, write_queue_address                \
    }

/* What can be written, with the one width of each. */
static const struct {
    uint8_t offset, size;
    void (*write)(struct virtio_pci *virtio, unsigned offset, uint32_t value);
} fields[] = {
    FIELD(device_feature_select, write_device_feature_select),
    FIELD(driver_feature_select, write_driver_feature_select),
    FIELD(driver_feature, write_driver_feature),
    FIELD(config_msix_vector, write_config_vector),
    FIELD(device_status, write_status),
    FIELD(queue_select, write_queue_select),
    FIELD(queue_size, write_queue_size),
    FIELD(queue_msix_vector, write_queue_vector),
    FIELD(queue_enable, write_queue_enable),
    ADDRESS(0),
    ADDRESS(1),
    ADDRESS(2),
    ADDRESS(3),
    ADDRESS(4),
    ADDRESS(5),
    FIELD(queue_reset, write_queue_reset),
};

/* Accesses that do not fit a field are ignored; a quadword is two doublewords, low half first. */
void virtio_common_write(struct virtio_pci *virtio, uint64_t offset, unsigned size, uint64_t value)
{
    if (size == 8) {
        virtio_common_write(virtio, offset, 4, value & MASK(31, 0));
        virtio_common_write(virtio, offset + 4, 4, value >> 32);
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(fields); i++)
        if (fields[i].offset == offset && fields[i].size == size)
            fields[i].write(virtio, (unsigned)offset, (uint32_t)value);
}
