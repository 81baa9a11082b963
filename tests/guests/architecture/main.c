/* Guest `architecture`. */
#include "tests/guests/architecture/architecture.h"

void architecture_main(void);

void architecture_main(void)
{
    cpuid_test();
    apic_test();
}
