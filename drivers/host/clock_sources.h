/* The machine's timers of known rate that ACPI names, as references for the TSC. */
#pragma once

#include "drivers/host/acpi.h"
#include "kernel/core/time.h"

#define CLOCK_SOURCES_MAX 2

/* Fills references[]; returns how many there are. Maps the HPET and starts its counter. */
unsigned clock_sources_find(const struct acpi *acpi,
                            struct time_reference references[CLOCK_SOURCES_MAX]);
