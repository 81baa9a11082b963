/*
 * MSRs that are not there: all that the MSR bitmap covers but those of the tables, and many of
 * those that it does not cover. Each access is #GP(0), and changes no register.
 */
#include "kernel/core/x86.h"
#include "tests/guests/registers/control.h"

#define RANGE 0x2000u
#define HIGH 0xc0000000u

static uint64_t seed = 0x853c49e6748fea9b;

static uint32_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 16);
}

static void report(uint32_t msr, const char *what)
{
    guest_expect(msr, 0, what);
    guest_print("  MSR ");
    guest_print_hex(msr);
    guest_print("\n");
}

static void try_hole(uint32_t msr)
{
    uint64_t rax = 0x1111111122222222, rdx = 0x3333333344444444;
    if (msr_is_listed(msr))
        return;
    __asm__ volatile(GUEST_TRY("rdmsr") : "+a"(rax), "+d"(rdx) : "c"(msr) : "memory");
    if (caught_vector != VECTOR_GP || caught_error != 0)
        report(msr, "RDMSR");
    if (rax != 0x1111111122222222 || rdx != 0x3333333344444444)
        report(msr, "a register that RDMSR has changed");
    if (guest_try_wrmsr(msr, 0) != VECTOR_GP || caught_error != 0)
        report(msr, "WRMSR of 0");
    if (guest_try_wrmsr(msr, 0x5555555555555555) != VECTOR_GP)
        report(msr, "WRMSR of a pattern");
}

static void try_range(uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        try_hole(first + i);
}

void msr_holes_test(void)
{
    guest_case("msr-holes");
    if (!msr_is_traprock()) {
        guest_skip("the MSRs of this machine are not known");
        return;
    }
    try_range(0, RANGE);
    try_range(HIGH, RANGE);
    guest_case("msr-holes-elsewhere");
    static const uint32_t firsts[] = {RANGE,      0x40000000, 0x4b564d00, 0x80000000, 0xbffffff0,
                                      0xc0002000, 0xc0010000, 0xc0011000, 0xfffffff0};
    for (unsigned i = 0; i < sizeof(firsts) / sizeof(firsts[0]); i++)
        try_range(firsts[i], i + 1 == sizeof(firsts) / sizeof(firsts[0]) ? 16 : 256);
    for (unsigned i = 0; i < 32; i++)
        try_range((1u << i) - 2, 4);
    for (unsigned i = 0; i < 4096; i++)
        try_hole(next_random());
}
