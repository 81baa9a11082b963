/* What a test may see of the doubles of log and panic (tests/fake/log.c). */
#pragma once

#include <setjmp.h>

/* All lines since the last fake_log_clear, as far as they fit. */
const char *fake_log_text(void);
void fake_log_clear(void);

/* Where a panic goes, with 1, instead of ending the program; NULL at the start. */
extern jmp_buf *fake_panic_jump;
