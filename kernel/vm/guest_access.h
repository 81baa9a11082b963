/*
 * A guest's instruction carried out on its real surroundings: fetched and decoded through its page
 * tables, its operands in RAM or, where there is none, on the bus.
 *
 *     guest_access_init(access, &vm->mem, &vm->bus);            once per vCPU; then per exit:
 *     access->paging = (struct paging){.cr3 = ..., .cr4 = ..., .efer = ..., .maxphyaddr = ...};
 *     guest_access_assume(access, linear, gpa, is_write);       optional: it saves a walk
 *     switch (guest_access_emulate(access, &state, &exception)) ...
 *
 * The caller holds the VM's device lock. What a guest's other processors do meanwhile is tolerated:
 * instruction bytes are read once, translations are made once per instruction.
 */
#pragma once

#include "kernel/vm/breakpoint.h"
#include "kernel/vm/bus.h"
#include "kernel/vm/emulate.h"
#include "kernel/vm/guest_walk.h"

/* A page's translation, kept while one instruction executes. */
struct guest_translation {
    uint64_t tag;  /* the linear page's number + 1; 0: none */
    uint64_t page; /* guest-physical address */
    uint8_t *host; /* NULL: no RAM, so the bus */
};

/* A place in the guest's code that reaches a device with a plain MOV: a driver has few of them and
 * comes back to each. It stands while the page tables lead to the same bytes. */
struct guest_site {
    uint64_t rip, cr3;
    const uint8_t *code; /* where the bytes are; NULL: no site */
    uint8_t bytes[16];
    struct guest_walk_path path;
    struct instruction instruction;
};

#define GUEST_SITES 32 /* a power of two */

/* An access that made the processor exit, in 64-bit mode, after all of its own checks. */
struct guest_repeat {
    uint64_t rip, cr3;
    uint64_t linear; /* address of the access's first byte */
    uint64_t gpa;    /* and where it leads */
    bool write;
};

/* One vCPU's; about 5 KBytes. */
struct guest_access {
    const struct guest_mem *mem;
    struct bus *bus;
    struct paging paging;           /* set by the caller but for cr0, rflags and cpl */
    struct breakpoint_watch *watch; /* told of accesses to data; NULL: nobody asks */
    struct segment tr;              /* read only when INS or OUTS meet the I/O permission bit map */
    /* What the last guest_access_emulate did, for reports. */
    enum status status; /* behind a result other than EMULATE_DONE */
    uint8_t bytes[16];  /* of the instruction, count of them; also more than it has */
    unsigned count;
    const struct instruction *instruction; /* NULL: it could not be decoded */
    /* The rest is guest_access.c's own. */
    struct guest_translation translation[2]; /* for reads and for writes */
    uint64_t linear_mask;
    const uint8_t *code;         /* of a whole fetch from one page of RAM: where the bytes are */
    struct guest_walk_path path; /* of the last fetch */
    struct instruction decoded;
    struct guest_site site[GUEST_SITES];
};

/* The caller sets paging and, where ports matter, tr. */
void guest_access_init(struct guest_access *access, const struct guest_mem *mem, struct bus *bus);

/* Tells what the processor already found out about the access that made it exit, e.g. the guest-
 * linear and guest-physical address of an EPT violation; write: the translation allowed a write.
 * Used by the next guest_access_emulate in place of a walk. */
void guest_access_assume(struct guest_access *access, gva_t linear, gpa_t gpa, bool write);

/*
 * Reads instruction bytes at CS:RIP behind the access->count that are there already, up to a page's
 * end and 15 in all, into access->bytes. ERR_FAULT: not one byte could be read, and *exception says
 * why; ERR_RANGE and ERR_BUSY: as guest_walk.
 */
enum status MUST_CHECK guest_access_fetch(struct guest_access *access,
                                          const struct emulate_state *state,
                                          struct exception *exception);

/* Fetches, decodes and executes the instruction at CS:RIP. After EMULATE_UNSUPPORTED,
 * access->status says why: ERR_UNSUPPORTED, not an instruction that is known (see access->bytes);
 * ERR_RANGE, as guest_walk. */
enum emulate_result guest_access_emulate(struct guest_access *access, struct emulate_state *state,
                                         struct exception *exception);

/*
 * Carries out a MOV between a register other than RSP and a device that guest_access_emulate has
 * met before at this place, without looking at anything that the processor has checked already.
 * gpr needs no RSP. False: it is something else, nothing was done; else *next_rip is behind it.
 */
bool guest_access_repeat(struct guest_access *access, const struct guest_repeat *repeat,
                         uint64_t *gpr, uint64_t *next_rip);

/* The ports of emulate_instruction; their context is a struct guest_access. */
extern const struct emulate_ops guest_access_ops;
/* The same for access->watch, which must not be NULL. */
extern const struct emulate_ops guest_access_watched_ops;

/* For accesses by guest_access_ops that are no instruction's: with whose rights the next ones are
 * made, and whether linear addresses have 64 bits; and the end of them. */
void guest_access_begin(struct guest_access *access, uint64_t cr0, uint64_t rflags, uint8_t cpl,
                        bool long_mode);
void guest_access_end(struct guest_access *access);
