/* Floating-point numbers in decimal, as the host's printf has them, bit for bit. */
#include <stdio.h>
#include <string.h>

#include "kernel/core/bits.h"
#include "kernel/debug/float_text.h"
#include "tests/check.h"

static const char *printed(uint64_t bits, unsigned size)
{
    static char text[64];
    double wide;
    float narrow;
    uint32_t half = (uint32_t)bits;
    memcpy(&wide, &bits, sizeof(wide));
    memcpy(&narrow, &half, sizeof(narrow));
    if (size == 8)
        snprintf(text, sizeof(text), "%.17g", wide);
    else
        snprintf(text, sizeof(text), "%.9g", (double)narrow);
    return text;
}

static void compare(uint64_t bits, unsigned size)
{
    char text[FLOAT_TEXT_MAX];
    float_describe(bits, size, text);
    CHECK_STR(text, printed(bits, size));
}

static void known_numbers(void)
{
    static const double numbers[] = {
        0,   1,    -1,   0.1, 1.1, 123456789, 1e16,  1e17,     1e18,   1e-4, 1e-5,
        9.5, 1e23, 1e22, 0.5, 2.5, 1.0 / 3,   1e308, 4.9e-324, 1e-308, -0.0, 99999999999999999.0};
    for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) {
        uint64_t bits;
        uint32_t narrow;
        float number = (float)numbers[i];
        memcpy(&bits, &numbers[i], sizeof(bits));
        memcpy(&narrow, &number, sizeof(narrow));
        compare(bits, 8);
        if (narrow << 1 != 0xff000000)
            compare(narrow, 4);
    }
    for (uint64_t bits = 1; bits < BIT(52);
         bits <<= 1) /* denormal, and the smallest of each size */
        compare(bits, 8);
    compare(0x7fefffffffffffff, 8);
    compare(0x7f7fffff, 4);
    compare(1, 4);
}

/* Of all exponents, and numbers of few digits, where rounding ends in a tie. */
static void many_numbers(void)
{
    uint64_t state = 1;
    for (unsigned i = 0; i < 20000; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t bits = state ^ state >> 29;
        if ((bits >> 52 & 0x7ff) != 0x7ff)
            compare(bits, 8);
        if ((bits >> 23 & 0xff) != 0xff)
            compare((uint32_t)bits, 4);
        double small = (double)(int64_t)(bits >> 40) / 1024;
        memcpy(&bits, &small, sizeof(bits));
        compare(bits, 8);
    }
}

static void words_are_gdbs(void)
{
    static const struct {
        uint64_t bits;
        unsigned size;
        const char *text;
    } cases[] = {{0x7ff0000000000000, 8, "inf"},
                 {0xfff0000000000000, 8, "-inf"},
                 {0x7ff8000000000000, 8, "nan(0x8000000000000)"},
                 {0xffffffffffffffff, 8, "-nan(0xfffffffffffff)"},
                 {0x7f800000, 4, "inf"},
                 {0xffc00000, 4, "-nan(0x400000)"}};
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        char text[FLOAT_TEXT_MAX];
        float_describe(cases[i].bits, cases[i].size, text);
        CHECK_STR(text, cases[i].text);
    }
}

TEST_MAIN({"known_numbers", known_numbers}, {"many_numbers", many_numbers},
          {"words_are_gdbs", words_are_gdbs})
