/* kernel/core/fmt.c against the C library's snprintf. */
#include "kernel/core/fmt.h"
#include "tests/check.h"

/* Both give the same text, length and cut. The formats are legal for both. */
#define SAME(...)                                                                                  \
    do {                                                                                           \
        char ours[64], theirs[64];                                                                 \
        memset(ours, 'x', sizeof(ours));                                                           \
        memset(theirs, 'x', sizeof(theirs));                                                       \
        int our_length = fmt_format(ours, sizeof(ours), __VA_ARGS__);                              \
        int their_length = snprintf(theirs, sizeof(theirs), __VA_ARGS__);                          \
        CHECK_STR(ours, theirs);                                                                   \
        CHECK_EQ(our_length, their_length);                                                        \
    } while (0)

static const uint64_t values[] = {0,          1,          9,           10,         0x7f,
                                  0x80,       0xff,       0x100,       0x7fff,     0x8000,
                                  0xffff,     0x7fffffff, 0x80000000,  0xffffffff, 0x100000000,
                                  INT64_MAX,  1ull << 63, UINT64_MAX,  12345,      0xdeadbeef,
                                  0xcafebabe, 1000000000, 10000000000, 42,         7};

#pragma GCC diagnostic ignored "-Wformat"
#pragma GCC diagnostic ignored "-Wformat-truncation"
#pragma GCC diagnostic ignored "-Wformat-overflow"
#pragma GCC diagnostic ignored "-Wformat-extra-args"

static void integers_of_every_size(void)
{
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        uint64_t v = values[i];
        SAME("%d %i %u %x %X", (int)v, (int)v, (unsigned)v, (unsigned)v, (unsigned)v);
        SAME("%hhd %hhu %hhx", (int)v, (int)v, (int)v);
        SAME("%hd %hu %hX", (int)v, (int)v, (int)v);
        SAME("%ld", (long)v);
        SAME("%lu %lx", (unsigned long)v, (unsigned long)v);
        SAME("%lld", (long long)v);
        SAME("%llu %llX", (unsigned long long)v, (unsigned long long)v);
        SAME("%zu %zx", (size_t)v, (size_t)v);
        SAME("%#x %#lX", (unsigned)v, (unsigned long)v);
    }
}

static void widths_flags_and_precisions(void)
{
    static const char *const formats[] = {
        "%5d",   "%-5d|",   "%05d",  "%-05d|", "%.3d",    "%8.3d",   "%-8.3d|", "%08.3d",
        "%.0d",  "%5.0d|",  "%3.d|", "%x",     "%#x",     "%#8x",    "%#08x",   "%-#8x|",
        "%#.4x", "%#10.4x", "%8.8X", "%016x",  "%.16x",   "%20.10u", "%-20u|",  "%02x",
        "%#X",   "%1d",     "%-1d|", "%0-6d|", "%#-010x|"};
    static const int numbers[] = {0, 1, -1, 42, -42, 123456789, INT32_MIN, INT32_MAX};
    for (size_t f = 0; f < sizeof(formats) / sizeof(formats[0]); f++)
        for (size_t n = 0; n < sizeof(numbers) / sizeof(numbers[0]); n++)
            SAME(formats[f], numbers[n]);
}

static void widths_from_arguments(void)
{
    SAME("%*d|", 7, 42);
    SAME("%*d|", -7, 42);
    SAME("%-*d|", 7, 42);
    SAME("%.*d|", 5, 42);
    SAME("%.*d|", -5, 42);
    SAME("%*.*x|", 9, 4, 42);
    SAME("%*s|%-*s|", 6, "ab", 6, "cd");
    SAME("%.*s|", 2, "abcdef");
}

static void strings_and_characters(void)
{
    SAME("%s", "");
    SAME("%s and %s", "this", "that");
    SAME("%8s|%-8s|", "abc", "abc");
    SAME("%.2s|%8.2s|%-8.2s|%.0s|", "abcdef", "abcdef", "abcdef", "abcdef");
    SAME("%c%c|%4c|%-4c|", 'a', 'b', 'c', 'd');
    SAME("100%% sure%%");
    SAME("plain");
    char buffer[16];
    CHECK_EQ(fmt_format(buffer, sizeof(buffer), "%s", (const char *)NULL), 6);
    CHECK_STR(buffer, "(null)");
}

static void precision_bounds_what_is_read(void)
{
    /* Not terminated: the sanitizer sees a byte too many. */
    char text[4] = {'a', 'b', 'c', 'd'}, buffer[16];
    CHECK_EQ(fmt_format(buffer, sizeof(buffer), "%.4s", text), 4);
    CHECK_STR(buffer, "abcd");
}

static void pointers(void)
{
    char buffer[32];
    SAME("%p", (void *)(uintptr_t)0xffffffff80001234);
    SAME("%20p|%-20p|", (void *)(uintptr_t)0x1000, (void *)(uintptr_t)0x1000);
    fmt_format(buffer, sizeof(buffer), "%p", (void *)0);
    CHECK_STR(buffer, "0x0");
}

static void cuts_at_every_size(void)
{
    for (size_t size = 0; size < 20; size++) {
        char ours[24], theirs[24];
        memset(ours, 'x', sizeof(ours));
        memset(theirs, 'x', sizeof(theirs));
        int length = fmt_format(ours, size, "abc %06d %s", -42, "end");
        CHECK_EQ(length, snprintf(theirs, size, "abc %06d %s", -42, "end"));
        CHECK(memcmp(ours, theirs, sizeof(ours)) == 0);
    }
    CHECK_EQ(fmt_format(NULL, 0, "%d", 12345), 5);
}

static void mistakes_are_bounded(void)
{
    char buffer[32];
    fmt_format(buffer, sizeof(buffer), "%");
    CHECK_STR(buffer, "");
    fmt_format(buffer, sizeof(buffer), "%5");
    CHECK_STR(buffer, "");
    fmt_format(buffer, sizeof(buffer), "%q!", 1);
    CHECK_STR(buffer, "%q!");
    CHECK(fmt_format(buffer, sizeof(buffer), "%99999999999999d", 1) < 10000);
    CHECK(fmt_format(buffer, sizeof(buffer), "%*d", INT32_MIN, 1) < 10000);
}

TEST_MAIN({"integers_of_every_size", integers_of_every_size},
          {"widths_flags_and_precisions", widths_flags_and_precisions},
          {"widths_from_arguments", widths_from_arguments},
          {"strings_and_characters", strings_and_characters},
          {"precision_bounds_what_is_read", precision_bounds_what_is_read}, {"pointers", pointers},
          {"cuts_at_every_size", cuts_at_every_size},
          {"mistakes_are_bounded", mistakes_are_bounded})
