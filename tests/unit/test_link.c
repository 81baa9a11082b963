/* Frames on a line, and the channels in them. */
#include "tests/check.h"
#include "tests/unit/link_world.h"

static struct world world;

/* ---- Frames ---- */

static size_t whole;

static void read_all(struct frame_reader *reader, const uint8_t *wire, size_t count)
{
    whole = 0;
    for (size_t i = 0; i < count; i++)
        whole += frame_reader_put(reader, wire[i]) == FRAME_WHOLE;
}

static void frames_hold_every_byte(void)
{
    struct frame_reader reader = {0};
    uint8_t wire[FRAME_WIRE_MAX], payload[FRAME_PAYLOAD_MAX];
    for (unsigned start = 0; start < 256; start += FRAME_PAYLOAD_MAX) {
        for (unsigned i = 0; i < FRAME_PAYLOAD_MAX; i++)
            payload[i] = (uint8_t)(start + i);
        struct frame_header header = {0xfe, 0xfd, 0xfb};
        size_t length = frame_write(wire, &header, payload, FRAME_PAYLOAD_MAX);
        for (size_t i = 1; i + 1 < length; i++)
            CHECK(wire[i] != FRAME_START && wire[i] != FRAME_END && wire[i] != 0xff &&
                  wire[i] != '\r' && wire[i] != '\n' && wire[i] != 0x11 && wire[i] != 0x13);
        read_all(&reader, wire, length);
        CHECK_EQ(whole, 1);
        CHECK_EQ(reader.length, FRAME_PAYLOAD_MAX);
        CHECK_EQ(reader.header.channel, 0xfe);
        CHECK_EQ(reader.header.sequence, 0xfd);
        CHECK_EQ(reader.header.acknowledged, 0xfb);
        CHECK(memcmp(frame_payload(&reader), payload, sizeof(payload)) == 0);
    }
}

/* As docs/debugging.md has it, made by Python's zlib. */
static void a_poll_has_these_bytes(void)
{
    static const uint8_t poll[] = {0xfe, 0x00, 0x00, 0x00, 'P', 0xe8, 0x8e, 0x2f, 0x4a, 0xfd};
    struct frame_header header = {0};
    uint8_t wire[FRAME_WIRE_MAX];
    size_t length = frame_write(wire, &header, (const uint8_t *)"P", 1);
    CHECK_EQ(length, sizeof(poll));
    CHECK(memcmp(wire, poll, sizeof(poll)) == 0);
}

static void every_changed_bit_is_noticed(void)
{
    struct frame_header header = {2, 7, 9};
    uint8_t wire[FRAME_WIRE_MAX];
    size_t length = frame_write(wire, &header, (const uint8_t *)"noise", 5);
    for (size_t bit = 8; bit < 8 * (length - 1); bit++) {
        struct frame_reader reader = {0};
        wire[bit / 8] ^= (uint8_t)(1 << bit % 8);
        read_all(&reader, wire, length);
        CHECK_EQ(whole, 0);
        wire[bit / 8] ^= (uint8_t)(1 << bit % 8);
        read_all(&reader, wire, length);
        CHECK_EQ(whole, 1);
    }
}

static void what_cuts_a_frame_short_is_noticed_at_once(void)
{
    struct frame_reader reader = {0};
    CHECK_EQ(frame_reader_put(&reader, 'a'), FRAME_PLAIN);
    CHECK_EQ(frame_reader_put(&reader, FRAME_START), FRAME_NOTHING);
    CHECK_EQ(frame_reader_put(&reader, 'a'), FRAME_NOTHING);
    CHECK_EQ(frame_reader_put(&reader, '\n'), FRAME_BROKEN);
    CHECK_EQ(frame_reader_put(&reader, 'a'), FRAME_PLAIN);
    CHECK_EQ(frame_reader_put(&reader, FRAME_START), FRAME_NOTHING);
    CHECK_EQ(frame_reader_put(&reader, FRAME_START), FRAME_BROKEN);
    CHECK_EQ(frame_reader_put(&reader, FRAME_ESCAPE), FRAME_NOTHING);
    CHECK_EQ(frame_reader_put(&reader, FRAME_END), FRAME_BROKEN);
    CHECK_EQ(frame_reader_put(&reader, FRAME_START), FRAME_NOTHING);
    for (unsigned i = 0; i < FRAME_BODY_MAX; i++)
        CHECK_EQ(frame_reader_put(&reader, 'x'), FRAME_NOTHING);
    CHECK_EQ(frame_reader_put(&reader, 'x'), FRAME_BROKEN);
    CHECK_EQ(frame_reader_put(&reader, FRAME_END), FRAME_PLAIN);
}

/* ---- The link ---- */

static void both_ways_in_order(void)
{
    world_start(&world);
    world_settle(&world);
    for (unsigned i = 0; i < 50; i++) {
        CHECK_EQ(world_write(&world.near, 2, 100), 100);
        CHECK_EQ(world_write(&world.far, 3, 37), 37);
        world_settle(&world);
    }
    CHECK_EQ(world.far.user[2].read, 5000);
    CHECK_EQ(world.near.user[3].read, 50 * 37);
    CHECK(!world.far.user[2].is_wrong && !world.near.user[3].is_wrong);
}

static void nothing_is_sent_without_a_grant(void)
{
    world_start(&world);
    world.far.user[2].room = 0;
    world_settle(&world);
    CHECK_EQ(world_write(&world.near, 2, 300), 300);
    CHECK_EQ(world_write(&world.near, 3, 300), 300);
    world_settle(&world);
    CHECK_EQ(world.far.user[2].read, 0);
    CHECK_EQ(world.far.user[3].read, 300); /* no other waits for it */
    world.far.user[2].room = 1000;
    world_settle(&world);
    CHECK_EQ(world.far.user[2].read, 300);
}

static void who_found_no_room_is_told(void)
{
    world_start(&world);
    world.far.user[2].room = 0;
    world_settle(&world);
    CHECK_EQ(world_write(&world.near, 2, 1000), WORLD_RING);
    CHECK(!link_has_room(&world.near.link, 2, 1));
    world_settle(&world);
    CHECK_EQ(world.near.user[2].ready, 0);
    world.far.user[2].room = 256;
    world_settle(&world);
    CHECK_EQ(world.near.user[2].ready, 1);
    CHECK(link_has_room(&world.near.link, 2, WORLD_RING));
}

static void channels_take_turns(void)
{
    world_start(&world);
    world.far.user[2].room = world.far.user[3].room = 4096;
    world_settle(&world);
    world.near.line_room = 0; /* the line is busy */
    world_write(&world.near, 2, WORLD_RING);
    world_write(&world.near, 3, WORLD_RING);
    world.near.line_room = 1;
    for (unsigned i = 1; i <= 4; i++) {
        link_line_ready(&world.near.link);
        world_carry(&world.near, &world.far, WORLD_LINE);
        uint32_t two = world.far.user[2].read, three = world.far.user[3].read;
        CHECK((two > three ? two - three : three - two) <= FRAME_PAYLOAD_MAX);
    }
    world_settle(&world);
    CHECK_EQ(world.far.user[2].read, WORLD_RING);
    CHECK_EQ(world.far.user[3].read, WORLD_RING);
}

static void single_bytes_are_put_together_while_one_is_under_way(void)
{
    world_start(&world);
    world_settle(&world);
    for (unsigned i = 0; i < 100; i++)
        world_write(&world.near, 2, 1);
    struct frame_reader reader = {0};
    read_all(&reader, world.near.line, world.near.line_length);
    CHECK_EQ(whole, 1);
    world_carry(&world.near, &world.far, WORLD_LINE);
    world_carry(&world.far, &world.near, WORLD_LINE);
    read_all(&reader, world.near.line, world.near.line_length);
    CHECK_EQ(whole, 1);
    CHECK_EQ(reader.length, 99);
}

/* The nth byte on the line is changed, for every n, in both directions; and the line is cut there.
 */
static void any_byte_may_be_lost(void)
{
    for (unsigned n = 0; n < 700; n++) {
        world_start(&world);
        world_settle(&world);
        world_write(&world.near, 2, 400);
        world_write(&world.near, 3, 200);
        world_write(&world.far, 2, 300);
        struct world_end *end = n & 1 ? &world.near : &world.far;
        if (n / 2 < end->line_length) {
            if (n % 3 == 0)
                end->line_length = n / 2; /* the rest never comes */
            else
                end->line[n / 2] ^= (uint8_t)(1 + n % 255);
        }
        world_settle(&world);
        CHECK_EQ(world.far.user[2].read, 400);
        CHECK_EQ(world.far.user[3].read, 200);
        CHECK_EQ(world.near.user[2].read, 300);
        CHECK(!world.far.user[2].is_wrong && !world.near.user[2].is_wrong);
    }
}

static void what_waits_survives_a_stop(void)
{
    world_start(&world);
    world_settle(&world);
    world_write(&world.near, 2, 256);
    world.near.line_length = 0; /* lost with the line */
    link_stop(&world.near.link);
    CHECK_EQ(world_write(&world.near, 2, 10), 0);
    link_start(&world.near.link, false);
    world_settle(&world);
    CHECK_EQ(world.far.user[2].read, 256);
    CHECK_EQ(world_write(&world.near, 2, 10), 10);
    world_settle(&world);
    CHECK_EQ(world.far.user[2].read, 266);
    CHECK(!world.far.user[2].is_wrong);
}

static void the_end_sends_everything(void)
{
    world_start(&world);
    world.far.user[2].room = world.far.user[3].room = 0;
    world_settle(&world);
    world_write(&world.near, 2, WORLD_RING);
    world_write(&world.near, 3, WORLD_RING);
    link_finish(&world.near.link);
    world_carry(&world.near, &world.far, WORLD_LINE);
    CHECK_EQ(world.far.user[2].read, WORLD_RING);
    CHECK_EQ(world.far.user[3].read, WORLD_RING);
    CHECK_EQ(world_write(&world.near, 2, 1), 0);
}

static void names_follow_those_who_write(void)
{
    world_start(&world);
    world_settle(&world);
    world.near.line_room = 0;
    world_write(&world.near, 2, 5);
    CHECK(
        !link_rename(&world.near.link, 2, "other")); /* its bytes would be taken for the other's */
    world.near.line_room = 1024;
    world_settle(&world);
    CHECK_EQ(world.near.user[2].ready, 1);
    CHECK(link_rename(&world.near.link, 2, "other"));
    world_write(&world.near, 2, 5);
    const uint8_t *line = world.near.line;
    CHECK_EQ(line[1], LINK_DIRECTORY);
    CHECK(memcmp(line + 4, "N\2\5other", 8) == 0);
    world_settle(&world);
    CHECK_EQ(world.far.user[2].read, 10);
}

static void give(const uint8_t *payload, unsigned length, uint8_t channel, uint8_t sequence)
{
    struct frame_header header = {channel, sequence, 0};
    uint8_t wire[FRAME_WIRE_MAX];
    size_t count = frame_write(wire, &header, payload, length);
    for (size_t i = 0; i < count; i++)
        world_put(&world.near, wire[i]);
    link_serve(&world.near.link);
}

static void nobody_wants_what_waits(void)
{
    static const uint8_t drop[] = {LINK_DROP, 2, 0}, unknown[] = {'?', 2, 6, 'a', 'b', 'c'},
                         rest[] = {'d', 'e', 'f', LINK_DROP, 200, 0, LINK_DROP, 3, 0};
    world_start(&world);
    CHECK_EQ(world_write(&world.near, 2, 100), 100);
    CHECK_EQ(world_write(&world.near, 3, 100), 100);
    give(drop, sizeof(drop), LINK_DIRECTORY, 0);
    CHECK_EQ(world.near.channel[2].head - world.near.channel[2].tail, 0);
    give(unknown, sizeof(unknown), LINK_DIRECTORY, 1);
    CHECK_EQ(world.near.channel[3].head - world.near.channel[3].tail, 100);
    give(rest, sizeof(rest), LINK_DIRECTORY, 2);
    CHECK_EQ(world.near.channel[3].head - world.near.channel[3].tail, 0);
}

TEST_MAIN({"frames_hold_every_byte", frames_hold_every_byte},
          {"a_poll_has_these_bytes", a_poll_has_these_bytes},
          {"every_changed_bit_is_noticed", every_changed_bit_is_noticed},
          {"what_cuts_a_frame_short_is_noticed_at_once",
           what_cuts_a_frame_short_is_noticed_at_once},
          {"both_ways_in_order", both_ways_in_order},
          {"nothing_is_sent_without_a_grant", nothing_is_sent_without_a_grant},
          {"who_found_no_room_is_told", who_found_no_room_is_told},
          {"channels_take_turns", channels_take_turns},
          {"single_bytes_are_put_together_while_one_is_under_way",
           single_bytes_are_put_together_while_one_is_under_way},
          {"any_byte_may_be_lost", any_byte_may_be_lost},
          {"what_waits_survives_a_stop", what_waits_survives_a_stop},
          {"the_end_sends_everything", the_end_sends_everything},
          {"names_follow_those_who_write", names_follow_those_who_write},
          {"nobody_wants_what_waits", nobody_wants_what_waits})
