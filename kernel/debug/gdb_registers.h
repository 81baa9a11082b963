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

/* The largest register's bytes. */
#define GDB_REGISTER_MAX 16

/* Register number's bytes as they go over the line, and how many; 0: there is no such register. */
size_t gdb_register_get(const struct gdb_registers *registers, unsigned number,
                        uint8_t bytes[GDB_REGISTER_MAX]);
size_t gdb_register_size(unsigned number);

/* Changes it. ERR_NOT_FOUND: no such register; ERR_UNSUPPORTED: it cannot be written: a selector
 * outside real and virtual-8086 mode, where it needs a descriptor. */
enum status MUST_CHECK gdb_register_set(struct gdb_registers *registers, unsigned number,
                                        const uint8_t bytes[GDB_REGISTER_MAX]);

/* The target description's characters from offset on, up to length; returns whether more follow. */
bool gdb_description(struct gdb_writer *writer, uint64_t offset, uint64_t length);

/* The same for the memory map. */
bool gdb_memory_map(struct gdb_writer *writer, uint64_t offset, uint64_t length);
