/* A guest that behaves, beside one that does not: it looks after its own memory, registers, time
 * and devices until a byte comes over its serial line, and then says whether anything was
 * disturbed. */
#include "tests/guests/fuzz/guest.h"

#define TIMER_VECTOR 0x40
#define TICKS_PER_SECOND 200
#define MEMORY ((volatile uint64_t *)0x200000)
#define WORDS (0x200000 / 8)
#define WORDS_PER_LOOK 4096
#define MXCSR_USED 0x1fa0u

static uint64_t looks, wrong_memory, wrong_registers, wrong_time, longest;
static uint64_t tsc_hz, timer_hz, cpuid_hash, next_word;
static const uint64_t xmm[2] = {0x7772616974736574ull, 0x6f6e65206f66206dull};
static const uint64_t debug_register[] = {0x1000, 0x2004, 0x3008, 0x123456789000};
static const uint32_t msrs[] = {0xc0000081, 0xc0000082, 0xc0000102, 0x175, 0x176, 0x277};
static uint64_t msr_value[ARRAY_SIZE(msrs)];

static uint64_t word_of(uint64_t index)
{
    return index * 0x9e3779b97f4a7c15ull ^ 0x5452415052434bull;
}

static uint64_t hash_cpuid(void)
{
    uint64_t hash = 0;
    for (uint32_t leaf = 0; leaf < 0x16; leaf++) {
        uint32_t a = leaf, b, c = 0, d;
        __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
        hash = (hash ^ a ^ (uint64_t)b << 32) * 31 + c + ((uint64_t)d << 32);
    }
    return hash;
}

static void set_registers(void)
{
    uint32_t mxcsr = MXCSR_USED;
    __asm__ volatile("movdqu %0, %%xmm7; ldmxcsr %1" : : "m"(xmm), "m"(mxcsr));
    __asm__ volatile("mov %0, %%dr0" : : "r"(debug_register[0]));
    __asm__ volatile("mov %0, %%dr1" : : "r"(debug_register[1]));
    __asm__ volatile("mov %0, %%dr2" : : "r"(debug_register[2]));
    __asm__ volatile("mov %0, %%dr3" : : "r"(debug_register[3]));
    __asm__ volatile("mov %0, %%cr2" : : "r"(0x123400ull));
    wrmsr(0xc0000082, 0xffff800000012345);
    wrmsr(0x175, 0x600d0000);
    wrmsr(0xc0000102, 0x7000000d);
    for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++)
        msr_value[i] = rdmsr(msrs[i]);
}

static void check_registers(void)
{
    uint64_t found[2], dr[4], cr2;
    uint32_t mxcsr;
    __asm__ volatile("movdqu %%xmm7, %0; stmxcsr %1" : "=m"(found), "=m"(mxcsr));
    __asm__ volatile("mov %%dr0, %0" : "=r"(dr[0]));
    __asm__ volatile("mov %%dr1, %0" : "=r"(dr[1]));
    __asm__ volatile("mov %%dr2, %0" : "=r"(dr[2]));
    __asm__ volatile("mov %%dr3, %0" : "=r"(dr[3]));
    __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
    bool ok = found[0] == xmm[0] && found[1] == xmm[1] && mxcsr == MXCSR_USED && cr2 == 0x123400;
    for (unsigned i = 0; i < ARRAY_SIZE(dr); i++)
        ok = ok && dr[i] == debug_register[i];
    for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++)
        ok = ok && rdmsr(msrs[i]) == msr_value[i];
    wrong_registers += !ok;
}

static void check_memory(void)
{
    for (unsigned i = 0; i < WORDS_PER_LOOK; i++, next_word = (next_word + 1) % WORDS)
        wrong_memory += MEMORY[next_word] != word_of(next_word);
}

/* Between two looks the timer came once: neither twice nor much later. */
static void check_time(uint64_t before, uint64_t came)
{
    uint64_t took = rdtsc() - before;
    if (took > longest)
        longest = took;
    wrong_time += came == 0 || took > tsc_hz / 20;
}

static void timer_start(void)
{
    uint32_t a = 0x40000010, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    tsc_hz = a * 1000ull;
    timer_hz = b * 1000ull;
    mmio_write(LAPIC + 0xf0, 0x1ff);
    mmio_write(LAPIC + 0x3e0, 0xb); /* by 1 */
    mmio_write(LAPIC + 0x320, 0x20000 | TIMER_VECTOR);
    mmio_write(LAPIC + 0x380, (uint32_t)(timer_hz / TICKS_PER_SECOND));
}

static void finish(void)
{
    report("witness-looks", looks > 50, "too few looks", looks);
    report("witness-memory", wrong_memory == 0, "words that changed", wrong_memory);
    report("witness-registers", wrong_registers == 0, "looks with other registers",
           wrong_registers);
    report("witness-cpuid", hash_cpuid() == cpuid_hash, "another CPUID", hash_cpuid());
    report("witness-time", wrong_time == 0, "late or missing ticks", wrong_time);
    put("witness: ");
    put_number(looks);
    put(" looks, the longest wait ");
    put_number(longest * 1000000 / tsc_hz);
    put(" us\n");
    bool ok = wrong_memory == 0 && wrong_registers == 0 && wrong_time == 0;
    debug_exit(ok && hash_cpuid() == cpuid_hash ? 0 : 1);
}

void guest_main(void)
{
    for (uint64_t i = 0; i < WORDS; i++)
        MEMORY[i] = word_of(i);
    contexts_init();
    cpuid_hash = hash_cpuid();
    set_registers();
    watchdog_stop();
    timer_start();
    put("witness: watching\n");
    while ((inb(COM1 + 5) & 1) == 0) {
        uint64_t before = rdtsc(), came = interrupts;
        __asm__ volatile("sti; hlt; cli");
        check_time(before, interrupts - came);
        check_registers();
        check_memory();
        looks++;
    }
    finish();
}
