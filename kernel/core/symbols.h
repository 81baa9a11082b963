/* The monitor's own symbols, for backtraces. Pure. ELF: Symbol Table. */
#pragma once

#include "kernel/core/types.h"

/* An Elf64_Sym array and its strings, as the ELF file has them: not trusted. */
struct symbols {
    const void *symtab;
    uint64_t symtab_size; /* bytes */
    const char *strtab;
    uint64_t strtab_size; /* bytes */
};

/* The name of the function that holds address, NUL-terminated, and how far in it is; NULL: none. */
const char *symbols_lookup(const struct symbols *symbols, uint64_t address, uint64_t *offset);
