/* The clock is the machine's, hence a global; it is written once, before other processors run. */
#include "kernel/core/time.h"

#include "kernel/core/hw.h"
#include "kernel/core/log.h"
#include "kernel/core/panic.h"
#include "kernel/core/ratio.h"
#include "kernel/core/time_calibrate.h"

/* One undisturbed sample bounds the rate to a thousandth or less, among which time_round finds the
 * round number that it is; a disturbed one is followed by others. */
#define SAMPLES 1
#define SAMPLE_MS 13

static struct {
    uint64_t hz;
    struct ratio to_ns;
    struct ratio from_ns;
    uint64_t boot_unix; /* at boot_tsc */
    uint64_t boot_tsc;
} tsc;

static INIT uint64_t read_tsc(void *context)
{
    (void)context;
    return hw_rdtsc_ordered();
}

/* Intel 8254: channel 2, whose gate and output are at port 61H. */
#define PIT_HZ 1193182
#define PIT_CHANNEL_2 0x42
#define PIT_COMMAND 0x43
#define PIT_LATCH_2 0x80
#define PIT_RATE_2 0xb4 /* channel 2, both bytes, mode 2 */
#define SYSTEM_CONTROL 0x61
#define GATE_2 0x01
#define SPEAKER 0x02

static INIT void pit_start(void)
{
    hw_outb(SYSTEM_CONTROL, (uint8_t)((hw_inb(SYSTEM_CONTROL) & ~SPEAKER) | GATE_2));
    hw_outb(PIT_COMMAND, PIT_RATE_2);
    hw_outb(PIT_CHANNEL_2, 0); /* 65536 */
    hw_outb(PIT_CHANNEL_2, 0);
}

static INIT uint32_t pit_read(void *context)
{
    (void)context;
    hw_outb(PIT_COMMAND, PIT_LATCH_2);
    uint32_t low = hw_inb(PIT_CHANNEL_2);
    return low | (uint32_t)hw_inb(PIT_CHANNEL_2) << 8;
}

static INIT bool calibrate(const struct time_reference *reference)
{
    const struct time_counter counter = {read_tsc, NULL};
    struct time_bounds bounds;
    enum status status = time_calibrate(reference, &counter, SAMPLES, SAMPLE_MS, &bounds);
    if (status != STATUS_OK) {
        log_warn("the %s is no reference for the TSC: %s", reference->name, status_text(status));
        return false;
    }
    tsc.hz = time_round(bounds);
    tsc.to_ns = ratio_make(tsc.hz, 1000000000);
    tsc.from_ns = ratio_make(1000000000, tsc.hz);
    log_info("TSC: %lu Hz by the %s", tsc.hz, reference->name);
    log_debug("it is between %lu and %lu Hz", bounds.low_hz, bounds.high_hz);
    if (!time_is_sharp(&bounds))
        log_warn("the TSC's rate is uncertain: something kept interrupting the measurement");
    return true;
}

#define RTC_INDEX 0x70
#define RTC_DATA 0x71
#define RTC_STATUS_A 0x0a
#define RTC_STATUS_B 0x0b
#define RTC_CENTURY 0x32 /* where PCs have it; implausible values are ignored */
#define RTC_UPDATING 0x80
#define RTC_TRIES 100000

static INIT uint8_t rtc_read(uint8_t index)
{
    hw_outb(RTC_INDEX, index);
    return hw_inb(RTC_DATA);
}

static INIT struct rtc_registers rtc_sample(void)
{
    for (unsigned i = 0; i < RTC_TRIES && (rtc_read(RTC_STATUS_A) & RTC_UPDATING); i++)
        hw_pause();
    return (struct rtc_registers){.second = rtc_read(0),
                                  .minute = rtc_read(2),
                                  .hour = rtc_read(4),
                                  .day = rtc_read(7),
                                  .month = rtc_read(8),
                                  .year = rtc_read(9),
                                  .century = rtc_read(RTC_CENTURY),
                                  .status_b = rtc_read(RTC_STATUS_B)};
}

/* Two samples alike, so that none was taken while the clock moved on. */
static INIT void read_wall_clock(void)
{
    uint64_t seconds = 0, last = 1;
    for (unsigned i = 0; i < 10 && seconds != last; i++) {
        struct rtc_registers rtc = rtc_sample();
        last = seconds;
        seconds = time_from_rtc(&rtc);
    }
    tsc.boot_tsc = hw_rdtsc();
    tsc.boot_unix = seconds == last ? seconds : 0;
    if (tsc.boot_unix == 0)
        log_warn("the machine's real-time clock shows no date");
}

INIT void time_init(const struct time_reference *references, unsigned count)
{
    const struct time_reference pit = {
        .name = "PIT", .hz = PIT_HZ, .mask = 0xffff, .counts_down = true, .read = pit_read};
    pit_start();
    bool found = calibrate(&pit);
    for (unsigned i = 0; i < count && !found; i++)
        found = calibrate(&references[i]);
    if (!found)
        panic("no timer of the machine counts: the TSC cannot be calibrated");
    read_wall_clock();
}

uint64_t time_tsc_hz(void)
{
    return tsc.hz;
}

uint64_t time_now(void)
{
    return hw_rdtsc();
}

uint64_t time_to_ns(uint64_t count)
{
    return ratio_apply(tsc.to_ns, count);
}

uint64_t time_from_ns(uint64_t ns)
{
    return ratio_apply(tsc.from_ns, ns);
}

uint64_t time_now_ns(void)
{
    return time_to_ns(hw_rdtsc());
}

void time_busy_wait_us(uint64_t us)
{
    uint64_t start = hw_rdtsc(), wait = time_from_ns(us * 1000);
    while (hw_rdtsc() - start < wait)
        hw_pause();
}

INIT uint64_t time_unix_seconds(void)
{
    if (tsc.boot_unix == 0)
        return 0;
    return tsc.boot_unix + (hw_rdtsc() - tsc.boot_tsc) / tsc.hz;
}
