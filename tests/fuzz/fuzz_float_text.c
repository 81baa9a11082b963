/* Any number in decimal is what the host's printf makes of it. */
#include <stdio.h>
#include <string.h>

#include "kernel/debug/float_text.h"
#include "tests/fuzz/fuzz.h"

static void compare(uint64_t bits, unsigned size)
{
    char text[FLOAT_TEXT_MAX], wanted[64];
    uint32_t half = (uint32_t)bits;
    double wide;
    float narrow;
    memcpy(&wide, &bits, sizeof(wide));
    memcpy(&narrow, &half, sizeof(narrow));
    float_describe(bits, size, text);
    if (size == 4)
        wide = (double)narrow;
    snprintf(wanted, sizeof(wanted), size == 8 ? "%.17g" : "%.9g", wide);
    if (wide == wide) /* gdb says more of a NaN */
        REQUIRE(strcmp(text, wanted) == 0);
    else
        REQUIRE(strstr(text, "nan(0x") != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, data + size};
    while (!fuzz_is_done(&input)) {
        compare(fuzz_take(&input, 8), 8);
        compare(fuzz_take(&input, 4), 4);
    }
    return 0;
}
