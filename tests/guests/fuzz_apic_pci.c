/* Random interrupt controllers and PCI: local APIC by its page and by MSRs, I/O APIC, PICs, PIT,
 * RTC, ACPI registers, configuration space by ports and ECAM, BARs moved onto each other, onto RAM
 * and onto the APICs, MSI-X tables, with interrupts on and their handlers counting. */
#include "tests/guests/fuzz/guest.h"

#define IA32_APIC_BASE 0x1b
#define DEVICES 6

static const unsigned sizes[] = {1, 2, 4, 4, 4, 4, 8};

/* ---- The APICs ------------------------------------------------------------------------------- */

static const uint16_t lapic_registers[] = {
    0x20,  0x30,  0x80,  0x90,  0xa0,  0xb0,  0xc0,  0xd0,  0xe0,  0xf0,  0x100, 0x170,
    0x180, 0x200, 0x270, 0x280, 0x2f0, 0x300, 0x300, 0x300, 0x310, 0x320, 0x320, 0x330,
    0x340, 0x350, 0x360, 0x370, 0x380, 0x380, 0x390, 0x3e0, 0x3f0, 0x400, 0x500, 0xff0};

/* An ICR of every kind: delivery modes, shorthands, levels; INIT, which resets, more seldom. */
static uint32_t random_icr(void)
{
    uint32_t icr = (uint32_t)random64() & 0xdcfff;
    if ((icr & 0x700) == 0x500 && !one_in(32))
        icr ^= 0x100;
    return icr;
}

static void lapic_page(void)
{
    uint32_t offset = one_in(8) ? random_below(0x1000) : PICK(lapic_registers);
    uint32_t value = offset == 0x300 ? random_icr() : (uint32_t)random_value();
    if (one_in(3))
        (void)mmio_read_sized(LAPIC + offset, PICK(sizes));
    else
        mmio_write_sized(LAPIC + offset, one_in(4) ? PICK(sizes) : 4, value);
}

static void lapic_msr(void)
{
    uint32_t msr = 0x800 + (one_in(4) ? random_below(0x100) : PICK(lapic_registers) / 16u);
    uint64_t value = random_value();
    if (msr == 0x830)
        value = (value & ~0xffffffffull) | random_icr();
    if (one_in(3))
        (void)rdmsr(msr);
    else
        wrmsr(msr, value);
}

/* Modes as they may and may not follow on each other, and the page elsewhere. */
static void lapic_base(void)
{
    static const uint64_t bases[] = {LAPIC,   LAPIC, LAPIC,   IOAPIC,     0x300000, PCI_WINDOW,
                                     RAM_END, ECAM,  0xa0000, 0xfffff000, 0x380000, 1ull << 40};
    wrmsr(IA32_APIC_BASE, PICK(bases) | (uint64_t)(random64() & 0xd00));
}

static void timers(void)
{
    static const uint32_t counts[] = {0, 1, 100, 10000, 1000000, 0xffffffff};
    mmio_write(LAPIC + 0x320, (uint32_t)random64() & 0x710ff);
    mmio_write(LAPIC + 0x3e0, (uint32_t)random64() & 0xf);
    mmio_write(LAPIC + 0x380, PICK(counts));
    if (one_in(2))
        wrmsr(0x6e0, one_in(2) ? rdtsc() + PICK(counts) : random_value());
}

static void ioapic(void)
{
    uint64_t at = IOAPIC + (one_in(4) ? random_below(0x1000) : one_in(4) ? 0x40 : 0x10);
    mmio_write(IOAPIC, one_in(8) ? (uint32_t)random_value() : random_below(0x44));
    if (one_in(3))
        (void)mmio_read_sized(at, PICK(sizes));
    else
        mmio_write_sized(at, one_in(6) ? PICK(sizes) : 4, random_value() & ~0x500ull);
}

static void msi(void)
{
    mmio_write_sized(0xfee00000 + (random64() & 0xff00c), 4, (uint32_t)random64() & 0xc7ff);
}

/* ---- Ports ----------------------------------------------------------------------------------- */

static void ports(void)
{
    static const uint16_t list[] = {0x20,  0x21,  0xa0,  0xa1,  0x4d0, 0x4d1, 0x40,  0x41,  0x42,
                                    0x43,  0x61,  0x70,  0x71,  0x70,  0x71,  0x60,  0x64,  0x3f8,
                                    0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x600, 0x602, 0x604, 0x620, 0x622};
    uint16_t port = PICK(list);
    uint32_t value = (uint32_t)random_value();
    if (port == 0x604)
        value &= ~0x2000u; /* SLP_EN */
    if (port == 0x64 && (value & 0xf1) == 0xf0)
        value ^= 1; /* a pulse on the reset line */
    switch (random_below(4)) {
    case 0:
        (void)inb(port);
        break;
    case 1:
        outw(port, (uint16_t)value);
        break;
    default:
        outb(port, (uint8_t)value);
    }
}

/* ---- PCI ------------------------------------------------------------------------------------- */

static const uint16_t config_registers[] = {0x00, 0x04, 0x04, 0x06, 0x0c, 0x10, 0x14, 0x18, 0x1c,
                                            0x20, 0x24, 0x30, 0x34, 0x3c, 0x40, 0x42, 0x44, 0x48,
                                            0x50, 0x54, 0x60, 0x64, 0x70, 0x78, 0x80, 0x84, 0xfc};
static const uint64_t places[] = {PCI_WINDOW, 0xc0004000, 0xc0008000, ECAM,       IOAPIC,
                                  LAPIC,      0x300000,   0x100000,   0xa0000,    0xdfffc000,
                                  0xffffc000, RAM_END,    0xc0000000, 0xfffffff0, 0};

static uint64_t config_value(unsigned offset)
{
    if (offset >= 0x10 && offset < 0x28)
        return one_in(4) ? random_value() : PICK(places);
    if (offset == 4)
        return random_below(0x800) | (one_in(2) ? 6 : 0);
    return random_value();
}

static void config_space(void)
{
    unsigned offset = one_in(4) ? random_below(0x1000) : PICK(config_registers);
    unsigned device = one_in(16) ? random_below(256) : random_below(DEVICES) << 3;
    unsigned size = one_in(4) ? PICK(sizes) : 4;
    uint64_t ecam = ECAM + ((uint64_t)device << 12) + (one_in(8) ? offset : offset & ~(size - 1));
    uint64_t value = config_value(offset);
    switch (random_below(4)) {
    case 0:
        outl(0xcf8, 0x80000000u | device << 8 | (offset & 0xfc));
        outl(0xcfc, (uint32_t)value);
        break;
    case 1:
        (void)mmio_read_sized(ecam, size);
        break;
    default:
        mmio_write_sized(ecam, size, value);
    }
}

static uint32_t config_read(unsigned device, unsigned offset)
{
    return mmio_read(ECAM + ((uint64_t)device << 15) + offset);
}

/* Registers, MSI-X tables and pending bits of whatever stands behind a BAR. */
static void bars(void)
{
    unsigned device = random_below(DEVICES), bar = random_below(6);
    uint64_t base = config_read(device, 0x10 + 4 * bar) & ~0xfull;
    if (base == 0 || base >= 0xfffff000 || base < RAM_END)
        return;
    uint64_t at = base + (one_in(2) ? random_below(0x100) : random_below(0x4000));
    unsigned size = PICK(sizes);
    at &= one_in(8) ? ~0ull : ~(uint64_t)(size - 1);
    if (one_in(3))
        (void)mmio_read_sized(at, size);
    else
        mmio_write_sized(at, size, one_in(3) ? LAPIC | (random64() & 0xffffc) : random_value());
}

/* ---- The fuzzer ------------------------------------------------------------------------------ */

static void burst(void)
{
    static void (*const actions[])(void) = {
        lapic_page, lapic_page, lapic_page,   lapic_msr,    timers,       ioapic, ioapic, msi,
        ports,      ports,      config_space, config_space, config_space, bars,   bars};
    for (unsigned i = 0; i < 8; i++)
        PICK(actions)();
    if (one_in(12))
        lapic_base();
}

/* Quiet again: whatever asks for an interrupt is asked to stop. */
static void calm(void)
{
    lapic_repair();
    mmio_write(LAPIC + 0xf0, 0x1ff);
    mmio_write(LAPIC + 0x80, 0);
    for (unsigned lvt = 0x320; lvt <= 0x370; lvt += 0x10)
        mmio_write(LAPIC + lvt, 0x10000);
    for (unsigned input = 0; input < 24; input++) {
        mmio_write(IOAPIC, 0x10 + 2 * input);
        mmio_write(IOAPIC + 0x10, 0x10000);
    }
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    outb(0x3f9, 0);
    watchdog_start();
}

static void step(void)
{
    if (function_run(burst, RFLAGS_IF) >= 32 || one_in(8))
        function_run(calm, 0);
}

static void prepare(void)
{
    for (unsigned device = 1; device < DEVICES; device++)
        mmio_write(ECAM + ((uint64_t)device << 15) + 4, 6);
}

static const struct fuzzer fuzzer = {"fuzz_apic_pci", 1500, prepare, step};

void guest_main(void)
{
    fuzz(&fuzzer);
}
