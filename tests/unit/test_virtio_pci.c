/* The virtio transport: capabilities, features, the status machine, queues, interrupts. */
#include "tests/check.h"
#include "tests/virtio_guest.h"

#define SLOT 4
#define QUEUES 3
#define QUEUE_SIZE 16
#define OWN_FEATURE BIT(5)
#define ALL_FEATURES                                                                               \
    (OWN_FEATURE | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX |              \
     VIRTIO_F_RING_RESET)

/* A device that gives each chain back, at most `burst` in a service call. */
struct echo {
    struct virtio_pci pci;
    struct virtqueue_chain chain;
    uint8_t settings[6];
    unsigned served, resets, queue_resets, burst;
};

static bool echo_service(void *device, unsigned queue)
{
    struct echo *echo = device;
    enum status status = STATUS_OK;
    unsigned i;
    for (i = 0; i < echo->burst; i++) {
        status = virtqueue_pop(&echo->pci.queue[queue], &echo->chain);
        if (status != STATUS_OK)
            break;
        echo->served++;
        status = virtqueue_push(&echo->pci.queue[queue], echo->chain.head, 0);
        CHECK_EQ(status, STATUS_OK);
    }
    virtio_pci_interrupt(&echo->pci, queue);
    if (status != STATUS_OK && status != ERR_NOT_FOUND)
        virtio_pci_fail(&echo->pci, queue, status);
    return status == STATUS_OK;
}

static void echo_reset(void *device)
{
    ((struct echo *)device)->resets++;
}

static void echo_queue_reset(void *device, unsigned queue)
{
    ((struct echo *)device)->queue_resets += queue + 1;
}

static const struct virtio_type echo_type = {
    .name = "echo",
    .id = 42,
    .class_code = 0x00ff00,
    .service = echo_service,
    .reset = echo_reset,
    .queue_reset = echo_queue_reset,
};

static struct guest_machine *machine;
static struct guest_driver driver;
static struct echo *echo;

static void set_up(void)
{
    machine = guest_new();
    echo = calloc(1, sizeof(*echo));
    echo->burst = 100;
    memcpy(echo->settings, "abcdef", 6);
    struct virtio_pci_config config = guest_slot(machine, SLOT);
    struct virtio_offer offer = {.type = &echo_type,
                                 .device = echo,
                                 .features = OWN_FEATURE,
                                 .queues = QUEUES,
                                 .queue_size = QUEUE_SIZE,
                                 .settings = echo->settings,
                                 .settings_size = sizeof(echo->settings)};
    CHECK_EQ(virtio_pci_init(&echo->pci, &config, &offer), STATUS_OK);
    guest_driver_find(&driver, machine, SLOT);
}

static void tear_down(void)
{
    free(echo);
    guest_free(machine);
}

static void start(uint64_t features)
{
    CHECK(guest_driver_negotiate(&driver, features));
    for (uint16_t i = 0; i < QUEUES; i++)
        guest_driver_queue(&driver, i, QUEUE_SIZE, i + 1);
    guest_common_write(&driver, COMMON_CONFIG_VECTOR, 2, 0);
    guest_driver_start(&driver);
}

static void add(unsigned queue)
{
    struct guest_desc buffer = {.address = 0x20000, .length = 16};
    guest_add(&driver, queue, &buffer, 1);
}

static void identity_and_capabilities(void)
{
    set_up();
    CHECK_EQ(guest_config_read(machine, SLOT, 0, 4), 0x106a1af4);
    CHECK_EQ(guest_config_read(machine, SLOT, PCI_REVISION_ID, 1), 1);
    CHECK_EQ(guest_config_read(machine, SLOT, PCI_SUBSYSTEM_ID, 2), 0x6a);
    CHECK(driver.common != 0 && driver.isr != 0 && driver.notify != 0 && driver.settings != 0);
    CHECK_EQ(driver.notify_multiplier, 4);
    unsigned notify = guest_capability(machine, SLOT, PCI_CAPABILITY_VENDOR, 2);
    CHECK_EQ(guest_config_read(machine, SLOT, notify + 12, 4), 4 * QUEUES);
    unsigned common = guest_capability(machine, SLOT, PCI_CAPABILITY_VENDOR, 1);
    CHECK(guest_config_read(machine, SLOT, common + 12, 4) >= 56);
    CHECK_EQ(guest_config_read(machine, SLOT, common + 2, 1), 16);
    CHECK(guest_capability(machine, SLOT, PCI_CAPABILITY_VENDOR, 5) != 0);
    CHECK(guest_capability(machine, SLOT, PCI_CAPABILITY_MSIX, 0) != 0);
    CHECK_EQ(guest_common_read(&driver, COMMON_NUM_QUEUES, 2), QUEUES);
    uint32_t head = (uint32_t)bus_read(&machine->bus, BUS_MMIO, driver.settings + 2, 4);
    CHECK_EQ(head, 'c' | 'd' << 8 | 'e' << 16 | (uint32_t)'f' << 24);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, driver.settings + 4, 4), 'e' | 'f' << 8);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, driver.settings + 0xff8, 8), 0);
    tear_down();
}

static void features_are_negotiated(void)
{
    set_up();
    CHECK(!guest_driver_negotiate(&driver, OWN_FEATURE)); /* without VERSION_1 */
    CHECK_EQ(driver.offered, ALL_FEATURES);
    CHECK(!guest_driver_negotiate(&driver, ALL_FEATURES | BIT(6)));
    CHECK(!guest_driver_negotiate(&driver, ALL_FEATURES | BIT(63)));
    guest_driver_start(&driver); /* not due */
    CHECK_EQ(guest_status(&driver), VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
    CHECK(guest_driver_negotiate(&driver, VIRTIO_F_VERSION_1));
    /* Frozen from here on. */
    guest_common_write(&driver, COMMON_DRIVER_FEATURE_SELECT, 4, 0);
    guest_common_write(&driver, COMMON_DRIVER_FEATURE, 4, OWN_FEATURE);
    CHECK_EQ(guest_common_read(&driver, COMMON_DRIVER_FEATURE, 4), 0);
    /* Words that do not exist. */
    guest_common_write(&driver, COMMON_DEVICE_FEATURE_SELECT, 4, 0xffffffff);
    guest_common_write(&driver, COMMON_DRIVER_FEATURE_SELECT, 4, 2);
    guest_common_write(&driver, COMMON_DRIVER_FEATURE, 4, 0xffffffff);
    CHECK_EQ(guest_common_read(&driver, COMMON_DEVICE_FEATURE, 4), 0);
    CHECK_EQ(guest_common_read(&driver, COMMON_DRIVER_FEATURE, 4), 0);
    tear_down();
}

static void status_only_grows_until_reset(void)
{
    set_up();
    start(VIRTIO_F_VERSION_1);
    guest_common_write(&driver, COMMON_STATUS, 1, VIRTIO_STATUS_ACKNOWLEDGE);
    CHECK_EQ(guest_status(&driver), 15);
    guest_common_write(&driver, COMMON_STATUS, 1, 0xff);
    CHECK_EQ(guest_status(&driver), 15 | VIRTIO_STATUS_FAILED); /* NEEDS_RESET is the device's */
    add(0);
    guest_notify(&driver, 0);
    CHECK_EQ(echo->served, 0); /* the driver has given up */
    unsigned resets = echo->resets;
    guest_common_write(&driver, COMMON_STATUS, 1, 0);
    CHECK_EQ(guest_status(&driver), 0);
    CHECK_EQ(echo->resets, resets + 1);
    CHECK_EQ(guest_common_read(&driver, COMMON_QUEUE_ENABLE, 2), 0);
    CHECK_EQ(guest_common_read(&driver, COMMON_QUEUE_VECTOR, 2), VIRTIO_NO_VECTOR);
    CHECK_EQ(guest_common_read(&driver, COMMON_CONFIG_VECTOR, 2), VIRTIO_NO_VECTOR);
    tear_down();
}

static void queue_registers_freeze(void)
{
    set_up();
    guest_common_write(&driver, COMMON_QUEUE_SELECT, 2, 1);
    CHECK_EQ(guest_common_read(&driver, COMMON_QUEUE_SIZE, 2), QUEUE_SIZE);
    guest_common_write(&driver, COMMON_QUEUE_ENABLE, 2, 1); /* before FEATURES_OK */
    CHECK_EQ(guest_common_read(&driver, COMMON_QUEUE_ENABLE, 2), 0);
    CHECK(guest_driver_negotiate(&driver, VIRTIO_F_VERSION_1));
    guest_common_write(&driver, COMMON_QUEUE_SELECT, 2, 1);
    static const uint16_t sizes[] = {0, 3, 32, 0x8000};
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        guest_common_write(&driver, COMMON_QUEUE_SIZE, 2, sizes[i]);
        CHECK_EQ(guest_common_read(&driver, COMMON_QUEUE_SIZE, 2), QUEUE_SIZE);
    }
    guest_driver_queue(&driver, 1, 8, 2);
    CHECK_EQ(guest_common_read(&driver, COMMON_QUEUE_ENABLE, 2), 1);
    guest_common_write(&driver, COMMON_QUEUE_SIZE, 2, 4);
    guest_common_write(&driver, COMMON_QUEUE_DESC, 4, 0xfee00000);
    guest_common_write(&driver, COMMON_QUEUE_DRIVER + 4, 4, 1);
    guest_common_write(&driver, COMMON_QUEUE_DEVICE, 8, 0);
    guest_common_write(&driver, COMMON_QUEUE_ENABLE, 2, 0);
    CHECK_EQ(guest_common_read(&driver, COMMON_QUEUE_SIZE, 2), 8);
    CHECK_EQ(guest_common_read(&driver, COMMON_QUEUE_DESC, 4), driver.queue[1].desc);
    CHECK_EQ(guest_common_read(&driver, COMMON_QUEUE_DRIVER + 4, 4), 0);
    CHECK_EQ(guest_common_read(&driver, COMMON_QUEUE_DEVICE, 4), driver.queue[1].device);
    CHECK_EQ(guest_common_read(&driver, COMMON_QUEUE_ENABLE, 2), 1);
    /* Queues that do not exist. */
    guest_common_write(&driver, COMMON_QUEUE_SELECT, 2, QUEUES);
    CHECK_EQ(guest_common_read(&driver, COMMON_QUEUE_SIZE, 2), 0);
    guest_common_write(&driver, COMMON_QUEUE_VECTOR, 2, 0);
    guest_common_write(&driver, COMMON_QUEUE_ENABLE, 2, 1);
    guest_common_write(&driver, COMMON_QUEUE_DESC, 4, 1);
    guest_common_write(&driver, COMMON_QUEUE_RESET, 2, 1);
    guest_common_write(&driver, COMMON_QUEUE_SELECT, 2, 0xffff);
    CHECK_EQ(guest_common_read(&driver, COMMON_QUEUE_ENABLE, 2), 0);
    tear_down();
}

static void wrong_widths_are_ignored(void)
{
    set_up();
    guest_common_write(&driver, COMMON_QUEUE_SELECT, 4, 0x00080001);
    guest_common_write(&driver, COMMON_STATUS, 2, 0xff);
    guest_common_write(&driver, COMMON_STATUS, 4, 0xff);
    guest_common_write(&driver, COMMON_DRIVER_FEATURE + 1, 4, 0xffffffff);
    CHECK_EQ(guest_common_read(&driver, COMMON_QUEUE_SELECT, 2), 0);
    CHECK_EQ(guest_status(&driver), 0);
    CHECK_EQ(guest_common_read(&driver, COMMON_DRIVER_FEATURE, 4), 0);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, driver.common + 60, 4), 0);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, driver.common + 56, 8), 0);
    tear_down();
}

static void vectors_out_of_range_read_back_as_none(void)
{
    set_up();
    guest_common_write(&driver, COMMON_CONFIG_VECTOR, 2, QUEUES);
    CHECK_EQ(guest_common_read(&driver, COMMON_CONFIG_VECTOR, 2), QUEUES);
    guest_common_write(&driver, COMMON_CONFIG_VECTOR, 2, QUEUES + 1);
    CHECK_EQ(guest_common_read(&driver, COMMON_CONFIG_VECTOR, 2), VIRTIO_NO_VECTOR);
    guest_common_write(&driver, COMMON_QUEUE_VECTOR, 2, 1);
    CHECK_EQ(guest_common_read(&driver, COMMON_QUEUE_VECTOR, 2), 1);
    guest_common_write(&driver, COMMON_QUEUE_VECTOR, 2, VIRTIO_NO_VECTOR);
    CHECK_EQ(guest_common_read(&driver, COMMON_QUEUE_VECTOR, 2), VIRTIO_NO_VECTOR);
    tear_down();
}

static void intx_follows_the_isr(void)
{
    set_up();
    start(VIRTIO_F_VERSION_1);
    unsigned wire = pci_bus_intx_wire(SLOT, 0);
    add(1);
    CHECK(!machine->wire[wire]);
    guest_notify(&driver, 1);
    CHECK_EQ(echo->served, 1);
    CHECK(machine->wire[wire]);
    virtio_pci_settings_changed(&echo->pci);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, driver.isr, 1), 3);
    CHECK(!machine->wire[wire]);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, driver.isr, 1), 0);
    CHECK_EQ(machine->messages, 0);
    tear_down();
}

static void msix_uses_the_chosen_vectors(void)
{
    set_up();
    guest_driver_use_msix(&driver);
    start(VIRTIO_F_VERSION_1);
    add(2);
    guest_notify(&driver, 2);
    CHECK_EQ(machine->messages, 1);
    CHECK_EQ(machine->message_count[3], 1);
    uint8_t generation = (uint8_t)guest_common_read(&driver, COMMON_GENERATION, 1);
    virtio_pci_settings_changed(&echo->pci);
    CHECK_EQ(machine->message_count[0], 1);
    CHECK_EQ(guest_common_read(&driver, COMMON_GENERATION, 1), (uint8_t)(generation + 1));
    for (unsigned i = 0; i < PLATFORM_PCI_GSI_COUNT; i++)
        CHECK(!machine->wire[i]);
    /* No vector, no interrupt. */
    guest_common_write(&driver, COMMON_QUEUE_SELECT, 2, 2);
    guest_common_write(&driver, COMMON_QUEUE_VECTOR, 2, VIRTIO_NO_VECTOR);
    add(2);
    guest_notify(&driver, 2);
    CHECK_EQ(echo->served, 2);
    CHECK_EQ(machine->messages, 2);
    tear_down();
}

static void broken_ring_needs_a_reset(void)
{
    set_up();
    guest_driver_use_msix(&driver);
    start(ALL_FEATURES);
    guest_make_available(&driver, 0, QUEUE_SIZE); /* no such descriptor */
    guest_notify(&driver, 0);
    CHECK_EQ(guest_status(&driver), 15 | VIRTIO_STATUS_NEEDS_RESET);
    CHECK_EQ(machine->message_count[0], 1);
    add(1);
    guest_notify(&driver, 1);
    CHECK_EQ(echo->served, 0);
    CHECK_EQ(machine->messages, 1);
    start(ALL_FEATURES);
    add(1);
    guest_notify(&driver, 1);
    CHECK_EQ(echo->served, 1);
    tear_down();
}

static void rings_outside_ram_need_a_reset(void)
{
    set_up();
    CHECK(guest_driver_negotiate(&driver, ALL_FEATURES));
    guest_common_write(&driver, COMMON_QUEUE_SELECT, 2, 0);
    guest_common_write(&driver, COMMON_QUEUE_DESC, 8, driver.common);
    guest_common_write(&driver, COMMON_QUEUE_DRIVER, 8, 0x1000);
    guest_common_write(&driver, COMMON_QUEUE_DEVICE, 8, 0x2000);
    guest_common_write(&driver, COMMON_QUEUE_ENABLE, 2, 1);
    CHECK_EQ(guest_common_read(&driver, COMMON_QUEUE_ENABLE, 2), 0);
    CHECK((guest_status(&driver) & VIRTIO_STATUS_NEEDS_RESET) != 0);
    tear_down();
}

static void queue_reset_stops_one_queue(void)
{
    set_up();
    start(ALL_FEATURES);
    guest_common_write(&driver, COMMON_QUEUE_SELECT, 2, 1);
    guest_common_write(&driver, COMMON_QUEUE_RESET, 2, 1);
    CHECK_EQ(guest_common_read(&driver, COMMON_QUEUE_RESET, 2), 0);
    CHECK_EQ(guest_common_read(&driver, COMMON_QUEUE_ENABLE, 2), 0);
    CHECK_EQ(echo->queue_resets, 2);
    add(1);
    guest_notify(&driver, 1);
    CHECK_EQ(echo->served, 0);
    add(0);
    guest_notify(&driver, 0);
    CHECK_EQ(echo->served, 1);
    guest_driver_queue(&driver, 1, 4, 2);
    add(1);
    guest_notify(&driver, 1);
    CHECK_EQ(echo->served, 2);
    tear_down();
}

static void work_is_bounded_and_continued(void)
{
    set_up();
    start(VIRTIO_F_VERSION_1);
    echo->burst = 2;
    for (unsigned i = 0; i < 5; i++)
        add(0);
    guest_notify(&driver, 0);
    CHECK_EQ(echo->served, 2);
    CHECK_EQ(machine->more_work, 1);
    virtio_pci_continue(&echo->pci);
    CHECK_EQ(echo->served, 4);
    CHECK_EQ(machine->more_work, 2);
    virtio_pci_continue(&echo->pci);
    CHECK_EQ(echo->served, 5);
    CHECK_EQ(machine->more_work, 2);
    virtio_pci_continue(&echo->pci);
    CHECK_EQ(machine->more_work, 2);
    /* A reset forgets what was left. */
    for (unsigned i = 0; i < 5; i++)
        add(0);
    guest_notify(&driver, 0);
    guest_common_write(&driver, COMMON_STATUS, 1, 0);
    virtio_pci_continue(&echo->pci);
    CHECK_EQ(echo->served, 7);
    tear_down();
}

static void memory_needs_bus_mastering(void)
{
    set_up();
    start(VIRTIO_F_VERSION_1);
    guest_config_write(machine, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    add(0);
    guest_notify(&driver, 0);
    CHECK_EQ(echo->served, 0);
    guest_config_write(machine, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    CHECK_EQ(echo->served, 1); /* the notification was not lost */
    tear_down();
}

/* What was made available before DRIVER_OK is served by it. */
static void early_buffers_are_served_at_start(void)
{
    set_up();
    CHECK(guest_driver_negotiate(&driver, VIRTIO_F_VERSION_1));
    guest_driver_queue(&driver, 0, QUEUE_SIZE, 1);
    add(0);
    guest_notify(&driver, 0);
    CHECK_EQ(echo->served, 0);
    guest_driver_start(&driver);
    CHECK_EQ(echo->served, 1);
    tear_down();
}

static void access_capability_reaches_the_bar(void)
{
    set_up();
    unsigned at = guest_capability(machine, SLOT, PCI_CAPABILITY_VENDOR, 5);
    guest_config_write(machine, SLOT, at + 4, 1, 0);
    guest_config_write(machine, SLOT, at + 8, 4, COMMON_NUM_QUEUES);
    guest_config_write(machine, SLOT, at + 12, 4, 2);
    CHECK_EQ(guest_config_read(machine, SLOT, at + 16, 2), QUEUES);
    guest_config_write(machine, SLOT, at + 8, 4, COMMON_STATUS);
    guest_config_write(machine, SLOT, at + 12, 4, 1);
    guest_config_write(machine, SLOT, at + 16, 4, 0xffffff03);
    CHECK_EQ(guest_status(&driver), 3);
    CHECK_EQ(guest_config_read(machine, SLOT, at + 16, 1), 3);
    /* Lengths, offsets and BARs that make no sense do nothing. */
    static const uint32_t lengths[] = {0, 3, 8, 0xffffffff};
    for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
        guest_config_write(machine, SLOT, at + 12, 4, lengths[i]);
        guest_config_write(machine, SLOT, at + 16, 4, 0);
        guest_config_read(machine, SLOT, at + 16, 4);
    }
    guest_config_write(machine, SLOT, at + 12, 4, 4);
    guest_config_write(machine, SLOT, at + 8, 4, 0x4000);
    guest_config_write(machine, SLOT, at + 16, 4, 0);
    guest_config_write(machine, SLOT, at + 8, 4, 0xfffffffc);
    guest_config_read(machine, SLOT, at + 16, 4);
    for (unsigned bar = 1; bar < 256; bar++) {
        guest_config_write(machine, SLOT, at + 4, 1, bar);
        guest_config_write(machine, SLOT, at + 8, 4, COMMON_STATUS);
        guest_config_write(machine, SLOT, at + 16, 4, 0);
        guest_config_read(machine, SLOT, at + 16, 4);
    }
    CHECK_EQ(guest_status(&driver), 3);
    tear_down();
}

static void machine_reset_restores_the_device(void)
{
    set_up();
    guest_driver_use_msix(&driver);
    start(ALL_FEATURES);
    guest_config_write(machine, SLOT, PCI_BAR(0), 4, 0xd0000000);
    pci_bus_reset(&machine->pci);
    CHECK(!echo->pci.function.msix.enabled);
    guest_driver_find(&driver, machine, SLOT);
    CHECK_EQ(guest_status(&driver), 0);
    start(ALL_FEATURES);
    add(0);
    guest_notify(&driver, 0);
    CHECK_EQ(echo->served, 1);
    CHECK(machine->wire[pci_bus_intx_wire(SLOT, 0)]);
    tear_down();
}

TEST_MAIN({"identity_and_capabilities", identity_and_capabilities},
          {"features_are_negotiated", features_are_negotiated},
          {"status_only_grows_until_reset", status_only_grows_until_reset},
          {"queue_registers_freeze", queue_registers_freeze},
          {"wrong_widths_are_ignored", wrong_widths_are_ignored},
          {"vectors_out_of_range_read_back_as_none", vectors_out_of_range_read_back_as_none},
          {"intx_follows_the_isr", intx_follows_the_isr},
          {"msix_uses_the_chosen_vectors", msix_uses_the_chosen_vectors},
          {"broken_ring_needs_a_reset", broken_ring_needs_a_reset},
          {"rings_outside_ram_need_a_reset", rings_outside_ram_need_a_reset},
          {"queue_reset_stops_one_queue", queue_reset_stops_one_queue},
          {"work_is_bounded_and_continued", work_is_bounded_and_continued},
          {"memory_needs_bus_mastering", memory_needs_bus_mastering},
          {"early_buffers_are_served_at_start", early_buffers_are_served_at_start},
          {"access_capability_reaches_the_bar", access_capability_reaches_the_bar},
          {"machine_reset_restores_the_device", machine_reset_restores_the_device})
