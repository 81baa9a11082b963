/* What the files of this folder share. All of the program's state is in one struct. */
#pragma once

#include "kernel/core/mem.h"
#include "tests/guests/lib/guest.h"
#include "vmx/entry_check_internal.h"

#define ENCODINGS 0x7000
#define FIELDS_MAX 256
#define REASONS_MAX 64

/* The memory that the processor reads at entry: what each page holds. */
enum page {
    PAGE_ZERO,
    PAGE_EMPTY_EPT,     /* no entry present, none that gives #VE */
    PAGE_SHADOW_VMCS,   /* the revision with bit 31 */
    PAGE_ORDINARY_VMCS, /* the revision */
    PAGE_PDPTES,        /* four that are right */
    PAGE_BAD_PDPTES,    /* every one wrong */
    PAGE_VTPR_0,
    PAGE_VTPR_7,
    PAGE_VTPR_15,
    PAGE_MSRS,     /* four that can be loaded and stored, then one that cannot */
    PAGE_BAD_MSRS, /* for each reason an MSR that cannot be loaded */
    PAGE_VMCS,
    PAGE_VMXON,
    PAGE_HOST_CR3, /* two copies of the host's root */
    PAGE_HOST_CR3_COPY,
    PAGES
};

enum mode {
    MODE_64,
    MODE_64_WITHOUT_EPT,
    MODE_COMPATIBILITY,
    MODE_PAE_WITH_EPT,
    MODE_PAE_WITHOUT_EPT,
    MODE_32,
    MODE_UNPAGED,
    MODE_REAL_ADDRESS,
    MODE_VIRTUAL_8086,
    MODE_VIRTUAL_8086_UNRESTRICTED,
    MODES
};

/* How the processor answered. */
struct verdict {
    unsigned error; /* of enum entry_error; 0: it entered; else something unexpected */
    uint64_t qualification;
};

struct world {
    struct vmx_capabilities capabilities;
    struct entry_machine machine;
    struct {
        uint16_t encoding;
        uint8_t width;
        uint8_t type;
    } field[FIELDS_MAX]; /* those that this processor has, but for exit information */
    unsigned fields;
    uint64_t random; /* the generator's state */
    enum mode mode;
    uint64_t base[ENCODINGS]; /* the valid VMCS, by encoding */
    uint64_t want[ENCODINGS]; /* the one under test */
    uint64_t have[ENCODINGS]; /* what the processor's VMCS holds */
    bool guest_area_unknown;  /* a guest ran: its part of `have` is not right */
    struct broken_rule reason[REASONS_MAX];
    unsigned reasons;
    uint8_t page[PAGES][4096] ALIGNED(4096);
};

extern struct world world;

/* A number below n. */
uint64_t random_below(uint64_t n);
uint64_t random_bits(void);
static inline bool one_in(unsigned n)
{
    return random_below(n) == 0;
}

static inline uint64_t page_address(enum page page)
{
    return (uintptr_t)world.page[page];
}

static inline bool is_allowed(unsigned condition)
{
    return world.capabilities.control[condition / 32] >> (32 + condition % 32) & 1;
}

/* The field of the VMCS that a control is in. */
enum vmcs_field control_field(unsigned condition);
static inline bool is_on(const uint64_t *fields, unsigned condition)
{
    return fields[control_field(condition)] >> condition % 32 & 1;
}

/* state.c: fills world.base with a valid VMCS, chosen by the generator. */
void state_init(void);
void state_make_base(void);

/* mutate.c: makes world.want of world.base, changed here and there. */
void mutate(void);

/* keep.c: takes out of world.want what would lose the machine. */
void keep_machine(void);

/* judge.c */
void judge(uint64_t number, const struct verdict *verdict);
/* Prints what was found; returns the cases that nothing explains. */
unsigned judge_end(bool show_rules);
