/*
 * Carries a decoded instruction out on a guest's registers and, through ports, on its memory. It
 * checks what the processor would check and raises what the processor would raise.
 */
#pragma once

#include "kernel/vm/decode.h"

/* SDM: Limit Checking: whether size bytes from offset, of 32 bits, lie within the segment. */
bool segment_holds(const struct segment *segment, uint64_t offset, unsigned size);

/* What of a vCPU the emulator reads and writes. */
struct emulate_state {
    uint64_t *gpr; /* indexed by enum gpr */
    uint64_t rip;  /* of the instruction; of the next one after EMULATE_DONE */
    uint64_t rflags;
    uint64_t cr0;
    /* ES to GS. In 64-bit mode only the bases of FS and GS are read; the rest may be left out. */
    struct segment segment[SEG_GS + 1];
    uint8_t code_size;  /* decode_code_size */
    uint8_t cpl;        /* 3 in virtual-8086 mode */
    bool one_iteration; /* a repetition is EMULATE_AGAIN after each iteration, as with RFLAGS.TF */
};

/*
 * How the emulator reaches memory and ports. Each returns STATUS_OK; ERR_FAULT with *exception
 * filled in; ERR_BUSY to have the instruction tried again; any other error makes it unsupported.
 * Linear addresses are canonical or of 32 bits; size is 1, 2, 4, 8 or 16 bytes; values are
 * little-endian words, two for size 16, with nothing above size.
 */
struct emulate_ops {
    /* modify: a store or compare_exchange to the same place follows, and must be allowed. */
    enum status (*load)(void *context, uint64_t linear, unsigned size, bool modify, uint64_t *value,
                        struct exception *exception);
    /* Nothing is written unless all of it can be. */
    enum status (*store)(void *context, uint64_t linear, unsigned size, const uint64_t *value,
                         struct exception *exception);
    /* Ends what a load with modify began: stores desired, atomically if the memory can do so and
     * then only where expected (what that load saw) still stands; else *swapped is false. */
    enum status (*compare_exchange)(void *context, uint64_t linear, unsigned size,
                                    const uint64_t *expected, const uint64_t *desired,
                                    bool *swapped, struct exception *exception);
    /* Whether a load or, with write, a store there would succeed, without making it: for INS, whose
     * port must not be read in vain, and for CLFLUSH. */
    enum status (*prepare)(void *context, uint64_t linear, unsigned size, bool write,
                           struct exception *exception);
    /* The I/O permission bit map, asked only where CPL and IOPL do not allow the access. */
    enum status (*check_port)(void *context, uint16_t port, unsigned size,
                              struct exception *exception);
    enum status (*port_in)(void *context, uint16_t port, unsigned size, uint64_t *value);
    enum status (*port_out)(void *context, uint16_t port, unsigned size, uint64_t value);
};

enum emulate_result {
    EMULATE_DONE,        /* state->rip is that of the next instruction (maybe not canonical) */
    EMULATE_AGAIN,       /* not finished, or another processor interfered: enter it once more */
    EMULATE_FAULT,       /* deliver *exception at state->rip, which has not moved */
    EMULATE_UNSUPPORTED, /* cannot be carried out; nothing changed */
};

/* How many times a string instruction repeats in one call, so that interrupts are taken. */
#define EMULATE_ITERATIONS_MAX 256

/*
 * Executes instruction, decoded from the bytes at state->rip. Unless the result is EMULATE_DONE
 * nothing of *state changes, but for the repeated string instructions, whose registers and flags
 * then stand for the iterations that were completed. With RFLAGS.TF a repetition is EMULATE_AGAIN
 * after each iteration, as the processor traps there. Breakpoints in the debug registers are not
 * looked at.
 *
 * *status, which may be NULL, is what the port or decoder reported behind a result other than
 * EMULATE_DONE.
 */
enum emulate_result emulate_instruction(struct emulate_state *state,
                                        const struct instruction *instruction,
                                        const struct emulate_ops *ops, void *context,
                                        struct exception *exception, enum status *status);
