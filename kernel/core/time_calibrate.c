#include "kernel/core/time_calibrate.h"

#define POLLS_WITHOUT_CHANGE 200000
#define HZ_MIN 1000000ull
#define HZ_MAX 20000000000ull
/* An emulated timer may show its count this much late; real ones cost less. */
#define LATENESS_NS 2000

/* The counter became count between two moments. */
struct edge {
    uint64_t low;
    uint64_t high;
    uint32_t count;
};

struct poller {
    const struct time_reference *reference;
    const struct time_counter *counter;
    uint64_t last_before; /* when the last poll began */
    uint32_t last_count;
};

static void poll(struct poller *p, struct edge *edge)
{
    uint64_t before = p->counter->read(p->counter->context);
    edge->count = p->reference->read(p->reference->context) & p->reference->mask;
    edge->low = p->last_before;
    edge->high = p->counter->read(p->counter->context);
    p->last_before = before;
}

/* Polls until the reference moves; *moved is by how much. */
static enum status wait_for_edge(struct poller *p, struct edge *edge, uint32_t *moved)
{
    for (unsigned i = 0; i < POLLS_WITHOUT_CHANGE; i++) {
        poll(p, edge);
        if (edge->count == p->last_count)
            continue;
        uint32_t up = edge->count - p->last_count;
        *moved = (p->reference->counts_down ? 0 - up : up) & p->reference->mask;
        p->last_count = edge->count;
        return STATUS_OK;
    }
    return ERR_TIMEOUT;
}

static enum status bounds_from(const struct edge *start, const struct edge *end, uint64_t counts,
                               uint64_t reference_hz, struct time_bounds *bounds)
{
    if (end->low <= start->high)
        return ERR_RANGE;
    /* tsc x hz stays below 2^64: 2^30 (a quarter of a second at 4 GHz) x 2^34 */
    uint64_t longest = end->high - start->low, shortest = end->low - start->high;
    if (longest >= UINT64_MAX / reference_hz)
        return ERR_RANGE;
    bounds->low_hz = shortest * reference_hz / counts;
    bounds->high_hz = longest * reference_hz / counts + 1;
    uint64_t slack = bounds->high_hz / (counts * 1000000000ull / reference_hz / LATENESS_NS + 1);
    bounds->low_hz -= slack < bounds->low_hz ? slack : bounds->low_hz;
    bounds->high_hz += slack;
    return bounds->high_hz < HZ_MIN || bounds->low_hz > HZ_MAX ? ERR_RANGE : STATUS_OK;
}

enum status time_measure(const struct time_reference *reference, const struct time_counter *counter,
                         unsigned milliseconds, struct time_bounds *bounds)
{
    struct poller poller = {.reference = reference, .counter = counter};
    struct edge start, end;
    uint32_t moved;
    uint64_t counts = 0, wanted = reference->hz * milliseconds / 1000;
    poll(&poller, &start);
    poller.last_count = start.count;
    enum status status = wait_for_edge(&poller, &start, &moved);
    while (status == STATUS_OK && counts < wanted) {
        status = wait_for_edge(&poller, &end, &moved);
        counts += moved;
    }
    if (status != STATUS_OK)
        return status;
    return bounds_from(&start, &end, counts, reference->hz, bounds);
}

static uint64_t width(const struct time_bounds *bounds)
{
    return bounds->high_hz - bounds->low_hz;
}

enum status time_calibrate(const struct time_reference *reference,
                           const struct time_counter *counter, unsigned samples,
                           unsigned milliseconds, struct time_bounds *bounds)
{
    struct time_bounds best = {0, 0}, common = {0, UINT64_MAX};
    for (unsigned i = 0; i < samples; i++) {
        struct time_bounds sample;
        enum status status = time_measure(reference, counter, milliseconds, &sample);
        if (status != STATUS_OK)
            return status;
        if (best.high_hz == 0 || width(&sample) < width(&best))
            best = sample;
        common.low_hz = sample.low_hz > common.low_hz ? sample.low_hz : common.low_hz;
        common.high_hz = sample.high_hz < common.high_hz ? sample.high_hz : common.high_hz;
    }
    *bounds = common.low_hz <= common.high_hz ? common : best;
    return STATUS_OK;
}

uint64_t time_round(struct time_bounds bounds)
{
    uint64_t middle = bounds.low_hz + (bounds.high_hz - bounds.low_hz) / 2;
    for (uint64_t unit = 1000000000ull; unit > 1; unit /= 10) {
        uint64_t nearest = (middle + unit / 2) / unit * unit;
        if (nearest >= bounds.low_hz && nearest <= bounds.high_hz && nearest != 0)
            return nearest;
    }
    return middle;
}

#define RTC_B_24_HOURS 0x02
#define RTC_B_BINARY 0x04
#define RTC_HOUR_PM 0x80

static unsigned decode(uint8_t value, uint8_t status_b)
{
    return status_b & RTC_B_BINARY ? value : (unsigned)(value >> 4) * 10 + (value & 0xf);
}

/* Days since 1970-01-01 of a Gregorian date from 1970 on. */
static uint64_t days_of(unsigned year, unsigned month, unsigned day)
{
    /* Years that begin in March, so that the leap day comes last. */
    uint64_t y = month <= 2 ? year - 1 : year;
    uint64_t m = month <= 2 ? month + 9 : month - 3;
    return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

uint64_t time_from_rtc(const struct rtc_registers *rtc)
{
    uint8_t b = rtc->status_b;
    unsigned second = decode(rtc->second, b), minute = decode(rtc->minute, b);
    unsigned hour = decode(rtc->hour & (b & RTC_B_24_HOURS ? 0xff : ~RTC_HOUR_PM), b);
    unsigned day = decode(rtc->day, b), month = decode(rtc->month, b);
    unsigned year = decode(rtc->year, b), century = decode(rtc->century, b);
    if (!(b & RTC_B_24_HOURS)) {
        if (hour < 1 || hour > 12)
            return 0;
        hour = hour % 12 + (rtc->hour & RTC_HOUR_PM ? 12 : 0);
    }
    if (second > 60 || minute > 59 || hour > 23 || day < 1 || day > 31 || month < 1 || month > 12 ||
        year > 99)
        return 0;
    year += century >= 19 && century <= 30 ? century * 100 : year < 70 ? 2000 : 1900;
    if (year < 1970)
        return 0;
    return ((days_of(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
}
