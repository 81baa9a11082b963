/* The monitor's ELF file: checked, then laid out in memory. Pure. */
#pragma once

#include "kernel/core/status.h"
#include "kernel/core/types.h"

struct elf_image {
    const uint8_t *file;
    uint64_t link_base;     /* linear address of the first page */
    uint64_t size;          /* bytes from there to the end of .bss, page aligned */
    uint64_t entry;         /* linear */
    uint64_t symtab_offset; /* in the file; size 0: the file has no symbols */
    uint64_t symtab_size;
    uint64_t strtab_offset;
    uint64_t strtab_size;
};

/* Fills image from an ELF64 x86-64 executable, whose bytes stay in use. ERR_INVALID: it is not one,
 * or it is damaged; ERR_RANGE: it does not lie in the upper 2 GiB where its code model says. */
enum status MUST_CHECK elf_image_open(const uint8_t *file, uint64_t size, struct elf_image *image);

/* Lays the segments out in to[0..image->size), gaps and .bss zeroed. */
void elf_image_copy(const struct elf_image *image, uint8_t *to);
