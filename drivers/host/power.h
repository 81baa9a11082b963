/* The end of the machine's run. */
#pragma once

#include "drivers/host/acpi.h"

struct power {
    const struct acpi *acpi;
    volatile uint8_t *pm1a, *pm1b, *sleep, *reset; /* mapped, where the register is in memory */
};

/* Maps what is needed, so that nothing is allocated at the end. */
void power_init(struct power *power, const struct acpi *acpi);

/* Flushes the log, then ACPI's S5; on a machine without ACPI (Bochs) its own port; where neither
 * works says that the machine may be turned off, and halts. */
NORETURN void power_off(const struct power *power);

/* Flushes the log, then the FADT's reset register, port 0xCF9, the keyboard controller, and a
 * triple fault. */
NORETURN void power_reboot(const struct power *power);
