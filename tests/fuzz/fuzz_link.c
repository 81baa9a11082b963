/*
 * Two ends of a link and a line between them on which bytes are lost, changed and added, while both
 * write. What arrives is in order and was written; and once the line is left alone, all of it
 * arrives.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/unit/link_world.h"

enum move { WRITE, CARRY, LOSE, CHANGE, ADD, FRAME, POLL, ROOM, CUT, MOVES };

static struct world world;

static void look(const struct world_end *from, const struct world_end *to)
{
    for (unsigned i = 2; i < WORLD_CHANNELS; i++) {
        REQUIRE(!to->user[i].is_wrong);
        REQUIRE(to->user[i].read <= from->user[i].written);
        REQUIRE(from->channel[i].head - from->channel[i].tail <= WORLD_RING);
    }
    REQUIRE((uint8_t)(from->link.next - from->link.oldest) <= LINK_WINDOW);
}

/* Noise, but no frame with a right CRC of a channel that somebody reads: that does not come by
 * itself. */
static void add_noise(struct world_end *to, struct fuzz_input *input)
{
    for (unsigned count = (unsigned)fuzz_below(input, 64); count > 0; count--)
        world_put(to, (uint8_t)fuzz_take(input, 1));
}

/* What a wrong program could send as frames of control, and of channels that are not there. */
static void add_frame(struct world_end *to, struct fuzz_input *input)
{
    uint8_t wire[FRAME_WIRE_MAX], payload[FRAME_PAYLOAD_MAX];
    struct frame_header header = {0, to->link.expected, to->link.oldest};
    unsigned length = (unsigned)fuzz_below(input, FRAME_PAYLOAD_MAX + 1);
    for (unsigned i = 0; i < length; i++)
        payload[i] = (uint8_t)fuzz_take(input, 1);
    size_t count = frame_write(wire, &header, payload, length);
    for (size_t i = 0; i < count; i++)
        world_put(to, wire[i]);
}

static void move(struct world_end *from, struct world_end *to, struct fuzz_input *input)
{
    size_t at;
    switch (fuzz_take(input, 1) % MOVES) {
    case WRITE:
        world_write(from, 2 + (unsigned)fuzz_below(input, WORLD_CHANNELS - 2),
                    fuzz_below(input, 700));
        break;
    case CARRY:
        world_carry(from, to, fuzz_below(input, 2048));
        break;
    case LOSE:
        at = fuzz_below(input, 512);
        if (at < from->line_length)
            from->line_length = at;
        break;
    case CHANGE:
        at = fuzz_below(input, 512);
        if (at < from->line_length)
            from->line[at] ^= (uint8_t)fuzz_take(input, 1);
        break;
    case ADD:
        add_noise(to, input);
        break;
    case FRAME:
        add_frame(to, input);
        break;
    case POLL:
        link_control(&from->link, LINK_POLL, NULL, 0);
        break;
    case ROOM:
        to->user[2].room = fuzz_below(input, 2048);
        to->user[3].room = fuzz_below(input, 2048);
        link_serve(&to->link);
        break;
    case CUT:
        from->line_length = to->line_length = 0;
        link_stop(&from->link);
        link_start(&from->link, false);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, data + size};
    world_start(&world);
    while (!fuzz_is_done(&input)) {
        bool forth = fuzz_take(&input, 1) & 1;
        move(forth ? &world.near : &world.far, forth ? &world.far : &world.near, &input);
        look(&world.near, &world.far);
        look(&world.far, &world.near);
        if (world.near.line_length > WORLD_LINE / 2 || world.far.line_length > WORLD_LINE / 2)
            break;
    }
    world.near.user[2].room = world.near.user[3].room = 4096;
    world.far.user[2].room = world.far.user[3].room = 4096;
    world.near.reader.is_inside = world.far.reader.is_inside = false;
    world_settle(&world);
    look(&world.near, &world.far);
    look(&world.far, &world.near);
    for (unsigned i = 2; i < WORLD_CHANNELS; i++) {
        REQUIRE(world.far.user[i].read == world.near.user[i].written);
        REQUIRE(world.near.user[i].read == world.far.user[i].written);
    }
    return 0;
}
