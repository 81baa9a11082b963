/* Every instruction form that the decoder's tables know, and the ways in which each exists. */
#pragma once

#include "kernel/vm/decode_table.h"

enum native_mode { NATIVE_64, NATIVE_32, NATIVE_16, NATIVE_MODES };

/* One row of the decoder's tables. */
struct form {
    struct opcode opcode;
    uint8_t escape[2]; /* 0F, or 0F 38, before the opcode's byte; escapes of them */
    uint8_t escapes;
    uint8_t byte;
    int8_t extension; /* ModRM.reg; -1: a register, or no ModRM */
};

/* A form in one mode with one operand size and one address size, in bytes. */
struct cell {
    uint16_t form;
    uint8_t mode; /* enum native_mode */
    uint8_t size;
    uint8_t address_size;
    uint32_t done, faulted; /* how often it was executed to its end, and to a fault */
};

#define FORMS_MAX 512u
#define CELLS_MAX 4096u

extern struct form forms[FORMS_MAX];
extern unsigned form_count;
extern struct cell cells[CELLS_MAX];
extern unsigned cell_count;

/* Fills the arrays above in, once. */
void forms_prepare(void);

/* Leaves the cells of 64-bit mode only. */
void forms_keep_64(void);

/* The code size of a mode: 8, 4, 2. */
unsigned forms_code_size(enum native_mode mode);

/* "0f ba /5". */
const char *forms_name(const struct form *form);

/* Whether the form asks for the right to use a port, which this test has not: it always faults. */
bool forms_needs_port(const struct form *form);

/* Prints forms, modes and sizes with what was executed; returns the cells that were never executed,
 * or only to faults. */
unsigned forms_print_coverage(bool whole);
