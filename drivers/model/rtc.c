#include "drivers/model/rtc.h"

#include "drivers/model/byte_port.h"
#include "drivers/model/civil_date.h"
#include "kernel/vm/platform.h"

enum {
    REG_SECONDS = 0x00,
    REG_SECONDS_ALARM = 0x01,
    REG_MINUTES = 0x02,
    REG_MINUTES_ALARM = 0x03,
    REG_HOURS = 0x04,
    REG_HOURS_ALARM = 0x05,
    REG_WEEKDAY = 0x06, /* 1 is Sunday */
    REG_DAY = 0x07,
    REG_MONTH = 0x08,
    REG_YEAR = 0x09,
    REG_A = 0x0a,
    REG_B = 0x0b,
    REG_C = 0x0c,
    REG_D = 0x0d,
};

/* CMOS bytes that a PC's firmware fills in. */
enum {
    CMOS_DIAGNOSTIC = 0x0e,
    CMOS_EQUIPMENT = 0x14,
    CMOS_BASE_MEMORY = 0x15,        /* KiB, two bytes */
    CMOS_EXTENDED_MEMORY = 0x17,    /* KiB above 1 MiB, two bytes */
    CMOS_CHECKSUM_FIRST = 0x10,     /* the checksum covers 0x10 ... */
    CMOS_CHECKSUM_LAST = 0x2d,      /* ... to 0x2d */
    CMOS_CHECKSUM = 0x2e,           /* high byte first */
    CMOS_EXTENDED_MEMORY_2 = 0x30,  /* the same as at 0x17, as the self-test found it */
    CMOS_MEMORY_ABOVE_16MIB = 0x34, /* 64 KiB units below 4 GiB, two bytes */
    CMOS_MEMORY_ABOVE_4GIB = 0x5b,  /* 64 KiB units, three bytes */
};
#define DIAGNOSTIC_TIME_INVALID 0x04
#define EQUIPMENT_FPU 0x02

#define A_UIP 0x80
#define A_DIVIDER_SHIFT 4
#define A_RATE 0x0f
#define A_DEFAULT 0x26 /* 32.768 kHz, 1024 Hz periodic rate */
#define DIVIDER_32768HZ 2

#define B_SET 0x80
#define B_PIE 0x40
#define B_AIE 0x20
#define B_UIE 0x10
#define B_SQWE 0x08
#define B_BINARY 0x04
#define B_24_HOURS 0x02

#define C_IRQF 0x80
#define C_FLAGS 0x70 /* PF, AF and UF: at the places of their enables in register B */
#define C_PF 0x40
#define C_AF 0x20
#define C_UF 0x10

#define D_VALID 0x80

#define HOURS_PM 0x80
#define ALARM_ANY 0xc0 /* from here on an alarm byte matches everything */

#define OSCILLATOR_HZ 32768u
#define UIP_TICKS 8u /* 244 microseconds */
#define NO_TICK UINT64_MAX
#define SECONDS_UNTIL_2000 946684800u
#define DAYS_OF_10000_YEARS 3652425u
#define EXTENDED_BANK 128

/* ---- Numbers in registers ---- */

static uint32_t decode(const struct rtc *rtc, uint8_t raw)
{
    return rtc->cmos[REG_B] & B_BINARY ? raw : (raw >> 4) * 10u + (raw & 15);
}

static uint8_t encode(const struct rtc *rtc, uint32_t number)
{
    if (rtc->cmos[REG_B] & B_BINARY)
        return (uint8_t)number;
    return (uint8_t)((number / 10) << 4 | number % 10);
}

/* Twelve o'clock is hour 0 of its half of the day. */
static uint32_t decode_hour(const struct rtc *rtc, uint8_t raw)
{
    if (rtc->cmos[REG_B] & B_24_HOURS)
        return decode(rtc, raw);
    return decode(rtc, raw & ~HOURS_PM) % 12 + (raw & HOURS_PM ? 12 : 0);
}

static uint8_t encode_hour(const struct rtc *rtc, uint32_t hour)
{
    if (rtc->cmos[REG_B] & B_24_HOURS)
        return encode(rtc, hour);
#ifdef PLANTED_BUG_RTC
    return encode(rtc, hour % 12) | (hour >= 12 ? HOURS_PM : 0);
#endif
    return encode(rtc, (hour + 11) % 12 + 1) | (hour >= 12 ? HOURS_PM : 0);
}

static uint32_t time_of_day(const struct rtc *rtc)
{
    return decode_hour(rtc, rtc->cmos[REG_HOURS]) * 3600 +
           decode(rtc, rtc->cmos[REG_MINUTES]) * 60 + decode(rtc, rtc->cmos[REG_SECONDS]);
}

static uint32_t date_days(const struct rtc *rtc)
{
    /* Each half of the year takes part with what it can say: 0 to 99. */
    return civil_date_to_days((struct civil_date){
        .year = decode(rtc, rtc->cmos[RTC_CENTURY]) % 100 * 100 +
                decode(rtc, rtc->cmos[REG_YEAR]) % 100,
        .month = decode(rtc, rtc->cmos[REG_MONTH]),
        .day = decode(rtc, rtc->cmos[REG_DAY]),
    });
}

static void store_time_of_day(struct rtc *rtc, uint32_t seconds)
{
    rtc->cmos[REG_SECONDS] = encode(rtc, seconds % 60);
    rtc->cmos[REG_MINUTES] = encode(rtc, seconds / 60 % 60);
    rtc->cmos[REG_HOURS] = encode_hour(rtc, seconds / 3600);
}

static void store_date(struct rtc *rtc, uint32_t days)
{
    struct civil_date date = civil_date_from_days(days);
    rtc->cmos[REG_DAY] = encode(rtc, date.day);
    rtc->cmos[REG_MONTH] = encode(rtc, date.month);
    rtc->cmos[REG_YEAR] = encode(rtc, date.year % 100);
    rtc->cmos[RTC_CENTURY] = encode(rtc, date.year / 100);
}

/* The weekday is a counter of its own: it goes on from what the guest wrote. */
static void add_seconds(struct rtc *rtc, uint64_t seconds)
{
    uint64_t total = seconds + time_of_day(rtc);
    uint64_t days = total / CIVIL_SECONDS_PER_DAY;
    store_time_of_day(rtc, (uint32_t)(total % CIVIL_SECONDS_PER_DAY));
    if (days == 0)
        return;
    store_date(rtc, (uint32_t)((date_days(rtc) + days) % DAYS_OF_10000_YEARS));
    uint32_t weekday = rtc->cmos[REG_WEEKDAY] & 7;
    rtc->cmos[REG_WEEKDAY] = encode(rtc, (uint32_t)((weekday + 6 + days) % 7) + 1);
}

/* ---- The alarm ---- */

static bool alarm_matches(uint8_t alarm, uint8_t value)
{
    return alarm >= ALARM_ANY || alarm == value;
}

/* How many seconds from now the alarm is next due, 1 to 86400; 0: never, since no time of day looks
 * like it. Skips whole hours and minutes that do not match. */
static uint32_t seconds_to_alarm(const struct rtc *rtc)
{
    uint32_t now = time_of_day(rtc) % CIVIL_SECONDS_PER_DAY;
    uint32_t t = now + 1;
    while (t <= now + CIVIL_SECONDS_PER_DAY) {
        uint8_t hour = encode_hour(rtc, t / 3600 % 24);
        if (!alarm_matches(rtc->cmos[REG_HOURS_ALARM], hour))
            t += 3600 - t % 3600;
        else if (!alarm_matches(rtc->cmos[REG_MINUTES_ALARM], encode(rtc, t / 60 % 60)))
            t += 60 - t % 60;
        else if (!alarm_matches(rtc->cmos[REG_SECONDS_ALARM], encode(rtc, t % 60)))
            t++;
        else
            return t - now;
    }
    return 0;
}

/* ---- The divider chain and what it drives ---- */

static bool divider_runs(const struct rtc *rtc)
{
    return rtc->cmos[REG_A] >> A_DIVIDER_SHIFT <= DIVIDER_32768HZ;
}

static bool updates_run(const struct rtc *rtc)
{
    return divider_runs(rtc) && !(rtc->cmos[REG_B] & B_SET);
}

/* The period of the periodic flag in ticks; 0: none. MC146818: Periodic Interrupt Rate. */
static uint32_t periodic_ticks(const struct rtc *rtc)
{
    unsigned rate = rtc->cmos[REG_A] & A_RATE;
    if (rate == 0)
        return 0;
    return rate <= 2 ? 64u << rate : 1u << (rate - 1);
}

/* How often a multiple of period went by since the last look. */
static uint64_t periods_passed(const struct rtc *rtc, uint64_t tick, uint32_t period)
{
    return (tick - rtc->divider_start) / period - (rtc->seen - rtc->divider_start) / period;
}

/* Brings time and flags up to tick. */
static void advance(struct rtc *rtc, uint64_t tick)
{
    if (tick < rtc->seen) /* a debugger has set the clock back by less than anybody has seen */
        return;
    uint32_t period = periodic_ticks(rtc);
    if (divider_runs(rtc) && period != 0 && periods_passed(rtc, tick, period) != 0)
        rtc->cmos[REG_C] |= C_PF;
    uint64_t seconds = updates_run(rtc) ? periods_passed(rtc, tick, OSCILLATOR_HZ) : 0;
    if (seconds != 0) {
        uint32_t alarm = seconds_to_alarm(rtc);
        if (alarm != 0 && alarm <= seconds)
            rtc->cmos[REG_C] |= C_AF;
        rtc->cmos[REG_C] |= C_UF;
        add_seconds(rtc, seconds);
    }
    rtc->seen = tick;
}

static uint64_t next_multiple(const struct rtc *rtc, uint32_t period, uint64_t multiples)
{
    uint64_t passed = (rtc->seen - rtc->divider_start) / period;
    return rtc->divider_start + (passed + multiples) * period;
}

/* The tick at which an enabled flag that is still clear will be set. */
static uint64_t next_event(const struct rtc *rtc)
{
    uint8_t enabled = rtc->cmos[REG_B] & C_FLAGS;
    uint64_t wake = NO_TICK;
    uint32_t period = periodic_ticks(rtc);
    if ((enabled & B_PIE) && period != 0 && divider_runs(rtc))
        wake = next_multiple(rtc, period, 1);
    uint32_t seconds = 0;
    if (updates_run(rtc))
        seconds = enabled & B_UIE ? 1 : enabled & B_AIE ? seconds_to_alarm(rtc) : 0;
    if (seconds != 0 && next_multiple(rtc, OSCILLATOR_HZ, seconds) < wake)
        wake = next_multiple(rtc, OSCILLATOR_HZ, seconds);
    return wake;
}

/* Sets the interrupt request flag and line from the flags, and the next deadline: none while the
 * request stands, since only reading register C ends that. */
static void update_irq(struct rtc *rtc)
{
    bool level = rtc->cmos[REG_B] & rtc->cmos[REG_C] & C_FLAGS;
    rtc->cmos[REG_C] = (rtc->cmos[REG_C] & C_FLAGS) | (level ? C_IRQF : 0);
    timer_arm(&rtc->timer, level ? TIMER_NEVER : ticks_deadline(&rtc->ticks, next_event(rtc)));
    if (level == rtc->irq_level)
        return;
    rtc->irq_level = level;
    irq_line_set(&rtc->irq, level);
}

static void fire(void *owner, uint64_t now)
{
    struct rtc *rtc = owner;
    (void)now;
    advance(rtc, ticks_now(&rtc->ticks));
    update_irq(rtc);
}

/* ---- Registers ---- */

static uint8_t read_a(const struct rtc *rtc)
{
    uint64_t phase = (rtc->seen - rtc->divider_start) % OSCILLATOR_HZ;
    bool update_soon = updates_run(rtc) && phase >= OSCILLATOR_HZ - UIP_TICKS;
    return rtc->cmos[REG_A] | (update_soon ? A_UIP : 0);
}

static uint8_t read_c(struct rtc *rtc)
{
    update_irq(rtc);
    uint8_t flags = rtc->cmos[REG_C];
    rtc->cmos[REG_C] = 0;
    update_irq(rtc);
    return flags;
}

static uint8_t read_cmos(struct rtc *rtc, unsigned index)
{
    if (index <= REG_D || index == RTC_CENTURY)
        advance(rtc, ticks_now(&rtc->ticks));
    if (index == REG_A)
        return read_a(rtc);
    if (index == REG_C)
        return read_c(rtc);
    return rtc->cmos[index];
}

/* MC146818: Register A. The chain starts again half a second before an update. */
static void write_a(struct rtc *rtc, uint8_t value)
{
    bool was_running = divider_runs(rtc);
    rtc->cmos[REG_A] = value & ~A_UIP;
    if (!was_running && divider_runs(rtc))
        rtc->divider_start = rtc->seen - OSCILLATOR_HZ / 2;
}

/* MC146818: Register B. Setting the clock ends update interrupts. */
static void write_b(struct rtc *rtc, uint8_t value)
{
    rtc->cmos[REG_B] = value & B_SET ? value & ~B_UIE : value;
}

static void write_cmos(struct rtc *rtc, unsigned index, uint8_t value)
{
    if (index > REG_D && index != RTC_CENTURY) {
        rtc->cmos[index] = value;
        return;
    }
    advance(rtc, ticks_now(&rtc->ticks));
    if (index == REG_A)
        write_a(rtc, value);
    else if (index == REG_B)
        write_b(rtc, value);
    else if (index != REG_C && index != REG_D)
        rtc->cmos[index] = value;
    update_irq(rtc);
}

static uint8_t read_port(void *device, unsigned offset)
{
    struct rtc *rtc = device;
    switch (offset) {
    case 1:
        return read_cmos(rtc, rtc->index);
    case 2:
        return rtc->extended_index;
    case 3:
        return rtc->cmos[EXTENDED_BANK + rtc->extended_index];
    default:
        return 0xff; /* the index is write-only */
    }
}

static void write_port(void *device, unsigned offset, uint8_t value)
{
    struct rtc *rtc = device;
    switch (offset) {
    case 0:
        rtc->index = value & 0x7f;
        rtc->nmi_masked = value & 0x80;
        break;
    case 1:
        write_cmos(rtc, rtc->index, value);
        break;
    case 2:
        rtc->extended_index = value & 0x7f;
        break;
    default:
        rtc->cmos[EXTENDED_BANK + rtc->extended_index] = value;
        break;
    }
}

static uint64_t rtc_read(void *device, uint64_t offset, unsigned size)
{
    return byte_port_read(device, offset, size, read_port);
}

static void rtc_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    byte_port_write(device, offset, size, value, write_port);
}

const struct bus_ops rtc_ops = {rtc_read, rtc_write};

bool rtc_nmi_masked(const struct rtc *rtc)
{
    return rtc->nmi_masked;
}

/* ---- Set-up ---- */

static INIT void store_bytes(struct rtc *rtc, unsigned index, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        rtc->cmos[index + i] = (uint8_t)(value >> (8 * i));
}

static INIT uint64_t at_most(uint64_t value, uint64_t limit)
{
    return value < limit ? value : limit;
}

static INIT uint64_t bytes_above(uint64_t bytes, uint64_t base)
{
    return bytes > base ? bytes - base : 0;
}

static INIT void store_memory_sizes(struct rtc *rtc, uint64_t bytes)
{
    uint64_t low = at_most(bytes, PLATFORM_LOW_RAM_END);
    uint64_t extended = at_most(bytes_above(low, MIB(1)) / KIB(1), 0xffff);
    store_bytes(rtc, CMOS_BASE_MEMORY, at_most(low, PLATFORM_LEGACY_HOLE) / KIB(1), 2);
    store_bytes(rtc, CMOS_EXTENDED_MEMORY, extended, 2);
    store_bytes(rtc, CMOS_EXTENDED_MEMORY_2, extended, 2);
    store_bytes(rtc, CMOS_MEMORY_ABOVE_16MIB, bytes_above(low, MIB(16)) / KIB(64), 2);
    store_bytes(rtc, CMOS_MEMORY_ABOVE_4GIB, at_most((bytes - low) / KIB(64), 0xffffff), 3);
}

/* Big-endian, unlike the other numbers. */
static INIT void store_checksum(struct rtc *rtc)
{
    unsigned sum = 0;
    for (unsigned i = CMOS_CHECKSUM_FIRST; i <= CMOS_CHECKSUM_LAST; i++)
        sum += rtc->cmos[i];
    rtc->cmos[CMOS_CHECKSUM] = (uint8_t)(sum >> 8);
    rtc->cmos[CMOS_CHECKSUM + 1] = (uint8_t)sum;
}

static INIT void store_wall_time(struct rtc *rtc, uint64_t seconds)
{
    uint64_t days = seconds / CIVIL_SECONDS_PER_DAY + CIVIL_DAYS_TO_UNIX_EPOCH;
    store_time_of_day(rtc, (uint32_t)(seconds % CIVIL_SECONDS_PER_DAY));
    store_date(rtc, (uint32_t)(days % DAYS_OF_10000_YEARS));
    rtc->cmos[REG_WEEKDAY] =
        encode(rtc, civil_date_weekday((uint32_t)(days % DAYS_OF_10000_YEARS)) + 1);
}

void rtc_reset(struct rtc *rtc)
{
    advance(rtc, ticks_now(&rtc->ticks));
    rtc->cmos[REG_B] &= ~(B_PIE | B_AIE | B_UIE | B_SQWE);
    rtc->cmos[REG_C] = 0;
    rtc->index = rtc->extended_index = 0;
    rtc->nmi_masked = false;
    update_irq(rtc);
}

INIT void rtc_init(struct rtc *rtc, const struct rtc_config *config)
{
    *rtc = (struct rtc){.irq = config->irq};
    ticks_init(&rtc->ticks, config->clock, OSCILLATOR_HZ);
    timer_init(&rtc->timer, config->timers, fire, rtc);
    rtc->cmos[REG_A] = A_DEFAULT;
    rtc->cmos[REG_B] = B_24_HOURS;
    rtc->cmos[REG_D] = D_VALID;
    bool known = config->wall_seconds != 0;
    store_wall_time(rtc, known ? config->wall_seconds : SECONDS_UNTIL_2000);
    rtc->cmos[CMOS_DIAGNOSTIC] = known ? 0 : DIAGNOSTIC_TIME_INVALID;
    rtc->cmos[CMOS_EQUIPMENT] = EQUIPMENT_FPU;
    store_memory_sizes(rtc, config->memory_bytes);
    store_checksum(rtc);
}

INIT enum status rtc_attach(struct rtc *rtc, struct bus *bus)
{
    return bus_add(bus, BUS_PORT, PLATFORM_PORT_RTC, PLATFORM_PORT_RTC_SIZE, &rtc_ops, rtc);
}
