/* Any sequence of accesses and sleeps: a valid time goes on by exactly the seconds that pass, the
 * interrupt line is IRQF, and no deadline is left behind. */
#include <stdlib.h>

#include "drivers/model/rtc.h"
#include "tests/fake/hands.h"
#include "tests/fuzz/fuzz.h"

#define HZ 3276800ull

struct world {
    struct hands hands;
    struct pin pin;
    struct rtc rtc;
};

static struct world world;

static uint8_t get(unsigned index)
{
    rtc_ops.write(&world.rtc, 0, 1, index);
    return (uint8_t)rtc_ops.read(&world.rtc, 1, 1);
}

static void set(unsigned index, uint8_t value)
{
    rtc_ops.write(&world.rtc, 0, 1, index);
    rtc_ops.write(&world.rtc, 1, 1, value);
}

/* The number in a register, or -1: outside [low, high], or no BCD. */
static int number(uint8_t raw, bool binary, int low, int high)
{
    if (!binary && ((raw & 15) > 9 || raw >> 4 > 9))
        return -1;
    int value = binary ? raw : (raw >> 4) * 10 + (raw & 15);
    return value >= low && value <= high ? value : -1;
}

/* Seconds since midnight, or -1 where the registers hold no time. */
static int64_t time_of_day(void)
{
    uint8_t b = get(0x0b), raw_hour = get(4);
    bool binary = b & 4;
    int hour;
    if (b & 2) {
        hour = number(raw_hour, binary, 0, 23);
    } else {
        hour = number(raw_hour & 0x7f, binary, 1, 12);
        if (hour >= 0)
            hour = hour % 12 + (raw_hour & 0x80 ? 12 : 0);
    }
    int minute = number(get(2), binary, 0, 59), second = number(get(0), binary, 0, 59);
    return hour < 0 || minute < 0 || second < 0 ? -1 : hour * 3600 + minute * 60 + second;
}

static bool is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* The day after a valid date, as the registers should say it; -1: no valid date. */
static int32_t date(void)
{
    static const uint8_t lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool binary = get(0x0b) & 4;
    int century = number(get(0x32), binary, 0, 99), year = number(get(9), binary, 0, 99);
    int month = number(get(8), binary, 1, 12), day = number(get(7), binary, 1, 31);
    if (century < 0 || year < 0 || month < 0 || day < 0)
        return -1;
    year += century * 100;
    if (day > lengths[month - 1] + (month == 2 && is_leap(year)))
        return -1;
    return year * 10000 + month * 100 + day;
}

static bool is_successor(int32_t before, int32_t after)
{
    int day = before % 100, month = before / 100 % 100, year = before / 10000;
    if (after == before + 1)
        return true;
    if (day < 28 || after % 100 != 1)
        return false;
    return month == 12 ? after == (year + 1) % 10000 * 10000 + 101
                       : after == before / 100 * 100 + 100 + 1;
}

static void one_day_passes(void)
{
    uint8_t a = get(0x0a), b = get(0x0b);
    bool runs = (a & 0x70) <= 0x20 && !(b & 0x80);
    int64_t before = time_of_day();
    int32_t today = date();
    hands_turn(&world.hands, 86400 * HZ);
    int64_t after = time_of_day();
    int32_t tomorrow = date();
    if (before < 0)
        return;
    REQUIRE(after == before);
    if (today >= 0 && !runs)
        REQUIRE(tomorrow == today);
    if (today >= 0 && runs)
        REQUIRE(tomorrow >= 0 && is_successor(today, tomorrow));
}

static void seconds_pass(uint32_t seconds)
{
    uint8_t a = get(0x0a), b = get(0x0b);
    bool runs = (a & 0x70) <= 0x20 && !(b & 0x80);
    int64_t before = time_of_day();
    hands_turn(&world.hands, seconds * HZ);
    int64_t after = time_of_day();
    if (before >= 0)
        REQUIRE(after == (runs ? (before + seconds) % 86400 : before));
}

static void check(void)
{
    const struct rtc *rtc = &world.rtc;
    REQUIRE(world.pin.level == (rtc->cmos[0x0c] >> 7));
    REQUIRE(world.pin.level == ((rtc->cmos[0x0b] & rtc->cmos[0x0c] & 0x70) != 0));
    REQUIRE((rtc->cmos[0x0c] & 0x0f) == 0);
    REQUIRE(get(0x0d) == 0x80);
    REQUIRE(!(get(0x0a) & 0x80) || !(get(0x0b) & 0x80));
    timers_run(&world.hands.timers, world.hands.now);
    REQUIRE(world.hands.timers.next > world.hands.now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    world = (struct world){.pin = {.level = false}};
    hands_init(&world.hands, HZ);
    struct rtc_config config = {
        .irq = pin_line(&world.pin, 8),
        .clock = &world.hands.clock,
        .timers = &world.hands.timers,
        .wall_seconds = (uint64_t)data[0] << 32 | (uint64_t)data[1] << 24 | data[2] << 16,
        .memory_bytes = (uint64_t)data[3] << 26,
    };
    rtc_init(&world.rtc, &config);
    for (size_t i = 4; i + 1 < size; i += 2) {
        uint8_t op = data[i], value = data[i + 1];
        if (op < 0x80)
            set((op & 15) == 15 ? 0x32 : op & 15, value);
        else if (op < 0xa0)
            get(op & 31);
        else if (op < 0xb0)
            one_day_passes();
        else if (op < 0xc0)
            seconds_pass(value * 37u);
        else if (op < 0xd0)
            rtc_ops.write(&world.rtc, op & 1 ? 0 : 2, op & 2 ? 2 : 1, value * 0x0101u);
        else if (op < 0xd8)
            world.hands.now += (uint64_t)value << 40;
        else if (op < 0xdc)
            rtc_reset(&world.rtc);
        else
            hands_turn(&world.hands, (uint64_t)value << (op & 15));
        check();
    }
    return 0;
}
