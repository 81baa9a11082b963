/*
 * Host tests. Every test file is a program: static functions, listed in one TEST_MAIN at its end.
 * Each test runs in order, in one process, and its first failed CHECK ends it.
 *
 *     static void adds(void) { CHECK_EQ(1 + 1, 2); }
 *     TEST_MAIN({"adds", adds})
 */
#pragma once

#include <inttypes.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct test {
    const char *name;
    void (*run)(void);
};

extern jmp_buf check_failed;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("# %s:%d: %s\n", __FILE__, __LINE__, #condition);                               \
            longjmp(check_failed, 1);                                                              \
        }                                                                                          \
    } while (0)

#define CHECK_EQ(actual, expected)                                                                 \
    do {                                                                                           \
        uint64_t check_actual = (uint64_t)(actual), check_expected = (uint64_t)(expected);         \
        if (check_actual != check_expected) {                                                      \
            printf("# %s:%d: %s is 0x%" PRIx64 ", not 0x%" PRIx64 "\n", __FILE__, __LINE__,        \
                   #actual, check_actual, check_expected);                                         \
            longjmp(check_failed, 1);                                                              \
        }                                                                                          \
    } while (0)

#define CHECK_STR(actual, expected)                                                                \
    do {                                                                                           \
        const char *check_actual = (actual), *check_expected = (expected);                         \
        if (strcmp(check_actual, check_expected) != 0) {                                           \
            printf("# %s:%d: %s is \"%s\", not \"%s\"\n", __FILE__, __LINE__, #actual,             \
                   check_actual, check_expected);                                                  \
            longjmp(check_failed, 1);                                                              \
        }                                                                                          \
    } while (0)

/* Prints `ok NAME` or `not ok NAME` for each; the exit status is 0 when all passed. */
int check_run(const struct test *tests, size_t count);

#define TEST_MAIN(...)                                                                             \
    int main(void)                                                                                 \
    {                                                                                              \
        static const struct test tests[] = {__VA_ARGS__};                                          \
        return check_run(tests, sizeof(tests) / sizeof(tests[0]));                                 \
    }
