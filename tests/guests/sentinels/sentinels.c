/*
 * Guest `sentinels`: first, that nothing is in its registers but what a reset leaves; then it fills
 * all of them with its own values, and looks again and again, over exits of many kinds, whether
 * they are still there. It does not end: whoever runs it resets it, and expects the same story.
 */
#include "kernel/core/x86.h"
#include "tests/guests/lib/guest.h"

void sentinels_main(void);

#define AREA_SIZE 4096
#define ROUNDS 500
#define XSTATE_BV 512 /* where the header begins */

extern uint64_t failed_count, test_failed;

static uint8_t mine[AREA_SIZE] __attribute__((aligned(64)));
static uint8_t now[AREA_SIZE] __attribute__((aligned(64)));
static uint64_t components;
static uint64_t seed;

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* ---- Extended state ---- */

/* One stretch of the XSAVE area that a component is. */
struct part {
    uint32_t component, offset, size;
};

#define PARTS_MAX 48

static struct part parts[PARTS_MAX];
static unsigned parts_count;

static void add_part(uint32_t component, uint32_t offset, uint32_t size)
{
    guest_expect(parts_count < PARTS_MAX && offset + size <= AREA_SIZE, 1, "room");
    parts[parts_count++] = (struct part){component, offset, size};
}

/* SDM: x87 State; SSE State; and what CPUID leaf 0DH says of the rest. */
static void find_parts(void)
{
    components = guest_cpuid(0xd, 0, EAX);
    for (uint32_t i = 0; i < 8; i++)
        add_part(0, 32 + 16 * i, 10);
    add_part(1, 160, 256);
    for (uint32_t i = 2; i < 32; i++)
        if (components >> i & 1)
            add_part(i, guest_cpuid(0xd, i, EBX), guest_cpuid(0xd, i, EAX));
}

static void save(uint8_t *area)
{
    __asm__ volatile("xsave64 %0"
                     : "+m"(*(uint8_t(*)[AREA_SIZE])area)
                     : "a"((uint32_t)components), "d"(0)
                     : "memory");
}

static void load(const uint8_t *area)
{
    __asm__ volatile("xrstor64 %0"
                     :
                     : "m"(*(const uint8_t(*)[AREA_SIZE])area), "a"((uint32_t)components), "d"(0)
                     : "memory");
}

static uint16_t word_at(const uint8_t *area, unsigned offset)
{
    return (uint16_t)(area[offset] | area[offset + 1] << 8);
}

static void set_word(uint8_t *area, unsigned offset, uint16_t value)
{
    area[offset] = (uint8_t)value;
    area[offset + 1] = (uint8_t)(value >> 8);
}

/* FCW, FSW, tags; MXCSR; then every byte of every component. */
static void fill_extended(void)
{
    for (unsigned i = 0; i < parts_count; i++)
        for (unsigned j = 0; j < parts[i].size; j++)
            mine[parts[i].offset + j] = (uint8_t)next_random();
    if (components >> 5 & 1) /* opmasks may have any value; PKRU is not offered */
        guest_expect(components >> 9 & 1, 0, "PKRU");
    set_word(mine, 0, 0x27f);
    set_word(mine, 2, 0x2800);
    mine[4] = 0xff;
    set_word(mine, 24, 0x5f80);
    *(uint64_t *)(void *)&mine[XSTATE_BV] = components;
    load(mine);
}

static void expect_extended(const char *what)
{
    save(now);
    guest_expect(word_at(now, 0), word_at(mine, 0), "FCW");
    guest_expect(word_at(now, 2), word_at(mine, 2), "FSW");
    guest_expect(now[4], mine[4], "FTW");
    guest_expect(word_at(now, 24), word_at(mine, 24), "MXCSR");
    for (unsigned i = 0; i < parts_count; i++)
        for (unsigned j = 0; j < parts[i].size; j++)
            if (now[parts[i].offset + j] != mine[parts[i].offset + j])
                guest_expect(now[parts[i].offset + j], mine[parts[i].offset + j], what);
}

/* Initial state: not saved at all, or zero. */
static void expect_clean_extended(void)
{
    for (unsigned i = 0; i < AREA_SIZE; i++)
        now[i] = i >= XSTATE_BV && i < XSTATE_BV + 64 ? 0 : 0xa5;
    save(now);
    uint64_t saved = *(uint64_t *)(void *)&now[XSTATE_BV];
    guest_expect(word_at(now, 24), 0x1f80, "MXCSR");
    for (unsigned i = 0; i < parts_count; i++)
        for (unsigned j = 0; saved >> parts[i].component & 1 && j < parts[i].size; j++)
            guest_expect(now[parts[i].offset + j], 0, "a byte of extended state");
}

/* ---- MSRs and debug registers ---- */

static const struct {
    uint32_t number;
    uint64_t reset;
    uint64_t changed; /* the bits that sentinels may have */
} msrs[] = {
    {0x174, 0, 0xffff},
    {0x175, 0, 0x7fffffffffff},
    {0x176, 0, 0x7fffffffffff},
    {0x1d9, 0, 0},
    {0x277, 0x0007040600070406, 0},
    {0xc0000081, 0, ~0ull},
    {0xc0000082, 0, 0x7fffffffffff},
    {0xc0000083, 0, 0x7fffffffffff},
    {0xc0000084, 0, 0xffffffff},
    {0xc0000100, 0, 0x7fffffffffff},
    {0xc0000101, 0, 0x7fffffffffff},
    {0xc0000102, 0, 0x7fffffffffff},
    {0xc0000103, 0, 0xffffffff},
};

#define MSRS (sizeof(msrs) / sizeof(msrs[0]))

static uint64_t my_msr[MSRS], my_dr[4], my_cr2;

/* Bochs itself has no IA32_DEBUGCTL. */
static bool is_there(unsigned i)
{
    uint64_t value;
    return guest_try_rdmsr(msrs[i].number, &value) == NO_FAULT;
}

static uint64_t read_cr2(void)
{
    uint64_t value;
    __asm__ volatile("mov %%cr2, %0" : "=r"(value) : : "memory");
    return value;
}

static void expect_clean_rest(void)
{
    for (unsigned i = 0; i < MSRS; i++)
        if (is_there(i))
            guest_expect(guest_rdmsr(msrs[i].number), msrs[i].reset, "an MSR after reset");
    guest_expect(guest_read_dr0() | guest_read_dr1() | guest_read_dr2() | guest_read_dr3(), 0,
                 "DR0 to DR3");
    guest_expect(guest_read_dr6(), 0xffff0ff0, "DR6");
    guest_expect(guest_read_dr7(), 0x400, "DR7");
    guest_expect(read_cr2(), 0, "CR2");
}

static void fill_rest(void)
{
    for (unsigned i = 0; i < MSRS; i++) {
        my_msr[i] = (msrs[i].reset & ~msrs[i].changed) | (next_random() & msrs[i].changed);
        if (msrs[i].number == 0x277)
            my_msr[i] = msrs[i].reset ^ (next_random() & 0x0001000100010001); /* WB or UC- */
        if (is_there(i))
            guest_wrmsr(msrs[i].number, my_msr[i]);
    }
    for (unsigned i = 0; i < 4; i++)
        my_dr[i] = next_random();
    (void)guest_try_write_dr0(my_dr[0]);
    (void)guest_try_write_dr1(my_dr[1]);
    (void)guest_try_write_dr2(my_dr[2]);
    (void)guest_try_write_dr3(my_dr[3]);
    my_cr2 = next_random();
    __asm__ volatile("mov %0, %%cr2" : : "r"(my_cr2) : "memory");
}

static void expect_rest(void)
{
    for (unsigned i = 0; i < MSRS; i++)
        if (msrs[i].changed != 0)
            guest_expect(guest_rdmsr(msrs[i].number), my_msr[i], "an MSR");
    guest_expect(guest_read_dr0(), my_dr[0], "DR0");
    guest_expect(guest_read_dr1(), my_dr[1], "DR1");
    guest_expect(guest_read_dr2(), my_dr[2], "DR2");
    guest_expect(guest_read_dr3(), my_dr[3], "DR3");
    guest_expect(read_cr2(), my_cr2, "CR2");
}

/* ---- Exits ---- */

static void make_exits(void)
{
    uint32_t value;
    (void)guest_cpuid(0, 0, EAX);
    __asm__ volatile("inb $0x40, %%al" : "=a"(value));
    __asm__ volatile("outb %%al, $0x80" : : "a"(0));
    (void)guest_rdmsr(0xfe);
    __asm__ volatile("movl 0xfee00030, %0"
                     : "=r"(value)); /* the local APIC's version, by emulation */
    __asm__ volatile("wbinvd" : : : "memory");
}

void sentinels_main(void)
{
    find_parts();
    guest_expect(guest_try_write_cr4(guest_read_cr4() | CR4_OSXSAVE), NO_FAULT, "CR4.OSXSAVE");
    guest_case("xcr0-after-reset");
    guest_expect(guest_xgetbv(0), 1, "XCR0");
    guest_expect(guest_try_xsetbv(0, components), NO_FAULT, "all components");
    guest_case("extended-state-after-reset");
    expect_clean_extended();
    guest_case("registers-after-reset");
    expect_clean_rest();
    __asm__ volatile("rdtsc" : "=a"(*(uint32_t *)&seed) : : "edx");
    seed |= 1ull << 40;
    guest_case("sentinels-over-exits");
    fill_rest();
    fill_extended();
    for (unsigned i = 0; i < ROUNDS; i++) {
        make_exits();
        if (i % 64 == 0)
            expect_extended("a byte of extended state");
        expect_rest();
    }
    guest_case("sentinels");
    for (;;) {
        if (next_random() % 128 == 0) /* again and again: another guest's line may come between */
            guest_print(failed_count + test_failed == 0 ? "full, all well\n" : "full, not well\n");
        make_exits();
        expect_extended("a byte of extended state");
        expect_rest();
    }
}
