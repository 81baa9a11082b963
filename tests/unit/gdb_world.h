/* One guest of one vCPU behind gdb's stub, for tests: 64 KiB of memory at 0x1000. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/debug/gdb_stub.h"

#define WORLD_BASE 0x1000u
#define WORLD_SIZE 0x10000u
#define WORLD_SENT 65536u

struct gdb_world {
    struct gdb_target target;
    struct gdb_stub stub;
    struct gdb_registers registers;
    uint8_t memory[WORLD_SIZE];
    char sent[WORLD_SENT + 1];
    size_t sent_length;
    bool is_dead, is_paused, was_physical;
    bool dies_first; /* before it is paused */
    unsigned pauses, resumes, kills, resets, restarts, steps, points, cleared;
    uint64_t step_start, step_end;
    uint64_t point_address, point_size;
    enum gdb_point point;
    enum status pause_status;
    struct gdb_end end; /* where is_dead */
    unsigned room;      /* for pieces of a command's output, and one more */
};

static const char *world_name(void *context, unsigned guest)
{
    static const char *const name[] = {"linux", "other"};
    (void)context;
    return guest < 2 ? name[guest] : NULL;
}

static bool world_is_alive(void *context, unsigned guest)
{
    return guest < 2 && !((struct gdb_world *)context)->is_dead;
}

static struct gdb_end world_end(void *context, unsigned guest)
{
    const struct gdb_world *world = context;
    (void)guest;
    return world->end;
}

static unsigned world_vcpus(void *context, unsigned guest)
{
    (void)context;
    return guest < 2;
}

static enum status world_pause(void *context, unsigned guest)
{
    struct gdb_world *world = context;
    (void)guest;
    world->pauses++;
    world->is_paused = true;
    world->is_dead |= world->dies_first;
    return world->is_dead ? ERR_NOT_FOUND : world->pause_status;
}

static void world_resume(void *context, unsigned guest)
{
    struct gdb_world *world = context;
    (void)guest;
    world->resumes++;
    world->is_paused = false;
}

static enum status world_read_registers(void *context, unsigned guest, unsigned vcpu,
                                        struct gdb_registers *registers)
{
    struct gdb_world *world = context;
    (void)guest;
    *registers = world->registers;
    return vcpu == 0 && !world->is_dead ? STATUS_OK : ERR_NOT_FOUND;
}

static enum status world_write_registers(void *context, unsigned guest, unsigned vcpu,
                                         const struct gdb_registers *registers)
{
    struct gdb_world *world = context;
    (void)guest;
    if (vcpu != 0)
        return ERR_NOT_FOUND;
    world->registers = *registers;
    return STATUS_OK;
}

/* LSTAR is there, in R15's place; nothing else is. */
static enum status world_access_msr(void *context, unsigned guest, unsigned vcpu, uint32_t msr,
                                    bool writes, uint64_t *value)
{
    struct gdb_world *world = context;
    (void)guest;
    (void)vcpu;
    if (msr != 0xc0000082)
        return ERR_UNSUPPORTED;
    if (writes)
        world->registers.cpu.gpr[GPR_R15] = *value;
    *value = world->registers.cpu.gpr[GPR_R15];
    return STATUS_OK;
}

static uint8_t *world_at(struct gdb_world *world, uint64_t address, size_t size, size_t *done)
{
    uint64_t offset = address - WORLD_BASE;
    *done = offset >= WORLD_SIZE ? 0 : WORLD_SIZE - offset < size ? WORLD_SIZE - offset : size;
    return &world->memory[*done != 0 ? offset : 0];
}

static enum status world_read_memory(void *context, unsigned guest, unsigned vcpu, bool is_physical,
                                     uint64_t address, void *to, size_t size, size_t *done)
{
    struct gdb_world *world = context;
    (void)guest;
    (void)vcpu;
    world->was_physical = is_physical;
    const uint8_t *from = world_at(world, address, size, done);
    memcpy(to, from, *done);
    return *done == size ? STATUS_OK : ERR_FAULT;
}

static enum status world_write_memory(void *context, unsigned guest, unsigned vcpu,
                                      bool is_physical, uint64_t address, const void *from,
                                      size_t size, size_t *done)
{
    struct gdb_world *world = context;
    (void)guest;
    (void)vcpu;
    world->was_physical = is_physical;
    uint8_t *to = world_at(world, address, size, done);
    memcpy(to, from, *done);
    return *done == size ? STATUS_OK : ERR_FAULT;
}

static enum status world_step(void *context, unsigned guest, unsigned vcpu, uint64_t start,
                              uint64_t end)
{
    struct gdb_world *world = context;
    (void)guest;
    world->steps++;
    world->step_start = start;
    world->step_end = end;
    return vcpu == 0 ? STATUS_OK : ERR_NOT_FOUND;
}

static enum status world_set_point(void *context, unsigned guest, unsigned vcpu,
                                   enum gdb_point point, bool is_physical, uint64_t address,
                                   uint64_t size)
{
    struct gdb_world *world = context;
    (void)guest;
    (void)vcpu;
    world->was_physical = is_physical;
    world->points++;
    world->point = point;
    world->point_address = address;
    world->point_size = size;
    return point == GDB_POINT_READ ? ERR_UNSUPPORTED : STATUS_OK;
}

static enum status world_clear_point(void *context, unsigned guest, unsigned vcpu,
                                     enum gdb_point point, bool is_physical, uint64_t address,
                                     uint64_t size)
{
    struct gdb_world *world = context;
    (void)guest;
    (void)vcpu;
    (void)point;
    (void)is_physical;
    (void)size;
    return address == world->point_address ? STATUS_OK : ERR_NOT_FOUND;
}

static void world_clear_points(void *context, unsigned guest)
{
    (void)guest;
    ((struct gdb_world *)context)->cleared++;
}

static void world_kill(void *context, unsigned guest)
{
    (void)guest;
    ((struct gdb_world *)context)->kills++;
}

static void world_reset(void *context, unsigned guest)
{
    (void)guest;
    ((struct gdb_world *)context)->resets++;
}

static enum status world_restart(void *context, unsigned guest)
{
    (void)guest;
    ((struct gdb_world *)context)->restarts++;
    return ((struct gdb_world *)context)->pause_status;
}

static bool world_has_room(void *context)
{
    struct gdb_world *world = context;
    world->room -= world->room != 0;
    return world->room != 0;
}

static void world_send(void *context, const void *bytes, size_t size)
{
    struct gdb_world *world = context;
    if (size > WORLD_SENT - world->sent_length)
        abort();
    memcpy(world->sent + world->sent_length, bytes, size);
    world->sent_length += size;
    world->sent[world->sent_length] = 0;
}

static inline void world_start(struct gdb_world *world)
{
    memset(world, 0, sizeof(*world));
    world->target = (struct gdb_target){
        world_name,
        world_is_alive,
        world_end,
        world_vcpus,
        world_pause,
        world_resume,
        world_read_registers,
        world_write_registers,
        world_access_msr,
        world_read_memory,
        world_write_memory,
        world_step,
        world_set_point,
        world_clear_point,
        world_clear_points,
        world_kill,
        world_reset,
        world_restart,
        NULL,
        NULL,
        world_has_room,
        world_send,
        world,
    };
    world->room = ~0u;
    gdb_stub_init(&world->stub, &world->target);
}

static inline void world_put(struct gdb_world *world, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        gdb_stub_input(&world->stub, (uint8_t)bytes[i]);
}

/* What comes back for a packet, with runs written out and without what stands around it. */
static inline const char *world_ask(struct gdb_world *world, const char *packet, size_t length)
{
    static char reply[4 * GDB_PACKET_MAX];
    char framed[GDB_PACKET_MAX + 8];
    uint8_t sum = 0;
    size_t used = 0;
    framed[0] = '$';
    memcpy(framed + 1, packet, length);
    for (size_t i = 0; i < length; i++)
        sum = (uint8_t)(sum + (uint8_t)packet[i]);
    snprintf(framed + 1 + length, 4, "#%02x", sum);
    world->sent_length = 0;
    world->sent[0] = 0;
    world_put(world, framed, length + 4);
    const char *at = strchr(world->sent, '$');
    if (at == NULL)
        return "(nothing)";
    for (at++; *at != '#' && *at != 0; at++) {
        if (*at == '*') {
            for (int more = *++at - 29; more > 0; more--, used++)
                reply[used] = reply[used - 1];
        } else {
            reply[used++] = *at;
        }
    }
    reply[used] = 0;
    return reply;
}
