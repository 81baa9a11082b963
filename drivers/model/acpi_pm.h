/*
 * The ACPI fixed hardware (ACPI Specification: Fixed Hardware), the port that switches it on, and
 * the reset control register of Intel's chipsets. Ports, lengths and magic numbers are those of
 * kernel/vm/platform.h, from which the FADT takes them too.
 *
 * Locking: the caller holds the VM's device lock. The callbacks are called from inside an access:
 * they note what is to happen and return.
 */
#pragma once

#include "drivers/model/ticks.h"
#include "kernel/vm/bus.h"
#include "kernel/vm/irq_line.h"
#include "kernel/vm/timers.h"

/* Bits of PM1 status and enable. */
#define ACPI_PM_TIMER 0x0001
#define ACPI_PM_GLOBAL_LOCK 0x0020
#define ACPI_PM_POWER_BUTTON 0x0100
#define ACPI_PM_SLEEP_BUTTON 0x0200
#define ACPI_PM_RTC 0x0400

struct acpi_pm_config {
    struct irq_line sci; /* level-triggered, active high */
    const struct clock *clock;
    struct timer_queue *timers;
    bool timer_32bit; /* FADT: TMR_VAL_EXT */
    void (*power_off)(void *context);
    void (*reset)(void *context);
    void *context;
};

struct acpi_pm {
    struct acpi_pm_config config;
    struct ticks ticks;
    struct timer timer;
    uint64_t
        carries; /* how often the timer's highest bit had changed when status was last looked at */
    uint16_t status;
    uint16_t enable;
    uint16_t control;
    uint8_t gpe_enable[2]; /* no event is wired to these */
    uint8_t smi_command;
    uint8_t smi_status;
    uint8_t reset_control;
    bool sci_level;
};

/* ACPI mode is on from the start (SCI_EN), since no firmware waits for SMIs. */
void acpi_pm_init(struct acpi_pm *pm, const struct acpi_pm_config *config);

/* As after power-on, except that the timer counts on. */
void acpi_pm_reset(struct acpi_pm *pm);

/* Claims the block at PLATFORM_PM_BASE and the SMI command port. Errors of bus_add. The reset
 * control register lies inside the PCI host bridge's ports: the bridge passes byte accesses on, or,
 * without a bridge, the caller adds reset_control_ops itself. */
enum status MUST_CHECK acpi_pm_attach(struct acpi_pm *pm, struct bus *bus);
extern const struct bus_ops acpi_pm_ops;
extern const struct bus_ops acpi_smi_ops;
extern const struct bus_ops reset_control_ops;

/* The register at PLATFORM_PORT_RESET_CONTROL. */
uint8_t acpi_pm_read_reset_control(const struct acpi_pm *pm);
void acpi_pm_write_reset_control(struct acpi_pm *pm, uint8_t value);

/* Somebody presses a button, or another fixed event happens: ACPI_PM_* bits, not the timer's. */
void acpi_pm_raise(struct acpi_pm *pm, uint16_t events);

/* The value of the PM timer now, 24 or 32 bits. */
uint32_t acpi_pm_timer(const struct acpi_pm *pm);
