/* Breakpoints on emulated ports and on data that the emulator reaches. */
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

#define DATA(i, access, length)                                                                    \
    (2ull << 2 * (i) | (uint64_t)(access) << (16 + 4 * (i)) | (uint64_t)(length) << (18 + 4 * (i)))

static unsigned meet(uint64_t dr7, uint64_t linear, unsigned size, bool write)
{
    struct breakpoint_watch watch = {.address = {0x1000, 0x2003, ~0ull, 0x1002}, .dr7 = dr7};
    breakpoint_note_data(&watch, linear, size, write);
    return watch.hits;
}

static void data_is_noted(void)
{
    CHECK_EQ(meet(DATA(0, 3, 3), 0x1003, 1, false), 1);
    CHECK_EQ(meet(DATA(0, 3, 3), 0x1004, 1, false), 0);
    CHECK_EQ(meet(DATA(0, 3, 3), 0xffd, 4, true), 1);
    CHECK_EQ(meet(DATA(0, 3, 3), 0xffc, 4, true), 0);
    CHECK_EQ(meet(DATA(0, 1, 3), 0x1000, 4, false), 0); /* writes only */
    CHECK_EQ(meet(DATA(0, 1, 3), 0x1000, 4, true), 1);
    CHECK_EQ(meet(DATA(1, 3, 2), 0x2007, 1, false), 2); /* 8 bytes, from 2000H on */
    CHECK_EQ(meet(DATA(1, 3, 2), 0x2008, 8, false), 0);
    CHECK_EQ(meet(DATA(2, 3, 0), ~0ull - 7, 8, false), 4);
    CHECK_EQ(meet(DATA(0, 3, 3) | DATA(3, 1, 1), 0x1000, 4, true), 9);
    CHECK_EQ(meet(DATA(0, 3, 3) & ~MASK(7, 0), 0x1000, 4, true), 0); /* not enabled */
    CHECK_EQ(meet(IO(0, 3) | 2ull << 6, 0x1000, 4, true), 0);        /* a port, an instruction */
}

static void who_wants_a_watch(void)
{
    CHECK(!breakpoint_wants_watch(0x400));
    CHECK(!breakpoint_wants_watch(0x4ff)); /* instructions */
    CHECK(!breakpoint_wants_watch(0xffff0400));
    CHECK(breakpoint_wants_watch(DATA(3, 1, 0)));
    CHECK(breakpoint_wants_watch(DATA(0, 3, 0)));
    CHECK(breakpoint_wants_watch(IO(2, 0)));
}

TEST_MAIN({"data_is_noted", data_is_noted}, {"who_wants_a_watch", who_wants_a_watch},
          {"finds_the_port", finds_the_port}, {"only_enabled_io_counts", only_enabled_io_counts},
          {"borders_do_not_wrap", borders_do_not_wrap})
