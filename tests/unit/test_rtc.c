/* The real-time clock, CMOS memory, and calendar. */
#include "drivers/model/civil_date.h"
#include "drivers/model/rtc.h"
#include "kernel/core/bits.h"
#include "tests/check.h"
#include "tests/fake/hands.h"

#define HZ 3276800ull /* a hundred counts a tick */
#define SECOND HZ

struct rig {
    struct hands hands;
    struct bus bus;
    struct pin pin;
    struct rtc rtc;
};

static void rig_init(struct rig *rig, uint64_t wall_seconds, uint64_t memory)
{
    memset(rig, 0, sizeof(*rig));
    hands_init(&rig->hands, HZ);
    struct rtc_config config = {
        .irq = pin_line(&rig->pin, 8),
        .clock = &rig->hands.clock,
        .timers = &rig->hands.timers,
        .wall_seconds = wall_seconds,
        .memory_bytes = memory,
    };
    rtc_init(&rig->rtc, &config);
    CHECK_EQ(rtc_attach(&rig->rtc, &rig->bus), STATUS_OK);
}

static uint8_t get(struct rig *rig, unsigned index)
{
    bus_write(&rig->bus, BUS_PORT, 0x70, 1, index);
    return (uint8_t)bus_read(&rig->bus, BUS_PORT, 0x71, 1);
}

static void set(struct rig *rig, unsigned index, unsigned value)
{
    bus_write(&rig->bus, BUS_PORT, 0x70, 1, index);
    bus_write(&rig->bus, BUS_PORT, 0x71, 1, value);
}

/* Century, year, month, day, hours, minutes, seconds as raw bytes. */
#define CHECK_TIME(rig, c, y, mo, d, h, mi, s)                                                     \
    do {                                                                                           \
        CHECK_EQ(get(rig, 0x32), c);                                                               \
        CHECK_EQ(get(rig, 9), y);                                                                  \
        CHECK_EQ(get(rig, 8), mo);                                                                 \
        CHECK_EQ(get(rig, 7), d);                                                                  \
        CHECK_EQ(get(rig, 4), h);                                                                  \
        CHECK_EQ(get(rig, 2), mi);                                                                 \
        CHECK_EQ(get(rig, 0), s);                                                                  \
    } while (0)

static void set_time(struct rig *rig, unsigned c, unsigned y, unsigned mo, unsigned d, unsigned h,
                     unsigned mi, unsigned s)
{
    set(rig, 0x32, c);
    set(rig, 9, y);
    set(rig, 8, mo);
    set(rig, 7, d);
    set(rig, 4, h);
    set(rig, 2, mi);
    set(rig, 0, s);
}

/* Every day from year 0 to 9999 against a calendar that only counts. */
static void calendar(void)
{
    static const uint8_t lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    uint32_t days = 0;
    for (uint32_t year = 0; year < 10000; year++) {
        uint32_t leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        for (uint32_t month = 1; month <= 12; month++)
            for (uint32_t day = 1; day <= lengths[month - 1] + (month == 2 ? leap : 0); day++) {
                struct civil_date date = civil_date_from_days(days);
                if (date.year != year || date.month != month || date.day != day)
                    CHECK_EQ(days, UINT32_MAX);
                CHECK_EQ(civil_date_to_days(date), days);
                days++;
            }
    }
    CHECK_EQ(days, 3652425);
    CHECK_EQ(civil_date_to_days((struct civil_date){1970, 1, 1}), CIVIL_DAYS_TO_UNIX_EPOCH);
    CHECK_EQ(civil_date_weekday(CIVIL_DAYS_TO_UNIX_EPOCH), 4);
    CHECK_EQ(civil_date_weekday(civil_date_to_days((struct civil_date){2024, 2, 29})), 4);
    CHECK_EQ(civil_date_weekday(civil_date_to_days((struct civil_date){2100, 3, 1})), 1);
}

static void calendar_takes_nonsense(void)
{
    struct civil_date march = {2023, 2, 29};
    CHECK_EQ(civil_date_from_days(civil_date_to_days(march)).month, 3);
    CHECK_EQ(civil_date_to_days((struct civil_date){2023, 0, 0}),
             civil_date_to_days((struct civil_date){2023, 1, 1}));
    CHECK_EQ(civil_date_to_days((struct civil_date){2023, 99, 1}),
             civil_date_to_days((struct civil_date){2023, 12, 1}));
}

static void starts_at_the_wall_time(void)
{
    struct rig rig;
    rig_init(&rig, 1709210096, MIB(256)); /* Thursday, 2024-02-29 12:34:56 */
    CHECK_TIME(&rig, 0x20, 0x24, 0x02, 0x29, 0x12, 0x34, 0x56);
    CHECK_EQ(get(&rig, 6), 5);
    CHECK_EQ(get(&rig, 0x0a), 0x26);
    CHECK_EQ(get(&rig, 0x0b), 0x02);
    CHECK_EQ(get(&rig, 0x0d), 0x80);
    CHECK_EQ(get(&rig, 0x0e), 0);
    CHECK_EQ(get(&rig, 0x0f), 0);
    hands_turn(&rig.hands, 4 * SECOND - 1);
    CHECK_EQ(get(&rig, 0), 0x59);
    hands_turn(&rig.hands, 1 + 11 * 3600 * SECOND + 25 * 60 * SECOND);
    CHECK_TIME(&rig, 0x20, 0x24, 0x03, 0x01, 0x00, 0x00, 0x00);
    CHECK_EQ(get(&rig, 6), 6);
    CHECK_EQ(rig.pin.sets, 0);
}

static void unknown_time(void)
{
    struct rig rig;
    rig_init(&rig, 0, MIB(256));
    CHECK_TIME(&rig, 0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00);
    CHECK_EQ(get(&rig, 0x0e), 0x04);
    CHECK_EQ(get(&rig, 6), 7);
}

/* A jump over each New Year from 2000 to 2200, from the last second of the old year. */
static void turns_of_the_year(void)
{
    for (uint32_t year = 2000; year < 2200; year++) {
        struct rig rig;
        uint64_t days = civil_date_to_days((struct civil_date){year + 1, 1, 1});
        rig_init(&rig, (days - CIVIL_DAYS_TO_UNIX_EPOCH) * 86400 - 1, 0);
        CHECK_EQ(get(&rig, 0), 0x59);
        CHECK_EQ(get(&rig, 7), 0x31);
        hands_turn(&rig.hands, SECOND);
        unsigned y = (year + 1) % 100, c = (year + 1) / 100;
        CHECK_TIME(&rig, c / 10 << 4 | c % 10, y / 10 << 4 | y % 10, 1, 1, 0, 0, 0);
    }
}

static void february_ends(void)
{
    static const struct {
        unsigned century, year, month, day;
    } cases[] = {{0x20, 0x00, 0x02, 0x29}, {0x20, 0x24, 0x02, 0x29}, {0x20, 0x23, 0x03, 0x01},
                 {0x21, 0x00, 0x03, 0x01}, {0x21, 0x04, 0x02, 0x29}, {0x19, 0x00, 0x03, 0x01}};
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rig rig;
        rig_init(&rig, 1, 0);
        set_time(&rig, cases[i].century, cases[i].year, 0x02, 0x28, 0x23, 0x59, 0x59);
        hands_turn(&rig.hands, SECOND);
        CHECK_TIME(&rig, cases[i].century, cases[i].year, cases[i].month, cases[i].day, 0, 0, 0);
    }
}

static void formats(void)
{
    static const struct {
        unsigned b, before, after;
    } cases[] = {
        {0x02, 0x23, 0x00}, {0x02, 0x11, 0x12}, {0x02, 0x09, 0x10},
        {0x06, 23, 0},      {0x06, 9, 10},      {0x00, 0x91, 0x12}, /* 11 p.m., 12 a.m. */
        {0x00, 0x11, 0x92},                                         /* 11 a.m., 12 p.m. */
        {0x00, 0x12, 0x01}, {0x00, 0x92, 0x81}, {0x00, 0x09, 0x10},
        {0x04, 0x8b, 12},   {0x04, 11, 0x8c},   {0x04, 0x8c, 0x81},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rig rig;
        rig_init(&rig, 1, 0);
        unsigned last = cases[i].b & 4 ? 59 : 0x59;
        set(&rig, 0x0b, cases[i].b | 0x80);
        set(&rig, 4, cases[i].before);
        set(&rig, 2, last);
        set(&rig, 0, last);
        set(&rig, 0x0b, cases[i].b);
        hands_turn(&rig.hands, SECOND);
        CHECK_EQ(get(&rig, 4), cases[i].after);
        CHECK_EQ(get(&rig, 2), 0);
    }
}

static void set_stops_the_clock(void)
{
    struct rig rig;
    rig_init(&rig, 1709210096, 0);
    set(&rig, 0x0b, 0x92); /* SET clears UIE */
    CHECK_EQ(get(&rig, 0x0b), 0x82);
    hands_turn(&rig.hands, 100 * SECOND);
    CHECK_EQ(get(&rig, 0), 0x56);
    CHECK_EQ(get(&rig, 0x0c) & 0x10, 0);
    set(&rig, 0, 0x99); /* nonsense stands until the next update, and then becomes a time */
    CHECK_EQ(get(&rig, 0), 0x99);
    set(&rig, 0x0b, 0x02);
    CHECK_EQ(get(&rig, 0), 0x99);
    hands_turn(&rig.hands, SECOND);
    CHECK_EQ(get(&rig, 0), 0x40);
    CHECK_EQ(get(&rig, 2), 0x35);
}

static void divider_reset_gives_half_a_second(void)
{
    struct rig rig;
    rig_init(&rig, 1709210096, 0);
    hands_turn(&rig.hands, SECOND / 4);
    set(&rig, 0x0a, 0x76);
    CHECK_EQ(get(&rig, 0x0a), 0x76);
    hands_turn(&rig.hands, 10 * SECOND);
    CHECK_EQ(get(&rig, 0), 0x56);
    CHECK_EQ(get(&rig, 0x0c), 0x40); /* from the quarter second before */
    set(&rig, 0x0a, 0x26);
    hands_turn(&rig.hands, SECOND / 2 - 1);
    CHECK_EQ(get(&rig, 0), 0x56);
    hands_turn(&rig.hands, 1);
    CHECK_EQ(get(&rig, 0), 0x57);
    hands_turn(&rig.hands, SECOND - 1);
    CHECK_EQ(get(&rig, 0), 0x57);
    hands_turn(&rig.hands, 1);
    CHECK_EQ(get(&rig, 0), 0x58);
    /* Writing the same divider again does not disturb it. */
    hands_turn(&rig.hands, SECOND - 1);
    set(&rig, 0x0a, 0x2f);
    hands_turn(&rig.hands, 1);
    CHECK_EQ(get(&rig, 0), 0x59);
}

static void update_in_progress(void)
{
    struct rig rig;
    rig_init(&rig, 1709210096, 0);
    CHECK_EQ(get(&rig, 0x0a), 0x26);
    hands_turn(&rig.hands, SECOND - 801);
    CHECK_EQ(get(&rig, 0x0a), 0x26);
    hands_turn(&rig.hands, 1);
    CHECK_EQ(get(&rig, 0x0a), 0xa6);
    CHECK_EQ(get(&rig, 0), 0x56);
    hands_turn(&rig.hands, 799);
    CHECK_EQ(get(&rig, 0x0a), 0xa6);
    set(&rig, 0x0b, 0x82);
    CHECK_EQ(get(&rig, 0x0a), 0x26);
    set(&rig, 0x0b, 0x02);
    hands_turn(&rig.hands, 1);
    CHECK_EQ(get(&rig, 0x0a), 0x26);
    CHECK_EQ(get(&rig, 0), 0x57);
    set(&rig, 0x0a, 0xff); /* UIP is read-only */
    CHECK_EQ(get(&rig, 0x0a), 0x7f);
}

static void update_ended_interrupt(void)
{
    struct rig rig;
    rig_init(&rig, 1709210096, 0);
    set(&rig, 0x0b, 0x12);
    for (unsigned i = 1; i <= 5; i++) {
        hands_turn(&rig.hands, SECOND - 1);
        CHECK(!rig.pin.level);
        hands_turn(&rig.hands, 1);
        CHECK_EQ(rig.pin.rises, i);
        CHECK_EQ(rig.pin.input, 8);
        CHECK_EQ(rig.hands.timers.next, TIMER_NEVER); /* until it is taken */
        CHECK_EQ(get(&rig, 0x0c) & 0xb0, 0x90);
        CHECK(!rig.pin.level);
        CHECK_EQ(get(&rig, 0x0c), 0);
    }
    /* A flag that stands already interrupts when it is enabled. */
    set(&rig, 0x0b, 0x02);
    hands_turn(&rig.hands, SECOND);
    CHECK(!rig.pin.level);
    set(&rig, 0x0b, 0x12);
    CHECK(rig.pin.level);
    set(&rig, 0x0b, 0x02);
    CHECK(!rig.pin.level);
    CHECK_EQ(rig.hands.timers.next, TIMER_NEVER);
}

static void periodic_interrupt(void)
{
    static const unsigned hz[16] = {0,   256, 128, 8192, 4096, 2048, 1024, 512,
                                    256, 128, 64,  32,   16,   8,    4,    2};
    for (unsigned rate = 0; rate < 16; rate++) {
        struct rig rig;
        rig_init(&rig, 1709210096, 0);
        set(&rig, 0x0a, 0x20 | rate);
        set(&rig, 0x0b, 0x42);
        for (unsigned i = 0; i < hz[rate]; i++) {
            hands_turn(&rig.hands, SECOND / hz[rate] - 1);
            CHECK(!rig.pin.level);
            hands_turn(&rig.hands, 1);
            CHECK(rig.pin.level);
            CHECK_EQ(get(&rig, 0x0c) & 0xe0, 0xc0);
        }
        CHECK_EQ(rig.pin.rises, hz[rate]);
        CHECK_EQ(get(&rig, 0), rate == 0 ? 0x56 : 0x57);
        /* Missed periods melt into one. */
        rig.hands.now += 3 * SECOND;
        timers_run(&rig.hands.timers, rig.hands.now);
        CHECK_EQ(rig.pin.rises, hz[rate] + (rate != 0));
    }
}

static void periodic_runs_while_set(void)
{
    struct rig rig;
    rig_init(&rig, 1709210096, 0);
    set(&rig, 0x0b, 0xc2);
    hands_turn(&rig.hands, SECOND);
    CHECK_EQ(rig.pin.rises, 1);
    CHECK_EQ(get(&rig, 0x0c), 0xc0);
}

static void alarms(void)
{
    static const struct {
        unsigned h, m, s;
        uint32_t after; /* seconds from 12:34:56; 0: never */
    } cases[] = {
        {0x12, 0x34, 0x57, 1},     {0x12, 0x35, 0x00, 4},     {0xff, 0xff, 0xff, 1},
        {0xff, 0xff, 0x00, 4},     {0xff, 0x00, 0x00, 1504},  {0x12, 0x34, 0x56, 86400},
        {0x12, 0x34, 0x55, 86399}, {0x00, 0x00, 0x00, 41104}, {0xc0, 0xc0, 0x10, 14},
        {0x13, 0xff, 0x30, 1534},  {0x25, 0xff, 0xff, 0},     {0xff, 0x60, 0xff, 0},
        {0xff, 0xff, 0x0a, 0},     {0x12, 0x34, 0x99, 0},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rig rig;
        rig_init(&rig, 1709210096, 0);
        set(&rig, 5, cases[i].h);
        set(&rig, 3, cases[i].m);
        set(&rig, 1, cases[i].s);
        set(&rig, 0x0b, 0x22);
        if (cases[i].after == 0) {
            hands_turn(&rig.hands, 3 * 86400 * SECOND);
            CHECK_EQ(rig.pin.rises, 0);
            CHECK_EQ(get(&rig, 0x0c) & 0xa0, 0);
            continue;
        }
        hands_turn(&rig.hands, cases[i].after * SECOND - 1);
        CHECK_EQ(rig.pin.rises, 0);
        hands_turn(&rig.hands, 1);
        CHECK_EQ(rig.pin.rises, 1);
        CHECK_EQ(get(&rig, 0x0c) & 0xa0, 0xa0);
        CHECK(!rig.pin.level);
    }
}

static void alarm_in_twelve_hours(void)
{
    struct rig rig;
    rig_init(&rig, 1709210096, 0);
    set(&rig, 0x0b, 0x80);
    set(&rig, 4, 0x92); /* 12:34:56 p.m. */
    set(&rig, 5, 0x12); /* 12:00:00 a.m. */
    set(&rig, 3, 0x00);
    set(&rig, 1, 0x00);
    set(&rig, 0x0b, 0x20);
    hands_turn(&rig.hands, 41103 * SECOND);
    CHECK_EQ(rig.pin.rises, 0);
    hands_turn(&rig.hands, SECOND);
    CHECK_EQ(rig.pin.rises, 1);
    CHECK_EQ(get(&rig, 4), 0x12);
}

/* With nobody looking, flags are as if somebody had. */
static void flags_after_a_long_sleep(void)
{
    struct rig rig;
    rig_init(&rig, 1709210096, 0);
    set(&rig, 5, 0x13);
    set(&rig, 3, 0x00);
    set(&rig, 1, 0x00);
    hands_turn(&rig.hands, 1503 * SECOND);
    CHECK_EQ(get(&rig, 0x0c), 0x50);
    hands_turn(&rig.hands, 10 * SECOND);
    CHECK_EQ(get(&rig, 0x0c), 0x70);
    hands_turn(&rig.hands, 86000 * SECOND);
    CHECK_EQ(get(&rig, 0x0c), 0x50);
    hands_turn(&rig.hands, 1000 * 86400 * SECOND);
    CHECK_EQ(get(&rig, 0x0c), 0x70);
    CHECK_EQ(get(&rig, 8), 0x11);
}

static void weekday_counts_by_itself(void)
{
    struct rig rig;
    rig_init(&rig, 1709210096, 0);
    set(&rig, 6, 7);
    hands_turn(&rig.hands, 86400 * SECOND);
    CHECK_EQ(get(&rig, 6), 1);
    hands_turn(&rig.hands, 10 * 86400 * SECOND);
    CHECK_EQ(get(&rig, 6), 4);
}

/* The way in which Linux sets the clock. */
static void linux_sets_the_clock(void)
{
    struct rig rig;
    rig_init(&rig, 0, 0);
    unsigned control = get(&rig, 0x0b), select = get(&rig, 0x0a);
    set(&rig, 0x0b, control | 0x80);
    set(&rig, 0x0a, select | 0x70);
    set_time(&rig, 0x20, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59);
    set(&rig, 0x0b, control);
    set(&rig, 0x0a, select);
    hands_turn(&rig.hands, SECOND / 2 - 1);
    CHECK_TIME(&rig, 0x20, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59);
    hands_turn(&rig.hands, 1);
    CHECK_TIME(&rig, 0x21, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00);
}

static void memory_sizes(void)
{
    static const struct {
        uint64_t bytes;
        unsigned base, extended, above_16m, above_4g;
    } cases[] = {
        {KIB(512), 512, 0, 0, 0},
        {MIB(8), 640, 7168, 0, 0},
        {MIB(64), 640, 64512, 768, 0},
        {MIB(256), 640, 65535, 3840, 0},
        {GIB(3), 640, 65535, 0xbf00, 0},
        {GIB(4), 640, 65535, 0xbf00, 0x4000},
        {GIB(1ull << 20), 640, 65535, 0xbf00, 0xffffff},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rig rig;
        rig_init(&rig, 1, cases[i].bytes);
        CHECK_EQ(get(&rig, 0x15) | get(&rig, 0x16) << 8, cases[i].base);
        CHECK_EQ(get(&rig, 0x17) | get(&rig, 0x18) << 8, cases[i].extended);
        CHECK_EQ(get(&rig, 0x30) | get(&rig, 0x31) << 8, cases[i].extended);
        CHECK_EQ(get(&rig, 0x34) | get(&rig, 0x35) << 8, cases[i].above_16m);
        CHECK_EQ(get(&rig, 0x5b) | get(&rig, 0x5c) << 8 | get(&rig, 0x5d) << 16, cases[i].above_4g);
        unsigned sum = 0;
        for (unsigned j = 0x10; j <= 0x2d; j++)
            sum += get(&rig, j);
        CHECK_EQ(get(&rig, 0x2e) << 8 | get(&rig, 0x2f), sum);
    }
}

static void memory_and_ports(void)
{
    struct rig rig;
    rig_init(&rig, 1, 0);
    for (unsigned i = 0x0e; i < 128; i++)
        if (i != 0x32)
            set(&rig, i, i ^ 0x5a);
    for (unsigned i = 0; i < 128; i++) {
        bus_write(&rig.bus, BUS_PORT, 0x72, 1, i | 0x80);
        bus_write(&rig.bus, BUS_PORT, 0x73, 1, i ^ 0xa5);
    }
    for (unsigned i = 0x0e; i < 128; i++)
        if (i != 0x32)
            CHECK_EQ(get(&rig, i), i ^ 0x5a);
    for (unsigned i = 0; i < 128; i++) {
        bus_write(&rig.bus, BUS_PORT, 0x72, 1, i);
        CHECK_EQ(bus_read(&rig.bus, BUS_PORT, 0x73, 1), i ^ 0xa5);
        CHECK_EQ(bus_read(&rig.bus, BUS_PORT, 0x72, 1), i);
    }
    CHECK_EQ(bus_read(&rig.bus, BUS_PORT, 0x70, 1), 0xff);
    set(&rig, 0x0c, 0xff);
    set(&rig, 0x0d, 0x00);
    CHECK_EQ(get(&rig, 0x0c), 0);
    CHECK_EQ(get(&rig, 0x0d), 0x80);
    /* One 16-bit write: index and data. */
    bus_write(&rig.bus, BUS_PORT, 0x70, 2, 0x770f);
    CHECK_EQ(get(&rig, RTC_SHUTDOWN_STATUS), 0x77);
    CHECK(!rtc_nmi_masked(&rig.rtc));
    CHECK_EQ(get(&rig, 0x8f), 0x77);
    CHECK(rtc_nmi_masked(&rig.rtc));
    get(&rig, 0x0f);
    CHECK(!rtc_nmi_masked(&rig.rtc));
}

static void reset_keeps_time_and_memory(void)
{
    struct rig rig;
    rig_init(&rig, 1709210096, 0);
    set(&rig, 0x0f, 0x0a);
    set(&rig, 0x0b, 0x7a);
    hands_turn(&rig.hands, SECOND);
    CHECK(rig.pin.level);
    rtc_reset(&rig.rtc);
    CHECK(!rig.pin.level);
    CHECK_EQ(get(&rig, 0x0b), 0x02);
    CHECK_EQ(get(&rig, 0x0c), 0);
    CHECK_EQ(get(&rig, 0x0f), 0x0a);
    CHECK_EQ(get(&rig, 0), 0x57);
    CHECK_EQ(rig.hands.timers.next, TIMER_NEVER);
}

static void two_clocks_are_apart(void)
{
    struct rig a, b;
    rig_init(&a, 1709210096, MIB(64));
    rig_init(&b, 1, MIB(32));
    set(&a, 0x0b, 0x12);
    set(&b, 0x40, 0x55);
    hands_turn(&a.hands, 3 * SECOND);
    hands_turn(&b.hands, SECOND);
    CHECK_EQ(get(&a, 0), 0x59);
    CHECK_EQ(get(&b, 0), 0x02);
    CHECK_EQ(get(&a, 0x40), 0);
    CHECK_EQ(b.pin.sets, 0);
}

TEST_MAIN({"rtc: calendar", calendar},
          {"rtc: the calendar takes nonsense", calendar_takes_nonsense},
          {"rtc: starts at the wall time", starts_at_the_wall_time},
          {"rtc: unknown time", unknown_time}, {"rtc: turns of the year", turns_of_the_year},
          {"rtc: February ends", february_ends}, {"rtc: formats", formats},
          {"rtc: SET stops the clock", set_stops_the_clock},
          {"rtc: the divider's reset gives half a second", divider_reset_gives_half_a_second},
          {"rtc: update in progress", update_in_progress},
          {"rtc: update-ended interrupt", update_ended_interrupt},
          {"rtc: periodic interrupt", periodic_interrupt},
          {"rtc: periodic runs while SET", periodic_runs_while_set}, {"rtc: alarms", alarms},
          {"rtc: alarm in twelve hours", alarm_in_twelve_hours},
          {"rtc: flags after a long sleep", flags_after_a_long_sleep},
          {"rtc: the weekday counts by itself", weekday_counts_by_itself},
          {"rtc: Linux sets the clock", linux_sets_the_clock}, {"rtc: memory sizes", memory_sizes},
          {"rtc: memory and ports", memory_and_ports},
          {"rtc: reset keeps time and memory", reset_keeps_time_and_memory},
          {"rtc: two are apart", two_clocks_are_apart})
