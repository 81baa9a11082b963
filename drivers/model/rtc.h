/*
 * The PC's real-time clock and CMOS memory: an MC146818 (Motorola: MC146818 Real-Time Clock Plus
 * RAM) at ports 0x70 and 0x71 with a century byte, and a second bank of 128 bytes at 0x72 and 0x73.
 *
 * The registers hold the time, as in the chip: whoever looks first has them brought forward by the
 * seconds that passed. What a guest wrote there, sense or nonsense, stands until the next update.
 * The update itself takes no time; its announcement (UIP) precedes it by 244 microseconds.
 *
 * Locking: the caller holds the VM's device lock.
 */
#pragma once

#include "drivers/model/ticks.h"
#include "kernel/vm/bus.h"
#include "kernel/vm/irq_line.h"
#include "kernel/vm/timers.h"

/* Registers and CMOS bytes that others name; RTC_CENTURY goes into the FADT. */
#define RTC_SHUTDOWN_STATUS 0x0f
#define RTC_CENTURY 0x32

#define RTC_CMOS_SIZE 256

struct rtc_config {
    struct irq_line irq; /* IRQ 8 */
    const struct clock *clock;
    struct timer_queue *timers;
    uint64_t wall_seconds; /* Unix time (UTC) now; 0: unknown, the clock then begins in 2000 and the
                              diagnostic byte says that the time is invalid */
    uint64_t memory_bytes; /* the guest's RAM, split at PLATFORM_LOW_RAM_END */
};

struct rtc {
    struct irq_line irq;
    struct ticks ticks; /* of 32.768 kHz */
    struct timer timer;
    uint8_t cmos[RTC_CMOS_SIZE];
    uint8_t index;          /* into the first 128 bytes */
    uint8_t extended_index; /* into the rest */
    bool nmi_masked;
    bool irq_level;
    uint64_t divider_start; /* the tick at which the divider chain stood at the start of a second */
    uint64_t seen;          /* the tick up to which time and flags have been brought */
};

void rtc_init(struct rtc *rtc, const struct rtc_config *config);

/* The chip's RESET pin: interrupts off, flags clear; time and memory stay. */
void rtc_reset(struct rtc *rtc);

/* Claims ports 0x70 to 0x73. Errors of bus_add. */
enum status MUST_CHECK rtc_attach(struct rtc *rtc, struct bus *bus);
extern const struct bus_ops rtc_ops;

/* Whether bit 7 of port 0x70 holds back NMIs. */
bool rtc_nmi_masked(const struct rtc *rtc);
