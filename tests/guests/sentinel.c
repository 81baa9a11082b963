/* Memory of an earlier life, or of another guest: on each start all free RAM must be zero; then it
 * is filled, and the guest ends in a way after which it is started anew, with memory that was given
 * back in between. CMOS memory counts the lives. */
#include "tests/guests/fuzz/guest.h"

#define PATTERN 0x5a17e1d0c0ffee00ull
#define COUNT_AT 0x10 /* in the second bank */
#define MINE_AT 0x11

static uint8_t cmos(uint8_t index)
{
    outb(0x72, index);
    return inb(0x73);
}

/* From the end of this guest to the end of RAM, and what lies below 1 MiB besides its low part. */
static const struct {
    uint64_t from, to;
} areas[] = {{0x1000, 0x20000}, {0x28000, 0x9f000}, {0x180000, RAM_END}};

/* What the loader put there: the start information, its memory map, the command line. */
static bool is_loaders(uint64_t at)
{
    extern uint64_t start_info;
    const uint64_t *info = (const uint64_t *)start_info;
    const uint64_t places[] = {start_info, info[3], info[5]};
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++)
        if ((at ^ places[i]) >> 12 == 0)
            return true;
    return false;
}

static uint64_t count_words(bool fill)
{
    uint64_t dirty = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(areas); i++)
        for (uint64_t at = areas[i].from; at < areas[i].to; at += 8) {
            volatile uint64_t *word = (volatile uint64_t *)at;
            if (at % 4096 == 0 && is_loaders(at)) {
                at += 4096 - 8;
                continue;
            }
            dirty += *word != 0;
            if (fill)
                *word = PATTERN | at;
        }
    return dirty;
}

static void count_life(unsigned life)
{
    outb(0x72, COUNT_AT);
    outb(0x73, (uint8_t)(life + 1));
    outb(0x72, MINE_AT);
    outb(0x73, 0x5e);
    serial_drain_line();
}

void guest_main(void)
{
    unsigned lives = (unsigned)option("lives", 4), life = cmos(COUNT_AT);
    if (cmos(MINE_AT) != 0x5e)
        life = 0;
    uint64_t dirty = count_words(true), filled = count_words(false);
    put("life ");
    put_number(life);
    put("\n");
    if (dirty != 0)
        report("sentinel-zero", false, "words that are not zero", dirty);
    if (filled < 0x50000)
        report("sentinel-filled", false, "words that hold what was written", filled);
    if (dirty != 0 || filled < 0x50000 || life + 1 == lives)
        debug_exit(dirty != 0 || filled < 0x50000);
    count_life(life);
    if (life % 2 == 0)
        outw(0x604, 0x2000); /* S5 */
    /* What no emulator does for a device: the monitor stops the guest. */
    __asm__ volatile("fxsave (%0)" : : "r"((uint64_t)LAPIC));
}
