/* The local APIC as IA32_APIC_BASE has it. SDM: Local APIC Status and Location; x2APIC State
 * Transitions. */
#include "tests/guests/architecture/architecture.h"

#define IA32_APIC_BASE 0x1bu
#define APIC_EN BIT(11)
#define APIC_EXTD BIT(10)
#define HOME 0xfee00000ull
#define ELSEWHERE 0xfe000000ull /* nothing is there */
#define X2APIC_MSR(offset) (0x800u + (offset) / 16)

#define APIC_ID 0x20u
#define APIC_VERSION 0x30u
#define APIC_TPR 0x80u
#define APIC_SVR 0xf0u
#define APIC_LVT_TIMER 0x320u
#define APIC_TIMER_INITIAL 0x380u
#define APIC_TIMER_CURRENT 0x390u
#define MASKED BIT(16)

static uint64_t at_start;

static uint32_t read_at(uint64_t base, uint32_t offset)
{
    return *(volatile uint32_t *)(base + (uint64_t)(int32_t)offset);
}

static void write_at(uint64_t base, uint32_t offset, uint32_t value)
{
    *(volatile uint32_t *)(base + offset) = value;
}

static bool cpuid_has_apic(void)
{
    return guest_has(1, 0, EDX, 9);
}

static void expect_absent(void)
{
    uint64_t value;
    guest_expect(cpuid_has_apic(), 0, "CPUID's APIC bit");
    guest_expect(read_at(HOME, APIC_VERSION), 0xffffffff, "no registers in memory");
    guest_expect(guest_try_rdmsr(X2APIC_MSR(APIC_ID), &value), VECTOR_GP_, "no MSRs");
}

/* SDM: what was disabled comes back as after a reset. */
static void expect_after_reset(void)
{
    guest_expect(cpuid_has_apic(), 1, "CPUID's APIC bit");
    guest_expect(read_at(HOME, APIC_VERSION) & 0xff, 0x14, "the version");
    guest_expect(read_at(HOME, APIC_SVR), 0xff, "SVR");
    guest_expect(read_at(HOME, APIC_TPR), 0, "TPR");
    guest_expect(read_at(HOME, APIC_LVT_TIMER), MASKED, "the timer's LVT");
    guest_expect(read_at(HOME, APIC_TIMER_CURRENT), 0, "the timer");
}

static void disable(void)
{
    guest_case("apic-disabled");
    guest_expect(guest_try_wrmsr(IA32_APIC_BASE, at_start & ~APIC_EN), NO_FAULT, "disabling");
    expect_absent();
    guest_expect(guest_try_wrmsr(IA32_APIC_BASE, at_start | APIC_EXTD), VECTOR_GP_,
                 "straight to x2APIC mode");
    guest_case("apic-enabled-again");
    guest_expect(guest_try_wrmsr(IA32_APIC_BASE, at_start), NO_FAULT, "enabling");
    expect_after_reset();
    guest_case("apic-disabled-in-xapic-mode");
    write_at(HOME, APIC_SVR, 0x1ff);
    write_at(HOME, APIC_TPR, 0x20);
    write_at(HOME, APIC_LVT_TIMER, 0x40);
    write_at(HOME, APIC_TIMER_INITIAL, 0x10000000);
    guest_expect(read_at(HOME, APIC_TIMER_CURRENT) != 0, 1, "the timer counts");
    guest_expect(guest_try_wrmsr(IA32_APIC_BASE, at_start & ~APIC_EN), NO_FAULT, "disabling");
    expect_absent();
    guest_expect(guest_try_wrmsr(IA32_APIC_BASE, at_start), NO_FAULT, "enabling");
    expect_after_reset();
}

static void move(void)
{
    uint64_t flags = at_start & MASK(11, 0);
    guest_case("apic-moved");
    write_at(HOME, APIC_TPR, 0x30);
    guest_expect(guest_try_wrmsr(IA32_APIC_BASE, ELSEWHERE | flags), NO_FAULT, "moving");
    guest_expect(guest_rdmsr(IA32_APIC_BASE), ELSEWHERE | flags, "IA32_APIC_BASE");
    guest_expect(read_at(ELSEWHERE, APIC_VERSION) & 0xff, 0x14, "the version at the new place");
    guest_expect(read_at(ELSEWHERE, APIC_TPR), 0x30, "TPR went with it");
    write_at(ELSEWHERE, APIC_TPR, 0x40);
    guest_expect(read_at(HOME, APIC_VERSION), 0xffffffff, "nothing at the old place");
    guest_expect(guest_try_wrmsr(IA32_APIC_BASE, at_start), NO_FAULT, "moving back");
    guest_expect(read_at(HOME, APIC_TPR), 0x40, "TPR");
    guest_expect(read_at(ELSEWHERE, APIC_VERSION), 0xffffffff, "nothing at the other place");
    write_at(HOME, APIC_TPR, 0);
}

/* The page hides the RAM at its place, which is as it was when the page has gone. */
static void move_onto_ram(void)
{
    static uint32_t ram[3 * 1024] __attribute__((aligned(4096)));
    uint64_t flags = at_start & MASK(11, 0), place = (uintptr_t)&ram[1024];
    guest_case("apic-moved-onto-ram");
    for (uint32_t i = 0; i < 3 * 1024; i++)
        ((volatile uint32_t *)ram)[i] = 0x5a000000 + i;
    write_at(HOME, APIC_TPR, 0x50);
    guest_expect(guest_try_wrmsr(IA32_APIC_BASE, place | flags), NO_FAULT, "moving");
    guest_expect(read_at(place, APIC_VERSION) & 0xff, 0x14, "the version at the new place");
    guest_expect(read_at(place, APIC_TPR), 0x50, "TPR went with it");
    write_at(place, APIC_TPR, 0x60);
    guest_expect(read_at(place, APIC_TPR), 0x60, "TPR, as it was written there");
    guest_expect(read_at(place, 0u - 4), 0x5a000000 + 1023, "the RAM before it");
    guest_expect(read_at(place, 4096), 0x5a000000 + 2048, "the RAM behind it");
    write_at(place, 4096, 0x12345678);
    guest_expect(read_at(HOME, APIC_VERSION), 0xffffffff, "nothing at the old place");
    guest_expect(guest_try_wrmsr(IA32_APIC_BASE, at_start), NO_FAULT, "moving back");
    guest_expect(read_at(HOME, APIC_TPR), 0x60, "TPR");
    uint64_t wrong = 0;
    for (uint32_t i = 0; i < 2048; i++)
        wrong += ((volatile uint32_t *)ram)[i] != 0x5a000000 + i;
    guest_expect(wrong, 0, "words of RAM that are not as they were");
    guest_expect(ram[2048], 0x12345678, "what was stored behind it");
    write_at(HOME, APIC_TPR, 0);
}

/* From xAPIC mode to x2APIC mode; from there only to the disabled state. */
static void switch_modes(void)
{
    uint64_t value;
    guest_case("apic-x2apic-mode");
    if (!guest_has(1, 0, ECX, 21)) {
        guest_skip("no x2APIC");
        return;
    }
    uint32_t id = read_at(HOME, APIC_ID) >> 24, version = read_at(HOME, APIC_VERSION);
    write_at(HOME, APIC_TPR, 0x50);
    guest_expect(guest_try_wrmsr(IA32_APIC_BASE, at_start | APIC_EXTD), NO_FAULT, "x2APIC mode");
    guest_expect(guest_try_rdmsr(X2APIC_MSR(APIC_ID), &value), NO_FAULT, "the ID's MSR");
    guest_expect(value, id, "the ID, whole");
    guest_expect(guest_rdmsr(X2APIC_MSR(APIC_VERSION)), version, "the version");
    guest_expect(guest_rdmsr(X2APIC_MSR(APIC_TPR)), 0x50, "TPR is kept");
    guest_expect(guest_try_wrmsr(X2APIC_MSR(APIC_TPR), 0x100), VECTOR_GP_, "a reserved bit");
    guest_expect(guest_try_wrmsr(X2APIC_MSR(APIC_ID), 0), VECTOR_GP_, "the ID is read-only");
    guest_expect(read_at(HOME, APIC_VERSION), 0xffffffff, "no registers in memory");
    guest_expect(guest_try_wrmsr(IA32_APIC_BASE, at_start), VECTOR_GP_, "straight to xAPIC mode");
}

void apic_test(void)
{
    at_start = guest_rdmsr(IA32_APIC_BASE) & ~APIC_EXTD;
    move();
    move_onto_ram();
    switch_modes();
    disable();
}
