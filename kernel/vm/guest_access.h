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

#include "kernel/vm/bus.h"
#include "kernel/vm/emulate.h"
#include "kernel/vm/guest_walk.h"

/* A page's translation, kept while one instruction executes. */
struct guest_translation {
    uint64_t tag;  /* the linear page's number + 1; 0: none */
    uint64_t page; /* guest-physical address */
    uint8_t *host; /* NULL: no RAM, so the bus */
};

/* Instructions that were decoded before, found by address, valid for the same 16 bytes only: a
 * driver reaches its device from a few places, and decoding costs more than comparing. */
struct guest_decoded {
    uint8_t bytes[16];
    struct instruction instruction;
    uint8_t code_size; /* 0: the bytes are not all there */
};

#define GUEST_DECODED_COUNT 32 /* a power of two */

#define GUEST_WALK_MEMOS 8 /* a power of two */

/* One vCPU's; about 4 KBytes. */
struct guest_access {
    const struct guest_mem *mem;
    struct bus *bus;
    struct paging paging; /* set by the caller but for cr0, rflags and cpl */
    struct segment tr;    /* read only when INS or OUTS meet the I/O permission bit map */
    /* What the last guest_access_emulate did, for reports. */
    enum status status; /* behind a result other than EMULATE_DONE */
    uint8_t bytes[16];  /* of the instruction, count of them; also more than it has */
    unsigned count;
    const struct instruction *instruction; /* NULL: it could not be decoded */
    /* The rest is guest_access.c's own. */
    struct guest_translation translation[2]; /* for reads and for writes */
    uint64_t linear_mask;
    struct guest_walk_memo memo[GUEST_WALK_MEMOS];
    struct guest_decoded decoded[GUEST_DECODED_COUNT];
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

/* The ports of emulate_instruction; their context is a struct guest_access. */
extern const struct emulate_ops guest_access_ops;

/* For accesses by guest_access_ops that are no instruction's: with whose rights the next ones are
 * made, and whether linear addresses have 64 bits; and the end of them. */
void guest_access_begin(struct guest_access *access, uint64_t cr0, uint64_t rflags, uint8_t cpl,
                        bool long_mode);
void guest_access_end(struct guest_access *access);
