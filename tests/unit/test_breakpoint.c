/* Breakpoints on emulated ports. */
#include "kernel/vm/breakpoint.h"

#include "kernel/core/bits.h"
#include "tests/check.h"

#define IO(i, length)                                                                              \
    (2ull << 2 * (i) | 2ull << (16 + 4 * (i)) | (uint64_t)(length) << (18 + 4 * (i)))

static void finds_the_port(void)
{
    const uint64_t address[4] = {0x3ff, 0x3f8, 0x60, 0x80};
    CHECK_EQ(breakpoint_match_io(address, IO(0, 0), 0x3ff, 1), 1);
    CHECK_EQ(breakpoint_match_io(address, IO(0, 0), 0x3fe, 1), 0);
    CHECK_EQ(breakpoint_match_io(address, IO(0, 0), 0x3fe, 2), 1);
    CHECK_EQ(breakpoint_match_io(address, IO(0, 0), 0x400, 4), 0);
    CHECK_EQ(breakpoint_match_io(address, IO(1, 1), 0x3f9, 1), 2);
    CHECK_EQ(breakpoint_match_io(address, IO(1, 1), 0x3fa, 1), 0);
    CHECK_EQ(breakpoint_match_io(address, IO(3, 3) | IO(2, 0), 0x83, 1), 8);
    CHECK_EQ(breakpoint_match_io(address, IO(0, 0) | IO(1, 2), 0x3fc, 4), 3);
}

static void only_enabled_io_counts(void)
{
    const uint64_t address[4] = {0x60, 0x60, 0x60, 0x60};
    CHECK_EQ(breakpoint_match_io(address, 0x00010403, 0x60, 1), 0); /* writes to memory */
    CHECK_EQ(breakpoint_match_io(address, IO(0, 0) & ~MASK(7, 0), 0x60, 1), 0);
    CHECK_EQ(breakpoint_match_io(address, 1ull | 2ull << 16, 0x60, 1), 1); /* local */
}

static void borders_do_not_wrap(void)
{
    const uint64_t address[4] = {0xffff, ~0ull, 0, 0};
    CHECK_EQ(breakpoint_match_io(address, IO(0, 0), 0xfffe, 4), 1);
    CHECK_EQ(breakpoint_match_io(address, IO(1, 2), 0xffff, 4), 0);
    CHECK_EQ(breakpoint_match_io(address, IO(1, 2), 0, 4), 0);
}

TEST_MAIN({"finds_the_port", finds_the_port}, {"only_enabled_io_counts", only_enabled_io_counts},
          {"borders_do_not_wrap", borders_do_not_wrap})
