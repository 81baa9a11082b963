/* Random numbers, and what fuzzers make of them. */
#include "tests/guests/fuzz/guest.h"

static uint64_t state;

/* Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, the variant of 64 bits. */
uint64_t random64(void)
{
    uint64_t z = (state += 0x9e3779b97f4a7c15ull);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

void random_seed(uint64_t seed)
{
    state = seed;
    state = random64();
}

uint32_t random_below(uint32_t bound)
{
    return (uint32_t)((random64() >> 32) * bound >> 32);
}

uint64_t random_value(void)
{
    static const uint64_t edges[] = {0,
                                     1,
                                     0x7f,
                                     0x80,
                                     0xff,
                                     0x7fff,
                                     0xffff,
                                     0x10000,
                                     0x7fffffff,
                                     0x80000000,
                                     0xffffffff,
                                     0x100000000,
                                     0x7fffffffffff,
                                     0x800000000000,
                                     0xffff800000000000,
                                     0x7fffffffffffffff,
                                     0x8000000000000000,
                                     UINT64_MAX};
    switch (random_below(6)) {
    case 0:
        return PICK(edges);
    case 1:
        return 1ull << random_below(64);
    case 2:
        return random_below(256);
    case 3:
        return PICK(edges) + random_below(16) - 8;
    case 4:
        return random64() >> random_below(64);
    default:
        return random64();
    }
}

uint64_t random_address(void)
{
    static const uint64_t bases[] = {
        LAPIC,      LAPIC + 0x300, IOAPIC,     IOAPIC + 0x10,  ECAM,        ECAM + 0x8000,
        0xe0010000, 0xe0018000,    PCI_WINDOW, 0xc0004000,     0xc0008000,  0xa0000,
        0xc0000,    0xe0000,       0xf0000,    RAM_END - 0x20, RAM_END,     0xbfffffe0,
        0xffffffe0, 0x100000000,   0xfed00000, 0x7ffffffffff0, 0x800000000, 0xfffffffff0};
    switch (random_below(8)) {
    case 0:
        return random_value();
    case 1:
    case 2:
        return LOW_DATA + random_below(0x10000);
    case 3:
    case 4:
        return HIGH_CODE + 0x10000 + random_below(RAM_END - HIGH_CODE - 0x10000);
    default:
        return PICK(bases) + (one_in(2) ? random_below(0x400) & ~3u : random_below(32));
    }
}
