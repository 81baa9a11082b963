#include "tests/guests/fuzz/virtio.h"

#define VENDOR_CAPABILITY 9
#define MSIX_CAPABILITY 0x11

static uint64_t bar_address(const struct virtio *virtio, unsigned bar)
{
    uint32_t low = mmio_read(virtio->config + 0x10 + 4 * bar);
    return low & 4 ? (low & ~0xfu) | (uint64_t)mmio_read(virtio->config + 0x14 + 4 * bar) << 32
                   : low & ~0xfu;
}

/* Virtio: Virtio Structure PCI Capabilities. */
static void take(struct virtio *virtio, unsigned at)
{
    uint32_t head = mmio_read(virtio->config + at), bar = mmio_read(virtio->config + at + 4) & 0xff;
    if (bar >= 6)
        return;
    uint64_t address = bar_address(virtio, bar) + mmio_read(virtio->config + at + 8);
    switch (head >> 24) {
    case 1:
        virtio->common = address;
        break;
    case 2:
        virtio->notify = address;
        virtio->notify_multiplier = mmio_read(virtio->config + at + 16);
        break;
    case 3:
        virtio->isr = address;
        break;
    case 4:
        virtio->settings = address;
        break;
    }
}

bool virtio_find(struct virtio *virtio, unsigned slot)
{
    *virtio = (struct virtio){.slot = slot, .config = ECAM + ((uint64_t)slot << 15)};
    if ((mmio_read(virtio->config) & 0xffff) != 0x1af4)
        return false;
    mmio_write(virtio->config + 4, 6); /* memory, bus master */
    unsigned at = mmio_read(virtio->config + 0x34) & 0xfc;
    for (unsigned i = 0; i < 16 && at != 0; i++) {
        uint32_t head = mmio_read(virtio->config + at);
        if ((head & 0xff) == VENDOR_CAPABILITY)
            take(virtio, at);
        if ((head & 0xff) == MSIX_CAPABILITY)
            virtio->msix = bar_address(virtio, mmio_read(virtio->config + at + 4) & 7) +
                           (mmio_read(virtio->config + at + 4) & ~7u);
        at = head >> 8 & 0xfc;
    }
    return virtio->common != 0 && virtio->notify != 0;
}
