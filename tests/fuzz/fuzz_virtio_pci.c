/* The transport with a device that gives every chain back. */
#include "tests/fuzz/virtio_fuzz.h"

#define QUEUES 3

struct echo {
    struct virtio_pci pci;
    struct virtqueue_chain chain;
    uint8_t settings[10];
};

static bool echo_service(void *device, unsigned queue)
{
    struct echo *echo = device;
    enum status status = STATUS_OK;
    guest_require(virtio_pci_is_live(&echo->pci), "served while it may not work");
    for (unsigned i = 0; i < 4 && status == STATUS_OK; i++) {
        status = virtqueue_pop(&echo->pci.queue[queue], &echo->chain);
        if (status == STATUS_OK)
            status = virtqueue_push(&echo->pci.queue[queue], echo->chain.head, 0);
    }
    virtio_pci_interrupt(&echo->pci, queue);
    if (status != STATUS_OK && status != ERR_NOT_FOUND)
        virtio_pci_fail(&echo->pci, queue, status);
    return status == STATUS_OK;
}

static void echo_reset(void *device)
{
    (void)device;
}

static const struct virtio_type echo_type = {
    .name = "echo", .id = 42, .service = echo_service, .reset = echo_reset};

static void check(void *context)
{
    const struct echo *echo = context;
    uint8_t status = echo->pci.status;
    guest_require((status & VIRTIO_STATUS_DRIVER_OK) == 0 ||
                      (status & VIRTIO_STATUS_FEATURES_OK) != 0,
                  "DRIVER_OK without FEATURES_OK");
    guest_require((status & VIRTIO_STATUS_FEATURES_OK) == 0 ||
                      (echo->pci.driver_features & ~echo->pci.features) == 0,
                  "features that were not offered");
    for (unsigned i = 0; i < QUEUES; i++)
        guest_require(echo->pci.queue_vector[i] <= QUEUES ||
                          echo->pci.queue_vector[i] == VIRTIO_NO_VECTOR,
                      "a vector out of range");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct echo echo;
    struct guest_machine *machine = guest_new();
    struct virtio_pci_config config = guest_slot(machine, 1);
    struct virtio_offer offer = {.type = &echo_type,
                                 .device = &echo,
                                 .features = BIT(5),
                                 .queues = QUEUES,
                                 .queue_size = 16,
                                 .settings = echo.settings,
                                 .settings_size = sizeof(echo.settings)};
    guest_require(virtio_pci_init(&echo.pci, &config, &offer) == STATUS_OK, "init");
    fuzz_run(machine, &echo.pci, 1, data, size, NULL, check, &echo);
    guest_free(machine);
    return 0;
}
