/* What travels between I/O APICs, MSI sources and local APICs: an interrupt message. */
#pragma once

#include "kernel/core/types.h"

/* SDM: Interrupt Command Register (ICR), "Delivery Mode"; LVT and redirection entries use the same
 * numbers. Three is reserved. */
enum apic_delivery_mode {
    DELIVERY_FIXED = 0,
    DELIVERY_LOWEST_PRIORITY = 1,
    DELIVERY_SMI = 2,
    DELIVERY_NMI = 4,
    DELIVERY_INIT = 5,
    DELIVERY_STARTUP = 6,
    DELIVERY_EXTINT = 7,
};

/* SDM: Interrupt Command Register (ICR), "Destination Shorthand". */
enum apic_shorthand { SHORTHAND_NONE, SHORTHAND_SELF, SHORTHAND_ALL, SHORTHAND_OTHERS };

struct apic_message {
    uint32_t destination; /* a physical APIC ID or a logical mask; unused with a shorthand */
    bool wide;            /* destination has 32 bits (from an x2APIC), not 8 */
    bool logical;
    bool level;            /* level triggered: the target's EOI is broadcast */
    uint8_t delivery_mode; /* enum apic_delivery_mode, 0 to 7 */
    uint8_t vector;
    uint8_t shorthand; /* enum apic_shorthand */
};
