/* ELF files (32 or 64 bits) with a PVH entry. Xen: x86/HVM direct boot ABI. */
#pragma once

#include "kernel/vm/load.h"

bool load_elf_recognises(const uint8_t *image, uint64_t size);

/* As load_kernel, for what load_elf_recognises. */
enum status MUST_CHECK load_elf(const struct load_request *request, struct guest_entry *entry,
                                struct load_error *error);
