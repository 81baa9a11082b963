#include "drivers/model/pit_channel.h"

/* Intel: 82C54, Control Word Format. */
#define ACCESS_SHIFT 4
#define ACCESS_LOW 1
#define ACCESS_HIGH 2
#define ACCESS_BOTH 3
#define MODE_SHIFT 1
#define CONTROL_BCD 0x01

#define STATUS_OUTPUT 0x80
#define STATUS_NULL_COUNT 0x40

#define NOT_PENDING PIT_NEVER

/* What distinguishes the six modes. */
static const struct mode_traits {
    bool output_idle;  /* the output after the control word */
    bool gate_pauses;  /* the gate's level enables counting */
    bool gate_starts;  /* the gate's rising edge loads the count */
    bool write_starts; /* a whole count written is loaded even while an older one counts */
    bool periodic;
} traits[6] = {
    {.output_idle = false, .gate_pauses = true, .write_starts = true},
    {.output_idle = true, .gate_starts = true},
    {.output_idle = true, .gate_pauses = true, .gate_starts = true, .periodic = true},
    {.output_idle = true, .gate_pauses = true, .gate_starts = true, .periodic = true},
    {.output_idle = true, .gate_pauses = true, .write_starts = true},
    {.output_idle = true, .gate_starts = true},
};

/* ---- The counting element ---- */

static uint32_t modulus(const struct pit_channel *ch)
{
    return ch->bcd ? 10000 : 65536;
}

/* The count register as a number; zero stands for the largest count. A BCD digit above nine counts
 * for what it is worth. */
static uint32_t reload_count(const struct pit_channel *ch)
{
    uint32_t raw = ch->reload;
    uint32_t count = raw;
    if (ch->bcd)
        count = ((raw >> 12) * 1000 + (raw >> 8 & 15) * 100 + (raw >> 4 & 15) * 10 + (raw & 15)) %
                10000;
    return count != 0 ? count : modulus(ch);
}

static uint16_t to_register(const struct pit_channel *ch, uint32_t count)
{
    if (!ch->bcd)
        return (uint16_t)count;
    return (uint16_t)(count / 1000 << 12 | count / 100 % 10 << 8 | count / 10 % 10 << 4 |
                      count % 10);
}

static uint64_t elapsed_at(const struct pit_channel *ch, uint64_t tick)
{
    return ch->counting ? tick - ch->start : ch->elapsed;
}

/* A square wave of an odd count is high for one tick more than it is low. */
static uint32_t high_ticks(const struct pit_channel *ch)
{
    return (ch->initial + 1) / 2;
}

/* The number in the element, 0 to modulus - 1. */
static uint32_t count_at(const struct pit_channel *ch, uint64_t tick)
{
    if (!ch->loaded)
        return ch->frozen;
    uint64_t elapsed = elapsed_at(ch, tick);
    uint32_t n = ch->initial;
    uint32_t m = modulus(ch);
    if (ch->mode == 2)
        return (n - (uint32_t)(elapsed % n)) % m;
    if (ch->mode == 3) {
        /* Counts by two from the even part of n, once in each half of the wave. */
        uint32_t position = (uint32_t)(elapsed % n);
        if (position >= high_ticks(ch))
            position -= high_ticks(ch);
        return ((n & ~1u) - 2 * position) % m;
    }
    /* The others count on through zero. */
    return (uint32_t)((n + m - elapsed % m) % m);
}

bool pit_channel_output(const struct pit_channel *ch, uint64_t tick)
{
    if (!ch->loaded || (traits[ch->mode].periodic && !ch->counting))
        return traits[ch->mode].output_idle;
    uint64_t elapsed = elapsed_at(ch, tick);
    switch (ch->mode) {
    case 0:
    case 1:
        return elapsed >= ch->initial;
    case 2:
        return elapsed % ch->initial != ch->initial - 1;
    case 3:
        return elapsed % ch->initial < high_ticks(ch);
    default:
        return elapsed != ch->initial;
    }
}

/* How many times the output has risen since the load, `elapsed` counts ago. */
static uint64_t edges_after(const struct pit_channel *ch, uint64_t elapsed)
{
    if (traits[ch->mode].periodic)
        return ch->initial > 1 ? elapsed / ch->initial : 0; /* of a count of 1 it never falls */
    uint64_t first = ch->mode >= 4 ? (uint64_t)ch->initial + 1 : ch->initial;
    return elapsed >= first;
}

/* The tick of the next rising edge of a loaded channel, or NOT_PENDING. */
static uint64_t next_rising_edge(const struct pit_channel *ch, uint64_t tick)
{
    if (!ch->loaded || !ch->counting)
        return NOT_PENDING;
    if (traits[ch->mode].periodic) {
        uint64_t periods = elapsed_at(ch, tick) / ch->initial + 1;
        return ch->initial > 1 ? ch->start + periods * ch->initial : NOT_PENDING;
    }
    uint64_t first = ch->mode >= 4 ? (uint64_t)ch->initial + 1 : ch->initial;
    return elapsed_at(ch, tick) < first ? ch->start + first : NOT_PENDING;
}

uint64_t pit_channel_next_event(const struct pit_channel *ch, uint64_t tick)
{
    uint64_t edge = next_rising_edge(ch, tick);
    return ch->load_tick < edge ? ch->load_tick : edge;
}

bool pit_channel_see_edges(struct pit_channel *ch, uint64_t tick)
{
    if (!ch->loaded)
        return false;
    uint64_t edges = edges_after(ch, elapsed_at(ch, tick));
    bool rose = edges > ch->edges;
    ch->edges = edges;
    return rose;
}

/* Moves the count register into the element at load_tick. Returns whether the output rose, up to
 * and at that tick, without the interrupt line having seen it. */
static bool load(struct pit_channel *ch)
{
    uint64_t tick = ch->load_tick;
    bool restarts = !ch->loaded || !traits[ch->mode].periodic || !ch->counting;
    bool low_half = !restarts && !pit_channel_output(ch, tick);
    bool rose = ch->loaded && edges_after(ch, elapsed_at(ch, tick)) > ch->edges;
    ch->initial = reload_count(ch);
    ch->loaded = true;
    ch->counting = !traits[ch->mode].gate_pauses || ch->gate;
    ch->elapsed = ch->edges = 0;
    ch->start = tick;
    /* A new count for a square wave takes over between two halves and changes nothing else. */
    if (ch->mode == 3 && low_half)
        ch->start -= high_ticks(ch);
    ch->null_count = false;
    ch->load_tick = NOT_PENDING;
    return rose;
}

bool pit_channel_advance(struct pit_channel *ch, uint64_t tick)
{
#ifdef PLANTED_BUG_PIT
    tick += ch->mode == 3 && ch->initial % 2;
#endif
    return ch->load_tick <= tick && load(ch);
}

static void pause(struct pit_channel *ch, uint64_t tick)
{
    if (ch->counting)
        ch->elapsed = tick - ch->start;
    ch->counting = false;
    /* The period whose end a new count waited for does not end: the gate's edge will load it. */
    if (ch->load_at_end)
        ch->load_tick = NOT_PENDING;
}

static void resume(struct pit_channel *ch, uint64_t tick)
{
    if (ch->loaded && !ch->counting)
        ch->start = tick - ch->elapsed;
    ch->counting = ch->loaded;
}

/* Decides when a count written now reaches the element: a periodic channel first ends the period,
 * or the half of a square wave, that it is in. */
static void schedule_load(struct pit_channel *ch, uint64_t tick)
{
    const struct mode_traits *mode = &traits[ch->mode];
    if (ch->load_tick != NOT_PENDING)
        return;
    ch->load_at_end = false;
    if (mode->write_starts || (mode->periodic && !ch->loaded)) {
        ch->load_tick = tick + 1;
        return;
    }
    if (!mode->periodic || !ch->counting)
        return; /* the gate's next rising edge starts it */
    uint64_t position = (tick - ch->start) % ch->initial;
    bool high_half = ch->mode == 3 && position < high_ticks(ch);
    ch->load_tick = tick - position + (high_half ? high_ticks(ch) : ch->initial);
    ch->load_at_end = true;
}

/* ---- What the guest writes ---- */

void pit_channel_latch_count(struct pit_channel *ch, uint64_t tick)
{
    if (ch->count_latched)
        return;
    ch->count_latched = true;
    ch->latched_count = to_register(ch, count_at(ch, tick));
}

void pit_channel_latch_status(struct pit_channel *ch, uint64_t tick)
{
    if (ch->status_latched)
        return;
    ch->status_latched = true;
    ch->latched_status = (pit_channel_output(ch, tick) ? STATUS_OUTPUT : 0) |
                         (ch->null_count ? STATUS_NULL_COUNT : 0) |
                         (uint8_t)(ch->access << ACCESS_SHIFT | ch->mode << MODE_SHIFT) | ch->bcd;
}

void pit_channel_program(struct pit_channel *ch, uint64_t tick, uint8_t control)
{
    uint8_t mode = control >> MODE_SHIFT & 7;
    ch->frozen = count_at(ch, tick);
    ch->mode = mode > 5 ? mode - 4 : mode; /* modes 2 and 3 do not look at the highest bit */
    ch->access = control >> ACCESS_SHIFT & 3;
    ch->bcd = control & CONTROL_BCD;
    ch->frozen %= modulus(ch);
    ch->reload = 0;
    ch->write_high = false;
    ch->read_high = ch->access == ACCESS_HIGH;
    ch->written = ch->loaded = ch->counting = false;
    ch->null_count = true;
    ch->load_tick = NOT_PENDING;
    ch->count_latched = ch->status_latched = false;
}

void pit_channel_write(struct pit_channel *ch, uint64_t tick, uint8_t value)
{
    bool first_of_two = ch->access == ACCESS_BOTH && !ch->write_high;
    ch->write_high = first_of_two;
    if (ch->mode == 0) {
        /* Any write stops the count and takes the output low at once. */
        ch->frozen = count_at(ch, tick);
        ch->loaded = ch->counting = false;
        ch->load_tick = NOT_PENDING;
    }
    if (first_of_two) {
        ch->low_byte = value;
        return;
    }
    /* One-byte accesses clear the other byte. */
    ch->reload = ch->access == ACCESS_LOW ? value : (uint16_t)(value << 8);
    if (ch->access == ACCESS_BOTH)
        ch->reload |= ch->low_byte;
    ch->written = ch->null_count = true;
    schedule_load(ch, tick);
}

void pit_channel_set_gate(struct pit_channel *ch, uint64_t tick, bool gate)
{
    const struct mode_traits *mode = &traits[ch->mode];
    bool rises = gate && !ch->gate;
    if (mode->gate_pauses && ch->gate && !gate)
        pause(ch, tick);
    ch->gate = gate;
    if (!rises)
        return;
    if (mode->gate_starts && ch->written) {
        ch->load_tick = tick + 1;
        ch->load_at_end = false;
    } else if (mode->gate_pauses) {
        resume(ch, tick);
    }
}

/* ---- What the guest reads ---- */

/* The half of count that the access mode and the flip-flop select. */
static uint8_t select_byte(struct pit_channel *ch, uint16_t count)
{
    bool high = ch->read_high;
    if (ch->access == ACCESS_BOTH)
        ch->read_high = !high;
    return (uint8_t)(high ? count >> 8 : count);
}

uint8_t pit_channel_read(struct pit_channel *ch, uint64_t tick)
{
    if (ch->status_latched) {
        ch->status_latched = false;
        return ch->latched_status;
    }
    if (ch->count_latched) {
        /* The latch opens again after the last byte that the access mode asks for. */
        ch->count_latched = ch->access == ACCESS_BOTH && !ch->read_high;
        return select_byte(ch, ch->latched_count);
    }
    return select_byte(ch, to_register(ch, count_at(ch, tick)));
}

void pit_channel_init(struct pit_channel *ch, bool gate)
{
    *ch = (struct pit_channel){
        .access = ACCESS_BOTH,
        .gate = gate,
        .null_count = true,
        .load_tick = NOT_PENDING,
    };
}
