/*
 * The registers as gdb knows them: one 64-bit description for every mode, so that a change of mode
 * changes no packet. Pure. gdb: Target Description Format; Standard Target Features, i386.
 */
#pragma once

#include "kernel/debug/gdb_packet.h"
#include "kernel/vm/debug.h"

struct gdb_registers {
    struct vcpu_registers cpu;
    uint8_t fpu[512] ALIGNED(16); /* SDM: FXSAVE Area */
};

/* How many `g` has; those behind them are MSRs. */
unsigned gdb_register_count(void);

/* The MSR that a register stands for; false: it is none of those. */
bool gdb_register_msr(unsigned number, uint32_t *msr);

/* The name of register number, NULL past the last that `g` has; "" for those that are no integers
 * of up to 64 bits in `cpu`, which alone have to be filled in for the others. */
const char *gdb_register_name(unsigned number);

/* The largest register's bytes. */
#define GDB_REGISTER_MAX 16

/* Register number's bytes as they go over the line, and how many; 0: there is no such register. */
size_t gdb_register_get(const struct gdb_registers *registers, unsigned number,
                        uint8_t bytes[GDB_REGISTER_MAX]);
size_t gdb_register_size(unsigned number);

/* Changes it, and nothing that belongs to it: see selector_load. ERR_NOT_FOUND: no such register.
 */
enum status MUST_CHECK gdb_register_set(struct gdb_registers *registers, unsigned number,
                                        const uint8_t bytes[GDB_REGISTER_MAX]);

/* The target description's characters from offset on, up to length; returns whether more follow. */
bool gdb_description(struct gdb_writer *writer, uint64_t offset, uint64_t length);

/* The same for the memory map. */
bool gdb_memory_map(struct gdb_writer *writer, uint64_t offset, uint64_t length);
