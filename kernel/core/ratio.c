#include "kernel/core/ratio.h"

struct ratio ratio_make(uint64_t from_hz, uint64_t to_hz)
{
    /* Shift the quotient up until its top bit is set, one binary digit of a long division a turn,
     * since a 128-bit division would need a library function. */
    struct ratio ratio = {to_hz / from_hz, 0};
    uint64_t rest = to_hz % from_hz;
    while (ratio.shift < 63 && !(ratio.multiplier >> 63)) {
        bool carry = rest >> 63;
        rest <<= 1;
        bool digit = carry || rest >= from_hz;
        if (digit)
            rest -= from_hz;
        ratio.multiplier = ratio.multiplier << 1 | digit;
        ratio.shift++;
    }
    return ratio;
}
