/* Just enough of a virtio 1.2 driver over PCI to make sense to a device, and to stop making it. */
#pragma once

#include "tests/guests/fuzz/guest.h"

/* Offsets in the common configuration structure. */
enum {
    COMMON_DEVICE_FEATURE_SELECT = 0,
    COMMON_DEVICE_FEATURE = 4,
    COMMON_DRIVER_FEATURE_SELECT = 8,
    COMMON_DRIVER_FEATURE = 12,
    COMMON_CONFIG_VECTOR = 16,
    COMMON_QUEUES = 18,
    COMMON_STATUS = 20,
    COMMON_QUEUE_SELECT = 22,
    COMMON_QUEUE_SIZE = 24,
    COMMON_QUEUE_VECTOR = 26,
    COMMON_QUEUE_ENABLE = 28,
    COMMON_QUEUE_NOTIFY_OFF = 30,
    COMMON_QUEUE_DESCRIPTORS = 32,
    COMMON_QUEUE_DRIVER = 40,
    COMMON_QUEUE_DEVICE = 48,
    COMMON_QUEUE_RESET = 58,
    COMMON_SIZE = 60
};

#define DESC_NEXT 1
#define DESC_WRITE 2
#define DESC_INDIRECT 4

struct desc {
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
};

struct virtio {
    unsigned slot;
    uint64_t config;                              /* its configuration space, in ECAM */
    uint64_t common, notify, isr, settings, msix; /* addresses; 0: it has none */
    uint32_t notify_multiplier;
};

/* Finds the structures of the device in a slot; false: there is none. */
bool virtio_find(struct virtio *virtio, unsigned slot);
