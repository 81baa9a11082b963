/* The entropy device. */
#include "drivers/model/virtio_rng.h"
#include "tests/check.h"
#include "tests/virtio_guest.h"

#define SLOT 5
#define DATA 0x20000u

struct counter {
    uint8_t next;
    size_t left;
};

static size_t count_fill(void *context, void *buffer, size_t n)
{
    struct counter *counter = context;
    size_t done = n < counter->left ? n : counter->left;
    for (size_t i = 0; i < done; i++)
        ((uint8_t *)buffer)[i] = counter->next++;
    counter->left -= done;
    return done;
}

static struct guest_machine *machine;
static struct guest_driver driver;
static struct virtio_rng *rng;
static struct counter counter;

static void set_up(size_t bytes)
{
    machine = guest_new();
    rng = calloc(1, sizeof(*rng));
    counter = (struct counter){1, bytes};
    struct virtio_pci_config config = guest_slot(machine, SLOT);
    struct entropy_source source = {count_fill, &counter};
    CHECK_EQ(virtio_rng_init(rng, &config, &source), STATUS_OK);
    guest_driver_find(&driver, machine, SLOT);
    guest_driver_use_msix(&driver);
    CHECK(guest_driver_negotiate(&driver, VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX));
    guest_driver_queue(&driver, 0, 64, 1);
    guest_driver_start(&driver);
}

static void tear_down(void)
{
    free(rng);
    guest_free(machine);
}

static void request(uint32_t length)
{
    struct guest_desc buffer = {DATA, length, TEST_DESC_WRITE, 0};
    guest_add(&driver, 0, &buffer, 1);
    guest_notify(&driver, 0);
}

static void fills_buffers(void)
{
    uint32_t head, length;
    set_up(SIZE_MAX);
    CHECK_EQ(guest_config_read(machine, SLOT, 0, 4), 0x10441af4);
    CHECK_EQ(driver.settings, 0);
    request(10);
    CHECK(guest_used(&driver, 0, &head, &length));
    CHECK_EQ(length, 10);
    CHECK_EQ(guest_get_8(machine, DATA + 9), 10);
    CHECK_EQ(guest_get_8(machine, DATA + 10), 0);
    CHECK_EQ(machine->messages, 1);
    /* One request gets a bounded part. */
    request(0x10000);
    CHECK(guest_used(&driver, 0, &head, &length));
    CHECK_EQ(length, VIRTIO_RNG_REQUEST_MAX);
    tear_down();
}

static void dry_source_keeps_the_request(void)
{
    uint32_t head, length;
    set_up(0);
    request(16);
    CHECK(!guest_used(&driver, 0, &head, &length));
    CHECK_EQ(machine->more_work, 1);
    virtio_pci_continue(&rng->pci);
    CHECK_EQ(machine->more_work, 2);
    counter.left = 7;
    virtio_pci_continue(&rng->pci);
    CHECK(guest_used(&driver, 0, &head, &length));
    CHECK_EQ(length, 7);
    CHECK_EQ(machine->messages, 1);
    tear_down();
}

static void many_requests_are_served_in_steps(void)
{
    uint32_t head, length;
    unsigned done = 0;
    set_up(SIZE_MAX);
    struct guest_desc buffer = {DATA, 8, TEST_DESC_WRITE, 0};
    for (unsigned i = 0; i < 40; i++)
        guest_add(&driver, 0, &buffer, 1);
    guest_notify(&driver, 0);
    CHECK_EQ(machine->more_work, 1);
    virtio_pci_continue(&rng->pci);
    virtio_pci_continue(&rng->pci);
    while (guest_used(&driver, 0, &head, &length))
        done++;
    CHECK_EQ(done, 40);
    tear_down();
}

static void buffer_without_room_breaks_the_queue(void)
{
    set_up(SIZE_MAX);
    struct guest_desc buffer = {DATA, 8, 0, 0};
    guest_add(&driver, 0, &buffer, 1);
    guest_notify(&driver, 0);
    CHECK((guest_status(&driver) & VIRTIO_STATUS_NEEDS_RESET) != 0);
    tear_down();
}

static void instances_are_independent(void)
{
    set_up(SIZE_MAX);
    struct guest_driver other;
    struct virtio_rng *second = calloc(1, sizeof(*second));
    struct counter dry = {1, 0};
    struct virtio_pci_config config = guest_slot(machine, SLOT + 1);
    struct entropy_source source = {count_fill, &dry};
    CHECK_EQ(virtio_rng_init(second, &config, &source), STATUS_OK);
    guest_driver_find(&other, machine, SLOT + 1);
    CHECK_EQ(guest_status(&other), 0);
    CHECK_EQ(guest_status(&driver), 15);
    free(second);
    tear_down();
}

TEST_MAIN({"fills_buffers", fills_buffers},
          {"dry_source_keeps_the_request", dry_source_keeps_the_request},
          {"many_requests_are_served_in_steps", many_requests_are_served_in_steps},
          {"buffer_without_room_breaks_the_queue", buffer_without_room_breaks_the_queue},
          {"instances_are_independent", instances_are_independent})
