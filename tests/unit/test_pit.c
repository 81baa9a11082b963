/* The 8254 model and port 0x61. */
#include "drivers/model/pit.h"
#include "tests/check.h"
#include "tests/fake/hands.h"
#include "tests/fake/pit_reference.h"

struct rig {
    struct hands hands;
    struct bus bus;
    struct pin pin;
    struct pit pit;
};

static void rig_init(struct rig *rig, uint64_t hz)
{
    memset(rig, 0, sizeof(*rig));
    hands_init(&rig->hands, hz);
    struct irq_line line = pin_line(&rig->pin, 0);
    pit_init(&rig->pit, &line, &rig->hands.clock, &rig->hands.timers);
    CHECK_EQ(pit_attach(&rig->pit, &rig->bus), STATUS_OK);
}

static uint8_t in(struct rig *rig, unsigned port)
{
    return (uint8_t)bus_read(&rig->bus, BUS_PORT, port, 1);
}

static void out(struct rig *rig, unsigned port, unsigned value)
{
    bus_write(&rig->bus, BUS_PORT, port, 1, value);
}

static void program(struct rig *rig, unsigned channel, unsigned mode, unsigned count)
{
    out(rig, 0x43, channel << 6 | 0x30 | mode << 1);
    out(rig, 0x40 + channel, count & 0xff);
    out(rig, 0x40 + channel, count >> 8);
}

static unsigned latched(struct rig *rig, unsigned channel)
{
    out(rig, 0x43, channel << 6);
    unsigned low = in(rig, 0x40 + channel);
    return low | in(rig, 0x40 + channel) << 8;
}

static unsigned status(struct rig *rig, unsigned channel)
{
    out(rig, 0x43, 0xe0 | 2u << channel);
    return in(rig, 0x40 + channel);
}

static void mode_0(void)
{
    struct rig rig;
    rig_init(&rig, PIT_HZ);
    program(&rig, 0, 0, 4);
    CHECK_EQ(status(&rig, 0), 0x70);
    CHECK_EQ(rig.pin.rises, 0);
    hands_turn(&rig.hands, 1);
    CHECK_EQ(status(&rig, 0), 0x30);
    for (unsigned i = 4; i > 0; i--) {
        CHECK_EQ(latched(&rig, 0), i);
        CHECK(!rig.pin.level);
        hands_turn(&rig.hands, 1);
    }
    CHECK(rig.pin.level);
    CHECK_EQ(rig.pin.rises, 1);
    CHECK_EQ(status(&rig, 0), 0xb0);
    CHECK_EQ(latched(&rig, 0), 0);
    hands_turn(&rig.hands, 1);
    CHECK_EQ(latched(&rig, 0), 0xffff);
    hands_turn(&rig.hands, 1 << 20);
    CHECK_EQ(rig.pin.rises, 1);
    CHECK_EQ(rig.hands.timers.next, TIMER_NEVER);
    /* The first byte of a new count takes the output low and holds the count. */
    out(&rig, 0x40, 2);
    CHECK(!rig.pin.level);
    unsigned held = latched(&rig, 0);
    hands_turn(&rig.hands, 100);
    CHECK_EQ(latched(&rig, 0), held);
    out(&rig, 0x40, 0);
    hands_turn(&rig.hands, 3);
    CHECK_EQ(rig.pin.rises, 2);
}

static void mode_2(void)
{
    struct rig rig;
    rig_init(&rig, PIT_HZ);
    program(&rig, 0, 2, 5);
    CHECK_EQ(rig.pin.rises, 1); /* the output goes high with the control word */
    hands_turn(&rig.hands, 1);
    for (unsigned period = 0; period < 3; period++)
        for (unsigned i = 5; i > 0; i--) {
            CHECK_EQ(rig.pin.rises, 1 + period);
            CHECK_EQ(latched(&rig, 0), i);
            CHECK_EQ(status(&rig, 0), i == 1 ? 0x34 : 0xb4);
            hands_turn(&rig.hands, 1);
        }
    CHECK_EQ(rig.pin.rises, 4);
    /* A new count waits for the end of the period. */
    hands_turn(&rig.hands, 1);
    out(&rig, 0x40, 3);
    hands_turn(&rig.hands, 1);
    out(&rig, 0x40, 0);
    CHECK_EQ(status(&rig, 0), 0xf4);
    CHECK_EQ(latched(&rig, 0), 3);
    hands_turn(&rig.hands, 3);
    CHECK_EQ(status(&rig, 0), 0xb4);
    CHECK_EQ(rig.pin.rises, 5);
    hands_turn(&rig.hands, 3);
    CHECK_EQ(rig.pin.rises, 6);
}

static void mode_3_even_and_odd(void)
{
    for (unsigned n = 4; n <= 5; n++) {
        struct rig rig;
        rig_init(&rig, PIT_HZ);
        program(&rig, 0, 3, n);
        hands_turn(&rig.hands, 1);
        unsigned high = 0, low = 0;
        for (unsigned i = 0; i < 10 * n; i++) {
            bool output = pit_output(&rig.pit, 0);
            high += output;
            low += !output;
            CHECK_EQ(latched(&rig, 0) & 1, 0);
            hands_turn(&rig.hands, 1);
        }
        CHECK_EQ(high, 10 * ((n + 1) / 2));
        CHECK_EQ(low, 10 * (n / 2));
        CHECK_EQ(rig.pin.rises, 11);
    }
}

static void mode_4(void)
{
    struct rig rig;
    rig_init(&rig, PIT_HZ);
    program(&rig, 0, 4, 3);
    CHECK_EQ(rig.pin.rises, 1);
    hands_turn(&rig.hands, 4);
    CHECK(!pit_output(&rig.pit, 0));
    CHECK_EQ(latched(&rig, 0), 0);
    CHECK_EQ(rig.pin.rises, 1);
    hands_turn(&rig.hands, 1);
    CHECK(pit_output(&rig.pit, 0));
    CHECK_EQ(rig.pin.rises, 2);
    hands_turn(&rig.hands, 1 << 20);
    CHECK_EQ(rig.pin.rises, 2);
    out(&rig, 0x40, 7); /* written again, it begins again */
    out(&rig, 0x40, 0);
    hands_turn(&rig.hands, 9);
    CHECK_EQ(rig.pin.rises, 3);
}

static void modes_1_and_5_wait_for_the_gate(void)
{
    for (unsigned mode = 1; mode <= 5; mode += 4) {
        struct rig rig;
        rig_init(&rig, PIT_HZ);
        program(&rig, 2, mode, 3);
        hands_turn(&rig.hands, 1000);
        CHECK(pit_output(&rig.pit, 2));
        CHECK_EQ(status(&rig, 2) & 0x40, 0x40);
        out(&rig, 0x61, 1);
        hands_turn(&rig.hands, 1);
        CHECK_EQ(status(&rig, 2) & 0x40, 0);
        CHECK_EQ(latched(&rig, 2), 3);
        CHECK_EQ(pit_output(&rig.pit, 2), mode == 5);
        hands_turn(&rig.hands, 2);
        CHECK_EQ(pit_output(&rig.pit, 2), mode == 5);
        hands_turn(&rig.hands, 1);
        CHECK_EQ(pit_output(&rig.pit, 2), mode == 1);
        hands_turn(&rig.hands, 1);
        CHECK(pit_output(&rig.pit, 2));
        /* On channel 0, whose gate is always up, they never begin. */
        program(&rig, 0, mode, 3);
        CHECK_EQ(rig.hands.timers.next, TIMER_NEVER);
    }
}

static void modes_6_and_7_are_2_and_3(void)
{
    struct rig rig;
    rig_init(&rig, PIT_HZ);
    program(&rig, 1, 6, 10);
    CHECK_EQ(status(&rig, 1) & 0x3f, 0x34);
    program(&rig, 1, 7, 10);
    CHECK_EQ(status(&rig, 1) & 0x3f, 0x36);
}

static void zero_is_the_largest_count(void)
{
    struct rig rig;
    rig_init(&rig, PIT_HZ);
    program(&rig, 0, 2, 0);
    hands_turn(&rig.hands, 1);
    CHECK_EQ(latched(&rig, 0), 0);
    hands_turn(&rig.hands, 1);
    CHECK_EQ(latched(&rig, 0), 0xffff);
    hands_turn(&rig.hands, 65535);
    CHECK_EQ(latched(&rig, 0), 0);
    CHECK_EQ(rig.pin.rises, 2);
    /* In BCD it is 10000. */
    out(&rig, 0x43, 0x35);
    out(&rig, 0x40, 0);
    out(&rig, 0x40, 0);
    hands_turn(&rig.hands, 2);
    CHECK_EQ(latched(&rig, 0), 0x9999);
    hands_turn(&rig.hands, 9998);
    CHECK_EQ(latched(&rig, 0), 0x0001);
    hands_turn(&rig.hands, 1);
    CHECK_EQ(rig.pin.rises, 3);
}

static void bcd_counts(void)
{
    struct rig rig;
    rig_init(&rig, PIT_HZ);
    out(&rig, 0x43, 0xb1);
    out(&rig, 0x42, 0x02);
    out(&rig, 0x42, 0x10);
    out(&rig, 0x61, 1);
    hands_turn(&rig.hands, 1);
    CHECK_EQ(latched(&rig, 2), 0x1002);
    hands_turn(&rig.hands, 3);
    CHECK_EQ(latched(&rig, 2), 0x0999);
    hands_turn(&rig.hands, 1000);
    CHECK_EQ(latched(&rig, 2), 0x9999);
    CHECK(pit_output(&rig.pit, 2));
    out(&rig, 0x42, 0xff); /* no BCD at all: some count, and digits when read */
    out(&rig, 0x42, 0xff);
    hands_turn(&rig.hands, 1);
    unsigned count = latched(&rig, 2);
    for (unsigned digit = 0; digit < 4; digit++)
        CHECK((count >> (4 * digit) & 15) <= 9);
}

static void byte_accesses(void)
{
    struct rig rig;
    rig_init(&rig, PIT_HZ);
    out(&rig, 0x43, 0x54); /* channel 1, low byte only */
    out(&rig, 0x41, 0x20);
    hands_turn(&rig.hands, 1);
    CHECK_EQ(in(&rig, 0x41), 0x20);
    CHECK_EQ(in(&rig, 0x41), 0x20);
    hands_turn(&rig.hands, 1);
    CHECK_EQ(in(&rig, 0x41), 0x1f);
    out(&rig, 0x43, 0x64); /* high byte only */
    out(&rig, 0x41, 0x12);
    hands_turn(&rig.hands, 2);
    CHECK_EQ(in(&rig, 0x41), 0x11);
    out(&rig, 0x43, 0x40);
    CHECK_EQ(in(&rig, 0x41), 0x11);
    hands_turn(&rig.hands, 0x100);
    CHECK_EQ(in(&rig, 0x41), 0x10);
    CHECK_EQ(in(&rig, 0x43), 0xff);
    /* A half-written count changes nothing. */
    program(&rig, 1, 2, 0x300);
    hands_turn(&rig.hands, 1);
    out(&rig, 0x41, 7);
    hands_turn(&rig.hands, 0x300);
    CHECK_EQ(latched(&rig, 1), 0x300);
}

static void latches_hold(void)
{
    struct rig rig;
    rig_init(&rig, PIT_HZ);
    program(&rig, 0, 2, 0x1000);
    hands_turn(&rig.hands, 1);
    out(&rig, 0x43, 0x00);
    hands_turn(&rig.hands, 0x234);
    out(&rig, 0x43, 0x00); /* ignored while the first is unread */
    CHECK_EQ(in(&rig, 0x40), 0x00);
    hands_turn(&rig.hands, 0x10);
    CHECK_EQ(in(&rig, 0x40), 0x10);
    CHECK_EQ(in(&rig, 0x40), 0xbc);
    CHECK_EQ(in(&rig, 0x40), 0x0d);
    /* A control word opens the latch. */
    out(&rig, 0x43, 0x00);
    program(&rig, 0, 2, 0x2000);
    hands_turn(&rig.hands, 1);
    CHECK_EQ(in(&rig, 0x40), 0x00);
    CHECK_EQ(in(&rig, 0x40), 0x20);
}

static void read_back_latches_several(void)
{
    struct rig rig;
    rig_init(&rig, PIT_HZ);
    program(&rig, 0, 2, 0x1111);
    program(&rig, 1, 3, 0x2222);
    program(&rig, 2, 0, 0x3333);
    hands_turn(&rig.hands, 1);
    out(&rig, 0x43, 0xce); /* count and status of all three */
    hands_turn(&rig.hands, 5000);
    out(&rig, 0x43, 0xce); /* still latched: ignored */
    CHECK_EQ(in(&rig, 0x40), 0xb4);
    CHECK_EQ(in(&rig, 0x40), 0x11);
    CHECK_EQ(in(&rig, 0x40), 0x11);
    CHECK_EQ(in(&rig, 0x41), 0xb6);
    CHECK_EQ(in(&rig, 0x41), 0x22);
    CHECK_EQ(in(&rig, 0x41), 0x22);
    CHECK_EQ(in(&rig, 0x42), 0x30);
    CHECK_EQ(in(&rig, 0x42), 0x33);
    CHECK_EQ(in(&rig, 0x42), 0x33);
    out(&rig, 0x43, 0xd8); /* counts of channels 1 (no: 2) ... only bit 3: channel 2 */
    hands_turn(&rig.hands, 1);
    CHECK_EQ(in(&rig, 0x42), 0x33);
    CHECK_EQ(in(&rig, 0x42), 0x33); /* its gate is down: it stands still */
}

static void port_61(void)
{
    struct rig rig;
    rig_init(&rig, PIT_HZ);
    CHECK_EQ(in(&rig, 0x61) & 0xcf, 0);
    out(&rig, 0x61, 0xff);
    CHECK_EQ(in(&rig, 0x61) & 0xcf, 0x0f);
    out(&rig, 0x61, 0);
    unsigned toggles = 0, last = in(&rig, 0x61) & 0x10;
    for (unsigned i = 0; i < 180; i++) {
        hands_turn(&rig.hands, 1);
        unsigned now = in(&rig, 0x61) & 0x10;
        toggles += now != last;
        last = now;
    }
    CHECK_EQ(toggles, 10);
}

/* How Linux measures the TSC: channel 2 in mode 0, gate up, speaker off, until OUT2 rises. */
static void linux_calibrates_with_channel_2(void)
{
    struct rig rig;
    rig_init(&rig, 3000000000ull);
    out(&rig, 0x61, (in(&rig, 0x61) & ~2u) | 1);
    out(&rig, 0x43, 0xb0);
    out(&rig, 0x42, 11932 & 0xff); /* 10 ms */
    out(&rig, 0x42, 11932 >> 8);
    uint64_t begin = rig.hands.now;
    while (!(in(&rig, 0x61) & 0x20))
        hands_turn(&rig.hands, 1000);
    uint64_t counts = rig.hands.now - begin;
    CHECK(counts >= 30000000 && counts < 30010000);
    CHECK(!pit_speaker(&rig.pit));
    out(&rig, 0x61, 3);
    CHECK(pit_speaker(&rig.pit));
}

static void gate_pauses_mode_0(void)
{
    struct rig rig;
    rig_init(&rig, PIT_HZ);
    program(&rig, 2, 0, 100);
    hands_turn(&rig.hands, 50);
    CHECK_EQ(latched(&rig, 2), 100); /* loaded, but the gate is down */
    out(&rig, 0x61, 1);
    hands_turn(&rig.hands, 30);
    out(&rig, 0x61, 0);
    hands_turn(&rig.hands, 1000);
    CHECK_EQ(latched(&rig, 2), 70);
    out(&rig, 0x61, 1);
    hands_turn(&rig.hands, 69);
    CHECK(!pit_output(&rig.pit, 2));
    hands_turn(&rig.hands, 1);
    CHECK(pit_output(&rig.pit, 2));
}

/* A hundred hours of 100 Hz at an awkward clock rate: not one interrupt too many or too few. */
static void no_drift(void)
{
    struct rig rig;
    rig_init(&rig, 2899886433ull);
    program(&rig, 0, 2, 11932);
    hands_turn(&rig.hands, 2899886433ull * 100);
    unsigned rises = rig.pin.rises;
    CHECK_EQ(rises, 1 + (100ull * PIT_HZ - 1) / 11932);
    rig.hands.now += 2899886433ull * 3600 * 100 + 1000;
    unsigned __int128 product = (unsigned __int128)(rig.hands.now - 1000) * PIT_HZ;
    uint64_t tick = (uint64_t)(product / 2899886433ull);
    CHECK_EQ(latched(&rig, 0), 11932 - (tick - 1) % 11932);
    /* The edges that nobody saw are one, and the next is in phase. */
    CHECK_EQ(rig.pin.rises, rises + 1);
    uint64_t next = (tick - 1) / 11932 * 11932 + 11932 + 1;
    CHECK_EQ(ratio_apply(rig.pit.ticks.to_ticks, rig.hands.timers.next - 1000), next);
    CHECK_EQ(ratio_apply(rig.pit.ticks.to_ticks, rig.hands.timers.next - 1000 - 5), next - 1);
}

static void late_edges_are_not_lost(void)
{
    struct rig rig;
    rig_init(&rig, PIT_HZ);
    program(&rig, 0, 0, 10);
    rig.hands.now += 50; /* nobody runs the timers */
    CHECK_EQ(rig.pin.rises, 0);
    program(&rig, 0, 0, 10);
    CHECK_EQ(rig.pin.rises, 1);
    CHECK(!rig.pin.level);
    rig.hands.now += 50;
    in(&rig, 0x40);
    CHECK_EQ(rig.pin.rises, 2);
    CHECK(rig.pin.level);
    timers_run(&rig.hands.timers, rig.hands.now);
    CHECK_EQ(rig.pin.rises, 2);
    /* Just so when the read-back command is what looks. */
    program(&rig, 0, 2, 10);
    unsigned rises = rig.pin.rises;
    rig.hands.now += 11;
    out(&rig, 0x43, 0xee);
    CHECK_EQ(rig.pin.rises, rises + 1);
}

static void count_of_one_is_no_storm(void)
{
    struct rig rig;
    rig_init(&rig, PIT_HZ);
    for (unsigned mode = 2; mode <= 3; mode++) {
        program(&rig, 0, mode, 1);
        hands_turn(&rig.hands, 10);
        CHECK_EQ(rig.hands.timers.next, TIMER_NEVER);
    }
    program(&rig, 0, 2, 2);
    unsigned rises = rig.pin.rises;
    hands_turn(&rig.hands, 101);
    CHECK_EQ(rig.pin.rises, rises + 50);
}

static void two_pits_are_apart(void)
{
    struct rig a, b;
    rig_init(&a, PIT_HZ);
    rig_init(&b, PIT_HZ);
    program(&a, 0, 2, 100);
    hands_turn(&a.hands, 201);
    hands_turn(&b.hands, 201);
    CHECK_EQ(a.pin.rises, 3);
    CHECK_EQ(b.pin.sets, 0);
    pit_reset(&a.pit);
    CHECK(!a.pin.level);
    CHECK_EQ(a.hands.timers.next, TIMER_NEVER);
    CHECK_EQ(status(&a, 0), 0x70);
}

/* ---- Against the stepped reference ---- */

static uint32_t seed;

static uint32_t roll(uint32_t sides)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(seed >> 8) * sides >> 24);
}

static uint32_t bcd_of(uint32_t n)
{
    return n / 1000 % 10 << 12 | n / 100 % 10 << 8 | n / 10 % 10 << 4 | n % 10;
}

static void compare(struct rig *rig, unsigned channel, const struct pit_reference *ref)
{
    uint32_t count = ref->bcd ? bcd_of(ref->count) : ref->count;
    CHECK_EQ(latched(rig, channel), count);
    CHECK_EQ(pit_output(&rig->pit, channel), ref->output);
    CHECK_EQ(status(rig, channel) >> 6 & 1, ref->null_count);
}

static void write_both(struct rig *rig, struct pit_reference *ref, unsigned channel)
{
    uint32_t modulus = ref->bcd ? 10000 : 65536;
    uint32_t smallest = ref->mode == 2 || ref->mode == 3 ? 2 : 1;
    uint32_t count = roll(8) == 0 ? 1 + roll(modulus) : smallest + roll(12);
    if (count < smallest)
        count = smallest;
    uint32_t raw = count == modulus ? 0 : ref->bcd ? bcd_of(count) : count;
    out(rig, 0x40 + channel, raw & 0xff);
    if (ref->mode == 0)
        pit_reference_stop(ref);
    for (unsigned pause = roll(3); pause > 0; pause--) {
        pit_reference_step(ref);
        hands_turn(&rig->hands, 1);
    }
    out(rig, 0x40 + channel, raw >> 8);
    pit_reference_write_count(ref, count);
}

static void one_move(struct rig *rig, struct pit_reference *ref, unsigned channel)
{
    switch (roll(12)) {
    case 0: {
        unsigned mode = roll(6), bcd = roll(2);
        out(rig, 0x43, channel << 6 | 0x30 | mode << 1 | bcd);
        pit_reference_program(ref, mode, bcd);
        break;
    }
    case 1:
    case 2:
        write_both(rig, ref, channel);
        break;
    case 3:
    case 4:
        if (channel == 2) {
            bool gate = roll(3) != 0;
            out(rig, 0x61, gate);
            pit_reference_set_gate(ref, gate);
        }
        break;
    default:
        for (unsigned n = 1 + roll(6); n > 0; n--) {
            bool was = ref->output;
            unsigned rises = rig->pin.rises;
            pit_reference_step(ref);
            hands_turn(&rig->hands, 1);
            if (channel == 0)
                CHECK_EQ(rig->pin.rises - rises, !was && ref->output);
            compare(rig, channel, ref);
        }
    }
    compare(rig, channel, ref);
}

static void equals_the_reference(void)
{
    for (unsigned round = 0; round < 400; round++) {
        seed = round;
        unsigned channel = round % 2 * 2;
        struct rig rig;
        rig_init(&rig, PIT_HZ);
        struct pit_reference ref = {.gate = channel == 0};
        out(&rig, 0x43, channel << 6 | 0x30);
        pit_reference_program(&ref, 0, false);
        for (unsigned move = 0; move < 300; move++)
            one_move(&rig, &ref, channel);
    }
}

TEST_MAIN({"pit: mode 0", mode_0}, {"pit: mode 2", mode_2},
          {"pit: mode 3, even and odd", mode_3_even_and_odd}, {"pit: mode 4", mode_4},
          {"pit: modes 1 and 5 wait for the gate", modes_1_and_5_wait_for_the_gate},
          {"pit: modes 6 and 7 are 2 and 3", modes_6_and_7_are_2_and_3},
          {"pit: zero is the largest count", zero_is_the_largest_count},
          {"pit: BCD counts", bcd_counts}, {"pit: byte accesses", byte_accesses},
          {"pit: latches hold", latches_hold},
          {"pit: read-back latches several", read_back_latches_several},
          {"pit: port 0x61", port_61},
          {"pit: Linux calibrates with channel 2", linux_calibrates_with_channel_2},
          {"pit: the gate pauses mode 0", gate_pauses_mode_0}, {"pit: no drift", no_drift},
          {"pit: late edges are not lost", late_edges_are_not_lost},
          {"pit: a count of one is no storm", count_of_one_is_no_storm},
          {"pit: two are apart", two_pits_are_apart},
          {"pit: equals the stepped reference", equals_the_reference})
