/* ELF files: what every loader of a kernel in one does with it. System V ABI: Object Files. */
#pragma once

#include "kernel/vm/load_common.h"

struct elf {
    struct loader *loader;
    const uint8_t *image;
    uint64_t size;
    bool is_64;
    uint64_t phoff;
    unsigned phnum, phentsize;
    bool has_interpreter; /* it is a program for an operating system */
    uint64_t low, high;   /* physical ends of what is loaded */
    uint64_t entry;       /* physical: of the header's entry, which may be virtual */
    uint64_t moved;       /* by how much the file is loaded higher than it says; modulo 2^64 */
};

struct elf_segment {
    uint32_t type;
    uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

bool load_elf_is(const uint8_t *image, uint64_t size);

/* Whether it is of class ELFCLASS64. */
bool load_elf_is_64(const uint8_t *image, uint64_t size);

/* Reads the headers of the kernel file, which load_elf_is, into *elf. Errors as load_kernel. */
enum status MUST_CHECK load_elf_read(struct loader *loader, struct elf *elf);

/* The value of a note (4 or 8 bytes) by this name; false: there is none. ERR_TRUNCATED. */
enum status MUST_CHECK load_elf_note(const struct elf *elf, const char *name, uint32_t type,
                                     uint64_t *value, bool *found);

/* Places every segment at its physical address and `moved`. */
enum status MUST_CHECK load_elf_place(const struct elf *elf);

/* Whether entry, before it is moved, lies in a segment below 4 GiB; called what in the message. */
enum status MUST_CHECK load_elf_check_entry(const struct elf *elf, uint64_t entry,
                                            const char *what);
