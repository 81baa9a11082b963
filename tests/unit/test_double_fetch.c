/*
 * A guest that changes its memory behind every look at it, at the worst moment there is: a double
 * of guest_mem.c spoils the bytes that were just read, and counts how often each was. Whoever looks
 * twice at a descriptor or a ring entry is found out.
 */
#include "drivers/model/block_memory.h"
#include "drivers/model/virtio_blk.h"
#include "tests/check.h"
#include "tests/virtio_guest.h"

#define RAM_SIZE 0x20000u
#define SPOILED 0xff
#define SECTORS 16u

static uint8_t ram[RAM_SIZE];
static uint8_t reads[RAM_SIZE]; /* of each byte, through the accessors */
static bool spoils;

/* ---- The double ---- */

enum status guest_mem_add(struct guest_mem *mem, gpa_t base, uint64_t size, void *host)
{
    (void)base;
    (void)size;
    (void)host;
    mem->count = 1;
    return STATUS_OK;
}

void *guest_mem_span(const struct guest_mem *mem, gpa_t gpa, uint64_t *available)
{
    (void)mem;
    if (gpa.v >= RAM_SIZE)
        return NULL;
    *available = RAM_SIZE - gpa.v;
    return ram + gpa.v;
}

enum status guest_mem_read(const struct guest_mem *mem, gpa_t gpa, void *to, uint64_t size)
{
    (void)mem;
    if (gpa.v > RAM_SIZE || size > RAM_SIZE - gpa.v)
        return ERR_RANGE;
    memcpy(to, ram + gpa.v, size);
    for (uint64_t i = gpa.v; spoils && i < gpa.v + size; i++) {
        reads[i]++;
        ram[i] = SPOILED;
    }
    return STATUS_OK;
}

enum status guest_mem_write(const struct guest_mem *mem, gpa_t gpa, const void *from, uint64_t size)
{
    (void)mem;
    if (gpa.v > RAM_SIZE || size > RAM_SIZE - gpa.v)
        return ERR_RANGE;
    memcpy(ram + gpa.v, from, size);
    return STATUS_OK;
}

enum status guest_mem_load(const struct guest_mem *mem, gpa_t gpa, unsigned size, uint64_t *value)
{
    *value = 0;
    return guest_mem_read(mem, gpa, value, size);
}

enum status guest_mem_store(const struct guest_mem *mem, gpa_t gpa, unsigned size, uint64_t value)
{
    return guest_mem_write(mem, gpa, &value, size);
}

enum status guest_mem_compare_exchange(const struct guest_mem *mem, gpa_t gpa, unsigned size,
                                       uint64_t *expected, uint64_t desired, bool *swapped)
{
    uint64_t now;
    enum status status = guest_mem_load(mem, gpa, size, &now);
    *swapped = status == STATUS_OK && now == *expected;
    *expected = now;
    return *swapped ? guest_mem_store(mem, gpa, size, desired) : status;
}

/* ---- The tests ---- */

static void start(void)
{
    memset(ram, 0, sizeof(ram));
    memset(reads, 0, sizeof(reads));
    spoils = false;
}

static void check_read_once(uint64_t gpa, uint64_t size)
{
    for (uint64_t i = gpa; i < gpa + size; i++)
        CHECK_EQ(reads[i], 1);
}

static void put_desc(uint64_t at, struct guest_desc desc)
{
    memcpy(ram + at, &desc, sizeof(desc));
}

#define DESC 0x1000u
#define AVAIL 0x2000u
#define USED 0x3000u
#define INDIRECT 0x5000u

static void descriptors_are_copied_once(void)
{
    struct guest_mem mem = {0};
    struct virtqueue queue;
    struct virtqueue_chain chain;
    start();
    virtqueue_reset(&queue, &mem, 8);
    queue.descriptors = DESC;
    queue.driver = AVAIL;
    queue.device = USED;
    queue.indirect = true;
    CHECK_EQ(virtqueue_enable(&queue), STATUS_OK);
    put_desc(DESC + 32, (struct guest_desc){0x8000, 10, TEST_DESC_NEXT, 5});
    put_desc(DESC + 80, (struct guest_desc){INDIRECT, 48, TEST_DESC_INDIRECT, 0});
    put_desc(INDIRECT, (struct guest_desc){0x9000, 20, TEST_DESC_NEXT, 2});
    put_desc(INDIRECT + 32, (struct guest_desc){0xa000, 30, TEST_DESC_WRITE, 0});
    memcpy(ram + AVAIL + 2, &(uint16_t){1}, 2);
    memcpy(ram + AVAIL + 4, &(uint16_t){2}, 2);
    spoils = true;
    CHECK_EQ(virtqueue_pop(&queue, &chain), STATUS_OK);
    CHECK_EQ(chain.head, 2);
    CHECK_EQ(chain.spans, 3);
    CHECK_EQ(chain.readable.left, 30);
    CHECK_EQ(chain.writable.left, 30);
    CHECK(chain.span[0].host == ram + 0x8000 && chain.span[1].host == ram + 0x9000);
    CHECK(chain.span[2].host == ram + 0xa000 && chain.span[2].length == 30);
    check_read_once(AVAIL + 2, 4); /* the index, and the entry */
    check_read_once(DESC + 32, 16);
    check_read_once(DESC + 80, 16);
    check_read_once(INDIRECT, 16);
    check_read_once(INDIRECT + 32, 16);
    /* What was popped is given back by what was read, not by what stands there now. */
    CHECK_EQ(virtqueue_push(&queue, chain.head, 30), STATUS_OK);
    CHECK_EQ(ram[USED + 4], 2);
}

/* A write whose header, table and ring are something else as soon as they were looked at. */
static void a_request_is_what_was_checked(void)
{
    static struct virtio_blk blk;
    static struct block_memory memory;
    static uint8_t image[SECTORS * BLOCK_SECTOR_SIZE];
    static struct guest_machine machine;
    struct guest_driver driver;
    start();
    machine.log = (struct log_budget){.owner = "test", .left = 10};
    struct pci_bus_config bus = {.bus = &machine.bus,
                                 .mem = &machine.mem,
                                 .window_base = PLATFORM_PCI_MMIO,
                                 .window_size = PLATFORM_PCI_MMIO_SIZE,
                                 .ecam_base = PLATFORM_ECAM,
                                 .ecam_size = PLATFORM_ECAM_SIZE,
                                 .reset_control_ops = &guest_reset_ops,
                                 .reset_control = &machine};
    for (unsigned i = 0; i < PLATFORM_PCI_GSI_COUNT; i++)
        bus.intx[i] = (struct irq_line){guest_on_wire, &machine, i};
    CHECK_EQ(pci_bus_init(&machine.pci, &bus), STATUS_OK);
    struct virtio_blk_config config = {.pci = guest_slot(&machine, 1), .serial = "x"};
    CHECK_EQ(block_memory_init(&memory, &config.backend, image, sizeof(image), false), STATUS_OK);
    CHECK_EQ(virtio_blk_init(&blk, &config), STATUS_OK);
    guest_driver_find(&driver, &machine, 1);
    CHECK(guest_driver_negotiate(&driver, driver.offered | 1ull << 32));
    guest_driver_queue(&driver, 0, 16, 0);
    guest_driver_start(&driver);
    ram[0x8000] = 1; /* a write */
    ram[0x8008] = 3; /* of sector 3 */
    memset(ram + 0x9000, 0x77, BLOCK_SECTOR_SIZE);
    ram[0xa000] = 0xee;
    const struct guest_desc buffers[] = {
        {0x8000, 16, 0, 0}, {0x9000, BLOCK_SECTOR_SIZE, 0, 0}, {0xa000, 1, TEST_DESC_WRITE, 0}};
    guest_add(&driver, 0, buffers, 3);
    uint64_t table = driver.queue[0].desc;
    spoils = true;
    guest_notify(&driver, 0);
    spoils = false;
    CHECK_EQ(ram[0xa000], 0);
    check_read_once(table, 3 * 16);
    for (unsigned i = 0; i < sizeof(image); i++)
        CHECK_EQ(image[i], i / BLOCK_SECTOR_SIZE == 3 ? 0x77 : 0);
}

TEST_MAIN({"descriptors_are_copied_once", descriptors_are_copied_once},
          {"a_request_is_what_was_checked", a_request_is_what_was_checked})
