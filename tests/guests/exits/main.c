/* Guest `exits`: what leads to VM exits, in every environment. */
#include "tests/guests/exits/exits.h"

void exits_main(void);

void exits_main(void)
{
    exits_init();
    exits_test_triple_faults();
    exits_test_forms();
    exits_test_edges();
    exits_test_events();
    exits_test_tasks();
}
