/* The parts of guest `architecture`. */
#pragma once

#include "tests/guests/lib/guest.h"

void apic_test(void);
void cpuid_test(void);
