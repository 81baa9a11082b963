/*
 * Works at a steady pace beside a guest that floods (storm.c): in each phase, which both count from
 * their start, it counts what it gets done, computing, by exits, and at its own disk, and says so
 * at the end. The phases are those of the command line: `phases=N`, of `ms=N` each.
 */
#include "tests/guests/fuzz/guest.h"

#define PHASES_MAX 16

static uint64_t done[PHASES_MAX];

static uint64_t hz(void)
{
    uint32_t a = 0x40000010, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return a * 1000ull;
}

/* A few hundred instructions, and three exits. */
static void work(void)
{
    uint64_t sum = 1;
    for (unsigned i = 0; i < 100; i++)
        __asm__ volatile("imul $3, %0, %0" : "+r"(sum));
    uint32_t a = 0, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    outb(0x21, 0xff);
    (void)mmio_read(IOAPIC + 0x10);
}

void guest_main(void)
{
    uint64_t phases = option("phases", 1), length = option("ms", 200) * hz() / 1000;
    contexts_init();
    watchdog_stop();
    put("worker: begins\n");
    for (unsigned i = 0; i < phases && i < PHASES_MAX; i++) {
        while (rdtsc() < i * length + length / 4)
            ;
        while (rdtsc() < (i + 1) * length) {
            work();
            done[i]++;
        }
    }
    for (unsigned i = 0; i < phases && i < PHASES_MAX; i++) {
        put("worker: phase ");
        put_number(i);
        put(" did ");
        put_number(done[i]);
        put("\n");
    }
    serial_drain_line();
    debug_exit(0);
}
