/*
 * Any bytes on gdb's line: noise, and packets whose checksum is right. Every reply is a packet with
 * a right checksum that no side's limit is exceeded by, and after all of it a sound packet is
 * answered.
 */
#include <stdio.h>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/gdb_world.h"

enum move { NOISE, PACKET, LONG_PACKET, STOP, END, MOVES };

static struct gdb_world world;

/* A shell with more to say than the line has room for, in pieces. */
static char said[8192];
static unsigned pieces;

static const char *command_more(void *context, size_t *length)
{
    (void)context;
    *length = sizeof(said);
    return pieces-- > 1 ? said : NULL;
}

static const char *command(void *context, unsigned guest, const char *line, size_t *length)
{
    (void)guest;
    memset(said, line[0], sizeof(said));
    pieces = 4;
    return command_more(context, length);
}

static void put(uint8_t byte)
{
    gdb_stub_input(&world.stub, byte);
}

/* What was sent is whole packets, '+' and '-'. */
static void look_at_replies(void)
{
    const char *at = world.sent, *end = world.sent + world.sent_length;
    while (at < end) {
        uint8_t sum = 0;
        unsigned given;
        if (*at == '+' || *at == '-') {
            at++;
            continue;
        }
        REQUIRE(*at == '$');
        const char *start = at++;
        for (; at < end && *at != '#'; at++) {
            REQUIRE(*at != '$');
            sum = (uint8_t)(sum + (uint8_t)*at);
        }
        REQUIRE(end - at >= 3 && at - start <= GDB_PACKET_MAX + 1);
        REQUIRE(sscanf(at + 1, "%2x", &given) == 1 && given == sum);
        at += 3;
    }
    world.sent_length = 0;
}

static void packet(struct fuzz_input *input, unsigned repeats)
{
    static const char digits[] = "0123456789abcdef";
    size_t length = fuzz_take(input, 1), left = (size_t)(input->end - input->next);
    uint8_t sum = 0;
    length = length < left ? length : left;
    put('$');
    for (unsigned i = 0; i < repeats; i++)
        for (size_t j = 0; j < length; j++) {
            uint8_t byte = input->next[j];
            if (byte == '#' || byte == '$')
                byte = '0';
            sum = (uint8_t)(sum + byte);
            put(byte);
        }
    input->next += length;
    put('#');
    put((uint8_t)digits[sum >> 4]);
    put((uint8_t)digits[sum & 0xf]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, data + size};
    world_start(&world);
    world.target.command = command;
    world.target.command_more = command_more;
    world.room = 4;
    while (!fuzz_is_done(&input)) {
        struct gdb_stop stop = {.signal = GDB_SIGNAL_TRAP};
        switch (fuzz_take(&input, 1) % MOVES) {
        case NOISE:
            put((uint8_t)fuzz_take(&input, 1));
            break;
        case PACKET:
            packet(&input, 1);
            break;
        case LONG_PACKET:
            packet(&input, (unsigned)fuzz_below(&input, 64));
            break;
        case STOP:
            stop.has_point = true;
            stop.point = (enum gdb_point)fuzz_below(&input, GDB_POINTS);
            gdb_stub_stopped(&world.stub, 0, &stop);
            world.room = 2 + 3 * (unsigned)stop.point;
            gdb_stub_continue(&world.stub);
            break;
        case END:
            world.is_dead = true; /* and may stand, be kept, or be gone; or live again later */
            world.end = (struct gdb_end){
                .stands = fuzz_take(&input, 1) & 1, .signal = GDB_SIGNAL_SEGV, .code = 1};
            world.end.is_there = world.end.stands || fuzz_take(&input, 1) & 1;
            world.end.is_dying = !world.end.stands && fuzz_take(&input, 1) & 1;
            gdb_stub_ended(&world.stub, 0);
            world.is_dead = fuzz_take(&input, 1) & 1;
            break;
        }
        look_at_replies();
    }
    for (const char *at = "$qC#b4"; *at != 0; at++)
        put((uint8_t)*at);
    REQUIRE(world.sent_length >= 6 && world.sent[world.sent_length - 7] == '$');
    look_at_replies();
    return 0;
}
