#include "kernel/vm/breakpoint.h"

#include "kernel/core/bits.h"

#define DR7_RW_IO 2

/* SDM: Debug Control Register (DR7): Ln and Gn, R/Wn, LENn. */
static bool is_io(uint64_t dr7, unsigned i)
{
    return (dr7 >> 2 * i & 3) != 0 && (dr7 >> (16 + 4 * i) & 3) == DR7_RW_IO;
}

static uint64_t length(uint64_t dr7, unsigned i)
{
    static const uint8_t lengths[] = {1, 2, 8, 4};
    return lengths[dr7 >> (18 + 4 * i) & 3];
}

unsigned breakpoint_match_io(const uint64_t address[4], uint64_t dr7, uint64_t port, unsigned size)
{
    unsigned hits = 0;
    for (unsigned i = 0; i < 4; i++) {
        if (!is_io(dr7, i))
            continue;
        /* SDM: Breakpoint Field Recognition: the low bits of the address are not looked at. */
        uint64_t first = align_down(address[i], length(dr7, i));
        bool overlaps = port < first ? first - port < size : port - first < length(dr7, i);
        hits |= (unsigned)overlaps << i;
    }
    return hits;
}
