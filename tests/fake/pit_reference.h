/*
 * An 8254 that is stepped clock by clock, as the data sheet's timing diagrams draw it: slow and
 * obvious, for comparison with the model, which computes. One step is one CLK pulse; writes and
 * gate changes happen between two pulses.
 */
#pragma once

#include "kernel/core/types.h"

struct pit_reference {
    unsigned mode;
    bool bcd;
    bool gate;
    bool written;    /* a whole count since the control word */
    bool load_next;  /* at the next pulse */
    bool load_later; /* periodic modes: at the end of the period or half */
    bool loaded;
    bool done;      /* modes 0, 1, 4, 5: the terminal count was reached */
    bool wave_high; /* mode 3: which half */
    bool wave_tail; /* mode 3, odd count, high half: the extra pulse at zero */
    uint32_t reload;
    uint32_t initial;
    uint32_t count; /* 0 to modulus - 1 */
    bool output;
    bool null_count; /* the count written last has not been loaded */
};

static inline uint32_t pit_reference_modulus(const struct pit_reference *pit)
{
    return pit->bcd ? 10000 : 65536;
}

/* reload is a number, 1 to the modulus. */
static inline void pit_reference_write_count(struct pit_reference *pit, uint32_t reload)
{
    pit->reload = reload;
    pit->written = pit->null_count = true;
    if (pit->mode == 0) {
        pit->output = false;
        pit->loaded = false;
    }
    if (pit->mode == 0 || pit->mode == 4)
        pit->load_next = true;
    else if ((pit->mode == 2 || pit->mode == 3) && !pit->loaded)
        pit->load_next = true;
    else if ((pit->mode == 2 || pit->mode == 3) && pit->gate)
        pit->load_later = !pit->load_next;
}

/* The first byte of two in mode 0. */
static inline void pit_reference_stop(struct pit_reference *pit)
{
    pit->output = false;
    pit->loaded = pit->load_next = false;
}

static inline void pit_reference_program(struct pit_reference *pit, unsigned mode, bool bcd)
{
    bool gate = pit->gate;
    uint32_t count = pit->count;
    *pit = (struct pit_reference){.mode = mode, .bcd = bcd, .gate = gate, .output = mode != 0};
    pit->count = count % pit_reference_modulus(pit);
    pit->null_count = true;
}

static inline void pit_reference_set_gate(struct pit_reference *pit, bool gate)
{
    bool rises = gate && !pit->gate;
    pit->gate = gate;
    if ((pit->mode == 2 || pit->mode == 3) && !gate)
        pit->output = true;
    if (rises && (pit->mode == 1 || pit->mode == 2 || pit->mode == 3 || pit->mode == 5) &&
        pit->written) {
        pit->load_next = true;
        pit->load_later = false;
    }
}

static inline void pit_reference_load(struct pit_reference *pit)
{
    pit->initial = pit->reload;
    pit->count = pit->initial % pit_reference_modulus(pit);
    pit->loaded = true;
    pit->null_count = false;
    pit->done = false;
    if (pit->mode == 3)
        pit->count = (pit->initial & ~1u) % pit_reference_modulus(pit);
}

static inline void pit_reference_begin_half(struct pit_reference *pit, bool high)
{
    if (pit->load_later) {
        pit->initial = pit->reload;
        pit->null_count = false;
    }
    pit->load_later = false;
    pit->wave_high = high;
    pit->wave_tail = false;
    pit->output = high || pit->initial < 2; /* one is no count for this mode */
    pit->count = (pit->initial & ~1u) % pit_reference_modulus(pit);
}

/* Mode 3 counts by two; the high half of an odd count has one pulse more, at zero. */
static inline void pit_reference_step_wave(struct pit_reference *pit)
{
    uint32_t m = pit_reference_modulus(pit);
    if (pit->initial < 2) {
        if (pit->load_later)
            pit_reference_begin_half(pit, true);
        return;
    }
    if (pit->wave_tail) {
        pit_reference_begin_half(pit, false);
        return;
    }
    pit->count = (pit->count + m - 2) % m;
    if (pit->count != 0)
        return;
    if (pit->wave_high && (pit->initial & 1))
        pit->wave_tail = true;
    else
        pit_reference_begin_half(pit, !pit->wave_high);
}

static inline void pit_reference_step_rate(struct pit_reference *pit)
{
    uint32_t m = pit_reference_modulus(pit);
    if (pit->count == 1) {
        if (pit->load_later) {
            pit->initial = pit->reload;
            pit->null_count = false;
        }
        pit->load_later = false;
        pit->count = pit->initial % m;
    } else {
        pit->count = (pit->count + m - 1) % m;
    }
    pit->output = pit->count != 1;
}

static inline void pit_reference_step(struct pit_reference *pit)
{
    uint32_t m = pit_reference_modulus(pit);
    if (pit->load_next) {
        pit->load_next = pit->load_later = false;
        pit_reference_load(pit);
        if (pit->mode == 3)
            pit_reference_begin_half(pit, true);
        if (pit->mode == 1)
            pit->output = false;
        else if (pit->mode == 2)
            pit->output = !pit->gate || pit->count != 1;
        else if (pit->mode >= 4)
            pit->output = true;
        return;
    }
    if (!pit->loaded)
        return;
    if (!pit->gate && pit->mode != 1 && pit->mode != 5)
        return;
    if (pit->mode == 2) {
        pit_reference_step_rate(pit);
        return;
    }
    if (pit->mode == 3) {
        pit_reference_step_wave(pit);
        return;
    }
    pit->count = (pit->count + m - 1) % m;
    bool terminal = pit->count == 0 && !pit->done;
    pit->done |= terminal;
    if (pit->mode <= 1)
        pit->output |= terminal;
    else
        pit->output = !terminal;
}
