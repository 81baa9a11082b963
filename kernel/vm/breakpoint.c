#include "kernel/vm/breakpoint.h"

#include "kernel/core/bits.h"

enum access { EXECUTE, WRITE, PORT, ACCESS };

/* SDM: Debug Control Register (DR7): Ln and Gn, R/Wn, LENn. What breakpoint i waits for; EXECUTE
 * also for nothing. */
static enum access waits_for(uint64_t dr7, unsigned i)
{
    return (dr7 >> 2 * i & 3) != 0 ? (enum access)(dr7 >> (16 + 4 * i) & 3) : EXECUTE;
}

static uint64_t length(uint64_t dr7, unsigned i)
{
    static const uint8_t lengths[] = {1, 2, 8, 4};
    return lengths[dr7 >> (18 + 4 * i) & 3];
}

/* SDM: Breakpoint Field Recognition: the low bits of the address are not looked at. */
static bool overlaps(uint64_t address, uint64_t size_there, uint64_t at, unsigned size)
{
    uint64_t first = align_down(address, size_there);
    return at < first ? first - at < size : at - first < size_there;
}

unsigned breakpoint_match_io(const uint64_t address[4], uint64_t dr7, uint64_t port, unsigned size)
{
    unsigned hits = 0;
    for (unsigned i = 0; i < 4; i++)
        if (waits_for(dr7, i) == PORT && overlaps(address[i], length(dr7, i), port, size))
            hits |= 1u << i;
    return hits;
}

bool breakpoint_wants_watch(uint64_t dr7)
{
    for (unsigned i = 0; i < 4; i++)
        if (waits_for(dr7, i) != EXECUTE)
            return true;
    return false;
}

void breakpoint_note_data(struct breakpoint_watch *watch, uint64_t linear, unsigned size,
                          bool write)
{
    for (unsigned i = 0; i < 4; i++) {
        enum access access = waits_for(watch->dr7, i);
        bool matches = access == ACCESS || (access == WRITE && write);
        if (matches && overlaps(watch->address[i], length(watch->dr7, i), linear, size))
            watch->hits |= 1u << i;
    }
    if (watch->see != NULL)
        watch->see(watch->context, linear, size, write);
}
