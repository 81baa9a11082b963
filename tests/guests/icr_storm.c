/* Every kind of interrupt command to every destination, each from where the one before left the
 * guest: an INIT resets the machine, which is this guest's and nobody else's; a SIPI finds nobody
 * waiting. */
#include "tests/guests/fuzz/guest.h"

#define IA32_APIC_BASE 0x1b
#define ICR 0x300
#define ICR_HIGH 0x310
#define DELIVERY_MODES 8
#define BIT_FIELDS 8 /* destination mode, level, trigger mode */
#define SHORTHANDS 4

static const uint8_t vectors[] = {0x00, 0x0f, 0x10, 0x31, 0x80, 0xff};
static const uint32_t destinations[] = {0, 1, 0xff, 0x7f};

#define COMMANDS                                                                                   \
    (DELIVERY_MODES * BIT_FIELDS * SHORTHANDS * ARRAY_SIZE(vectors) * ARRAY_SIZE(destinations))

static uint32_t command(uint32_t number, uint32_t *destination)
{
    uint32_t mode = number % DELIVERY_MODES, fields = number / DELIVERY_MODES % BIT_FIELDS;
    number /= DELIVERY_MODES * BIT_FIELDS;
    uint32_t shorthand = number % SHORTHANDS;
    number /= SHORTHANDS;
    *destination = destinations[number / ARRAY_SIZE(vectors) % ARRAY_SIZE(destinations)];
    return vectors[number % ARRAY_SIZE(vectors)] | mode << 8 | (fields & 1) << 11 |
           (fields >> 1 & 3) << 14 | shorthand << 18;
}

static uint32_t icr, destination;

static void send(void)
{
    if ((rdmsr(IA32_APIC_BASE) & 0xc00) == 0xc00) {
        wrmsr(0x830, (uint64_t)destination << 32 | icr);
    } else {
        mmio_write(LAPIC + ICR_HIGH, destination << 24);
        mmio_write(LAPIC + ICR, icr);
    }
    for (unsigned i = 0; i < 16; i++)
        __asm__ volatile("pause");
}

static void step(void)
{
    icr = command(life_count() % COMMANDS, &destination);
    if (function_run(send, RFLAGS_IF) >= 32)
        lapic_repair();
}

/* Every other life in x2APIC mode. */
static void prepare(void)
{
    mmio_write(LAPIC + 0xf0, 0x1ff);
    if (random64() & 1)
        wrmsr(IA32_APIC_BASE, LAPIC + 0xc00);
}

static const struct fuzzer fuzzer = {"icr_storm", 100000, prepare, step};

void guest_main(void)
{
    fuzz(&fuzzer);
}
