/*
 * A guest as an ELF core file, made piece by piece of what the guest is: registers as notes that
 * gdb knows, its RAM, and segments for what its page tables map of that, so that gdb finds memory
 * by the guest's linear addresses. Nothing is kept of the file but its head's numbers. Pure.
 *
 * The file is cut into blocks, each of which is compressed by itself; one of zeros is left out. A
 * transfer that was cut goes on at any block.
 */
#pragma once

#include "kernel/debug/deflate.h"
#include "kernel/debug/guest_runs.h"
#include "kernel/vm/debug.h"

#define CORE_BLOCK 65536u
#define CORE_FPU 512u

/* Physical memory is at this address of the file's, and up, where the guest has paging. */
#define CORE_PHYSICAL BIT(63)

struct core_dump {
    const struct guest_mem *mem;
    struct vcpu_registers registers;
    uint8_t fpu[CORE_FPU]; /* SDM: FXSAVE Area */
    struct guest_runs runs;
    bool is_paged;
    uint32_t segments, notes; /* bytes of notes */
    uint64_t head, size;      /* bytes before the memory, and of all */
    uint32_t blocks;
    uint32_t id; /* of the file's head: tells two dumps apart */
    uint8_t raw[CORE_BLOCK];
    struct deflate deflate;
};

/* One block as it is sent. */
struct core_piece {
    uint32_t block;
    uint32_t size; /* bytes of the file */
    uint32_t crc;  /* CRC-32 of these, as in gzip */
    uint32_t used; /* of bytes */
    uint8_t bytes[DEFLATE_ROOM(CORE_BLOCK)];
};

/* Begins the dump of a guest that stands: registers and fpu are set in *dump already, and mem stays
 * until it is done. */
void core_dump_begin(struct core_dump *dump, const struct paging *paging,
                     const struct guest_mem *mem);

/* The first block from number `from` on that is not all zeros; false: there is none. `looks` of
 * them are looked at, at most; then *from is where to go on. */
bool core_dump_next(struct core_dump *dump, uint32_t *from, uint32_t looks,
                    struct core_piece *piece);

uint32_t core_crc32(const void *bytes, size_t size);
