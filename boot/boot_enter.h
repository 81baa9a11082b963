/* monitor.asm: the step from the boot program to the monitor. */
#pragma once

#include "kernel/core/types.h"

/* Interrupts off, the page tables loaded, RSP = stack_top, RDI = boot_info, RBP = 0 (the end of
 * every backtrace), and a jump to entry. */
NORETURN void boot_enter(uint64_t page_tables, uint64_t entry, uint64_t boot_info,
                         uint64_t stack_top);
