#include "drivers/model/acpi_pm.h"

#include "drivers/model/byte_port.h"
#include "kernel/vm/platform.h"

/* Offsets in the block. */
#define OFFSET_STATUS (PLATFORM_PM1A_EVENT - PLATFORM_PM_BASE)
#define OFFSET_ENABLE (OFFSET_STATUS + 2)
#define OFFSET_CONTROL (PLATFORM_PM1A_CONTROL - PLATFORM_PM_BASE)
#define OFFSET_TIMER (PLATFORM_PM_TIMER - PLATFORM_PM_BASE)
#define OFFSET_GPE0 (PLATFORM_GPE0 - PLATFORM_PM_BASE)
#define OFFSET_GPE0_ENABLE (OFFSET_GPE0 + 2)

#define EVENTS                                                                                     \
    (ACPI_PM_TIMER | ACPI_PM_GLOBAL_LOCK | ACPI_PM_POWER_BUTTON | ACPI_PM_SLEEP_BUTTON |           \
     ACPI_PM_RTC)

/* ACPI: PM1 Control Grouping. */
#define CONTROL_SCI_EN 0x0001
#define CONTROL_BM_RLD 0x0002
#define CONTROL_SLP_TYP_SHIFT 10
#define CONTROL_SLP_TYP 0x1c00
#define CONTROL_SLP_EN 0x2000
/* SCI_EN is the hardware's to change; GBL_RLS and SLP_EN read as zero. */
#define CONTROL_WRITABLE (CONTROL_BM_RLD | CONTROL_SLP_TYP)

/* The reset control register. */
#define RESET_SYSTEM 0x02
#define RESET_CPU 0x04
#define RESET_FULL 0x08

/* ---- Events ---- */

static unsigned timer_bits(const struct acpi_pm *pm)
{
    return pm->config.timer_32bit ? 32 : 24;
}

/* Brings TMR_STS up to date: set each time that the timer's highest bit changes. */
static void update_status(struct acpi_pm *pm)
{
    uint64_t carries = ticks_now(&pm->ticks) >> (timer_bits(pm) - 1);
    if (carries <= pm->carries) /* a debugger may set the clock back by what nobody has seen */
        return;
    pm->status |= ACPI_PM_TIMER;
    pm->carries = carries;
}

/* ACPI: the SCI is held as long as an enabled event is pending. Expects a status up to date. The
 * timer's next carry needs a deadline only if it would interrupt. */
static void update_sci(struct acpi_pm *pm)
{
    bool waits = (pm->enable & ACPI_PM_TIMER) && !(pm->status & ACPI_PM_TIMER);
    timer_arm(&pm->timer,
              waits ? ticks_deadline(&pm->ticks, (pm->carries + 1) << (timer_bits(pm) - 1))
                    : TIMER_NEVER);
    bool level = (pm->control & CONTROL_SCI_EN) && (pm->status & pm->enable);
    if (level == pm->sci_level)
        return;
    pm->sci_level = level;
    irq_line_set(&pm->config.sci, level);
}

static void fire(void *owner, uint64_t now)
{
    struct acpi_pm *pm = owner;
    (void)now;
    update_status(pm);
    update_sci(pm);
}

void acpi_pm_raise(struct acpi_pm *pm, uint16_t events)
{
    update_status(pm);
    pm->status |= events & EVENTS & ~ACPI_PM_TIMER;
    update_sci(pm);
}

uint32_t acpi_pm_timer(const struct acpi_pm *pm)
{
    uint64_t tick = ticks_now(&pm->ticks);
    return (uint32_t)(pm->config.timer_32bit ? tick : tick & 0xffffff);
}

/* ---- The block of PM registers ---- */

static uint8_t read_byte(void *device, unsigned offset)
{
    struct acpi_pm *pm = device;
    switch (offset) {
    case OFFSET_STATUS:
    case OFFSET_STATUS + 1:
        update_status(pm);
        return (uint8_t)(pm->status >> (8 * (offset - OFFSET_STATUS)));
    case OFFSET_ENABLE:
    case OFFSET_ENABLE + 1:
        return (uint8_t)(pm->enable >> (8 * (offset - OFFSET_ENABLE)));
    case OFFSET_CONTROL:
    case OFFSET_CONTROL + 1:
        return (uint8_t)(pm->control >> (8 * (offset - OFFSET_CONTROL)));
    case OFFSET_TIMER ... OFFSET_TIMER + 3:
        return (uint8_t)(acpi_pm_timer(pm) >> (8 * (offset - OFFSET_TIMER)));
    case OFFSET_GPE0_ENABLE:
    case OFFSET_GPE0_ENABLE + 1:
        return pm->gpe_enable[offset - OFFSET_GPE0_ENABLE];
    default: /* GPE0 status, where nothing is ever pending, and the gaps */
        return 0;
    }
}

/* One byte of a 16-bit register replaced. */
static uint16_t with_byte(uint16_t word, unsigned which, uint8_t byte)
{
    unsigned shift = 8 * which;
    return (uint16_t)((word & ~(0xff << shift)) | byte << shift);
}

/* Of the sleep types, \_S5 is the only one that the DSDT offers: others sleep not at all. */
static void write_control(struct acpi_pm *pm, unsigned which, uint8_t byte)
{
    uint16_t value = with_byte(pm->control, which, byte);
    pm->control = (pm->control & ~CONTROL_WRITABLE) | (value & CONTROL_WRITABLE);
#ifdef PLANTED_BUG_LEGACY
    pm->control |= value & CONTROL_SCI_EN;
#endif
    bool sleeps = value & CONTROL_SLP_EN;
    unsigned type = (value & CONTROL_SLP_TYP) >> CONTROL_SLP_TYP_SHIFT;
    if (sleeps && type == PLATFORM_SLP_TYP_S5 && pm->config.power_off != NULL)
        pm->config.power_off(pm->config.context);
}

static void write_byte(void *device, unsigned offset, uint8_t byte)
{
    struct acpi_pm *pm = device;
    switch (offset) {
    case OFFSET_STATUS:
    case OFFSET_STATUS + 1:
        pm->status &= ~with_byte(0, offset - OFFSET_STATUS, byte);
        break;
    case OFFSET_ENABLE:
    case OFFSET_ENABLE + 1:
        pm->enable = with_byte(pm->enable, offset - OFFSET_ENABLE, byte) & EVENTS;
        break;
    case OFFSET_CONTROL:
    case OFFSET_CONTROL + 1:
        write_control(pm, offset - OFFSET_CONTROL, byte);
        break;
    case OFFSET_GPE0_ENABLE:
    case OFFSET_GPE0_ENABLE + 1:
        pm->gpe_enable[offset - OFFSET_GPE0_ENABLE] = byte;
        break;
    default: /* the timer is read-only */
        break;
    }
}

static uint64_t pm_read(void *device, uint64_t offset, unsigned size)
{
    /* The whole timer is what guests read often, and must not tear between two bytes. */
    if (offset == OFFSET_TIMER && size == 4)
        return acpi_pm_timer(device);
    return byte_port_read(device, offset, size, read_byte);
}

static void pm_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    update_status(device);
    byte_port_write(device, offset, size, value, write_byte);
    update_sci(device);
}

const struct bus_ops acpi_pm_ops = {pm_read, pm_write};

/* ---- The SMI command port ---- */

static uint8_t read_smi(void *device, unsigned offset)
{
    const struct acpi_pm *pm = device;
    return offset == 0 ? pm->smi_command : pm->smi_status;
}

/* What a firmware's SMI handler would do for the two commands that the FADT names. */
static void write_smi(void *device, unsigned offset, uint8_t value)
{
    struct acpi_pm *pm = device;
    if (offset != 0) {
        pm->smi_status = value;
        return;
    }
    pm->smi_command = value;
    if (value == PLATFORM_SMI_ACPI_ENABLE)
        pm->control |= CONTROL_SCI_EN;
    else if (value == PLATFORM_SMI_ACPI_DISABLE)
        pm->control &= ~CONTROL_SCI_EN;
    update_status(pm);
    update_sci(pm);
}

static uint64_t smi_read(void *device, uint64_t offset, unsigned size)
{
    return byte_port_read(device, offset, size, read_smi);
}

static void smi_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    byte_port_write(device, offset, size, value, write_smi);
}

const struct bus_ops acpi_smi_ops = {smi_read, smi_write};

/* ---- The reset control register ---- */

uint8_t acpi_pm_read_reset_control(const struct acpi_pm *pm)
{
    return pm->reset_control;
}

/* RESET_CPU starts the reset that the other bits describe; for a guest all of them are one. It
 * never reads as set, since the reset clears it. */
void acpi_pm_write_reset_control(struct acpi_pm *pm, uint8_t value)
{
    pm->reset_control = value & (RESET_SYSTEM | RESET_FULL);
    if ((value & RESET_CPU) && pm->config.reset != NULL)
        pm->config.reset(pm->config.context);
}

static uint64_t reset_read(void *device, uint64_t offset, unsigned size)
{
    (void)offset;
    (void)size;
    return acpi_pm_read_reset_control(device);
}

static void reset_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    (void)offset;
    (void)size;
    acpi_pm_write_reset_control(device, (uint8_t)value);
}

const struct bus_ops reset_control_ops = {reset_read, reset_write};

/* ---- Set-up ---- */

void acpi_pm_reset(struct acpi_pm *pm)
{
    update_status(pm);
    pm->status = pm->enable = 0;
    pm->control = CONTROL_SCI_EN;
    pm->gpe_enable[0] = pm->gpe_enable[1] = 0;
    pm->smi_command = pm->smi_status = pm->reset_control = 0;
    update_sci(pm);
}

INIT void acpi_pm_init(struct acpi_pm *pm, const struct acpi_pm_config *config)
{
    *pm = (struct acpi_pm){.config = *config};
    ticks_init(&pm->ticks, config->clock, PLATFORM_PM_TIMER_HZ);
    timer_init(&pm->timer, config->timers, fire, pm);
    acpi_pm_reset(pm);
}

INIT enum status acpi_pm_attach(struct acpi_pm *pm, struct bus *bus)
{
    enum status status =
        bus_add(bus, BUS_PORT, PLATFORM_PM_BASE, PLATFORM_PM_SIZE, &acpi_pm_ops, pm);
    if (status != STATUS_OK)
        return status;
    return bus_add(bus, BUS_PORT, PLATFORM_PORT_SMI_COMMAND, PLATFORM_PORT_SMI_SIZE, &acpi_smi_ops,
                   pm);
}
