#include "tests/check.h"

jmp_buf check_failed;

int check_run(const struct test *tests, size_t count)
{
    int failures = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < count; i++) {
        volatile int failed = setjmp(check_failed);
        if (!failed)
            tests[i].run();
        printf("%s %s\n", failed ? "not ok" : "ok", tests[i].name);
        failures += failed;
    }
    return failures != 0;
}
