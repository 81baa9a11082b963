/* Any sequence of register accesses, pins and EOIs: no level interrupt is lost or sent twice. */
#include <stdlib.h>

#include "kernel/core/bits.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/apic_world.h"

#define REMOTE_IRR BIT(14)
#define LEVEL BIT(15)
#define MASKED BIT(16)

static struct world world;

/* A level with a vector, for a processor that is there: physical, or the broadcast. */
static bool would_be_accepted(uint64_t entry)
{
    uint64_t destination = entry >> 56;
    return (entry & 0xff) >= 16 && (entry & 0xe00) == 0 &&
           (destination < WORLD_CPUS || destination == 0xff);
}

static void require_consistent(void)
{
    REQUIRE(world.ioapic.lines >> IOAPIC_PINS == 0);
    REQUIRE((world.ioapic.id & ~0x0f000000u) == 0);
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t entry = world.ioapic.redirection[pin];
        bool level = (entry & LEVEL) && (entry & 0x600) == 0;
        REQUIRE((entry & (BIT(12) | MASK(55, 17))) == 0);
        REQUIRE(level || !(entry & REMOTE_IRR));
        /* An asserted, unmasked level has been accepted. */
        if (level && !(entry & MASKED) && (world.ioapic.lines >> pin & 1) &&
            would_be_accepted(entry))
            REQUIRE(entry & REMOTE_IRR);
    }
}

static void serve(struct lapic *lapic)
{
    int vector = lapic_acknowledge(lapic);
    if (vector == LAPIC_NO_VECTOR)
        return;
    bool level = lapic->tmr[vector / 64] >> (vector % 64) & 1;
    lapic_eoi(lapic);
    /* After the EOI of a level, remote IRR is set only where the pin is asserted again. */
    for (unsigned pin = 0; level && pin < IOAPIC_PINS; pin++) {
        uint64_t entry = world.ioapic.redirection[pin];
        if ((entry & 0xff) == (unsigned)vector && (entry & REMOTE_IRR))
            REQUIRE(world.ioapic.lines >> pin & 1);
    }
}

static void step(uint8_t command, uint8_t operand, uint32_t value)
{
    struct ioapic *ioapic = &world.ioapic;
    switch (command & 7) {
    case 0:
    case 1:
        ioapic_put(&world, operand, value);
        break;
    case 2:
        ioapic_get(&world, operand);
        break;
    case 3:
    case 4:
        ioapic_set_line(ioapic, operand & 31, operand & 32);
        break;
    case 5:
        serve(&world.cpu[operand % WORLD_CPUS].lapic);
        break;
    case 6:
        ioapic_bus_ops.write(ioapic, 0x40, 4, value);
        break;
    default:
        ioapic_bus_ops.write(ioapic, operand, 1u << (command >> 6), value);
        ioapic_bus_ops.read(ioapic, operand, 1u << (command >> 6));
        if (command == 0xff)
            ioapic_reset(ioapic);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    REQUIRE(world_make(&world, WORLD_CPUS));
    for (unsigned i = 0; i < WORLD_CPUS; i++)
        apic_enable(&world, i);
    for (; size >= 6; data += 6, size -= 6) {
        step(data[0], data[1],
             data[2] | (uint32_t)data[3] << 8 | (uint32_t)data[4] << 16 | (uint32_t)data[5] << 24);
        require_consistent();
    }
    return 0;
}
