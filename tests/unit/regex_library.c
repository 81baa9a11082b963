/* What kernel/vm/regex.h has in line, for regex.py to call. */
#include "kernel/vm/regex.h"

unsigned test_regex_put(struct regex *regex, unsigned byte);

unsigned test_regex_put(struct regex *regex, unsigned byte)
{
    return regex_put(regex, (uint8_t)byte);
}
