/* Any sequence of register accesses, messages, pins and time leaves two local APICs consistent. */
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/apic_world.h"

struct input {
    const uint8_t *next;
    size_t left;
};

static uint8_t byte(struct input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->next++;
}

static uint32_t word(struct input *input)
{
    uint32_t value = byte(input);
    value |= (uint32_t)byte(input) << 8;
    value |= (uint32_t)byte(input) << 16;
    return value | (uint32_t)byte(input) << 24;
}

static struct world world;

static int highest_slowly(const uint64_t set[4])
{
    int found = LAPIC_NO_VECTOR;
    for (int vector = 0; vector < 256; vector++)
        if (set[vector / 64] >> (vector % 64) & 1)
            found = vector;
    return found;
}

static bool extint_reaches(const struct lapic *lapic)
{
    if (!lapic_is_enabled(lapic))
        return lapic->lint[0];
    for (unsigned i = 0; i < 2; i++)
        if (lapic->lint[i] && (lapic->lvt[LVT_LINT0 + i] & 0x10700) == 0x700)
            return true;
    return lapic->extint;
}

static void require_consistent(struct lapic *lapic)
{
    int irr = highest_slowly(lapic->irr), isr = highest_slowly(lapic->isr);
    REQUIRE(lapic->highest_irr == irr && lapic->highest_isr == isr);
    REQUIRE(((lapic->irr[0] | lapic->isr[0] | lapic->tmr[0]) & 0xffff) == 0);
    unsigned in_service = isr < 0 ? 0 : (unsigned)isr & 0xf0;
    REQUIRE(lapic->ppr == ((lapic->tpr & 0xf0u) >= in_service ? lapic->tpr : in_service));
    bool above = irr >= 0 && (irr & 0xf0) > (lapic->ppr & 0xf0);
    REQUIRE(lapic_has_interrupt(lapic) == (above || extint_reaches(lapic)));
    /* One interrupt in service for each priority class at most. */
    for (unsigned i = 0; i < 16; i++) {
        uint64_t of_class = lapic->isr[i / 4] >> (16 * (i % 4)) & 0xffff;
        REQUIRE((of_class & (of_class - 1)) == 0);
    }
    for (unsigned i = 0; i < LVT_COUNT; i++)
        REQUIRE(lapic_is_software_enabled(lapic) || (lapic->lvt[i] & 0x10000));
    REQUIRE((lapic->base & APIC_BASE_MODE) != APIC_BASE_EXTD);
    REQUIRE(lapic_is_enabled(lapic) || (irr < 0 && isr < 0));
    REQUIRE((lapic->esr & ~0xe0u) == 0);
    REQUIRE(lapic_read_cr8(lapic) == lapic->tpr >> 4);
}

static void step_registers(struct lapic *lapic, struct input *input, uint8_t command)
{
    uint64_t value;
    uint32_t index = byte(input);
    switch (command & 7) {
    case 0:
        lapic_mmio_write(lapic, (uint64_t)(index & 0x7f) << 4, 4, word(input));
        break;
    case 1:
        value = lapic_mmio_read(lapic, (uint64_t)(index & 0x7f) << 4, 4);
        if (index == 0x39 && lapic_has_page(lapic))
            REQUIRE(value <= lapic->timer.initial);
        break;
    case 2:
        value = word(input);
        value |= (uint64_t)(int8_t)byte(input) << 32;
        if (lapic_msr_write(lapic, 0x800 + index, value) == STATUS_OK)
            REQUIRE(lapic_is_x2apic(lapic));
        break;
    case 3:
        if (lapic_msr_read(lapic, 0x800 + index, &value) == STATUS_OK)
            REQUIRE(lapic_is_x2apic(lapic) && (index == 0x30 || value <= UINT32_MAX));
        break;
    case 4: {
        uint64_t old = lapic_read_base(lapic);
        value = 0xfee00000 | (uint64_t)index << 4;
        enum status status = lapic_write_base(lapic, value);
        REQUIRE(lapic_read_base(lapic) == (status == STATUS_OK ? value : old));
        break;
    }
    case 5:
        if (lapic_write_tsc_deadline(lapic, world.now + world.tsc_offset + word(input)) !=
            STATUS_OK)
            abort();
        if (lapic_read_tsc_deadline(lapic, &value) != STATUS_OK)
            abort();
        break;
    case 6:
        REQUIRE((lapic_write_cr8(lapic, index) == STATUS_OK) == (index < 16));
        break;
    default:
        lapic_mmio_write(lapic, (uint64_t)index << 4 | (command >> 4), 1u << (index & 3),
                         word(input));
        lapic_mmio_read(lapic, (uint64_t)index << 4 | (command >> 4), 1u << (index & 3));
        break;
    }
}

static void take_interrupt(struct lapic *lapic)
{
    bool extint = extint_reaches(lapic), had = lapic_has_interrupt(lapic);
    int vector = lapic_acknowledge(lapic);
    REQUIRE((vector != LAPIC_NO_VECTOR) == had);
    if (had && !extint) {
        REQUIRE(vector >= 16 && lapic->highest_isr == vector);
        REQUIRE(lapic->ppr >> 4 >= vector >> 4);
    }
}

static void step_world(struct lapic *lapic, struct input *input, uint8_t command)
{
    uint8_t operand = byte(input);
    switch (command & 7) {
    case 0:
        world_advance(&world, (uint64_t)operand << (byte(input) & 31));
        REQUIRE(world.timers.next > world.now);
        break;
    case 1:
        take_interrupt(lapic);
        break;
    case 2:
        lapic_eoi(lapic);
        break;
    case 3:
        apic_fabric_set_lint(&world.fabric, operand & 3, operand & 4);
        break;
    case 4:
        apic_fabric_send_msi(&world.fabric, 0xfee00000 | word(input) >> 8, word(input));
        break;
    case 5:
        lapic_raise(lapic,
                    (const enum lapic_lvt[]){LVT_THERMAL, LVT_PERFORMANCE, LVT_CMCI}[operand % 3]);
        break;
    case 6:
        world.tsc_offset = (uint64_t)(int8_t)operand << (byte(input) & 31);
        lapic_tsc_offset_changed(&world.cpu[0].lapic);
        lapic_tsc_offset_changed(&world.cpu[1].lapic);
        break;
    default:
        if (operand == 0)
            lapic_reset(lapic);
        else if (operand == 1)
            lapic_init_reset(lapic);
        else
            apic_enable(&world, operand & 1);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    REQUIRE(world_make(&world, 2));
    apic_enable(&world, 0);
    pic_program(&world, 1);
    while (input.left > 0) {
        uint8_t command = byte(&input);
        struct lapic *lapic = &world.cpu[command >> 7].lapic;
        unsigned wakes = world.cpu[command >> 7].wakes;
        bool pending = lapic_has_interrupt(lapic);
        if (command & 0x08)
            step_world(lapic, &input, command);
        else
            step_registers(lapic, &input, command);
        require_consistent(&world.cpu[0].lapic);
        require_consistent(&world.cpu[1].lapic);
        if (lapic_has_interrupt(lapic) && !pending)
            REQUIRE(world.cpu[command >> 7].wakes != wakes);
    }
    return 0;
}
