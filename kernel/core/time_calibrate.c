#include "kernel/core/time_calibrate.h"

#define POLLS_WITHOUT_CHANGE 200000
#define HZ_MIN 1000000ull
#define HZ_MAX 20000000000ull
/* An emulated timer may show its count this much late; real ones cost less. */
#define LATENESS_NS 2000
#define SHARPNESS 1000   /* bounds closer than a thousandth are good enough */
#define SAMPLES_FACTOR 8 /* how many times more samples are taken for that */

/* The counter became count between two moments. */
struct edge {
    uint64_t low;
    uint64_t high;
    uint64_t count;
};

struct poller {
    const struct time_reference *reference;
    const struct time_counter *counter;
    uint64_t last_before; /* when the last poll began */
    uint64_t longest_gap; /* between two polls that saw different counts */
    uint32_t last_count;
    uint64_t counts; /* since the start of the measurement */
};

static void poll(struct poller *p, struct edge *edge)
{
    uint64_t before = p->counter->read(p->counter->context);
    edge->count = p->reference->read(p->reference->context) & p->reference->mask;
    edge->low = p->last_before;
    edge->high = p->counter->read(p->counter->context);
    p->last_before = before;
}

static uint64_t edge_width(const struct edge *edge)
{
    return edge->high - edge->low;
}

/* Polls until the reference moves; edge->count becomes the number of counts since the start. */
static enum status wait_for_edge(struct poller *p, struct edge *edge)
{
    for (unsigned i = 0; i < POLLS_WITHOUT_CHANGE; i++) {
        poll(p, edge);
        if (edge->count == p->last_count)
            continue;
        uint32_t up = (uint32_t)edge->count - p->last_count;
        p->last_count = (uint32_t)edge->count;
        p->counts += (p->reference->counts_down ? 0 - up : up) & p->reference->mask;
        edge->count = p->counts;
        if (edge_width(edge) > p->longest_gap)
            p->longest_gap = edge_width(edge);
        return STATUS_OK;
    }
    return ERR_TIMEOUT;
}

/* Goes on to the given number of counts; *best is the narrowest edge on the way: an interruption
 * in the middle of a poll does no harm. */
static enum status narrowest_edge(struct poller *p, uint64_t until, struct edge *best)
{
    *best = (struct edge){.low = 0, .high = UINT64_MAX};
    do {
        struct edge edge;
        enum status status = wait_for_edge(p, &edge);
        if (status != STATUS_OK)
            return status;
        if (edge_width(&edge) < edge_width(best))
            *best = edge;
    } while (p->counts < until);
    return STATUS_OK;
}

static enum status bounds_from(const struct edge *start, const struct edge *end,
                               uint64_t reference_hz, struct time_bounds *bounds)
{
    uint64_t counts = end->count - start->count;
    if (counts == 0 || end->low <= start->high)
        return ERR_RANGE;
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

/* Whether the reference may have wrapped unseen between two polls. */
static bool may_have_wrapped(const struct poller *p, const struct time_bounds *bounds)
{
    uint64_t period = ((uint64_t)p->reference->mask + 1) * bounds->high_hz / p->reference->hz;
    return p->longest_gap > period / 3;
}

enum status time_measure(const struct time_reference *reference, const struct time_counter *counter,
                         unsigned milliseconds, struct time_bounds *bounds)
{
    struct poller poller = {.reference = reference, .counter = counter};
    struct edge start, end;
    uint64_t wanted = reference->hz * milliseconds / 1000;
    poll(&poller, &start);
    poller.last_count = (uint32_t)start.count;
    /* The first edge's past is unknown: it only sets the clock. */
    enum status status = wait_for_edge(&poller, &start);
    poller.counts = 0;
    poller.longest_gap = 0;
    if (status == STATUS_OK)
        status = narrowest_edge(&poller, wanted / 8, &start);
    if (status == STATUS_OK)
        status = narrowest_edge(&poller, wanted - wanted / 8, &end);
    if (status == STATUS_OK)
        status = narrowest_edge(&poller, wanted, &end);
    if (status == STATUS_OK)
        status = bounds_from(&start, &end, reference->hz, bounds);
    if (status == STATUS_OK && may_have_wrapped(&poller, bounds))
        status = ERR_RANGE;
    return status;
}

static uint64_t width(const struct time_bounds *bounds)
{
    return bounds->high_hz - bounds->low_hz;
}

bool time_is_sharp(const struct time_bounds *bounds)
{
    return width(bounds) <= bounds->high_hz / SHARPNESS;
}

static void narrow(struct time_bounds *common, const struct time_bounds *sample)
{
    common->low_hz = sample->low_hz > common->low_hz ? sample->low_hz : common->low_hz;
    common->high_hz = sample->high_hz < common->high_hz ? sample->high_hz : common->high_hz;
}

enum status time_calibrate(const struct time_reference *reference,
                           const struct time_counter *counter, unsigned samples,
                           unsigned milliseconds, struct time_bounds *bounds)
{
    struct time_bounds best = {0, UINT64_MAX}, common = best;
    enum status status = ERR_RANGE;
    bool found = false;
    for (unsigned i = 0; i < samples * SAMPLES_FACTOR; i++) {
        struct time_bounds sample;
        if (i >= samples && found && time_is_sharp(&best))
            break;
        status = time_measure(reference, counter, milliseconds, &sample);
        if (status == ERR_TIMEOUT)
            return status;
        if (status != STATUS_OK)
            continue;
        found = true;
        best = width(&sample) < width(&best) ? sample : best;
        narrow(&common, &sample);
    }
    *bounds = common.low_hz <= common.high_hz ? common : best;
    return found ? STATUS_OK : status;
}

uint64_t time_round(struct time_bounds bounds)
{
    uint64_t middle = bounds.low_hz + (bounds.high_hz - bounds.low_hz) / 2;
    for (uint64_t unit = 1000000000ull; unit > 1 && time_is_sharp(&bounds); unit /= 10) {
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
