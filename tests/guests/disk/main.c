/*
 * Guest `disk`: byte i of sector s of the image is (s * 7 + i) & 255 at first. A disk that says it
 * is read-only keeps that whatever is sent to it.
 */
#include "tests/guests/disk/driver.h"

#define BUFFER_SECTORS 4u
#define BROKEN_RINGS 300u

static uint8_t buffer[BUFFER_SECTORS * SECTOR_SIZE];
static struct blk_range range;

void disk_main(void);

static void fill(uint8_t value)
{
    for (uint32_t i = 0; i < sizeof(buffer); i++)
        buffer[i] = value;
}

/* The status of reading count sectors into the buffer. */
static uint8_t read(uint64_t sector, uint32_t count)
{
    fill(0xee);
    return blk_request(BLK_IN, sector, buffer, count * SECTOR_SIZE);
}

static void expect_status(uint8_t got, uint8_t want, const char *what)
{
    guest_expect(got, want, what);
}

/* Whether the buffer holds count sectors as the image had them from sector on. */
static bool is_original(uint64_t sector, uint32_t count)
{
    for (uint32_t i = 0; i < count * SECTOR_SIZE; i++)
        if (buffer[i] != (uint8_t)((sector + i / SECTOR_SIZE) * 7 + i % SECTOR_SIZE))
            return false;
    return true;
}

static bool is_filled(uint32_t first, uint32_t count, uint8_t value)
{
    for (uint32_t i = first * SECTOR_SIZE; i < (first + count) * SECTOR_SIZE; i++)
        if (buffer[i] != value)
            return false;
    return true;
}

static uint8_t send_range(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
    range = (struct blk_range){sector, sectors, flags};
    return blk_request(type, 0, &range, sizeof(range));
}

static void test_reads(void)
{
    uint64_t capacity = blk_capacity();
    guest_case("read");
    expect_status(read(0, BUFFER_SECTORS), BLK_OK, "the first sectors");
    guest_expect(is_original(0, BUFFER_SECTORS), true, "what they hold");
    expect_status(read(capacity - 1, 1), BLK_OK, "the last sector");
    guest_expect(is_original(capacity - 1, 1), true, "what it holds");
    guest_case("read-outside");
    expect_status(read(capacity, 1), BLK_IOERR, "behind the last sector");
    expect_status(read(capacity - 1, 2), BLK_IOERR, "over the end");
    expect_status(read(~0ull, 1), BLK_IOERR, "the highest sector number");
    guest_expect(is_filled(0, BUFFER_SECTORS, 0xee), true, "the buffer as it was");
    guest_case("other-requests");
    expect_status(blk_request(BLK_IN, 0, buffer, 100), BLK_IOERR, "a part of a sector");
    expect_status(blk_request(99, 0, buffer, SECTOR_SIZE), BLK_UNSUPP, "a type that is not known");
    expect_status(blk_request(BLK_FLUSH, 0, NULL, 0), BLK_OK, "flush");
    fill(0xee);
    expect_status(blk_request(BLK_GET_ID, 0, buffer, 20), BLK_OK, "its name");
    guest_expect(buffer[0], 'd', "the name's first letter");
}

static void test_read_only(void)
{
    guest_case("read-only-write-refused");
    fill(0x11);
    expect_status(blk_request(BLK_OUT, 0, buffer, SECTOR_SIZE), BLK_IOERR, "a write");
    expect_status(blk_request(BLK_OUT, 1, buffer, sizeof(buffer)), BLK_IOERR, "several sectors");
    guest_case("read-only-discard-refused");
    guest_expect(blk_features() & (BLK_F_DISCARD | BLK_F_WRITE_ZEROES), 0, "the features");
    expect_status(send_range(BLK_DISCARD, 0, 1, 0), BLK_UNSUPP, "a discard");
    expect_status(send_range(BLK_WRITE_ZEROES, 0, 1, 0), BLK_UNSUPP, "zeroes");
    guest_case("read-only-unchanged");
    expect_status(read(0, BUFFER_SECTORS), BLK_OK, "a read");
    guest_expect(is_original(0, BUFFER_SECTORS), true, "what it holds");
}

static void test_writes(void)
{
    guest_case("write");
    fill(0x22);
    expect_status(blk_request(BLK_OUT, 5, buffer, 2 * SECTOR_SIZE), BLK_OK, "two sectors");
    expect_status(read(4, 4), BLK_OK, "a read");
    guest_expect(is_filled(1, 2, 0x22), true, "what was written");
    expect_status(read(4, 1), BLK_OK, "a read of the one before");
    guest_expect(is_original(4, 1), true, "the sector before");
    guest_case("write-outside");
    expect_status(blk_request(BLK_OUT, blk_capacity() - 1, buffer, 2 * SECTOR_SIZE), BLK_IOERR,
                  "over the end");
}

/* Both kinds make sectors 9 and 10 zeroes, and leave their neighbours alone. */
static void test_range(uint32_t type, uint32_t flags)
{
    expect_status(send_range(type, 9, 2, flags), BLK_OK, "two sectors");
    expect_status(read(8, 4), BLK_OK, "a read");
    guest_expect(is_filled(1, 2, 0), true, "the two sectors");
    expect_status(read(8, 1), BLK_OK, "a read of the one before");
    guest_expect(is_original(8, 1), true, "the sector before");
    expect_status(read(11, 1), BLK_OK, "a read of the one behind");
    guest_expect(is_original(11, 1), true, "the sector behind");
    expect_status(send_range(type, blk_capacity() - 1, 2, flags), BLK_IOERR, "over the end");
    expect_status(send_range(type, ~0ull, 1, flags), BLK_IOERR, "the highest sector number");
    expect_status(send_range(type, 0, 1, 2), BLK_UNSUPP, "a flag that is not known");
    expect_status(read(blk_capacity() - 1, 1), BLK_OK, "a read of the last sector");
    guest_expect(is_original(blk_capacity() - 1, 1), true, "the last sector");
}

static void restore(void)
{
    for (uint32_t i = 0; i < sizeof(buffer); i++)
        buffer[i] = (uint8_t)((8 + i / SECTOR_SIZE) * 7 + i % SECTOR_SIZE);
    expect_status(blk_request(BLK_OUT, 8, buffer, sizeof(buffer)), BLK_OK, "a write");
}

/* Each is a line in the monitor's log, as far as that lets a guest write there. */
static void test_broken_rings(void)
{
    uint32_t answered = 0;
    guest_case("broken-rings");
    for (uint32_t i = 0; i < BROKEN_RINGS; i++)
        answered += blk_start(0) && blk_break();
    guest_expect(answered, BROKEN_RINGS, "requests for a reset");
    guest_expect(blk_start(0), true, "a start after them");
    expect_status(read(0, 1), BLK_OK, "a read after them");
}

void disk_main(void)
{
    guest_case("start");
    bool is_there = blk_start(BLK_F_RO | BLK_F_DISCARD | BLK_F_WRITE_ZEROES);
    guest_expect(is_there, true, "a virtio disk");
    if (!is_there)
        return;
    test_reads();
    if ((blk_features() & BLK_F_RO) != 0) {
        test_read_only();
        return;
    }
    test_writes();
    guest_case("discard");
    test_range(BLK_DISCARD, 0);
    expect_status(send_range(BLK_DISCARD, 0, 1, 1), BLK_UNSUPP, "unmap, which is no flag of it");
    guest_case("write-zeroes");
    restore();
    test_range(BLK_WRITE_ZEROES, 0);
    restore();
    test_range(BLK_WRITE_ZEROES, 1);
    test_broken_rings();
}
