/* Guest `sweeps`: everything of a kind, one after the other: instructions by mode and ring, numbers
 * of hypercalls, ports. */
#include "tests/guests/sweeps/sweeps.h"

void sweeps_main(void);

bool sweeps_is_traprock(void)
{
    return guest_has(1, 0, ECX, 31) && guest_cpuid(0x40000000, 0, EBX) == 0x70617254; /* "Trap" */
}

void sweeps_main(void)
{
    instructions_test();
    hypercalls_test();
    ports_test();
}
