#include "drivers/host/ioapic.h"

#include "kernel/core/bits.h"
#include "kernel/core/hw.h"
#include "kernel/core/log.h"
#include "kernel/core/paging.h"

#define DEFAULT_ADDRESS 0xfec00000ull
#define REGISTERS_SIZE 0x20

/* 32-bit words into the registers: the index, and the data at that index. */
#define SELECT 0
#define WINDOW 4

#define REG_VERSION 1
#define REG_REDIRECTION(input) (0x10 + 2 * (input))
#define INPUTS_MAX 240

#define RTE_ACTIVE_LOW BIT(13)
#define RTE_LEVEL BIT(15)
#define RTE_MASKED BIT(16)

static uint32_t read(const struct host_ioapic_unit *unit, uint32_t reg)
{
    hw_mmio_write32(unit->registers + SELECT, reg);
    return hw_mmio_read32(unit->registers + WINDOW);
}

static void write(const struct host_ioapic_unit *unit, uint32_t reg, uint32_t value)
{
    hw_mmio_write32(unit->registers + SELECT, reg);
    hw_mmio_write32(unit->registers + WINDOW, value);
}

static void mask(const struct host_ioapic_unit *unit, uint32_t input)
{
    write(unit, REG_REDIRECTION(input), RTE_MASKED);
}

static void add_unit(struct host_ioapic *ioapic, uint64_t address, uint32_t gsi_base)
{
    struct host_ioapic_unit *unit = &ioapic->unit[ioapic->count];
    unit->registers = paging_map_device(HPA(address), REGISTERS_SIZE, MAP_UC | MAP_WRITE);
    if (unit->registers == NULL) {
        log_warn("cannot map the I/O APIC at 0x%lx", address);
        return;
    }
    uint32_t version = read(unit, REG_VERSION);
    uint32_t inputs = (uint32_t)bits_get(version, 23, 16) + 1;
    if (version == UINT32_MAX || inputs > INPUTS_MAX) {
        log_warn("there is no I/O APIC at 0x%lx", address);
        return;
    }
    unit->gsi_base = gsi_base;
    unit->inputs = inputs;
    for (uint32_t i = 0; i < inputs; i++)
        mask(unit, i);
    ioapic->count++;
}

void host_ioapic_init(struct host_ioapic *ioapic, const struct acpi *acpi)
{
    *ioapic = (struct host_ioapic){0};
    for (unsigned i = 0; i < ACPI_ISA_IRQS; i++)
        ioapic->isa[i] = acpi->isa[i];
    for (unsigned i = 0; i < acpi->ioapic_count; i++)
        add_unit(ioapic, acpi->ioapic[i].address, acpi->ioapic[i].gsi_base);
    if (!acpi->has_madt)
        add_unit(ioapic, DEFAULT_ADDRESS, 0);
}

static const struct host_ioapic_unit *find(const struct host_ioapic *ioapic, uint32_t gsi,
                                           uint32_t *input)
{
    for (unsigned i = 0; i < ioapic->count; i++) {
        *input = gsi - ioapic->unit[i].gsi_base;
        if (gsi >= ioapic->unit[i].gsi_base && *input < ioapic->unit[i].inputs)
            return &ioapic->unit[i];
    }
    return NULL;
}

enum status host_ioapic_route_isa(struct host_ioapic *ioapic, uint8_t irq, uint8_t vector,
                                  uint32_t apic_id)
{
    uint32_t input;
    if (irq >= ACPI_ISA_IRQS || apic_id > 0xff)
        return ERR_NOT_FOUND;
    const struct acpi_override *route = &ioapic->isa[irq];
    const struct host_ioapic_unit *unit = find(ioapic, route->gsi, &input);
    if (unit == NULL)
        return ERR_NOT_FOUND;
    uint32_t low = vector;
    low |= route->active_low ? (uint32_t)RTE_ACTIVE_LOW : 0;
    low |= route->level ? (uint32_t)RTE_LEVEL : 0;
    mask(unit, input); /* while its halves do not belong together */
    write(unit, REG_REDIRECTION(input) + 1, apic_id << 24);
    write(unit, REG_REDIRECTION(input), low);
    return STATUS_OK;
}
