/* A VM's interrupt controllers with a clock to turn and processors that count what reaches them. */
#pragma once

#include "drivers/model/apic_fabric.h"
#include "drivers/model/ioapic.h"
#include "drivers/model/irq_router.h"
#include "drivers/model/lapic.h"
#include "drivers/model/pic.h"
#include "kernel/core/mem.h"

#define WORLD_CPUS 4
#define WORLD_CLOCK_HZ 3000000000ull
#define WORLD_TIMER_HZ 25000000ull
#define WORLD_CLOCKS_PER_COUNT (WORLD_CLOCK_HZ / WORLD_TIMER_HZ)

struct world;

struct world_cpu {
    struct lapic lapic;
    struct world *world;
    unsigned wakes, nmis, inits, sipis, base_changes;
    uint8_t sipi_vector;
    uint64_t old_base, new_base;
};

struct world {
    struct world_cpu cpu[WORLD_CPUS];
    struct apic_fabric fabric;
    struct ioapic ioapic;
    struct pic pic;
    struct irq_router router;
    struct timer_queue timers;
    struct clock clock;
    uint64_t now, tsc_offset;
};

static uint64_t world_now(void *context)
{
    return ((struct world *)context)->now;
}

static void world_wake(void *context)
{
    ((struct world_cpu *)context)->wakes++;
}

static void world_nmi(void *context)
{
    ((struct world_cpu *)context)->nmis++;
}

static void world_init_signal(void *context)
{
    ((struct world_cpu *)context)->inits++;
}

static void world_sipi(void *context, uint8_t vector)
{
    struct world_cpu *cpu = context;
    cpu->sipis++;
    cpu->sipi_vector = vector;
}

static void world_base_changed(void *context, uint64_t old_base, uint64_t new_base)
{
    struct world_cpu *cpu = context;
    cpu->base_changes++;
    cpu->old_base = old_base;
    cpu->new_base = new_base;
}

static uint8_t world_pic_acknowledge(void *context)
{
    return pic_acknowledge(&((struct world_cpu *)context)->world->pic);
}

static const struct lapic_ops world_ops = {
    .wake = world_wake,
    .nmi = world_nmi,
    .init = world_init_signal,
    .sipi = world_sipi,
    .base_changed = world_base_changed,
    .pic_acknowledge = world_pic_acknowledge,
};

static inline struct lapic_config world_config(struct world *world, unsigned index)
{
    return (struct lapic_config){
        .apic_id = index,
        .is_bsp = index == 0,
        .x2apic = true,
        .tsc_deadline = true,
        .cmci = true,
        .eoi_suppression = true,
        .physical_bits = 40,
        .timer_hz = WORLD_TIMER_HZ,
        .clock = &world->clock,
        .timers = &world->timers,
        .tsc_offset = &world->tsc_offset,
        .fabric = &world->fabric,
        .ops = &world_ops,
        .context = &world->cpu[index],
    };
}

/* Everything after RESET. Returns false where a table was full. */
static inline bool world_make(struct world *world, unsigned cpus)
{
    memset(world, 0, sizeof(*world));
    world->now = 1000;
    world->clock = (struct clock){world_now, world, WORLD_CLOCK_HZ};
    timer_queue_init(&world->timers);
    bool good = true;
    for (unsigned i = 0; i < cpus; i++) {
        struct lapic_config config = world_config(world, i);
        world->cpu[i].world = world;
        lapic_init(&world->cpu[i].lapic, &config);
        good &= apic_fabric_add(&world->fabric, &world->cpu[i].lapic) == STATUS_OK;
    }
    good &= ioapic_init(&world->ioapic, &world->fabric, 0) == STATUS_OK;
    irq_router_init(&world->router, &world->fabric, &world->pic, &world->ioapic);
    pic_init(&world->pic, irq_router_intr(&world->router));
    return good;
}

static inline void world_advance(struct world *world, uint64_t clocks)
{
    world->now += clocks;
    timers_run(&world->timers, world->now);
}

/* The xAPIC page of a processor. */
static inline uint32_t apic_read(struct world *world, unsigned cpu, unsigned offset)
{
    return (uint32_t)lapic_mmio_read(&world->cpu[cpu].lapic, offset, 4);
}

static inline void apic_write(struct world *world, unsigned cpu, unsigned offset, uint32_t value)
{
    lapic_mmio_write(&world->cpu[cpu].lapic, offset, 4, value);
}

static inline void apic_enable(struct world *world, unsigned cpu)
{
    apic_write(world, cpu, 0xf0, 0x1ff);
}

static inline uint32_t ioapic_get(struct world *world, uint8_t index)
{
    ioapic_bus_ops.write(&world->ioapic, 0, 4, index);
    return (uint32_t)ioapic_bus_ops.read(&world->ioapic, 0x10, 4);
}

static inline void ioapic_put(struct world *world, uint8_t index, uint32_t value)
{
    ioapic_bus_ops.write(&world->ioapic, 0, 4, index);
    ioapic_bus_ops.write(&world->ioapic, 0x10, 4, value);
}

static inline void ioapic_route(struct world *world, unsigned pin, uint8_t destination,
                                uint32_t low)
{
    ioapic_put(world, (uint8_t)(0x11 + 2 * pin), (uint32_t)destination << 24);
    ioapic_put(world, (uint8_t)(0x10 + 2 * pin), low);
}

static inline uint8_t pic_get(struct world *world, unsigned port)
{
    return (uint8_t)pic_bus_ops.read(&world->pic.chip[port >= 0xa0], port & 1, 1);
}

static inline void pic_put(struct world *world, unsigned port, uint8_t value)
{
    pic_bus_ops.write(&world->pic.chip[port >= 0xa0], port & 1, 1, value);
}

/* As firmware and Linux do: vectors 30H and 38H, everything unmasked. */
static inline void pic_program(struct world *world, uint8_t icw4)
{
    pic_put(world, 0x20, 0x11);
    pic_put(world, 0x21, 0x30);
    pic_put(world, 0x21, 0x04);
    pic_put(world, 0x21, icw4);
    pic_put(world, 0xa0, 0x11);
    pic_put(world, 0xa1, 0x38);
    pic_put(world, 0xa1, 0x02);
    pic_put(world, 0xa1, icw4 & 0x3);
    pic_put(world, 0x21, 0);
    pic_put(world, 0xa1, 0);
}
