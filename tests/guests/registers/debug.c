/* Every bit of the debug registers, CR4.DE and general detect. */
#include "kernel/core/x86.h"
#include "tests/guests/registers/control.h"

#define DR7_RESET 0x400ull
#define DR6_RESET 0xffff0ff0ull
#define DR7_GD BIT(13)
#define DR7_RTM BIT(11)
#define DR6_BD BIT(13)

enum { DR6, DR7, RULED };

static uint64_t writable[RULED], set[RULED];

static void read_table(void)
{
#define DEBUG_BIT(register, bit, name, condition)                                                  \
    if (condition)                                                                                 \
        writable[register] |= BIT(bit);
#define DEBUG_SET(register, mask) set[register] |= (mask);
#include "tests/guests/registers/debug.def"
}

static void try_ruled(unsigned number, uint64_t n, uint64_t base)
{
    uint64_t vector = number == DR6 ? guest_try_write_dr6(n) : guest_try_write_dr7(n);
    uint64_t after = number == DR6 ? guest_read_dr6() : guest_read_dr7();
    uint64_t held = (n & writable[number]) | (set[number] & ~writable[number]);
    guest_expect(vector, n >> 32 ? VECTOR_GP : NO_FAULT, number == DR6 ? "DR6" : "DR7");
    guest_expect(after, n >> 32 ? base : held, "what it reads as");
}

/* Pairs from a value, but for GD, which answers the next access with #DB, and for DR7.RTM where it
 * is not offered: Bochs holds what is written there. */
static void flip_ruled(unsigned number, uint64_t base)
{
    (void)(number == DR6 ? guest_try_write_dr6(base) : guest_try_write_dr7(base));
    for (unsigned i = 0; i < 64; i++) {
        for (unsigned j = i; j < 64; j++) {
            uint64_t n = base ^ BIT(i) ^ (j != i ? BIT(j) : 0);
            if (number == DR7 && (n & DR7_GD || n & ~writable[DR7] & DR7_RTM))
                continue;
            try_ruled(number, n, base);
            (void)(number == DR6 ? guest_try_write_dr6(base) : guest_try_write_dr7(base));
        }
    }
}

#define FLIP_ADDRESS(name)                                                                         \
    static void flip_##name(void)                                                                  \
    {                                                                                              \
        for (unsigned i = 0; i < 128; i++) {                                                       \
            uint64_t n = i < 64 ? BIT(i) : ~BIT(i - 64);                                           \
            guest_expect(guest_try_write_##name(n), NO_FAULT, "any address, in " #name);           \
            guest_expect(guest_read_##name(), n, "what " #name " reads as");                       \
        }                                                                                          \
        (void)guest_try_write_##name(0);                                                           \
    }

FLIP_ADDRESS(dr0)
FLIP_ADDRESS(dr1)
FLIP_ADDRESS(dr2)
FLIP_ADDRESS(dr3)

/* MOV to and from DR0 to DR7, and DR8 to DR15, which are not there. */
static uint64_t try_read(unsigned number)
{
    switch (number) {
#define READ(n, bytes)                                                                             \
    case n:                                                                                        \
        __asm__ volatile(GUEST_TRY(".byte " bytes) : : : "rax", "memory");                         \
        break;
        READ(0, "0x0f, 0x21, 0xc0")
        READ(1, "0x0f, 0x21, 0xc8")
        READ(2, "0x0f, 0x21, 0xd0")
        READ(3, "0x0f, 0x21, 0xd8")
        READ(4, "0x0f, 0x21, 0xe0")
        READ(5, "0x0f, 0x21, 0xe8")
        READ(6, "0x0f, 0x21, 0xf0")
        READ(7, "0x0f, 0x21, 0xf8")
        READ(8, "0x44, 0x0f, 0x21, 0xc0")
        READ(9, "0x44, 0x0f, 0x21, 0xc8")
        READ(10, "0x44, 0x0f, 0x21, 0xd0")
        READ(11, "0x44, 0x0f, 0x21, 0xd8")
        READ(12, "0x44, 0x0f, 0x21, 0xe0")
        READ(13, "0x44, 0x0f, 0x21, 0xe8")
        READ(14, "0x44, 0x0f, 0x21, 0xf0")
        READ(15, "0x44, 0x0f, 0x21, 0xf8")
#undef READ
    default:
        return NO_FAULT;
    }
    return caught_vector;
}

static void test_numbers(void)
{
    uint64_t cr4 = guest_read_cr4();
    guest_case("dr-numbers");
    for (unsigned has_de = 0; has_de < 2; has_de++) {
        (void)guest_try_write_cr4(has_de ? cr4 | CR4_DE : cr4 & ~CR4_DE);
        for (unsigned i = 0; i < 16; i++) {
            bool is_there = i < 8 && (!has_de || i < 4 || i > 5);
            guest_expect(try_read(i), is_there ? NO_FAULT : VECTOR_UD, "MOV from a debug register");
        }
    }
    (void)guest_try_write_cr4(cr4);
}

/* GD: every access is #DB, which clears it and sets BD. */
static void test_general_detect(void)
{
    uint64_t cr4 = guest_read_cr4();
    guest_case("dr-general-detect");
    for (unsigned has_de = 0; has_de < 2; has_de++) {
        (void)guest_try_write_cr4(has_de ? cr4 | CR4_DE : cr4 & ~CR4_DE);
        for (unsigned i = 0; i < 8; i++) {
            if (has_de && (i == 4 || i == 5))
                continue; /* the handler of #UD reads DR6 */
            (void)guest_try_write_dr6(DR6_RESET);
            (void)guest_try_write_dr7(DR7_RESET | DR7_GD);
            guest_expect(try_read(i), VECTOR_DB, "with GD");
            guest_expect(guest_read_dr7(), DR7_RESET, "GD is cleared by the delivery");
            guest_expect(guest_read_dr6(), DR6_RESET | DR6_BD, "DR6");
        }
    }
    (void)guest_try_write_dr6(DR6_RESET);
    (void)guest_try_write_dr7(DR7_RESET);
    (void)guest_try_write_cr4(cr4);
}

void debug_test(void)
{
    read_table();
    guest_case("dr-addresses");
    flip_dr0();
    flip_dr1();
    flip_dr2();
    flip_dr3();
    guest_case("dr6-flips");
    flip_ruled(DR6, DR6_RESET);
    flip_ruled(DR6, DR6_RESET | writable[DR6]);
    (void)guest_try_write_dr6(DR6_RESET);
    /* Where no code or data is: DR0 to DR3 may be enabled. */
    (void)guest_try_write_dr0(0xffff800000000000);
    (void)guest_try_write_dr1(0xffff800000000000);
    (void)guest_try_write_dr2(0xffff800000000000);
    (void)guest_try_write_dr3(0xffff800000000000);
    guest_case("dr7-flips");
    flip_ruled(DR7, DR7_RESET);
    flip_ruled(DR7, DR7_RESET | (writable[DR7] & ~DR7_GD));
    (void)guest_try_write_dr7(DR7_RESET);
    test_numbers();
    test_general_detect();
}
