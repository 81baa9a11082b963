/* Split virtqueues: chains, indirect tables, suppression, and rings that no driver can mean. */
#include "drivers/model/virtqueue.h"
#include "tests/check.h"
#include "tests/virtio_guest.h"

#define DESC 0x1000u
#define AVAIL 0x2000u
#define USED 0x3000u
#define INDIRECT 0x5008u /* need not be aligned */
#define SIZE 8u

static struct guest_machine *machine;
static struct virtqueue queue;
static struct virtqueue_chain chain;
static uint16_t avail;

static void set_up(bool indirect, bool event_index)
{
    machine = guest_new();
    avail = 0;
    virtqueue_reset(&queue, &machine->mem, SIZE);
    queue.descriptors = DESC;
    queue.driver = AVAIL;
    queue.device = USED;
    queue.indirect = indirect;
    queue.event_index = event_index;
    CHECK_EQ(virtqueue_enable(&queue), STATUS_OK);
}

static void put_desc(uint64_t table, unsigned at, uint64_t address, uint32_t length, uint16_t flags,
                     uint16_t next)
{
    struct guest_desc desc = {address, length, flags, next};
    guest_put(machine, table + 16 * (uint64_t)at, &desc, sizeof(desc));
}

static void offer(uint16_t head)
{
    guest_put_16(machine, AVAIL + 4 + 2 * (avail % SIZE), head);
    guest_put_16(machine, AVAIL + 2, ++avail);
}

static void chain_is_split_into_halves(void)
{
    set_up(false, false);
    guest_put(machine, 0x8000, "hello ", 6);
    guest_put(machine, 0x9000, "world", 5);
    put_desc(DESC, 5, 0x8000, 6, TEST_DESC_NEXT, 2);
    put_desc(DESC, 2, 0x9000, 5, TEST_DESC_NEXT, 7);
    put_desc(DESC, 7, 0xdead0000dead, 0, TEST_DESC_NEXT | TEST_DESC_WRITE, 0); /* empty */
    put_desc(DESC, 0, 0xa000, 3, TEST_DESC_NEXT | TEST_DESC_WRITE, 1);
    put_desc(DESC, 1, 0xb000, 4, TEST_DESC_WRITE, 0xffff);
    CHECK_EQ(virtqueue_pop(&queue, &chain), ERR_NOT_FOUND);
    offer(5);
    CHECK_EQ(virtqueue_pop(&queue, &chain), STATUS_OK);
    CHECK_EQ(chain.head, 5);
    CHECK_EQ(chain.readable.left, 11);
    CHECK_EQ(chain.writable.left, 7);
    char text[16] = {0};
    CHECK_EQ(virtqueue_read(&chain.readable, text, 8), 8);
    CHECK_EQ(virtqueue_read(&chain.readable, text + 8, 8), 3);
    CHECK_STR(text, "hello world");
    CHECK_EQ(virtqueue_write(&chain.writable, "12345678", 8), 7);
    *virtqueue_last_writable(&chain) = '!';
    CHECK_EQ(guest_get_8(machine, 0xa002), '3');
    CHECK_EQ(guest_get_8(machine, 0xb003), '!');
    CHECK_EQ(virtqueue_push(&queue, chain.head, 7), STATUS_OK);
    uint32_t used[2];
    guest_get(machine, USED + 4, used, 8);
    CHECK_EQ(used[0], 5);
    CHECK_EQ(used[1], 7);
    CHECK_EQ(guest_get_16(machine, USED + 2), 1);
    CHECK_EQ(virtqueue_pop(&queue, &chain), ERR_NOT_FOUND);
    guest_free(machine);
}

static void buffer_over_a_region_border_is_cut(void)
{
    set_up(false, false);
    put_desc(DESC, 0, GUEST_RAM_SIZE - 3, 8, TEST_DESC_WRITE, 0);
    offer(0);
    CHECK_EQ(virtqueue_pop(&queue, &chain), STATUS_OK);
    CHECK_EQ(chain.spans, 2);
    CHECK_EQ(virtqueue_write(&chain.writable, "abcdefgh", 8), 8);
    CHECK_EQ(machine->ram[0][GUEST_GUARD + GUEST_RAM_SIZE - 1], 'c');
    CHECK_EQ(machine->ram[1][GUEST_GUARD], 'd');
    /* To the last byte of RAM before the hole, and one further. */
    put_desc(DESC, 1, 2 * GUEST_RAM_SIZE - 8, 8, TEST_DESC_WRITE, 0);
    offer(1);
    CHECK_EQ(virtqueue_pop(&queue, &chain), STATUS_OK);
    CHECK_EQ(virtqueue_write(&chain.writable, "abcdefgh", 8), 8);
    put_desc(DESC, 2, 2 * GUEST_RAM_SIZE - 8, 9, TEST_DESC_WRITE, 0);
    offer(2);
    CHECK_EQ(virtqueue_pop(&queue, &chain), ERR_RANGE);
    guest_free(machine);
}

static void indirect_tables_work_behind_direct_descriptors(void)
{
    set_up(true, false);
    put_desc(DESC, 0, 0x8000, 4, TEST_DESC_NEXT, 1);
    /* The write flag of the reference itself means nothing. */
    put_desc(DESC, 1, INDIRECT, 3 * 16, TEST_DESC_INDIRECT | TEST_DESC_WRITE, 0);
    put_desc(INDIRECT, 0, 0x8004, 4, TEST_DESC_NEXT, 2);
    put_desc(INDIRECT, 2, 0x8008, 4, TEST_DESC_NEXT | TEST_DESC_WRITE, 1);
    put_desc(INDIRECT, 1, 0x800c, 4, TEST_DESC_WRITE, 0);
    offer(0);
    CHECK_EQ(virtqueue_pop(&queue, &chain), STATUS_OK);
    CHECK_EQ(chain.readable.left, 8);
    CHECK_EQ(chain.writable.left, 8);
    guest_free(machine);
}

/* One bad ring each: what is put there, and what it must be answered with. */
static void expect_refusal(enum status expected)
{
    offer(0);
    CHECK_EQ(virtqueue_pop(&queue, &chain), expected);
    guest_free(machine);
}

static void bad_chains_are_refused(void)
{
    set_up(true, true);
    put_desc(DESC, 0, 0x8000, 4, TEST_DESC_NEXT, 1); /* a loop */
    put_desc(DESC, 1, 0x8000, 4, TEST_DESC_NEXT, 0);
    expect_refusal(ERR_INVALID);
    set_up(true, true);
    put_desc(DESC, 0, 0x8000, 4, TEST_DESC_NEXT, SIZE); /* next out of the table */
    expect_refusal(ERR_INVALID);
    set_up(true, true);
    put_desc(DESC, 0, 0x8000, 4, TEST_DESC_NEXT | TEST_DESC_WRITE, 1);
    put_desc(DESC, 1, 0x8000, 4, 0, 0); /* readable after writable */
    expect_refusal(ERR_INVALID);
    set_up(true, true);
    put_desc(DESC, 0, UINT64_MAX - 3, 8, 0, 0); /* wraps */
    expect_refusal(ERR_INVALID);
    set_up(true, true);
    put_desc(DESC, 0, 0x8000, UINT32_MAX, 0, 0); /* longer than RAM */
    expect_refusal(ERR_RANGE);
    set_up(true, true);
    put_desc(DESC, 0, PLATFORM_LAPIC, 4, TEST_DESC_WRITE, 0); /* not RAM */
    expect_refusal(ERR_RANGE);
    set_up(true, true);
    offer(SIZE); /* head out of the table: refused before the good one behind it */
    expect_refusal(ERR_INVALID);
    set_up(true, true);
    avail = SIZE; /* index too far ahead */
    expect_refusal(ERR_INVALID);
}

static void bad_indirect_tables_are_refused(void)
{
    static const struct {
        uint64_t address;
        uint32_t length;
        uint16_t flags;
        enum status expected;
    } rows[] = {
        {INDIRECT, 0, TEST_DESC_INDIRECT, ERR_INVALID},
        {INDIRECT, 17, TEST_DESC_INDIRECT, ERR_INVALID},
        {INDIRECT, 16 * (VIRTQUEUE_SIZE_MAX + 1), TEST_DESC_INDIRECT, ERR_INVALID},
        {INDIRECT, UINT32_MAX - 15, TEST_DESC_INDIRECT, ERR_INVALID},
        {INDIRECT, 16, TEST_DESC_INDIRECT | TEST_DESC_NEXT, ERR_INVALID},
        {0xfee00000, 16, TEST_DESC_INDIRECT, ERR_RANGE},
        {2 * GUEST_RAM_SIZE - 8, 16, TEST_DESC_INDIRECT, ERR_RANGE},
        {UINT64_MAX - 7, 16, TEST_DESC_INDIRECT, ERR_INVALID},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        set_up(true, false);
        put_desc(DESC, 0, rows[i].address, rows[i].length, rows[i].flags, 0);
        expect_refusal(rows[i].expected);
    }
    set_up(true, false); /* an indirect table in an indirect table */
    put_desc(DESC, 0, INDIRECT, 16, TEST_DESC_INDIRECT, 0);
    put_desc(INDIRECT, 0, INDIRECT, 16, TEST_DESC_INDIRECT, 0);
    expect_refusal(ERR_INVALID);
    set_up(false, false); /* not negotiated */
    put_desc(DESC, 0, INDIRECT, 16, TEST_DESC_INDIRECT, 0);
    put_desc(INDIRECT, 0, 0x8000, 16, 0, 0);
    expect_refusal(ERR_INVALID);
}

/* The two halves together never hold more spans than there is room for. */
static void span_table_is_bounded(void)
{
    set_up(true, false);
    for (unsigned i = 0; i < VIRTQUEUE_SIZE_MAX; i++)
        put_desc(0x10000, i, GUEST_RAM_SIZE - 1, 2, i + 1 < VIRTQUEUE_SIZE_MAX ? TEST_DESC_NEXT : 0,
                 (uint16_t)(i + 1));
    put_desc(DESC, 0, 0x10000, 16 * VIRTQUEUE_SIZE_MAX, TEST_DESC_INDIRECT, 0);
    expect_refusal(ERR_INVALID);
    set_up(true, false);
    for (unsigned i = 0; i < VIRTQUEUE_SIZE_MAX; i++)
        put_desc(0x10000, i, 0x8000, 2, i + 1 < VIRTQUEUE_SIZE_MAX ? TEST_DESC_NEXT : 0,
                 (uint16_t)(i + 1));
    put_desc(DESC, 0, 0x10000, 16 * VIRTQUEUE_SIZE_MAX, TEST_DESC_INDIRECT, 0);
    expect_refusal(STATUS_OK);
}

static void rings_have_to_lie_in_ram(void)
{
    static const struct {
        uint64_t desc, driver, device;
        uint16_t size;
        enum status expected;
    } rows[] = {
        {DESC, AVAIL, USED, 8, STATUS_OK},
        {DESC + 8, AVAIL, USED, 8, ERR_INVALID},
        {DESC, AVAIL + 1, USED, 8, ERR_INVALID},
        {DESC, AVAIL, USED + 2, 8, ERR_INVALID},
        {DESC, AVAIL, USED, 0, ERR_INVALID},
        {DESC, AVAIL, USED, 6, ERR_INVALID},
        {DESC, AVAIL, USED, 512, ERR_INVALID},
        {2 * GUEST_RAM_SIZE - 16, AVAIL, USED, 8, ERR_RANGE},
        {GUEST_RAM_SIZE - 16, AVAIL, USED, 8, STATUS_OK},
        {DESC, 2 * GUEST_RAM_SIZE - 20, USED, 8, ERR_RANGE},
        {DESC, AVAIL, 2 * GUEST_RAM_SIZE - 68, 8, ERR_RANGE},
        {DESC, AVAIL, 2 * GUEST_RAM_SIZE - 72, 8, STATUS_OK},
        {-16ull, AVAIL, USED, 8, ERR_RANGE},
        {DESC, -2ull, USED, 8, ERR_RANGE},
        {DESC, AVAIL, -4ull, 8, ERR_RANGE},
    };
    machine = guest_new();
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        virtqueue_reset(&queue, &machine->mem, rows[i].size);
        queue.descriptors = rows[i].desc;
        queue.driver = rows[i].driver;
        queue.device = rows[i].device;
        CHECK_EQ(virtqueue_enable(&queue), rows[i].expected);
        CHECK_EQ(queue.enabled, rows[i].expected == STATUS_OK);
    }
    virtqueue_reset(&queue, &machine->mem, 8);
    CHECK_EQ(virtqueue_pop(&queue, &chain), ERR_NOT_FOUND);
    guest_free(machine);
}

static void flags_suppress_interrupts(void)
{
    set_up(false, false);
    CHECK(!virtqueue_needs_interrupt(&queue));
    CHECK_EQ(virtqueue_push(&queue, 0, 0), STATUS_OK);
    CHECK(virtqueue_needs_interrupt(&queue));
    CHECK(!virtqueue_needs_interrupt(&queue));
    guest_put_16(machine, AVAIL, 1);
    CHECK_EQ(virtqueue_push(&queue, 0, 0), STATUS_OK);
    CHECK(!virtqueue_needs_interrupt(&queue));
    guest_free(machine);
}

static void event_index_suppresses_both_ways(void)
{
    set_up(false, true);
    uint64_t used_event = AVAIL + 4 + 2 * SIZE, avail_event = USED + 4 + 8 * SIZE;
    put_desc(DESC, 0, 0x8000, 4, 0, 0);
    offer(0);
    offer(0);
    guest_put_16(machine, used_event, 2);
    guest_put_16(machine, avail_event, 0x5555);
    CHECK_EQ(virtqueue_pop(&queue, &chain), STATUS_OK);
    CHECK_EQ(guest_get_16(machine, avail_event), 0x5555); /* more is there: no wish yet */
    CHECK_EQ(virtqueue_push(&queue, 0, 0), STATUS_OK);
    CHECK(!virtqueue_needs_interrupt(&queue));
    CHECK_EQ(virtqueue_pop(&queue, &chain), STATUS_OK);
    CHECK_EQ(virtqueue_push(&queue, 0, 0), STATUS_OK);
    CHECK(!virtqueue_needs_interrupt(&queue));
    CHECK_EQ(virtqueue_pop(&queue, &chain), ERR_NOT_FOUND);
    CHECK_EQ(guest_get_16(machine, avail_event), 2);
    CHECK_EQ(virtqueue_push(&queue, 0, 0), STATUS_OK);
    CHECK(virtqueue_needs_interrupt(&queue));
    guest_free(machine);
}

/* Over the wrap of the 16-bit indices: exactly the interrupts that were asked for. */
static void indices_wrap(void)
{
    set_up(false, true);
    uint64_t used_event = AVAIL + 4 + 2 * SIZE;
    put_desc(DESC, 3, 0x8000, 4, TEST_DESC_WRITE, 0);
    unsigned interrupts = 0;
    for (unsigned i = 0; i < 70000; i++) {
        offer(3);
        guest_put_16(machine, used_event, (uint16_t)(i / 10 * 10));
        CHECK_EQ(virtqueue_pop(&queue, &chain), STATUS_OK);
        CHECK_EQ(virtqueue_push(&queue, chain.head, 4), STATUS_OK);
        interrupts += virtqueue_needs_interrupt(&queue);
    }
    CHECK_EQ(interrupts, 7000);
    CHECK_EQ(guest_get_16(machine, USED + 2), 70000 & 0xffff);
    CHECK_EQ(virtqueue_pop(&queue, &chain), ERR_NOT_FOUND);
    guest_free(machine);
}

TEST_MAIN({"chain_is_split_into_halves", chain_is_split_into_halves},
          {"buffer_over_a_region_border_is_cut", buffer_over_a_region_border_is_cut},
          {"indirect_tables_work_behind_direct_descriptors",
           indirect_tables_work_behind_direct_descriptors},
          {"bad_chains_are_refused", bad_chains_are_refused},
          {"bad_indirect_tables_are_refused", bad_indirect_tables_are_refused},
          {"span_table_is_bounded", span_table_is_bounded},
          {"rings_have_to_lie_in_ram", rings_have_to_lie_in_ram},
          {"flags_suppress_interrupts", flags_suppress_interrupts},
          {"event_index_suppresses_both_ways", event_index_suppresses_both_ways},
          {"indices_wrap", indices_wrap})
