#include "drivers/host/clock_sources.h"

#include "kernel/core/hw.h"
#include "kernel/core/paging.h"

/* ACPI Specification: Power Management Timer. */
#define PM_TIMER_HZ 3579545

/* IA-PC HPET Specification: Register Overview. */
#define HPET_SIZE 1024
#define HPET_PERIOD 0x004 /* femtoseconds a tick */
#define HPET_CONFIGURATION 0x010
#define HPET_ENABLE BIT(0)
#define HPET_COUNTER 0x0f0
#define HPET_PERIOD_MAX 100000000u
#define FEMTOSECONDS 1000000000000000ull

static uint32_t read_pm_port(void *context)
{
    return hw_inl((uint16_t)(uintptr_t)context);
}

static uint32_t read_mmio(void *context)
{
    return hw_mmio_read32(context);
}

static bool find_pm_timer(const struct acpi *acpi, struct time_reference *reference)
{
    const struct acpi_register *timer = &acpi->pm_timer;
    *reference = (struct time_reference){.name = "ACPI PM timer",
                                         .hz = PM_TIMER_HZ,
                                         .mask = acpi->pm_timer_is_32bit ? UINT32_MAX : 0xffffff};
    if (timer->address == 0)
        return false;
    if (timer->space == ACPI_SPACE_PORT && timer->address <= UINT16_MAX) {
        reference->read = read_pm_port;
        reference->context = (void *)(uintptr_t)timer->address;
        return true;
    }
    if (timer->space != ACPI_SPACE_MEMORY)
        return false;
    reference->read = read_mmio;
    reference->context = paging_map_device(HPA(timer->address), 4, MAP_UC);
    return reference->context != NULL;
}

static bool find_hpet(const struct acpi *acpi, struct time_reference *reference)
{
    if (acpi->hpet_address == 0)
        return false;
    uint8_t *hpet = paging_map_device(HPA(acpi->hpet_address), HPET_SIZE, MAP_UC | MAP_WRITE);
    if (hpet == NULL)
        return false;
    uint32_t period = hw_mmio_read32(hpet + HPET_PERIOD);
    if (period == 0 || period > HPET_PERIOD_MAX)
        return false;
    uint32_t configuration = hw_mmio_read32(hpet + HPET_CONFIGURATION);
    hw_mmio_write32(hpet + HPET_CONFIGURATION, configuration | HPET_ENABLE);
    *reference = (struct time_reference){.name = "HPET",
                                         .hz = FEMTOSECONDS / period,
                                         .mask = UINT32_MAX,
                                         .read = read_mmio,
                                         .context = hpet + HPET_COUNTER};
    return true;
}

unsigned clock_sources_find(const struct acpi *acpi,
                            struct time_reference references[CLOCK_SOURCES_MAX])
{
    unsigned count = 0;
    count += find_pm_timer(acpi, &references[count]);
    count += find_hpet(acpi, &references[count]);
    return count;
}
