/*
 * All 65,536 ports in all three sizes, by IN and OUT and by INS and OUTS with REP: where Traprock's
 * machine has no device, all ones are read, whatever the machine below has there. Accesses that
 * reach past port FFFFH are among them.
 */
#include "tests/guests/sweeps/sweeps.h"

#define PORTS 0x10000u
#define DEBUG_EXIT 0xf4u
#define UART 0x3f8u

/* Where Traprock's machine has devices: docs/guests.md. */
static const struct {
    uint32_t first, last;
} devices[] = {
    {0x20, 0x21},
    {0x40, 0x43},
    {0x60, 0x61},
    {0x64, 0x64},
    {0x70, 0x73},
    {0x92, 0x92},
    {0xa0, 0xa1},
    {0xb2, 0xb3},
    {UART, 0x3ff},
    {0x4d0, 0x4d1},
    {0x600, 0x623},
    {0xcf8, 0xcff},
    {DEBUG_EXIT, DEBUG_EXIT + 3},
};

static bool overlaps(uint32_t port, uint32_t size, uint32_t first, uint32_t last)
{
    return port <= last && port + size > first;
}

static bool has_device(uint32_t port, uint32_t size)
{
    for (unsigned i = 0; i < sizeof(devices) / sizeof(devices[0]); i++)
        if (overlaps(port, size, devices[i].first, devices[i].last))
            return true;
    return false;
}

/* The end of this guest, and its voice. */
static bool may_write(uint32_t port, uint32_t size)
{
    return !overlaps(port, size, DEBUG_EXIT, DEBUG_EXIT + 3) &&
           !overlaps(port, size, UART, UART + 7);
}

static uint64_t in(uint32_t port, uint32_t size, uint64_t rax)
{
    if (size == 1)
        __asm__ volatile("inb %%dx, %%al" : "+a"(rax) : "d"(port));
    else if (size == 2)
        __asm__ volatile("inw %%dx, %%ax" : "+a"(rax) : "d"(port));
    else
        __asm__ volatile("inl %%dx, %%eax" : "+a"(rax) : "d"(port));
    return rax;
}

static void out(uint32_t port, uint32_t size)
{
    if (size == 1)
        __asm__ volatile("outb %%al, %%dx" : : "a"(0), "d"(port));
    else if (size == 2)
        __asm__ volatile("outw %%ax, %%dx" : : "a"(0), "d"(port));
    else
        __asm__ volatile("outl %%eax, %%dx" : : "a"(0), "d"(port));
}

static uint64_t ins(uint32_t port, uint32_t size, void *to, uint64_t count)
{
    if (size == 1)
        __asm__ volatile("rep insb" : "+D"(to), "+c"(count) : "d"(port) : "memory");
    else if (size == 2)
        __asm__ volatile("rep insw" : "+D"(to), "+c"(count) : "d"(port) : "memory");
    else
        __asm__ volatile("rep insl" : "+D"(to), "+c"(count) : "d"(port) : "memory");
    return (uintptr_t)to + count;
}

static uint64_t outs(uint32_t port, uint32_t size, const void *from, uint64_t count)
{
    if (size == 1)
        __asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(port) : "memory");
    else if (size == 2)
        __asm__ volatile("rep outsw" : "+S"(from), "+c"(count) : "d"(port) : "memory");
    else
        __asm__ volatile("rep outsl" : "+S"(from), "+c"(count) : "d"(port) : "memory");
    return (uintptr_t)from + count;
}

static void report(uint32_t port, uint32_t size, uint64_t value)
{
    guest_expect(value, bits_size_mask(size), "IN where no device is");
    guest_print("  port ");
    guest_print_hex(port);
    guest_print(", bytes: ");
    guest_print_decimal(size);
    guest_print("\n");
}

static void test_plain(void)
{
    const uint64_t pattern = 0x123456789abcdef0;
    for (uint32_t size = 1; size <= 4; size *= 2) {
        uint64_t ones = bits_size_mask(size), kept = size == 4 ? 0 : pattern & ~ones;
        for (uint32_t port = 0; port < PORTS; port++) {
            uint64_t rax = in(port, size, pattern);
            guest_expect(rax & ~ones, kept, "the rest of RAX");
            if (!has_device(port, size) && (rax & ones) != ones)
                report(port, size, rax & ones);
            if (may_write(port, size))
                out(port, size);
        }
    }
}

static void try_string(uint32_t port, uint32_t size, uint64_t count)
{
    static uint64_t buffer[3];
    static const uint64_t zero[2];
    uint64_t bytes = size * count, mask = bits_size_mask((unsigned)bytes);
    buffer[0] = buffer[1] = 0x5555555555555555;
    guest_expect(ins(port, size, buffer, count), (uintptr_t)buffer + bytes, "RDI and RCX");
    guest_expect(buffer[0] & ~mask, 0x5555555555555555 & ~mask, "memory behind INS");
    if (!has_device(port, size))
        guest_expect(buffer[0] & mask, mask, "INS where no device is");
    if (may_write(port, size))
        guest_expect(outs(port, size, zero, count), (uintptr_t)zero + bytes, "RSI and RCX");
}

/* Each port in one size, in turn; where a machine has devices, and at the end, in all three. */
static void test_strings(void)
{
    for (uint32_t port = 0; port < PORTS; port++) {
        bool in_all_sizes = port < 0x1000 || port >= PORTS - 16;
        for (uint32_t i = 0; i < 3; i++)
            if (in_all_sizes || i == port % 3)
                try_string(port, 1u << i, 1 + port % 2);
    }
}

void ports_test(void)
{
    guest_case("port-sweep");
    if (!sweeps_is_traprock()) {
        guest_skip("the ports of this machine are not known");
        return;
    }
    test_plain();
    guest_case("port-sweep-strings");
    test_strings();
}
