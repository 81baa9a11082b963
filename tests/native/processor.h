/*
 * One instruction at a time on the processor that runs this test, in user mode: in 64-bit mode, or
 * in code, data and stack segments of 16 or 32 bits from the LDT. Every way out is an exception,
 * which arrives as a signal; registers, flags and what was raised are then the kernel's record.
 */
#pragma once

#include "kernel/vm/cpu_mode.h"

/* The windows of linear addresses that exist; the rest is not mapped. */
#define WINDOW_LOW 0x10000u        /* what wraps around 4 GBytes arrives behind it */
#define WINDOW_MAIN 0x20000000u    /* data */
#define WINDOW_CODE 0x30000000u    /* the instructions */
#define WINDOW_TOP 0xffffe000u     /* ends at 4 GBytes */
#define WINDOW_ABOVE 0x100000000u  /* what forgets to wrap arrives here */
#define WINDOW_HIGH 0x123456789000 /* for 64-bit addresses */

/* What a page of a window is. Devices are devices for the emulator only. */
enum page_kind { PAGE_ABSENT, PAGE_RAM, PAGE_DEVICE, PAGE_READ_ONLY, PAGE_CODE };

struct window {
    uint64_t base;
    unsigned count; /* pages */
    uint8_t kind[8];
};

#define WINDOWS 6
extern const struct window windows[WINDOWS];

/* Descriptors in the LDT, by index; entry 0 is left alone. */
#define SEGMENTS 96u

/* Registers, and what the processor raised. */
struct context {
    uint64_t gpr[GPR_COUNT];
    uint64_t rip;
    uint64_t rflags;
    uint16_t selector[SEG_GS + 1];
    uint64_t fs_base, gs_base; /* used in 64-bit mode, where the selectors then do not count */
    bool long_mode;
    /* Filled in: */
    uint8_t vector; /* VECTOR_BP where it ran into what follows the instruction */
    uint32_t error_code;
    uint64_t cr2; /* VECTOR_PF only */
};

/* Maps the windows, sets up signals. Returns NULL, or what this kernel refuses. */
const char *processor_prepare(void);
/* Whether it lets programs have segments of their own; without, there is 64-bit mode only. */
bool processor_has_segments(void);

/* Puts a descriptor into the LDT; NULL limits and types are as struct segment has them. Returns
 * false where the kernel refuses. */
bool processor_set_segment(unsigned index, const struct segment *segment);

static inline uint16_t processor_selector(unsigned index)
{
    return (uint16_t)(index << 3 | 7);
}

/* Runs from context->rip until something is raised. */
void processor_run(struct context *context);
