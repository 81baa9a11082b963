/*
 * What guests in C stand on, over tests/guests/lib (start.asm): the machine's instructions, the
 * serial line, the command line, random numbers, and contexts, in which code of any kind runs and
 * from whose end, whatever it is, the guest comes back. One processor, 64-bit mode, ring 0, the
 * lowest 4 GiB mapped one to one for every ring.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* What the guest does. */
void guest_main(void);

/* ---- The machine -------------------------------------------------------------------------- */

#define LAPIC 0xfee00000u
#define IOAPIC 0xfec00000u
#define ECAM 0xe0000000u
#define PCI_WINDOW 0xc0000000u
#define COM1 0x3f8
#define DEBUG_EXIT 0xe5f4 /* four ports; a fuzzer leaves them alone */

static inline uint8_t inb(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint16_t inw(uint16_t port)
{
    uint16_t value;
    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint32_t inl(uint16_t port)
{
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void outb(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void outw(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline void outl(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint64_t rdmsr(uint32_t msr)
{
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" : : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(msr));
}

static inline uint64_t rdtsc(void)
{
    uint32_t low, high;
    __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

/* Memory of a device: the access is one MOV of that size. */
static inline uint32_t mmio_read(uint64_t address)
{
    return *(volatile uint32_t *)address;
}

static inline void mmio_write(uint64_t address, uint32_t value)
{
    *(volatile uint32_t *)address = value;
}

uint64_t mmio_read_sized(uint64_t address, unsigned size);
void mmio_write_sized(uint64_t address, unsigned size, uint64_t value);

/* ---- Text ------------------------------------------------------------------------------------ */

void put(const char *text);
void put_number(uint64_t number);
void put_hex(uint64_t number);
/* The line of a report: "ok NAME", or "not ok NAME: WHAT: got N". */
void report(const char *name, bool ok, const char *what, uint64_t got);
void serial_drain_line(void);

/* The number behind "NAME=" on the command line, or otherwise. */
uint64_t option(const char *name, uint64_t otherwise);

/* Ends the guest by its debug exit. */
__attribute__((noreturn)) void debug_exit(uint32_t code);

/* ---- Random numbers -------------------------------------------------------------------------- */

void random_seed(uint64_t seed);
uint64_t random64(void);
/* Below bound, which is not 0. */
uint32_t random_below(uint32_t bound);
/* True once in so many times. */
static inline bool one_in(uint32_t times)
{
    return random_below(times) == 0;
}
/* Small and large numbers, single bits, edges: what makes borders of values likely. */
uint64_t random_value(void);
/* An address: RAM, its end, the holes, devices, borders, nonsense. */
uint64_t random_address(void);

#define PICK(array) ((array)[random_below(ARRAY_SIZE(array))])

/* ---- Contexts -------------------------------------------------------------------------------- */

/* The order of start.asm; general registers by their number in an encoding, RSP's unused. */
struct context {
    uint64_t gpr[16];
    uint64_t rip, cs, rflags, rsp, ss, ds, es, fs, gs;
};

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };

#define SEL_CODE64 0x08
#define SEL_DATA 0x10
#define SEL_CODE32 0x18
#define SEL_CODE16 0x20
#define SEL_DATA16 0x28
#define SEL_USER_CODE32 0x33
#define SEL_USER_DATA 0x3b
#define SEL_USER_CODE64 0x43

#define RFLAGS_FIXED 0x2u
#define RFLAGS_TF 0x100u
#define RFLAGS_IF 0x200u
#define RFLAGS_VM 0x20000u

/* As modes.inc numbers them; MODE_LONG is ours: 64-bit and compatibility mode. */
enum mode { MODE_LONG, MODE_FLAT32, MODE_PAGED32, MODE_PAE, MODE_REAL = 5 };

#define LOW_BASE 0x20000u   /* of SEL_CODE16, SEL_DATA16 and the segment of real mode */
#define LOW_CODE 0x8000u    /* offset there that is free for code */
#define LOW_DATA 0x30000u   /* 64 KiB for data */
#define HIGH_CODE 0x200000u /* from here to RAM_END: free memory */
#define RAM_END 0x400000u   /* of `memory = 4M` */

struct ended {
    unsigned vector; /* that ended it */
    uint64_t error, rip;
    unsigned steps; /* single steps before */
};

/* Exceptions, interrupts and the watchdog: called once. */
void contexts_init(void);

/* A context that is ready to run in this mode: flat segments, no flags, stack in free memory. */
void context_clear(struct context *context, enum mode mode);

/* Runs it until an exception, until steps single steps are done, or until the watchdog barks.
 * Interrupts are counted and go on. */
void context_run(const struct context *context, enum mode mode, unsigned steps,
                 struct ended *ended);

/* Runs a function in a context, with these flags: it need not come back. Returns the vector that
 * ended it: 3 where it came back, 32 and up where it made a storm of interrupts. */
unsigned function_run(void (*function)(void), uint64_t rflags);

/* Interrupts and NMIs since the start. */
extern volatile uint64_t interrupts;

/* How many interrupts a context may take before it is ended for the storm that it made. */
#define STORM 60

/* The local APIC enabled, in xAPIC mode, where it belongs. */
void lapic_repair(void);

/* The watchdog, an NMI each hundredth of a second, by the PIT and the I/O APIC. */
void watchdog_start(void);
void watchdog_stop(void);

/* ---- Lives ----------------------------------------------------------------------------------- */

/* A fuzzer's life ends by a crash, a reset or after so many cases; CMOS memory tells the next one
 * where it stands, and the command line what to do:
 *     seed=N    of everything; life N of a seed is the same whatever came before
 *     cases=N   to do in all lives; then the guest ends with debug exit 0
 *     life=N    does this one only */
struct fuzzer {
    const char *name;
    unsigned cases_per_life;
    void (*prepare)(void);
    void (*step)(void);
};

__attribute__((noreturn)) void fuzz(const struct fuzzer *fuzzer);
/* Counts the case under way as done, in case that it ends the life; returns its number in all. */
uint32_t life_count(void);
/* After something that may have written CMOS memory. */
void life_save(void);

/* Ends the life by one of the ways in which a guest can reset or switch off its machine. */
__attribute__((noreturn)) void machine_reset(void);
