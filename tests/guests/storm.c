/*
 * Floods what it shares with others, one thing in each phase (worker.c has the clock): nothing, its
 * serial line with a look at it and without, the log, interrupts to itself, NMIs to itself, kicks
 * of a disk, and at last a level-triggered interrupt that never ends, nor does the guest.
 */
#include "tests/guests/fuzz/virtio.h"

static uint64_t end_of_phase;
static struct virtio disk;

static bool goes_on(void)
{
    return rdtsc() < end_of_phase;
}

static void nothing(void)
{
    while (goes_on())
        ;
}

static void serial_politely(void)
{
    while (goes_on())
        put("storm 0123456789 0123456789 0123456789 0123456789\n");
}

static void rudely(uint8_t byte)
{
    while (goes_on())
        outb(COM1, byte);
    outb(COM1, '\n');
}

static void serial_rudely(void)
{
    rudely('r');
}

/* The same, while somebody presses a key. */
static void serial_and_key(void)
{
    rudely('k');
}

static void common_write(unsigned offset, unsigned size, uint64_t value)
{
    mmio_write_sized(disk.common + offset, size, value);
}

/* A queue outside of RAM: the monitor notes that the device needs a reset. */
static void log_lines(void)
{
    while (goes_on()) {
        common_write(COMMON_STATUS, 1, 0);
        common_write(COMMON_STATUS, 1, 3);
        common_write(COMMON_DRIVER_FEATURE_SELECT, 4, 1);
        common_write(COMMON_DRIVER_FEATURE, 4, 1);
        common_write(COMMON_STATUS, 1, 0xb);
        common_write(COMMON_QUEUE_SELECT, 2, 0);
        common_write(COMMON_QUEUE_DESCRIPTORS, 4, 0x40000000);
        common_write(COMMON_QUEUE_DRIVER, 4, 0x40001000);
        common_write(COMMON_QUEUE_DEVICE, 4, 0x40002000);
        common_write(COMMON_QUEUE_ENABLE, 2, 1);
        common_write(COMMON_STATUS, 1, 0xf);
        mmio_write_sized(disk.notify, 2, 0);
    }
}

static void ioapic_write(uint32_t index, uint32_t value)
{
    mmio_write(IOAPIC, index);
    mmio_write(IOAPIC + 0x10, value);
}

/* The PIT's output, high from its terminal count on, by a level-triggered input: nothing else ever
 * runs again. */
static void endless_line(void)
{
    outb(0x43, 0x30);
    outb(0x40, 1);
    outb(0x40, 0);
    ioapic_write(0x15, 0);
    ioapic_write(0x14, 0x8000 | 0x50);
    for (;;)
        __asm__ volatile("sti; nop; cli");
}

static void to_itself(void)
{
    while (goes_on()) {
        mmio_write(LAPIC + 0x300, 0x40000 | 0x60);
        mmio_write(LAPIC + 0x300, 0x40000 | 0x90);
        __asm__ volatile("sti; nop; cli");
    }
}

/* The library's own handler ends a storm of them. */
extern void (*handlers64[256])(void *frame);
static uint64_t nmis_taken;

static void take_nmi(void *frame)
{
    (void)frame;
    nmis_taken++;
}

static void nmis(void)
{
    handlers64[2] = take_nmi;
    while (goes_on())
        mmio_write(LAPIC + 0x300, 0x40000 | 0x400);
}

static void kicks(void)
{
    while (goes_on())
        mmio_write_sized(disk.notify, 2, 0);
}

static void (*const phase[])(void) = {nothing,   serial_politely, serial_rudely, serial_and_key,
                                      log_lines, to_itself,       nmis,          kicks};

static uint64_t hz(void)
{
    uint32_t a = 0x40000010, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return a * 1000ull;
}

void guest_main(void)
{
    uint64_t length = option("ms", 200) * hz() / 1000;
    contexts_init();
    watchdog_stop();
    lapic_repair();
    mmio_write(LAPIC + 0xf0, 0x1ff);
    if (!virtio_find(&disk, 3))
        put("not ok storm-disk\n");
    for (unsigned i = 0; i < ARRAY_SIZE(phase); i++) {
        end_of_phase = (i + 1) * length;
        phase[i]();
    }
    report("storm-nmis", nmis_taken > 1000, "too few", nmis_taken);
    report("storm-interrupts", interrupts > 1000, "too few", interrupts);
    endless_line();
}
