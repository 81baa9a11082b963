/* Hypercalls: no number is one, from whatever ring and mode; no register but RAX changes. */
#include "tests/guests/sweeps/sweeps.h"

#define UNKNOWN ((uint64_t)-1000)

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void try_number(uint64_t number)
{
    uint64_t rax = number, rbx = next_random(), rcx = next_random(), rdx = next_random();
    uint64_t rsi = next_random(), rdi = next_random();
    register uint64_t r8 __asm__("r8") = next_random();
    register uint64_t r9 __asm__("r9") = next_random();
    register uint64_t r10 __asm__("r10") = next_random();
    uint64_t sum = rbx ^ rcx ^ rdx ^ rsi ^ rdi ^ r8 ^ r9 ^ r10;
    __asm__ volatile(GUEST_TRY("vmcall")
                     : "+a"(rax), "+b"(rbx), "+c"(rcx), "+d"(rdx), "+S"(rsi), "+D"(rdi), "+r"(r8),
                       "+r"(r9), "+r"(r10)
                     :
                     : "memory");
    guest_expect(caught_vector, NO_FAULT, "VMCALL");
    guest_expect(rax, UNKNOWN, "RAX");
    guest_expect(rbx ^ rcx ^ rdx ^ rsi ^ rdi ^ r8 ^ r9 ^ r10, sum, "the other registers");
}

void hypercalls_test(void)
{
    guest_case("hypercall-sweep");
    if (!sweeps_is_traprock()) {
        guest_skip("no hypercalls here");
        return;
    }
    for (uint64_t number = 0; number < 0x4000; number++)
        try_number(number);
    for (unsigned i = 0; i < 64; i++) {
        for (uint64_t offset = 0; offset < 5; offset++) {
            try_number((1ull << i) + offset - 2);
            try_number(0 - (1ull << i) + offset - 2);
        }
    }
    for (unsigned i = 0; i < 4096; i++)
        try_number(next_random());
}
