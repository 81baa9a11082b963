/*
 * What a debugger may have a guest stop at, other than an address: a reset, a triple fault, an
 * exception, an access to an MSR, a port, a CPUID leaf or a control register, a change of mode.
 * Here is what a person writes and reads of it. Pure.
 */
#pragma once

#include "kernel/core/types.h"

enum catch_kind {
    CATCH_NOTHING,
    CATCH_RESET, /* a triple fault is one, too */
    CATCH_TRIPLE_FAULT,
    CATCH_EXCEPTION,
    CATCH_MSR,
    CATCH_PORT,
    CATCH_CPUID,
    CATCH_CR,
    CATCH_MODE,
    CATCH_KINDS
};

#define CATCH_READ 1u
#define CATCH_WRITE 2u

/* As numbers of CATCH_MODE. */
enum catch_mode {
    CATCH_MODE_REAL,
    CATCH_MODE_PROTECTED,
    CATCH_MODE_PAGED, /* protected mode with paging */
    CATCH_MODE_LONG,
    /* Changes to and from these are seen only where the guest is executed by single instructions.
     */
    CATCH_MODE_V86,
    CATCH_MODE_COMPATIBILITY,
    CATCH_MODES
};

struct catch
{
    uint8_t kind;   /* enum catch_kind */
    uint8_t access; /* CATCH_READ, CATCH_WRITE or both, of MSRs and ports */
    bool is_gdbs;   /* it goes when gdb goes */
    uint16_t id;    /* from 1 */
    uint32_t first, last;
};

/* What has happened. */
struct catch_event {
    uint8_t kind;
    uint8_t access;
    bool has_failed; /* the instruction has raised an exception instead */
    uint16_t id;     /* of the catch that it met */
    uint32_t number; /* of the MSR, port, leaf, register, vector; the new mode */
    uint64_t rip;    /* of the instruction */
    /* Of MSRs and control registers, and the modes. A port's value, a leaf's subleaf and an
     * exception's error code are in `after`; CR2 of a page fault in `before`. */
    uint64_t before, after;
};

#define CATCH_TEXT_MAX 128

/* What `catch WORD ...` means; NULL, or what is wrong with it. */
const char *catch_parse(unsigned count, char *const word[], struct catch *wanted);

/* "msr LSTAR write", as it is written. */
void catch_print(const struct catch *catch, char text[CATCH_TEXT_MAX]);

/* "write of MSR LSTAR (0xc0000082) at 0x...: 0x0 -> 0x..." */
void catch_describe(const struct catch_event *event, char text[CATCH_TEXT_MAX]);

/* Whether this is what was waited for; then the event has its id. */
bool catch_meets(const struct catch *catch, struct catch_event *event);

/* An MSR's number from the SDM's name, with or without IA32_, or from its digits. False: none. */
bool catch_find_msr(const char *text, uint32_t *msr);
