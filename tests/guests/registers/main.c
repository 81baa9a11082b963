/* Guest `registers`: every bit of every register, by the tables of this folder. */
#include "tests/guests/registers/control.h"

extern uint64_t pml4[512], page_directories[2048];

void registers_main(void);

/* CR4.SMEP and CR4.SMAP shall be free to change: no page here is a user's. */
static void make_pages_supervisor(void)
{
    for (unsigned i = 0; i < 2048; i++)
        page_directories[i] &= ~4ull;
    (void)guest_try_write_cr3(guest_read_cr3());
}

void registers_main(void)
{
    make_pages_supervisor();
    control_init();
    control_test();
    control_modes_test();
    control_check_coverage();
    debug_test();
    msr_test();
}
