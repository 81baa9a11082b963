/* The cases of guest `sweeps`. */
#pragma once

#include "tests/guests/lib/guest.h"

bool sweeps_is_traprock(void);

void instructions_test(void);
void hypercalls_test(void);
void ports_test(void);
