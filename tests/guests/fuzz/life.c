/* The lives of a fuzzer: see struct fuzzer. */
#include "tests/guests/fuzz/guest.h"

/* Where the fuzzer stands, in the second bank of CMOS memory, which outlives a reset: two copies,
 * as it may be hit by the fuzzing itself. */
struct record {
    uint32_t cases;
    uint16_t life;
    uint16_t check;
};

#define COPIES 2
#define COPY_STRIDE 64
#define CHECK 0x7261u

static struct record record;

static uint16_t check_of(const struct record *of)
{
    uint32_t mixed = (of->life * 0x9e3779b1u ^ of->cases) * 0x85ebca6bu;
    return (uint16_t)((mixed >> 16) + CHECK);
}

static void cmos_write(uint8_t index, uint8_t value)
{
    outb(0x72, index);
    outb(0x73, value);
}

static uint8_t cmos_read(uint8_t index)
{
    outb(0x72, index);
    return inb(0x73);
}

void life_save(void)
{
    record.check = check_of(&record);
    for (unsigned copy = 0; copy < COPIES; copy++)
        for (unsigned i = 0; i < sizeof(record); i++)
            cmos_write((uint8_t)(copy * COPY_STRIDE + i), ((const uint8_t *)&record)[i]);
}

uint32_t life_count(void)
{
    uint32_t number = record.cases++;
    life_save();
    record.cases--;
    return number;
}

static bool load(void)
{
    for (unsigned copy = 0; copy < COPIES; copy++) {
        struct record found;
        for (unsigned i = 0; i < sizeof(found); i++)
            ((uint8_t *)&found)[i] = cmos_read((uint8_t)(copy * COPY_STRIDE + i));
        if (found.check == check_of(&found)) {
            record = found;
            return true;
        }
    }
    return false;
}

static void triple_fault(void)
{
    extern uint16_t idt_empty[];
    __asm__ volatile("lidt (%0); ud2" : : "r"(idt_empty));
}

void machine_reset(void)
{
    __asm__ volatile("cli");
    switch (random_below(6)) {
    case 0:
        outb(0xcf9, 6);
        break;
    case 1:
        outb(0x64, 0xfe);
        break;
    case 2:
        outb(0x92, 1);
        break;
    case 3:
        outw(0x604, 0x2000); /* S5, and with it the next life if on-end says so */
        break;
    case 4:
        mmio_write(LAPIC + 0x310, 0);
        mmio_write(LAPIC + 0x300, 0x4500); /* INIT to itself */
        break;
    }
    triple_fault();
    for (;;)
        ;
}

static void serial_init(void)
{
    outb(COM1 + 1, 0);
    outb(COM1 + 3, 3);
    outb(COM1 + 4, 3);
}

static void put_line(const char *name, uint64_t seed, const char *what)
{
    serial_init();
    put(name);
    put(": seed ");
    put_number(seed);
    put(" life ");
    put_number(record.life);
    put(" cases ");
    put_number(record.cases);
    put(what);
}

static void finish(const struct fuzzer *fuzzer, uint64_t seed)
{
    put_line(fuzzer->name, seed, " done\n");
    debug_exit(0);
}

void fuzz(const struct fuzzer *fuzzer)
{
    uint64_t seed = option("seed", 1), total = option("cases", 1000), only = option("life", ~0ull);
    bool is_first = !load();
    if (is_first)
        record = (struct record){0, only == ~0ull ? 0 : (uint16_t)only, 0};
    else
        record.life++;
    if (record.cases >= total || (only != ~0ull && record.life != only))
        finish(fuzzer, seed);
    life_save();
    put_line(fuzzer->name, seed, "\n");
    random_seed(seed << 32 | record.life);
    contexts_init();
    fuzzer->prepare();
    for (unsigned i = 1; i <= fuzzer->cases_per_life && record.cases < total; i++) {
        fuzzer->step();
        record.cases++;
        if (i == 8 || i == 24 || i % 64 == 0)
            life_save();
    }
    life_save();
    if (record.cases >= total)
        finish(fuzzer, seed);
    machine_reset();
}
