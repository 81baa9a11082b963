/*
 * Guest `exits`: one instruction at a time in one environment (a mode and a CPL), with every
 * general register given, and everything taken down at the next event.
 */
#pragma once

#include "tests/guests/lib/guest.h"

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R15 = 15, GPRS = 16 };

/* exits.asm has the same. */
struct exits_run {
    uint64_t gpr[GPRS];
    uint64_t rflags, cs, rip, ss, ds;
    uint64_t no_idt; /* 1: with an IDT that has no gate */
    struct {
        uint64_t gpr[GPRS];
        uint64_t rflags, cs, rip, ss;
        uint64_t vector, error, dr6;
        uint64_t tss_type; /* of the 32-bit TSS: whether it was busy, outside IA-32e mode, */
        uint64_t cr0;      /* and CR0 there, in protected mode */
    } out;
};
extern struct exits_run exits_run;

/* ---- Environments ---- */

enum exits_bits { BITS_16, BITS_32, BITS_64 };

struct exits_environment {
    const char *name;
    uint8_t mode; /* enum guest_mode, or MODE_IA32E */
    uint8_t bits; /* of its code: enum exits_bits */
    uint8_t cpl;
    bool is_v86;
    uint16_t cs, ss, ds;
    uint16_t device_ds; /* in 16-bit code: the data segment that begins at EXITS_DEVICE */
};

#define MODE_IA32E 0xff
#define IS_REAL(environment) ((environment)->mode == MODE_REAL)

#define EXITS_PAGE 4096
extern uint8_t exits_code[2 * EXITS_PAGE]; /* page aligned; SEL_EDGE_CODE32 begins in its middle */

extern const struct exits_environment exits_environments[];
extern const unsigned exits_environment_count;

/* Where code and data of a run lie, as its own pointers say it, and as everybody else does. */
struct exits_place {
    uint64_t rip;
    uint8_t *code;
    uint64_t pointer; /* of data */
    uint8_t *data;
    uint64_t rsp;
};

#define EXITS_SEGMENT 0x20000u /* the 16-bit segments' base, as modes.inc has it */
#define EXITS_DEVICE 0xa0000u  /* nothing answers there: reads are all ones */
#define EXITS_VECTOR 0x51      /* of the interrupts that runs get */

void exits_init(void);
void exits_find_place(const struct exits_environment *environment, struct exits_place *place);
/* Sets exits_run to this environment with a pattern in the registers: RBP holds the selector for
 * SS, RBX points to the data. */
void exits_prepare(const struct exits_environment *environment, const struct exits_place *place);
/* What the I/O permission bit map of a 32-bit TSS says about every port. */
void exits_allow_ports(bool allow);
/* Runs until the next event; exits_run.out says what came. */
void exits_go(const struct exits_environment *environment);

/* Events that a run finds: an interrupt that is pending, or comes after so many ticks; NMIs. */
void exits_send_interrupt(void);
void exits_start_timer(uint32_t ticks);
void exits_send_nmi(void);
/* What did not come is taken back. */
void exits_drop_events(void);

/* Selectors behind those of the library. */
#define SEL_USER_CODE16 (0x70 | 3)
#define SEL_USER_DATA16 (0x78 | 3)
#define SEL_EDGE_CODE32 0x80
#define SEL_USER_EDGE_CODE32 (0x88 | 3)
#define SEL_DEVICE16 0x90
#define SEL_USER_DEVICE16 (0x98 | 3)

#define FLAG_TF BIT(8)
#define FLAG_IF BIT(9)
#define FLAG_RF BIT(16)
#define FLAG_VM BIT(17)
#define FLAG_AC BIT(18)
#define FLAGS_STATUS 0x8d5ull
#define FLAGS_IOPL3 (3ull << 12)

#define VECTOR_DB 1u
#define VECTOR_NMI 2u
#define VECTOR_BP 3u
#define VECTOR_UD 6u
#define VECTOR_GP 13u
#define VECTOR_AC 17u

#define DR6_CLEAR 0xffff0ff0ull
#define DR6_BS BIT(14)

/* ---- Forms: instructions and what they do ---- */

#define NO_EVENT 0xff

struct exits_form;

/* What a form comes to in an environment: a fault, or (NO_EVENT) it is carried out. */
struct exits_outcome {
    uint8_t fault;
    uint32_t error;
};

struct exits_form {
    const char *reason; /* of vmx/exit_reasons.def */
    const char *name;
    uint8_t length;
    uint8_t bytes[16];
    uint32_t flags; /* FORM_* */
    /* Registers and memory before; what must be there after it was carried out, by changing *want,
     * which is what the registers were. Either may be NULL. */
    void (*set)(const struct exits_environment *environment, const struct exits_place *place);
    void (*expect)(const struct exits_environment *environment, const struct exits_place *place,
                   uint64_t *want, uint64_t *flags);
};

#define FORM_CPL0 0x1      /* #GP(0) at CPL 1 to 3 */
#define FORM_UNDEFINED 0x2 /* #UD wherever CPUID does not offer it, which is everywhere */
#define FORM_PROTECTED 0x4 /* #GP(0) everywhere */
#define FORM_LONG 0x8      /* only in 64-bit mode */
#define FORM_MEMORY(at)                                                                            \
    ((uint32_t)(at) << 8)    /* index of the ModRM byte, [RBX], which 16-bit code has otherwise */
#define FORM_LOCKABLE 0x10   /* LOCK is allowed, or the form is about prefixes */
#define FORM_NEEDS_IF 0x20   /* HLT: ended by a timer's interrupt, */
#define FORM_STEPS 0x1000000 /* or by a debug exception, which only these forms have */
#define FORM_IOPL0 0x40      /* with IOPL 0 at CPL 3 */
#define FORM_TRAPS 0x10000   /* ends in #DB by itself */
#define FORM_USER 0x20000    /* only at CPL 3 */
#define FORM_ALIGNED 0x40000 /* with alignment checking, RBX odd */
#define FORM_DEVICE 0x80000  /* its data is EXITS_DEVICE */
#define FORM_HYPERCALL 0x100000 /* #UD on a machine without a monitor */
#define FORM_OSXSAVE 0x200000   /* needs CR4.OSXSAVE */
#define FORM_EDGE 0x400000      /* also at the borders of the instruction pointer */
#define FORM_MONITOR 0x800000   /* left out where CPUID offers MONITOR */

extern const struct exits_form exits_forms[];
extern const unsigned exits_form_count;

struct exits_outcome exits_outcome(const struct exits_form *form,
                                   const struct exits_environment *environment);
/* The form's bytes, for this environment. */
void exits_encode(const struct exits_form *form, const struct exits_environment *environment,
                  uint8_t *bytes);

/* Whether this is Traprock's guest; on a bare machine VMCALL is undefined. */
bool exits_has_monitor(void);

/* Registers, flags and memory as the form wants them, at this place, which exits_find_place gave.
 */
void exits_set_form(const struct exits_form *form, const struct exits_environment *environment,
                    const struct exits_place *place);
bool exits_is_here(const struct exits_form *form, const struct exits_environment *environment);

/* ---- The parts ---- */

/* "REASON.form" kind ".environment" */
void exits_case(const char *reason, const char *form, const char *kind,
                const struct exits_environment *environment);
/* Registers, flags and RIP that were taken down, against these; what names the variant. */
void exits_check(const struct exits_environment *environment, const uint64_t *want, uint64_t rflags,
                 uint64_t rip, const char *what);

void exits_test_forms(void);
void exits_test_edges(void);
void exits_test_events(void);
void exits_test_tasks(void);
/* Does not return before every environment has had its triple fault, a reset each. */
void exits_test_triple_faults(void);
