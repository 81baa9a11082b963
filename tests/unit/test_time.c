/* kernel/core/time_calibrate.c: the TSC's rate, and the real-time clock's registers. */
#include "kernel/core/time_calibrate.h"
#include "tests/check.h"

/* A machine whose every look at a counter costs time, with a timer that may be late or dead. */
struct machine {
    uint64_t tsc;
    uint64_t tsc_hz;
    uint64_t reference_hz;
    uint64_t read_cost;   /* TSC counts that a read takes */
    uint64_t granularity; /* the reference shows multiples of so many TSC counts; 0: exact */
    uint64_t stall_every; /* an SMI, as the TSC has it; 0: none */
    uint64_t stall;
    uint64_t next_stall;
    bool dead;
};

static void spend(struct machine *m, uint64_t cost)
{
    m->tsc += cost;
    if (m->stall_every != 0 && m->tsc >= m->next_stall) {
        m->tsc += m->stall;
        m->next_stall = m->tsc + m->stall_every;
    }
}

static uint64_t read_tsc(void *context)
{
    struct machine *m = context;
    spend(m, 20);
    return m->tsc;
}

static uint32_t read_timer(void *context)
{
    struct machine *m = context;
    spend(m, m->read_cost);
    uint64_t shown = m->granularity != 0 ? m->tsc / m->granularity * m->granularity : m->tsc;
    uint64_t count = (uint64_t)((unsigned __int128)shown * m->reference_hz / m->tsc_hz);
    spend(m, m->read_cost);
    return m->dead ? 1234 : (uint32_t)count;
}

static uint32_t read_timer_down(void *context)
{
    return 0 - read_timer(context);
}

static struct time_reference reference_of(struct machine *m, uint32_t mask, bool down)
{
    return (struct time_reference){.name = "test",
                                   .hz = m->reference_hz,
                                   .mask = mask,
                                   .counts_down = down,
                                   .read = down ? read_timer_down : read_timer,
                                   .context = m};
}

static void the_truth_lies_between_the_bounds(void)
{
    static const uint64_t rates[] = {50000000, 1000000000, 2112004321, 2995200000, 5800000000};
    static const struct {
        uint64_t hz;
        uint32_t mask;
        bool down;
    } timers[] = {
        {1193182, 0xffff, true}, {3579545, 0xffffff, false}, {14318180, 0xffffffff, false}};
    for (unsigned r = 0; r < ARRAY_SIZE(rates); r++) {
        for (unsigned t = 0; t < ARRAY_SIZE(timers); t++) {
            struct machine m = {.tsc = 123456789,
                                .tsc_hz = rates[r],
                                .reference_hz = timers[t].hz,
                                .read_cost = rates[r] / 2000000};
            struct time_reference reference = reference_of(&m, timers[t].mask, timers[t].down);
            struct time_counter counter = {read_tsc, &m};
            struct time_bounds bounds;
            CHECK_EQ(time_calibrate(&reference, &counter, 3, 50, &bounds), STATUS_OK);
            CHECK(bounds.low_hz <= rates[r] && rates[r] <= bounds.high_hz);
            CHECK(bounds.high_hz - bounds.low_hz < rates[r] / 2000);
            uint64_t rounded = time_round(bounds);
            CHECK(rounded >= bounds.low_hz && rounded <= bounds.high_hz);
            uint64_t error = rounded > rates[r] ? rounded - rates[r] : rates[r] - rounded;
            CHECK(error < rates[r] / 4000);
        }
    }
}

static void a_round_rate_is_found_exactly(void)
{
    /* As Bochs has it: the PIT moves once a microsecond. */
    struct machine m = {
        .tsc_hz = 50000000, .reference_hz = 1193182, .read_cost = 10, .granularity = 50};
    struct time_reference reference = reference_of(&m, 0xffff, true);
    struct time_counter counter = {read_tsc, &m};
    struct time_bounds bounds;
    CHECK_EQ(time_calibrate(&reference, &counter, 3, 50, &bounds), STATUS_OK);
    CHECK_EQ(time_round(bounds), 50000000);
}

static void interruptions_do_no_harm(void)
{
    struct machine m = {.tsc_hz = 3000000000,
                        .reference_hz = 3579545,
                        .read_cost = 1500,
                        .stall_every = 30000000, /* every 10 ms */
                        .stall = 900000};        /* 0.3 ms */
    struct time_reference reference = reference_of(&m, 0xffffff, false);
    struct time_counter counter = {read_tsc, &m};
    struct time_bounds bounds;
    CHECK_EQ(time_calibrate(&reference, &counter, 5, 50, &bounds), STATUS_OK);
    CHECK(bounds.low_hz <= m.tsc_hz && m.tsc_hz <= bounds.high_hz);
}

/* A host that takes the processor away for longer than the PIT's whole period, most of the time. */
static void lost_wraps_are_noticed(void)
{
    struct machine m = {.tsc_hz = 2600000000,
                        .reference_hz = 1193182,
                        .read_cost = 3000,
                        .stall_every = 2600000 * 40ull,
                        .stall = 2600000 * 70ull};
    struct time_reference reference = reference_of(&m, 0xffff, true);
    struct time_counter counter = {read_tsc, &m};
    struct time_bounds bounds;
    for (unsigned i = 0; i < 20; i++) {
        m.stall_every += 2600000;
        enum status status = time_calibrate(&reference, &counter, 3, 50, &bounds);
        CHECK(status == ERR_RANGE || (bounds.low_hz <= m.tsc_hz && m.tsc_hz <= bounds.high_hz));
        CHECK(status == STATUS_OK || m.stall_every < 2600000 * 52ull);
    }
}

/* Preempted every few milliseconds for a few: the edges are still found sharply. */
static void a_busy_host_is_measured_sharply(void)
{
    struct machine m = {.tsc_hz = 2596000000,
                        .reference_hz = 1193182,
                        .read_cost = 3000,
                        .stall_every = 2596000 * 3ull,
                        .stall = 2596000 * 5ull};
    struct time_reference reference = reference_of(&m, 0xffff, true);
    struct time_counter counter = {read_tsc, &m};
    struct time_bounds bounds;
    CHECK_EQ(time_calibrate(&reference, &counter, 3, 50, &bounds), STATUS_OK);
    CHECK(time_is_sharp(&bounds));
    CHECK(bounds.low_hz <= m.tsc_hz && m.tsc_hz <= bounds.high_hz);
}

static void dead_and_absurd_timers_are_refused(void)
{
    struct machine m = {.tsc_hz = 3000000000, .reference_hz = 1193182, .read_cost = 1000};
    struct time_reference reference = reference_of(&m, 0xffff, true);
    struct time_counter counter = {read_tsc, &m};
    struct time_bounds bounds;
    m.dead = true;
    CHECK_EQ(time_calibrate(&reference, &counter, 3, 50, &bounds), ERR_TIMEOUT);
    m.dead = false;
    reference.hz = 1193182ull * 100; /* it claims a rate that it has not */
    CHECK_EQ(time_calibrate(&reference, &counter, 3, 50, &bounds), ERR_RANGE);
    reference.hz = 100;
    CHECK_EQ(time_calibrate(&reference, &counter, 3, 50, &bounds), ERR_RANGE);
}

static void rounds_to_the_simplest(void)
{
    CHECK_EQ(time_round((struct time_bounds){2999000000, 3001000000}), 3000000000);
    CHECK_EQ(time_round((struct time_bounds){2111999000, 2112008000}), 2112000000);
    CHECK_EQ(time_round((struct time_bounds){49996043, 50004486}), 50000000);
    CHECK_EQ(time_round((struct time_bounds){123456789, 123456789}), 123456789);
    CHECK_EQ(time_round((struct time_bounds){123456781, 123456794}), 123456790);
    CHECK_EQ(time_round((struct time_bounds){1, 3}), 2);
    /* Too far apart to guess. */
    CHECK_EQ(time_round((struct time_bounds){1725184860, 2596489117}), 2160836988);
}

static void dates_of_the_rtc(void)
{
    static const struct {
        struct rtc_registers rtc;
        uint64_t seconds;
    } rows[] = {
        /* second, minute, hour, day, month, year, century, status B */
        {{0x00, 0x00, 0x00, 0x01, 0x01, 0x70, 0x19, 0x02}, 0},
        {{0x01, 0x00, 0x00, 0x01, 0x01, 0x70, 0x19, 0x02}, 1},
        {{0x59, 0x59, 0x23, 0x28, 0x02, 0x00, 0x20, 0x02}, 951782399},
        {{0x00, 0x00, 0x00, 0x29, 0x02, 0x00, 0x20, 0x02}, 951782400},
        {{0x31, 0x47, 0x20, 0x21, 0x11, 0x26, 0x20, 0x02}, 1795294051},
        {{31, 47, 20, 21, 11, 26, 20, 0x06}, 1795294051},               /* binary */
        {{0x31, 0x47, 0x88, 0x21, 0x11, 0x26, 0x20, 0x00}, 1795294051}, /* 12 hours, BCD */
        {{31, 47, 0x88, 21, 11, 26, 20, 0x04}, 1795294051},             /* 12 hours, binary */
        {{0x00, 0x00, 0x12, 0x01, 0x01, 0x01, 0x20, 0x00}, 978307200},  /* 12 a.m. is midnight */
        {{0x00, 0x00, 0x92, 0x01, 0x01, 0x01, 0x20, 0x00}, 978350400},  /* 12 p.m. is noon */
        {{0x31, 0x47, 0x20, 0x21, 0x11, 0x26, 0x00, 0x02}, 1795294051}, /* no century */
        {{0x31, 0x47, 0x20, 0x21, 0x11, 0x26, 0xff, 0x02}, 1795294051},
        {{0x00, 0x00, 0x00, 0x01, 0x01, 0x99, 0x00, 0x02}, 915148800},
        {{0x07, 0x14, 0x03, 0x19, 0x01, 0x38, 0x20, 0x02}, 2147483647},
        {{0x00, 0x00, 0x00, 0x01, 0x03, 0x00, 0x21, 0x02}, 4107542400}, /* 2100: no leap year */
        {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 0},
        {{0x00, 0x00, 0x24, 0x01, 0x01, 0x01, 0x20, 0x02}, 0},
        {{0x00, 0x60, 0x00, 0x01, 0x01, 0x01, 0x20, 0x02}, 0},
        {{0x00, 0x00, 0x00, 0x00, 0x01, 0x01, 0x20, 0x02}, 0},
        {{0x00, 0x00, 0x00, 0x01, 0x13, 0x01, 0x20, 0x02}, 0},
        {{0x00, 0x00, 0x13, 0x01, 0x01, 0x01, 0x20, 0x00}, 0},
        {{0x00, 0x00, 0x00, 0x01, 0x01, 0x69, 0x19, 0x02}, 0},
        {{0}, 0},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        CHECK_EQ(time_from_rtc(&rows[i].rtc), rows[i].seconds);
}

TEST_MAIN({"the_truth_lies_between_the_bounds", the_truth_lies_between_the_bounds},
          {"a_round_rate_is_found_exactly", a_round_rate_is_found_exactly},
          {"interruptions_do_no_harm", interruptions_do_no_harm},
          {"lost_wraps_are_noticed", lost_wraps_are_noticed},
          {"a_busy_host_is_measured_sharply", a_busy_host_is_measured_sharply},
          {"dead_and_absurd_timers_are_refused", dead_and_absurd_timers_are_refused},
          {"rounds_to_the_simplest", rounds_to_the_simplest},
          {"dates_of_the_rtc", dates_of_the_rtc})
