/*
 * A virtio entropy device. Virtio 1.2: Entropy Device.
 *
 * Locking: none; every caller holds the VM's device lock.
 */
#pragma once

#include "drivers/model/virtio_pci.h"

/* Random bytes for one request, and requests in one service call, at most. */
#define VIRTIO_RNG_REQUEST_MAX 4096u
#define VIRTIO_RNG_BURST 16u

/* Where random bytes come from. fill writes up to n bytes and returns how many, 0 when the source
 * is dry: it is asked again at virtio_pci_continue. buffer is guest memory. */
struct entropy_source {
    size_t (*fill)(void *context, void *buffer, size_t n);
    void *context;
};

struct virtio_rng {
    struct virtio_pci pci;
    struct entropy_source source;
    bool has_chain; /* a request waits for a dry source */
    struct virtqueue_chain chain;
};

/* Builds the device and puts it on the bus. Errors are those of pci_bus_add. */
enum status MUST_CHECK virtio_rng_init(struct virtio_rng *rng,
                                       const struct virtio_pci_config *config,
                                       const struct entropy_source *source);
