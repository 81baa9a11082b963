/* The block device over a disk in memory, driven as a guest drives it. */
#include "drivers/model/block_memory.h"
#include "drivers/model/virtio_blk.h"
#include "tests/check.h"
#include "tests/virtio_guest.h"

#define SLOT 2
#define SECTORS 8192u
#define FEATURES (VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX)
#define F_RO BIT(5)
#define F_FLUSH BIT(9)
#define F_DISCARD BIT(13)
#define F_WRITE_ZEROES BIT(14)

/* Where the driver keeps a request's parts. */
#define HEADER 0x10000u
#define STATUS 0x10100u
#define DATA 0x20000u

enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, WRITE_ZEROES = 13 };
enum { OK = 0, IOERR = 1, UNSUPP = 2, NONE = 0xee };

static struct guest_machine *machine;
static struct guest_driver driver;
static struct virtio_blk *blk;
static struct block_memory memory;
static uint8_t *disk;
static uint32_t used_length;

static void set_up(bool is_read_only, uint64_t features)
{
    machine = guest_new();
    blk = calloc(1, sizeof(*blk));
    disk = malloc(SECTORS * 512);
    for (unsigned i = 0; i < SECTORS * 512; i++)
        disk[i] = (uint8_t)(i ^ i >> 9);
    struct virtio_blk_config config = {
        .pci = guest_slot(machine, SLOT), .serial = "traprock-0", .offers_discard = true};
    CHECK_EQ(block_memory_init(&memory, &config.backend, disk, SECTORS * 512, is_read_only),
             STATUS_OK);
    CHECK_EQ(virtio_blk_init(blk, &config), STATUS_OK);
    guest_driver_find(&driver, machine, SLOT);
    guest_driver_use_msix(&driver);
    CHECK(guest_driver_negotiate(&driver, FEATURES | features));
    guest_driver_queue(&driver, 0, 256, 1);
    guest_driver_start(&driver);
}

static void tear_down(void)
{
    free(disk);
    free(blk);
    guest_free(machine);
}

static void put_header(uint32_t type, uint64_t sector)
{
    uint32_t head[2] = {type, 0};
    uint8_t none = NONE;
    guest_put(machine, HEADER, head, 8);
    guest_put(machine, HEADER + 8, &sector, 8);
    guest_put(machine, STATUS, &none, 1);
}

/* Makes the buffers available, notifies, and returns the status byte. */
static unsigned submit(const struct guest_desc *buffers, unsigned count)
{
    uint32_t head;
    uint16_t expected = guest_add(&driver, 0, buffers, count);
    guest_notify(&driver, 0);
    CHECK(guest_used(&driver, 0, &head, &used_length));
    CHECK_EQ(head, expected);
    return guest_get_8(machine, STATUS);
}

/* A request with one data buffer at DATA, or none. */
static unsigned request(uint32_t type, uint64_t sector, uint32_t length, bool is_to_guest)
{
    put_header(type, sector);
    struct guest_desc buffers[3] = {{HEADER, 16, 0, 0}};
    unsigned count = 1;
    if (length != 0)
        buffers[count++] = (struct guest_desc){DATA, length, is_to_guest ? TEST_DESC_WRITE : 0, 0};
    buffers[count++] = (struct guest_desc){STATUS, 1, TEST_DESC_WRITE, 0};
    return submit(buffers, count);
}

static bool same_as_disk(uint64_t gpa, uint64_t offset, uint32_t length)
{
    uint8_t *copy = malloc(length);
    guest_get(machine, gpa, copy, length);
    bool is_same = memcmp(copy, disk + offset, length) == 0;
    free(copy);
    return is_same;
}

static void reads_and_writes(void)
{
    set_up(false, 0);
    CHECK_EQ(request(IN, 3, 4096, true), OK);
    CHECK_EQ(used_length, 4097);
    CHECK(same_as_disk(DATA, 3 * 512, 4096));
    CHECK_EQ(machine->message_count[1], 1);
    guest_put(machine, DATA, "new contents", 12);
    CHECK_EQ(request(OUT, 9, 1024, false), OK);
    CHECK_EQ(used_length, 1);
    CHECK(memcmp(disk + 9 * 512, "new contents", 12) == 0);
    CHECK(same_as_disk(DATA, 9 * 512, 1024));
    CHECK_EQ(request(FLUSH, 0, 0, false), OK);
    CHECK_EQ(request(IN, SECTORS - 1, 512, true), OK);
    CHECK_EQ(request(IN, SECTORS, 0, true), OK); /* nothing, at the end */
    tear_down();
}

static void configuration_is_described(void)
{
    set_up(false, 0);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, driver.settings, 8), SECTORS);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, driver.settings + 12, 4), 254);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, driver.settings + 20, 4), 512);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, driver.settings + 36, 4),
             VIRTIO_BLK_RANGE_SECTORS_MAX);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, driver.settings + 52, 4), VIRTIO_BLK_RANGES_MAX);
    CHECK((driver.offered & F_RO) == 0);
    CHECK((driver.offered & F_FLUSH) != 0);
    CHECK((driver.offered & F_DISCARD) != 0);
    CHECK_EQ(request(GET_ID, 0, 20, true), OK);
    CHECK_EQ(used_length, 21);
    char id[21] = {0};
    guest_get(machine, DATA, id, 20);
    CHECK_STR(id, "traprock-0");
    CHECK_EQ(request(GET_ID, 0, 5, true), OK);
    CHECK_EQ(used_length, 6);
    CHECK_EQ(request(GET_ID, 0, 64, true), OK);
    CHECK_EQ(used_length, 20);
    CHECK_EQ(guest_config_read(machine, SLOT, 0, 4), 0x10421af4);
    tear_down();
}

static void out_of_range_and_odd_requests_fail(void)
{
    set_up(false, 0);
    CHECK_EQ(request(IN, SECTORS, 512, true), IOERR);
    CHECK_EQ(used_length, 0); /* no data in front of the status */
    CHECK_EQ(request(IN, SECTORS - 1, 1024, true), IOERR);
    CHECK_EQ(request(IN, UINT64_MAX, 512, true), IOERR);
    CHECK_EQ(request(IN, UINT64_MAX / 512, 512, true), IOERR);
    CHECK_EQ(request(IN, UINT64_MAX - 7, 4096, true), IOERR);
    CHECK_EQ(request(OUT, SECTORS - 1, 1024, false), IOERR);
    CHECK_EQ(used_length, 1);
    CHECK_EQ(request(IN, 0, 511, true), IOERR);
    CHECK_EQ(request(OUT, 0, 513, false), IOERR);
    CHECK_EQ(request(99, 0, 512, true), UNSUPP);
    CHECK_EQ(request(0xffffffff, 0, 0, true), UNSUPP);
    CHECK_EQ(request(IN, 0, 512, true), OK);
    tear_down();
}

static void read_only_refuses_changes(void)
{
    set_up(true, F_RO);
    uint8_t before = disk[0];
    CHECK((driver.offered & F_RO) != 0);
    CHECK((driver.offered & (F_DISCARD | F_WRITE_ZEROES)) == 0);
    CHECK_EQ(request(OUT, 0, 512, false), IOERR);
    CHECK_EQ(request(DISCARD, 0, 16, false), UNSUPP);
    CHECK_EQ(disk[0], before);
    CHECK_EQ(request(IN, 0, 512, true), OK);
    CHECK_EQ(request(FLUSH, 0, 0, false), OK);
    tear_down();
}

/* Every way of cutting header, data and status into two buffers at each byte. */
static void any_segmentation_works(void)
{
    set_up(false, 0);
    for (uint32_t cut = 1; cut < 16; cut++) {
        put_header(OUT, 20);
        uint8_t pattern[1024];
        memset(pattern, (int)cut, sizeof(pattern));
        guest_put(machine, DATA, pattern, sizeof(pattern));
        struct guest_desc buffers[] = {{HEADER, cut, 0, 0},
                                       {HEADER + cut, 16 - cut, 0, 0},
                                       {DATA, cut * 37, 0, 0},
                                       {DATA + cut * 37, 1024 - cut * 37, 0, 0},
                                       {STATUS, 1, TEST_DESC_WRITE, 0}};
        CHECK_EQ(submit(buffers, 5), OK);
        CHECK_EQ(disk[20 * 512], cut);
        CHECK_EQ(disk[22 * 512 - 1], cut);
    }
    /* Header and data in one buffer; data and status in one. */
    put_header(OUT, 30);
    guest_put(machine, HEADER + 16, "joined", 6);
    struct guest_desc joined[] = {{HEADER, 16 + 512, 0, 0},
                                  {STATUS + 0x300, 1, TEST_DESC_WRITE, 0}};
    submit(joined, 2);
    CHECK_EQ(guest_get_8(machine, STATUS + 0x300), OK);
    CHECK(memcmp(disk + 30 * 512, "joined", 6) == 0);
    put_header(IN, 40);
    struct guest_desc tail[] = {{HEADER, 16, 0, 0}, {DATA, 512 + 1, TEST_DESC_WRITE, 0}};
    submit(tail, 2);
    CHECK_EQ(used_length, 513);
    CHECK_EQ(guest_get_8(machine, DATA + 512), OK);
    CHECK(same_as_disk(DATA, 40 * 512, 512));
    tear_down();
}

static void indirect_request_of_many_segments(void)
{
    set_up(false, 0);
    const uint64_t table = 0x30000;
    put_header(IN, 64);
    guest_put_desc(&driver, table, 0, (struct guest_desc){HEADER, 16, TEST_DESC_NEXT, 1});
    for (uint16_t i = 0; i < 254; i++)
        guest_put_desc(&driver, table, i + 1u,
                       (struct guest_desc){DATA + 256u * (253u - i), 256,
                                           TEST_DESC_NEXT | TEST_DESC_WRITE, (uint16_t)(i + 2)});
    guest_put_desc(&driver, table, 255, (struct guest_desc){STATUS, 1, TEST_DESC_WRITE, 0});
    struct guest_desc reference = {table, 256 * 16, TEST_DESC_INDIRECT, 0};
    CHECK_EQ(submit(&reference, 1), OK);
    CHECK_EQ(used_length, 254 * 256 + 1);
    CHECK(same_as_disk(DATA, 64 * 512 + 253 * 256, 256));
    CHECK(same_as_disk(DATA + 253 * 256, 64 * 512, 256));
    tear_down();
}

static void short_headers_get_a_status_and_none_breaks_the_queue(void)
{
    set_up(false, 0);
    put_header(IN, 0);
    struct guest_desc cut[] = {{HEADER, 15, 0, 0}, {STATUS, 1, TEST_DESC_WRITE, 0}};
    CHECK_EQ(submit(cut, 2), IOERR);
    struct guest_desc only[] = {{STATUS, 1, TEST_DESC_WRITE, 0}};
    CHECK_EQ(submit(only, 1), IOERR);
    struct guest_desc silent[] = {{HEADER, 16, 0, 0}};
    guest_add(&driver, 0, silent, 1);
    guest_notify(&driver, 0);
    CHECK((guest_status(&driver) & VIRTIO_STATUS_NEEDS_RESET) != 0);
    tear_down();
}

static void put_range(unsigned index, uint64_t sector, uint32_t sectors, uint32_t flags)
{
    uint32_t tail[2] = {sectors, flags};
    guest_put(machine, DATA + 16 * index, &sector, 8);
    guest_put(machine, DATA + 16 * index + 8, tail, 8);
}

static bool is_zero(uint64_t sector)
{
    for (unsigned i = 0; i < 512; i++)
        if (disk[sector * 512 + i] != 0)
            return false;
    return true;
}

static void discard_and_write_zeroes(void)
{
    set_up(false, F_DISCARD | F_WRITE_ZEROES);
    put_range(0, 100, 2, 0);
    put_range(1, 200, 1, 0);
    CHECK_EQ(request(DISCARD, 0, 32, false), OK);
    CHECK_EQ(used_length, 1);
    CHECK(is_zero(100) && is_zero(101) && !is_zero(102) && is_zero(200) && !is_zero(199));
    put_range(0, 300, 1, 1);
    CHECK_EQ(request(WRITE_ZEROES, 0, 16, false), OK);
    CHECK(is_zero(300) && !is_zero(301));
    CHECK_EQ(request(DISCARD, 0, 16, false), UNSUPP); /* unmap belongs to write-zeroes */
    put_range(0, 400, 1, 2);
    CHECK_EQ(request(WRITE_ZEROES, 0, 16, false), UNSUPP);
    CHECK(!is_zero(400));
    put_range(0, SECTORS - 1, 2, 0);
    CHECK_EQ(request(DISCARD, 0, 16, false), IOERR);
    put_range(0, UINT64_MAX, 2, 0);
    CHECK_EQ(request(WRITE_ZEROES, 0, 16, false), IOERR);
    put_range(0, 0, VIRTIO_BLK_RANGE_SECTORS_MAX + 1, 0);
    CHECK_EQ(request(WRITE_ZEROES, 0, 16, false), IOERR);
    CHECK_EQ(request(DISCARD, 0, 0, false), IOERR);
    CHECK_EQ(request(DISCARD, 0, 17, false), IOERR);
    CHECK_EQ(request(DISCARD, 0, 16 * (VIRTIO_BLK_RANGES_MAX + 1), false), IOERR);
    CHECK(!is_zero(0));
    tear_down();
}

static void not_negotiated_is_unsupported(void)
{
    set_up(false, 0);
    put_range(0, 100, 2, 0);
    CHECK_EQ(request(DISCARD, 0, 16, false), UNSUPP);
    CHECK_EQ(request(WRITE_ZEROES, 0, 16, false), UNSUPP);
    CHECK(!is_zero(100));
    tear_down();
}

/* A request larger than one burst: the guest sees one completion at its end. */
static void large_requests_go_on_in_steps(void)
{
    set_up(false, F_WRITE_ZEROES);
    put_header(IN, 0);
    struct guest_desc buffers[18] = {{HEADER, 16, 0, 0}};
    for (unsigned i = 1; i < 17; i++)
        buffers[i] = (struct guest_desc){0x40000, 0x20000, TEST_DESC_WRITE, 0};
    buffers[17] = (struct guest_desc){STATUS, 1, TEST_DESC_WRITE, 0};
    uint32_t head;
    guest_add(&driver, 0, buffers, 18);
    guest_notify(&driver, 0);
    CHECK(!guest_used(&driver, 0, &head, &used_length));
    CHECK_EQ(machine->more_work, 1);
    CHECK_EQ(machine->messages, 0);
    virtio_pci_continue(&blk->pci);
    virtio_pci_continue(&blk->pci);
    virtio_pci_continue(&blk->pci);
    CHECK(guest_used(&driver, 0, &head, &used_length));
    CHECK_EQ(used_length, 16 * 0x20000 + 1);
    CHECK_EQ(guest_get_8(machine, STATUS), OK);
    CHECK_EQ(machine->messages, 1);
    CHECK(same_as_disk(0x40000, 15 * 0x20000, 0x20000));
    /* The same for ranges, and a reset in the middle forgets the rest. */
    for (unsigned i = 0; i < 3; i++)
        put_range(i, 2048 * i, 2048, 0);
    put_header(WRITE_ZEROES, 0);
    struct guest_desc ranges[] = {
        {HEADER, 16, 0, 0}, {DATA, 48, 0, 0}, {STATUS, 1, TEST_DESC_WRITE, 0}};
    guest_add(&driver, 0, ranges, 3);
    guest_notify(&driver, 0);
    CHECK(is_zero(2047) && !is_zero(2048));
    guest_common_write(&driver, COMMON_STATUS, 1, 0);
    virtio_pci_continue(&blk->pci);
    CHECK(!is_zero(2048));
    tear_down();
}

static void many_requests_one_interrupt(void)
{
    set_up(false, 0);
    for (unsigned i = 0; i < 60; i++) {
        put_header(IN, i);
        struct guest_desc buffers[] = {{HEADER, 16, 0, 0},
                                       {DATA + 512 * i, 512, TEST_DESC_WRITE, 0},
                                       {STATUS, 1, TEST_DESC_WRITE, 0}};
        guest_add(&driver, 0, buffers, 3);
    }
    guest_notify(&driver, 0);
    uint32_t head;
    unsigned done = 0;
    while (guest_used(&driver, 0, &head, &used_length))
        done++;
    CHECK_EQ(done, 60);
    CHECK_EQ(machine->messages, 1);
    tear_down();
}

/* A back end that fails: the error reaches the guest, and the next request works. */
static enum status fail_read(void *context, uint64_t offset, void *buffer, uint32_t length)
{
    (void)offset;
    memset(buffer, 1, length);
    return --*(int *)context >= 0 ? STATUS_OK : ERR_TIMEOUT;
}

static enum status fail_flush(void *context)
{
    return *(int *)context >= 0 ? STATUS_OK : ERR_TIMEOUT;
}

static void backend_errors_reach_the_guest(void)
{
    static const struct block_backend_ops ops = {.read = fail_read, .flush = fail_flush};
    int good = 1;
    set_up(false, 0);
    blk->backend.ops = &ops;
    blk->backend.context = &good;
    put_header(IN, 0);
    struct guest_desc buffers[] = {{HEADER, 16, 0, 0},
                                   {DATA, 512, TEST_DESC_WRITE, 0},
                                   {DATA + 512, 512, TEST_DESC_WRITE, 0},
                                   {STATUS, 1, TEST_DESC_WRITE, 0}};
    CHECK_EQ(submit(buffers, 4), IOERR);
    CHECK_EQ(used_length, 512); /* the first piece came through */
    CHECK_EQ(request(FLUSH, 0, 0, false), IOERR);
    good = 10;
    CHECK_EQ(request(FLUSH, 0, 0, false), OK);
    CHECK_EQ(request(IN, 0, 512, true), OK);
    tear_down();
}

static void memory_backend_takes_whole_sectors(void)
{
    static uint8_t image[2048];
    struct block_memory store;
    struct block_backend backend;
    CHECK_EQ(block_memory_init(&store, &backend, image, 2048, false), STATUS_OK);
    CHECK_EQ(backend.sectors, 4);
    CHECK_EQ(block_memory_init(&store, &backend, image, 2047, true), ERR_INVALID);
    CHECK_EQ(backend.sectors, 3);
    CHECK(backend.is_read_only);
    CHECK_EQ(backend.ops->read(&store, 1024, image, 512), STATUS_OK);
    CHECK_EQ(backend.ops->read(&store, 1025, image, 512), ERR_RANGE);
    CHECK_EQ(backend.ops->write(&store, UINT64_MAX, image, 2), ERR_RANGE);
    CHECK_EQ(block_memory_init(&store, &backend, image, 511, false), ERR_INVALID);
    CHECK_EQ(backend.sectors, 0);
    CHECK_EQ(block_memory_init(&store, &backend, image, 0, false), ERR_INVALID);
}

TEST_MAIN({"reads_and_writes", reads_and_writes},
          {"configuration_is_described", configuration_is_described},
          {"out_of_range_and_odd_requests_fail", out_of_range_and_odd_requests_fail},
          {"read_only_refuses_changes", read_only_refuses_changes},
          {"any_segmentation_works", any_segmentation_works},
          {"indirect_request_of_many_segments", indirect_request_of_many_segments},
          {"short_headers_get_a_status_and_none_breaks_the_queue",
           short_headers_get_a_status_and_none_breaks_the_queue},
          {"discard_and_write_zeroes", discard_and_write_zeroes},
          {"not_negotiated_is_unsupported", not_negotiated_is_unsupported},
          {"large_requests_go_on_in_steps", large_requests_go_on_in_steps},
          {"many_requests_one_interrupt", many_requests_one_interrupt},
          {"backend_errors_reach_the_guest", backend_errors_reach_the_guest},
          {"memory_backend_takes_whole_sectors", memory_backend_takes_whole_sectors})
