/*
 * Two ends of a link with a line between them that can lose, change and add bytes: `near` is the
 * monitor's, `far` stands for the host's program. Each channel's user writes numbers in turn, and
 * checks that the other's come in order.
 */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "kernel/debug/link.h"

#define WORLD_CHANNELS 4u /* the directory, and three that are used */
#define WORLD_RING 512u
#define WORLD_LINE 65536u

struct world_end;

struct world_user {
    struct world_end *end;
    unsigned number;
    uint32_t written, read; /* bytes; each is its place modulo 251 */
    size_t room;            /* that it says that it has */
    unsigned ready;
    bool is_wrong; /* something came out of order */
};

struct world_end {
    struct link link;
    struct link_channel channel[WORLD_CHANNELS];
    struct world_user user[WORLD_CHANNELS];
    uint8_t ring[WORLD_CHANNELS][WORLD_RING];
    struct frame_reader reader;
    uint8_t line[WORLD_LINE]; /* what it has sent, and the other has not had yet */
    size_t line_length;
    size_t line_room; /* how much the line takes before it says no */
};

struct world {
    struct world_end near, far;
};

static void world_line_write(void *context, const void *bytes, size_t count)
{
    struct world_end *end = context;
    if (end->line_length + count > WORLD_LINE)
        abort();
    memcpy(end->line + end->line_length, bytes, count);
    end->line_length += count;
}

static bool world_line_has_room(void *context)
{
    struct world_end *end = context;
    return end->line_length < end->line_room;
}

static size_t world_room(void *context)
{
    return ((struct world_user *)context)->room;
}

static void world_receive(void *context, const uint8_t *bytes, size_t count)
{
    struct world_user *user = context;
    for (size_t i = 0; i < count; i++)
        user->is_wrong = user->is_wrong || bytes[i] != (uint8_t)(user->read++ % 251);
}

static void world_ready(void *context)
{
    ((struct world_user *)context)->ready++;
}

static void world_start_end(struct world_end *end)
{
    struct link_port port = {world_line_write, world_line_has_room, end};
    memset(end, 0, sizeof(*end));
    end->line_room = 1024;
    link_init(&end->link, &port, end->channel, WORLD_CHANNELS);
    link_open(&end->link, LINK_DIRECTORY, NULL, end->ring[1], WORLD_RING, NULL);
    for (unsigned i = 2; i < WORLD_CHANNELS; i++) {
        struct link_user user = {world_room, world_receive, world_ready, &end->user[i]};
        end->user[i] = (struct world_user){.end = end, .number = i, .room = 256};
        link_open(&end->link, i, "some", end->ring[i], WORLD_RING, &user);
    }
    link_start(&end->link, true);
}

static void world_start(struct world *world)
{
    world_start_end(&world->near);
    world_start_end(&world->far);
}

/* Up to count bytes more; returns how many were taken. */
static size_t world_write(struct world_end *end, unsigned number, size_t count)
{
    struct world_user *user = &end->user[number];
    uint8_t bytes[1024];
    if (count > sizeof(bytes))
        count = sizeof(bytes);
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)((user->written + i) % 251);
    size_t taken = link_write(&end->link, number, bytes, count);
    user->written += (uint32_t)taken;
    return taken;
}

static void world_put(struct world_end *end, uint8_t byte)
{
    if (frame_reader_put(&end->reader, byte) == FRAME_WHOLE)
        link_receive(&end->link, &end->reader);
}

/* Gives count bytes of what from has sent to the other end. */
static void world_carry(struct world_end *from, struct world_end *to, size_t count)
{
    count = count < from->line_length ? count : from->line_length;
    for (size_t i = 0; i < count; i++)
        world_put(to, from->line[i]);
    memmove(from->line, from->line + count, from->line_length - count);
    from->line_length -= count;
    link_serve(&to->link);
    link_line_ready(&from->link);
}

static bool world_is_quiet(const struct world_end *end)
{
    bool is_quiet = end->line_length == 0 && end->link.oldest == end->link.next;
    for (unsigned i = 1; i < WORLD_CHANNELS; i++)
        is_quiet = is_quiet && end->channel[i].head == end->channel[i].tail;
    return is_quiet;
}

/* Both ways, with polls as the host's program sends them, until nothing is on its way, or long
 * enough for all that there can be. */
static void world_settle(struct world *world)
{
    unsigned quiet = 0;
    for (unsigned i = 0; i < 200 && quiet < 3; i++) {
        quiet = world_is_quiet(&world->near) && world_is_quiet(&world->far) ? quiet + 1 : 0;
        link_control(&world->far.link, LINK_POLL, NULL, 0);
        world_carry(&world->far, &world->near, WORLD_LINE);
        link_control(&world->near.link, LINK_POLL, NULL, 0);
        world_carry(&world->near, &world->far, WORLD_LINE);
    }
}
