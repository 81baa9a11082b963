#include "tests/check.h"

jmp_buf check_failed;

static int run_one(const struct test *test)
{
    if (setjmp(check_failed) != 0)
        return 1;
    test->run();
    return 0;
}

int check_run(const struct test *tests, size_t count)
{
    int failures = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < count; i++) {
        int failed = run_one(&tests[i]);
        printf("%s %s\n", failed ? "not ok" : "ok", tests[i].name);
        failures += failed;
    }
    return failures != 0;
}
