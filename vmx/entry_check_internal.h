/*
 * The rules of entry_check.h, as its files share them: what a rule says of one field under one
 * condition is a row of a table; what compares fields is code. The host is one in IA-32e mode,
 * outside SMM.
 */
#pragma once

#include "kernel/vm/cpu_mode.h"
#include "vmx/entry_check.h"

#define CR4_CET BIT(23)
#define LEAF7_EBX_SGX BIT(2)
#define LEAF7_EBX_RTM BIT(11)
#define LEAF7_ECX_BUS_LOCK BIT(24)
#define BASIC_32_BIT_ADDRESSES BIT(48)
#define BASIC_ANY_ERROR_CODE BIT(56)
#define MISC_INJECT_LENGTH_0 BIT(30)

enum event_type {
    TYPE_EXTERNAL_INTERRUPT = 0,
    TYPE_RESERVED = 1,
    TYPE_NMI = 2,
    TYPE_HARDWARE_EXCEPTION = 3,
    TYPE_SOFTWARE_INTERRUPT = 4,
    TYPE_OTHER = 7,
};

enum activity { ACTIVE, HLT, SHUTDOWN, WAIT_FOR_SIPI };

/* What a rule can depend on: a control (its word and bit), or a fact. */
enum {
    WORD_TERTIARY = CONTROL_WORDS,
    WORD_FACTS,
    WORDS,
};
#define CONDITION(word, bit) ((word)*32 + (bit))
#define PIN(bit) CONDITION(CONTROL_PIN, bit)
#define PRIMARY(bit) CONDITION(CONTROL_PRIMARY, bit)
#define SECONDARY(bit) CONDITION(CONTROL_SECONDARY, bit)
#define EXIT(bit) CONDITION(CONTROL_EXIT, bit)
#define ENTRY(bit) CONDITION(CONTROL_ENTRY, bit)
#define TERTIARY(bit) CONDITION(WORD_TERTIARY, bit)
#define FACT(bit) CONDITION(WORD_FACTS, bit)

enum {
    EXTERNAL_INTERRUPT_EXITING = PIN(0),
    NMI_EXITING = PIN(3),
    VIRTUAL_NMIS = PIN(5),
    PREEMPTION_TIMER = PIN(6),
    POSTED_INTERRUPTS = PIN(7),
    TERTIARY_CONTROLS = PRIMARY(17),
    TPR_SHADOW = PRIMARY(21),
    NMI_WINDOW = PRIMARY(22),
    IO_BITMAPS = PRIMARY(25),
    MONITOR_TRAP_FLAG = PRIMARY(27),
    MSR_BITMAPS = PRIMARY(28),
    SECONDARY_CONTROLS = PRIMARY(31),
    APIC_ACCESSES = SECONDARY(0),
    EPT = SECONDARY(1),
    X2APIC_MODE = SECONDARY(4),
    VPID = SECONDARY(5),
    UNRESTRICTED = SECONDARY(7),
    APIC_REGISTERS = SECONDARY(8),
    INTERRUPT_DELIVERY = SECONDARY(9),
    VM_FUNCTIONS = SECONDARY(13),
    SHADOWING = SECONDARY(14),
    PML = SECONDARY(17),
    EPT_VIOLATION_VE = SECONDARY(18),
    PASID = SECONDARY(21),
    MODE_BASED_EXECUTE = SECONDARY(22),
    SUB_PAGE = SECONDARY(23),
    PT_GUEST_PHYSICAL = SECONDARY(24),
    TSC_SCALING = SECONDARY(25),
    HLAT = TERTIARY(1),
    EPT_PAGING_WRITE = TERTIARY(2),
    GUEST_PAGING_VERIFICATION = TERTIARY(3),
    IPI_VIRTUALIZATION = TERTIARY(4),
    HOST_64 = EXIT(9),
    EXIT_PERF_GLOBAL = EXIT(12),
    ACKNOWLEDGE_INTERRUPT = EXIT(15),
    EXIT_PAT = EXIT(19),
    EXIT_EFER = EXIT(21),
    SAVE_PREEMPTION_TIMER = EXIT(22),
    CLEAR_RTIT = EXIT(25),
    EXIT_CET = EXIT(28),
    EXIT_PKRS = EXIT(29),
    SECONDARY_EXIT_CONTROLS = EXIT(31),
    ENTRY_DEBUG = ENTRY(2),
    IA32E_GUEST = ENTRY(9),
    ENTRY_TO_SMM = ENTRY(10),
    DEACTIVATE_DUAL_MONITOR = ENTRY(11),
    ENTRY_PERF_GLOBAL = ENTRY(13),
    ENTRY_PAT = ENTRY(14),
    ENTRY_EFER = ENTRY(15),
    ENTRY_BNDCFGS = ENTRY(16),
    ENTRY_RTIT = ENTRY(18),
    ENTRY_UINV = ENTRY(19),
    ENTRY_CET = ENTRY(20),
    ENTRY_LBR = ENTRY(21),
    ENTRY_PKRS = ENTRY(22),
    ALWAYS = FACT(0),
    HOST_32,        /* not HOST_64 */
    LEGACY_GUEST,   /* not IA32E_GUEST */
    LONG_CODE,      /* IA32E_GUEST and CS.L */
    SHORT_CODE,     /* the others */
    EPTP_SWITCHING, /* the VM function is enabled */
    TPR_THRESHOLD,  /* TPR_SHADOW without INTERRUPT_DELIVERY */
    V86,            /* RFLAGS.VM */
    /* of the segment that is looked at, outside virtual-8086 mode */
    SEGMENT_CHECKED,  /* usable, or CS */
    SEGMENT_BIG,      /* SEGMENT_CHECKED and G */
    SEGMENT_SMALL,    /* SEGMENT_CHECKED and not G */
    SEGMENT_USER,     /* SEGMENT_CHECKED and neither LDTR nor TR */
    SEGMENT_LOW_BASE, /* SEGMENT_USER and neither FS nor GS */
    SEGMENT_ANY_BASE, /* FS, GS, TR; LDTR where usable */
    SEGMENT_SYSTEM,   /* SEGMENT_CHECKED and LDTR or TR */
};

enum kind {
    CLEAR,     /* the operand's bits must be 0 */
    SET,       /* they must be 1 */
    NONZERO,   /* the value must not be 0 */
    AT_MOST,   /* the value must not be above the operand */
    ADDRESS,   /* a physical address; the operand's bits must be 0 */
    CANONICAL, /* a canonical linear address */
    IDENTICAL, /* its upper bits are alike, though not like the highest one of the address */
    MEMORY_TYPES,
    NEEDS,    /* the operand is a condition that must hold too */
    EXCLUDES, /* the operand is a condition that must not hold too */
};

struct row {
    uint16_t field;
    uint8_t when;
    uint8_t kind;
    const char *text; /* NULL: the kind's */
    uint64_t operand;
};

struct check {
    const struct entry_check_ports *ports;
    const struct entry_machine *machine;
    const struct vmx_capabilities *capabilities;
    uint64_t address_limit, width_limit; /* the first physical addresses that are too high */
    unsigned broken;
    uint32_t word[WORDS];
    /* what many rules depend on */
    uint64_t cr0, cr4, rflags, event, interruptibility, activity, cs_access, ss_access;
};

#define PAGE MASK(11, 0) /* the bits of an address that are 0 where it is a page's */

uint64_t entry_field(const struct check *check, enum vmcs_field field);
/* Whether the condition holds: a control is 1, or a fact is true. */
bool entry_on(const struct check *check, unsigned condition);
void entry_set_fact(struct check *check, unsigned condition, bool holds);

/* A rule that is broken gives the error of the field's area, unless entry_report says another. */
void entry_report(struct check *check, const struct broken_rule *rule);
void entry_fail(struct check *check, enum vmcs_field field, uint64_t qualification,
                const char *text);
void entry_rule(struct check *check, bool holds, enum vmcs_field field, const char *text);
/* The rows whose condition holds; `offset` is added to their fields: which segment they are for. */
void entry_apply(struct check *check, const struct row *row, size_t count, unsigned offset);
#define APPLY(check, rows) entry_apply(check, rows, ARRAY_SIZE(rows), 0)

/* What host and guest state have in common. */
void entry_check_fixed(struct check *check, enum vmcs_field field, uint64_t fixed0,
                       uint64_t fixed1);
void entry_check_efer(struct check *check, enum vmcs_field field, bool long_mode, bool lme_counts);
void entry_check_cr3_and_cet(struct check *check, enum vmcs_field cr4, uint64_t cr0,
                             enum vmcs_field cr3);
void entry_check_s_cet(struct check *check, enum vmcs_field field);

void entry_check_controls(struct check *check);
void entry_check_guest_state(struct check *check);
